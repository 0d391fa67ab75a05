"""Local response normalization across channels (Krizhevsky et al. 2012, section 3.3).

Its settings belong to the pretrained weights: with other settings the same weights compute another
function.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

NORMALIZED = ("C1", "C2")  # layers of AlexNet that can be normalized
MAX_PADDING = 3  # of C1: 11x11 kernels at stride 4 start at most 3 pixels outside the image


class Normalization(NamedTuple):
    """Settings: x / (offset + scale * (sum of squares of `size` channels around it)) ** power.

    In cuda-convnet2 `scale` as stored (the value in the definition divided by `size`), `pow` and
    `minDiv`; in PyTorch `alpha / size`, `beta` and `k`.
    """

    size: int = 5
    scale: float = 2e-5
    power: float = 0.75
    offset: float = 2.0
    before_rectifier: bool = False
    padding: int = 2  # rows and columns of zeros above and left of the input of the convolution


Lrn = bool | tuple[Normalization, ...]  # False: none; True: PAPER; or one for each of NORMALIZED

# One-GPU network of cuda-convnet2 (layers-imagenet-1gpu.cfg), the software of Samala et al. 2017:
# scale 1e-4 divided by size 5, minDiv 2; C1 has no padding and is normalized before its rectifier.
PAPER = (Normalization(before_rectifier=True, padding=0), Normalization())
# Settings that the first versions of this package used for `"lrn": true` in metadata and bundles.
LEGACY = (Normalization(scale=1e-4), Normalization(scale=1e-4))


def local_response_normalization(x: jax.Array, settings: Normalization) -> jax.Array:
    """Return `x` (n, h, w, c) normalized over its channels, in the dtype of `x`.

    Computed in float32, because half precision has too few digits for the sum of squares.
    """
    x32, half_size = x.astype(jnp.float32), settings.size // 2
    window, no_padding = (1, 1, 1, settings.size), (0, 0)
    padding = (no_padding, no_padding, no_padding, (half_size, half_size))
    total = jax.lax.reduce_window(x32 * x32, 0.0, jax.lax.add, window, (1, 1, 1, 1), padding)
    return (x32 / (settings.offset + settings.scale * total) ** settings.power).astype(x.dtype)


def layer_settings(lrn: Lrn) -> dict[str, Normalization]:
    """Return the settings by layer; empty without normalization."""
    settings = PAPER if lrn is True else lrn or ()
    return dict(zip(NORMALIZED, settings, strict=True)) if settings else {}


def to_json(lrn: Lrn) -> bool | dict[str, dict[str, Any]]:
    """Return `lrn` as metadata store it: False or {'C1': {'size': 5, ...}, 'C2': {...}}."""
    return {layer: settings._asdict() for layer, settings in layer_settings(lrn).items()} or False


def from_json(value: bool | Mapping[str, Any]) -> Lrn:
    """Return the inverse of `to_json` for a valid value (`is_valid`)."""
    if isinstance(value, bool):
        return value
    return tuple(Normalization(**value[layer]) for layer in NORMALIZED)


def is_valid(value: Any) -> bool:
    """Return whether `value` has the form of `to_json` and settings that can be computed."""
    if value is False:
        return True
    if not isinstance(value, Mapping) or set(value) != set(NORMALIZED):
        return False
    return all(_is_valid_layer(layer, settings) for layer, settings in value.items())


def find_problem(layer: str, settings: Normalization) -> str:
    """Return which setting of C1 or C2 the network cannot compute, or ''."""
    if settings.size < 1 or settings.size % 2 == 0:
        return f"size {settings.size}, expected an odd number"
    if not (isfinite(settings.scale) and settings.scale >= 0 and isfinite(settings.power)):
        return f"scale {settings.scale:g} and power {settings.power:g}, expected scale >= 0"
    if not (isfinite(settings.offset) and settings.offset > 0):
        return f"offset {settings.offset:g}, expected a number above 0"
    if layer == "C1" and not 0 <= settings.padding <= MAX_PADDING:
        return f"padding {settings.padding}, expected 0 to {MAX_PADDING}"
    if layer != "C1" and settings.padding != 2:
        return f"padding {settings.padding}, expected 2"
    return ""


def _is_valid_layer(layer: str, value: Any) -> bool:
    """Return whether a value from a JSON file is a valid Normalization of C1 or C2."""
    types = {name: type(default) for name, default in Normalization._field_defaults.items()}
    if not isinstance(value, Mapping) or set(value) != set(types):
        return False
    for name, field_type in types.items():
        is_integer_float = field_type is float and type(value[name]) is int
        if type(value[name]) is not field_type and not is_integer_float:
            return False
    return find_problem(layer, Normalization(**value)) == ""
