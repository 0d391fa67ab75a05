"""The table that maps the names of source checkpoints to the layers C1..C5, F1..F5.

It opens no file, and it never changes a number: axes are moved, nothing is rounded or resized.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_jax.nouns import InputError, Params

# Samala 2017, Table 3: convolutions (row, column, in, out), fully connected layers (in, out).
KERNEL_SHAPES = {
    "C1": (11, 11, 3, 64),
    "C2": (5, 5, 64, 192),
    "C3": (3, 3, 192, 384),
    "C4": (3, 3, 384, 256),
    "C5": (3, 3, 256, 256),
    "F1": (2304, 4096),
    "F2": (4096, 4096),
    "F3": (4096, 1000),
    "F4": (1000, 100),
    "F5": (100, 2),
}
CONVOLUTIONS = ("C1", "C2", "C3", "C4", "C5")
LEAVES = ("kernel", "bias")


@dataclass(frozen=True)
class Scheme:
    """One way of naming: our layer -> the source's name, and what its kernel is called."""

    name: str
    layers: dict[str, str]
    kernel: str
    torch_axes: bool  # kernels are (out, in, row, column) and (out, in)


SCHEMES = (
    Scheme(
        "torchvision",
        {
            "C1": "features.0",
            "C2": "features.3",
            "C3": "features.6",
            "C4": "features.8",
            "C5": "features.10",
            "F1": "classifier.1",
            "F2": "classifier.4",
            "F3": "classifier.6",
        },
        kernel="weight",
        torch_axes=True,
    ),
    Scheme(
        "conv1..conv5",
        {layer: f"conv{layer[1]}" for layer in CONVOLUTIONS}
        | {layer: f"fc{layer[1]}" for layer in ("F1", "F2", "F3")},
        kernel="kernel",
        torch_axes=False,
    ),
    Scheme("mtl_jax", {layer: layer for layer in KERNEL_SHAPES}, kernel="kernel", torch_axes=False),
)

F1_TOO_WIDE = (
    "F1 left out: its 9216 inputs are the 6x6 map of a 224-pixel image; "
    "at 128 pixels the map is 3x3 (2304 inputs), so F1 cannot be kept"
)
FIRST_PARTS = {name.split(".")[0] for scheme in SCHEMES for name in scheme.layers.values()}
MOST_UNEXPECTED = 12  # of these a file can hold any number; the rest are counted


def rename(
    arrays: dict[str, np.ndarray], keep_fc: bool, path: Path
) -> tuple[Params, Scheme, tuple[str, ...]]:
    """Source arrays as our parameters, the scheme that fits, and notes on what was left out.

    The five convolutions must be there; fully connected layers are kept where `keep_fc` and the
    source has them. Raises one InputError that lists everything missing, unexpected, of the wrong
    shape or dtype, or not finite.
    """
    named, problems = _plain_names(arrays)
    scheme = _choose_scheme(named, path)
    known = {_source_key(scheme, lay, leaf): lay for lay in scheme.layers for leaf in LEAVES}
    problems += _unexpected(sorted(set(named) - set(known)))
    present = {known[key] for key in named if key in known}

    notes = []
    wanted = [layer for layer in scheme.layers if layer in CONVOLUTIONS]
    connected = [layer for layer in KERNEL_SHAPES if layer in present - set(CONVOLUTIONS)]
    if keep_fc:
        f1 = named.get(_source_key(scheme, "F1", "kernel")) if "F1" in connected else None
        if scheme.torch_axes and f1 is not None and f1.shape == (4096, 9216):
            connected.remove("F1")
            notes.append(F1_TOO_WIDE)
        wanted += connected
        if not connected:
            notes.append("the source has no fully connected layer that can be kept")
    elif connected:
        notes.append(f"{', '.join(connected)} dropped: fully connected layers start at random")

    params: Params = {}
    for layer in wanted:
        for leaf in LEAVES:
            key = _source_key(scheme, layer, leaf)
            if key not in named:
                problems.append(f"missing {key}")
                continue
            expected = _source_shape(scheme, layer, leaf)
            problem = _fault(named[key], expected)
            if problem:
                problems.append(f"{key} {problem}")
                continue
            params.setdefault(layer, {})[leaf] = _our_axes(named[key], scheme, layer)
    if problems:
        raise InputError(
            f"{path}: does not fit the table of {scheme.name} names: {'; '.join(problems)} "
            "(give the weights of the AlexNet of torchvision)"
        )
    return params, scheme, tuple(notes)


def _plain_names(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Names with '.' between parts, without the 'module' that DataParallel puts in and without a
    beginning that all have, such as 'model.' or 'alexnet.'."""
    named: dict[str, np.ndarray] = {}
    problems = []
    for key, value in arrays.items():
        plain = ".".join(part for part in key.replace("/", ".").split(".") if part != "module")
        if plain in named:
            problems.append(f"{_shown(plain)} twice")
        named[plain] = value
    while named:
        (head, *others) = {name.split(".")[0] for name in named}
        if others or head in FIRST_PARTS or not all("." in name for name in named):
            break
        named = {name.partition(".")[2]: value for name, value in named.items()}
    return named, problems


def _choose_scheme(named: dict[str, np.ndarray], path: Path) -> Scheme:
    def hits(scheme: Scheme) -> int:
        keys = {_source_key(scheme, layer, leaf) for layer in scheme.layers for leaf in LEAVES}
        return len(keys & set(named))

    best = max(SCHEMES, key=hits)
    if not hits(best):
        first = ", ".join(_shown(key) for key in sorted(named)[:3]) or "no arrays at all"
        raise InputError(
            f"{path}: none of its names is known (it holds {first}); expected features.0.weight "
            "(torchvision), conv1/kernel or C1/kernel, and so on"
        )
    return best


def _source_key(scheme: Scheme, layer: str, leaf: str) -> str:
    return f"{scheme.layers[layer]}.{scheme.kernel if leaf == 'kernel' else 'bias'}"


def _source_shape(scheme: Scheme, layer: str, leaf: str) -> tuple[int, ...]:
    shape = KERNEL_SHAPES[layer]
    if leaf == "bias":
        return shape[-1:]
    if not scheme.torch_axes:
        return shape
    return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def _our_axes(value: np.ndarray, scheme: Scheme, layer: str) -> np.ndarray:
    if scheme.torch_axes and value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
    elif scheme.torch_axes and value.ndim == 2:
        if layer == "F1":  # its inputs are flattened (channel, row, column) there
            value = value.reshape(-1, 256, 3, 3).transpose(0, 2, 3, 1).reshape(-1, 2304)
        value = value.T
    return np.array(value, np.float32, order="C")


def _fault(value: np.ndarray, expected: tuple[int, ...]) -> str:
    if value.shape != expected:
        return f"has shape {value.shape}, expected {expected}"
    if value.dtype not in (np.float32, np.float16):  # half precision widens without loss
        return f"is {value.dtype}, expected float32"
    if not np.isfinite(value).all():
        return "holds values that are not finite"
    return ""


def _unexpected(keys: list[str]) -> list[str]:
    problems = [f"unexpected {_shown(key)}" for key in keys[:MOST_UNEXPECTED]]
    if len(keys) > MOST_UNEXPECTED:
        problems.append(f"{len(keys) - MOST_UNEXPECTED} more unexpected names")
    return problems


def _shown(key: str) -> str:
    """A name from a file that may be hostile, fit for one line of a message."""
    return key if key.isprintable() and len(key) < 80 else ascii(key[:80])
