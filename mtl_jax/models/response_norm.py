"""Local response normalization across maps (Krizhevsky et al. 2012, section 3.3), and its settings.

The settings come from pretrained weights: what a network learned with one strength of the
normalization is another function with another.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

NORMALIZED = ("C1", "C2")  # AlexNet's layers that can have it
MAX_PADDING = 3  # of C1: with 11x11 kernels at stride 4 its windows begin at most so far outside


class Normalization(NamedTuple):
    """x / (offset + scale * (sum of the squares of `size` maps around it)) ** power.

    Parameters
    ----------
    size : int
        Number of maps in the sum, odd.
    scale, power, offset : float
        cuda-convnet2's `scale` as it stores it (its definition's, divided by `size`), `pow` and
        `minDiv`; PyTorch's `alpha / size`, `beta` and `k`.
    before_rectifier : bool
        Whether the normalization comes before the layer's rectifier.
    padding : int
        Rows and columns of zeros above and left of the input of the layer's convolution.
    """

    size: int = 5
    scale: float = 2e-5
    power: float = 0.75
    offset: float = 2.0
    before_rectifier: bool = False
    padding: int = 2


Lrn = bool | tuple[Normalization, ...]  # False: none; True: PAPER; else one for each of NORMALIZED

# cuda-convnet2's one-GPU network (layers-imagenet-1gpu.cfg), the software of Samala 2017: scale
# 1e-4 divided by size 5, minDiv 2, and C1 without padding, normalized before its rectifier.
PAPER = (Normalization(before_rectifier=True, padding=0), Normalization())
# What earlier versions of this package computed where a card or a bundle says `"lrn": true`.
LEGACY = (Normalization(scale=1e-4), Normalization(scale=1e-4))


def local_response_normalization(x: jax.Array, settings: Normalization) -> jax.Array:
    """Return `x` (n, h, w, c) normalized over channels, in its own type; computed in float32,
    since half precision has too few digits for the sum."""
    wide, reach = x.astype(jnp.float32), settings.size // 2
    window, none = (1, 1, 1, settings.size), (0, 0)
    total = jax.lax.reduce_window(
        wide * wide, 0.0, jax.lax.add, window, (1, 1, 1, 1), (none, none, none, (reach, reach))
    )
    return (wide / (settings.offset + settings.scale * total) ** settings.power).astype(x.dtype)


def layer_settings(lrn: Lrn) -> dict[str, Normalization]:
    """Return the settings of each normalized layer; empty where none is."""
    listed = PAPER if lrn is True else lrn or ()
    return dict(zip(NORMALIZED, listed, strict=True)) if listed else {}


def to_json(lrn: Lrn) -> bool | dict[str, dict[str, Any]]:
    """Return `lrn` as cards and bundles hold it: false, or {'C1': {'size': 5, ...}, 'C2':
    {...}}."""
    return {layer: settings._asdict() for layer, settings in layer_settings(lrn).items()} or False


def from_json(value: bool | Mapping[str, Any]) -> Lrn:
    """Return the inverse of `to_json`, for values that `is_valid`."""
    if isinstance(value, bool):
        return value
    return tuple(Normalization(**value[layer]) for layer in NORMALIZED)


def is_valid(value: Any) -> bool:
    """Return whether `value` is what `to_json` writes, with settings that can be computed."""
    if value is False:
        return True
    if not isinstance(value, Mapping) or set(value) != set(NORMALIZED):
        return False
    return all(_problem(layer, own) == "" for layer, own in value.items())


def problem(layer: str, settings: Normalization) -> str:
    """Return what the network cannot compute of the settings of C1 or C2; '' where there is
    nothing."""
    if settings.size < 1 or settings.size % 2 == 0:
        return f"size {settings.size}, expected an odd number"
    if not (isfinite(settings.scale) and settings.scale >= 0 and isfinite(settings.power)):
        return f"scale {settings.scale:g} and power {settings.power:g}, expected scale >= 0"
    if not (isfinite(settings.offset) and settings.offset > 0):
        return f"offset {settings.offset:g}, expected a number above 0"
    most, least = (MAX_PADDING, 0) if layer == "C1" else (2, 2)
    if not least <= settings.padding <= most:
        return f"padding {settings.padding}, expected {least if least == most else f'0 to {most}'}"
    return ""


def _problem(layer: str, value: Any) -> str:
    """As `problem`, of a value from a JSON file."""
    kinds = {name: type(default) for name, default in Normalization._field_defaults.items()}
    if not isinstance(value, Mapping) or set(value) != set(kinds):
        return "other fields"
    for name, kind in kinds.items():
        number = kind is float and type(value[name]) is int
        if type(value[name]) is not kind and not number:
            return f"{name} is of another type"
    return problem(layer, Normalization(**value))
