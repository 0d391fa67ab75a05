"""From the names of a source checkpoint to the layers C1..C5, F1..F5, by the table. Axes are moved
and nothing is rounded or resized, but where a batch normalization is folded into its convolution
(batch_norm).
"""

from pathlib import Path

import numpy as np
from flax.traverse_util import unflatten_dict

from mtl_jax.types import InputError, Params
from mtl_jax.weights import batch_norm
from mtl_jax.weights.key_tables import CONVOLUTIONAL, KERNELS, LAST_MAP, LEAVES, SCHEMES, Scheme

FIRST_PARTS = {
    name.split(".")[0]
    for scheme in SCHEMES
    for name in (*scheme.layers.values(), *scheme.norms.values(), *scheme.dropped)
}
AVERAGES = "n_averaged"  # the counter of PyTorch's AveragedModel
# Parts of batch normalization by the names of PyTorch, Keras and others.
STATISTICS = ("running_mean", "running_var", "moving_mean", "moving_variance", "gamma", "beta")
MAX_PROBLEMS = 16


def rename(
    arrays: dict[str, np.ndarray], keep_fc: bool, path: Path
) -> tuple[Params, Scheme, tuple[str, ...]]:
    """Source arrays as our parameters, the scheme that fits, and notes on what was left out.

    All convolutions must be there, and of a backbone with batch normalization all its numbers;
    fully connected layers are kept where `keep_fc` and the source has them. Raises one InputError
    that lists everything missing, unexpected, of the wrong shape or dtype, or not finite.
    """
    named, problems = _plain_names(arrays)
    scheme = _choose_scheme(named, path)
    known = {key: layer for layer in scheme.layers for key in _source_keys(scheme, layer).values()}
    problems += _unexpected(sorted(set(named) - set(known) - _left_aside(scheme)), scheme)
    present = {known[key] for key in named if key in known}
    wanted, notes = _wanted(scheme, present, named, keep_fc)

    leaves: dict[str, np.ndarray] = {}
    for layer in wanted:
        found = {}
        for leaf, key in _source_keys(scheme, layer).items():
            if key not in named:
                problems.append(f"missing {key}")
                continue
            problem = _fault(named[key], _source_shape(scheme, layer, leaf), leaf)
            if problem:
                problems.append(f"{key} {problem}")
            found[leaf] = named[key]
        if problems:
            continue
        if layer in scheme.norms:
            found = batch_norm.folded(found, axis=0 if scheme.torch_axes else -1)
            if not all(np.isfinite(array).all() for array in found.values()):
                problems.append(f"{scheme.norms[layer]} makes numbers that are not finite")
        for leaf in LEAVES:
            leaves[f"{layer}/{leaf}"] = _our_axes(found[leaf], scheme, layer)
    if problems:
        raise InputError(
            f"{path}: does not fit the table of {scheme.name} names of {scheme.backbone}: "
            f"{_joined(problems)} (give weights of {scheme.backbone} as torchvision has them)"
        )
    return unflatten_dict(leaves, sep="/"), scheme, tuple(notes)


def _wanted(
    scheme: Scheme, present: set[str], named: dict[str, np.ndarray], keep_fc: bool
) -> tuple[list[str], list[str]]:
    """Return the layers to take, and notes on those that are not."""
    wanted = [layer for layer in scheme.layers if layer.split("/")[0] in CONVOLUTIONAL]
    connected = [layer for layer in scheme.layers if layer in present and layer not in wanted]
    others = [name for name in scheme.dropped if f"{name}.{scheme.kernel}" in named]
    notes = []
    if keep_fc:
        f1 = named.get(_source_keys(scheme, "F1")["kernel"]) if "F1" in connected else None
        if scheme.torch_axes and f1 is not None:
            channels, side, wide = LAST_MAP[scheme.backbone]
            if f1.shape == (4096, channels * wide**2):
                connected.remove("F1")
                notes.append(
                    f"F1 left out: its {f1.shape[1]} inputs are the {wide}x{wide} map of a "
                    f"224-pixel image; at 128 pixels the map is {side}x{side} "
                    f"({channels * side**2} inputs), so F1 cannot be kept"
                )
        wanted += connected
        if not connected:
            notes.append("the source has no fully connected layer that can be kept")
    elif connected or others:
        listed = ", ".join((*connected, *others))
        notes.append(f"{listed} dropped: fully connected layers start at random")
    counters = sorted(_counters(scheme) & set(named))
    if counters:
        more = f" and {len(counters) - 1} more" if len(counters) > 1 else ""
        notes.append(f"counters of training left out: {counters[0]}{more}")
    if scheme.norms:
        notes.append("batch normalization folded into the convolutions at its running statistics")
    return wanted, notes


def _plain_names(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return names with '.' between parts, without the 'module' that DataParallel puts in and
    without a beginning that all have, such as 'model.' or 'alexnet.'."""
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
    def hits(scheme: Scheme) -> tuple[bool, int, int]:
        """Return whether the first kernel has the scheme's shape, how many arrays have theirs, and
        how many have names of the scheme."""
        keys = {
            key: _source_shape(scheme, layer, leaf)
            for layer in scheme.layers
            for leaf, key in _source_keys(scheme, layer).items()
        }
        first = next(iter(keys))
        same = {key for key in keys.keys() & named.keys() if named[key].shape == keys[key]}
        return first in same, len(same), len(keys.keys() & named.keys())

    best = max(SCHEMES, key=hits)
    if not any(hits(best)):
        first = ", ".join(_shown(key) for key in sorted(named)[:3]) or "no arrays at all"
        raise InputError(
            f"{path}: none of its names is known (it holds {first}); expected features.0.weight "
            "(torchvision), conv1/kernel or C1/kernel, and so on"
        )
    return best


def _source_keys(scheme: Scheme, layer: str) -> dict[str, str]:
    """Return the source's name of each array that `layer` is made of."""
    keys = {"kernel": f"{scheme.layers[layer]}.{scheme.kernel}"}
    if layer not in scheme.norms or scheme.biased:
        keys["bias"] = f"{scheme.layers[layer]}.bias"
    if layer in scheme.norms:
        keys |= {f"norm {leaf}": f"{scheme.norms[layer]}.{leaf}" for leaf in batch_norm.PARTS}
    return keys


def _counters(scheme: Scheme) -> set[str]:
    """Counters of training steps and averages, which no output depends on."""
    return {AVERAGES} | {f"{name}.num_batches_tracked" for name in scheme.norms.values()}


def _left_aside(scheme: Scheme) -> set[str]:
    """Return names of the source that are known and not needed."""
    dropped = {f"{name}.{leaf}" for name in scheme.dropped for leaf in ("weight", "bias")}
    return _counters(scheme) | dropped


def _source_shape(scheme: Scheme, layer: str, leaf: str) -> tuple[int, ...]:
    shape = KERNELS[scheme.backbone][layer]
    if leaf != "kernel":
        return shape[-1:]
    if not scheme.torch_axes:
        return shape
    return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def _our_axes(value: np.ndarray, scheme: Scheme, layer: str) -> np.ndarray:
    if scheme.torch_axes and value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
    elif scheme.torch_axes and value.ndim == 2:
        if layer == "F1":  # its inputs are flattened (channel, row, column) there
            channels, side, _ = LAST_MAP[scheme.backbone]
            value = value.reshape(-1, channels, side, side).transpose(0, 2, 3, 1)
            value = value.reshape(len(value), -1)
        value = value.T
    return np.array(value, np.float32, order="C")


def _fault(value: np.ndarray, expected: tuple[int, ...], leaf: str) -> str:
    if value.shape != expected:
        return f"has shape {value.shape}, expected {expected}"
    if value.dtype not in (np.float32, np.float16):  # half precision widens without loss
        return f"is {value.dtype}, expected float32"
    if not np.isfinite(value).all():
        return "holds values that are not finite"
    if leaf == "norm running_var" and (value < 0).any():
        return "holds a negative variance"
    return ""


def _unexpected(keys: list[str], scheme: Scheme) -> list[str]:
    problems = [f"unexpected {_shown(key)}" for key in keys]
    if not scheme.norms and any(key.split(".")[-1] in STATISTICS for key in keys):
        hint = f"holds batch normalization, which {scheme.backbone} has not under these names"
        problems.insert(0, hint)
    return problems


def _joined(problems: list[str]) -> str:
    """Return the first problems, of which a file can have any number; the rest are counted."""
    more = [f"{len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return "; ".join(problems[:MAX_PROBLEMS] + more)


def _shown(key: str) -> str:
    """Return a name from a file that may be hostile, fit for one line of a message."""
    return key if key.isprintable() and len(key) < 80 else ascii(key[:80])
