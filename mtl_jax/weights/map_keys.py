"""Map the arrays of a source checkpoint to the parameters of a backbone, by its key maps.

Axes are permuted; values are not changed, except where a batch normalization is folded into its
convolution (`batch_norm`).
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isqrt, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from mtl_jax.config import BACKBONES
from mtl_jax.exclusion_reasons import join_first
from mtl_jax.models import registry
from mtl_jax.models.backbone import KeyMap
from mtl_jax.models.base import output_shapes, param_shapes
from mtl_jax.types import ROI_PIXELS, InputError, Params
from mtl_jax.weights import batch_norm

OUR_FIRST_PART = "C1"  # of the names that this package gives the arrays
AVERAGE_COUNTER = "n_averaged"  # of PyTorch's AveragedModel
# Names of batch normalization arrays in PyTorch, Keras and others.
BATCH_NORM_NAMES = (
    "running_mean",
    "running_var",
    "moving_mean",
    "moving_variance",
    "gamma",
    "beta",
)
MAX_PROBLEMS = 16
Shape = tuple[int, ...]


class Scheme(NamedTuple):
    """A key map of a backbone, with the shapes of the arrays here by path."""

    backbone: str
    key_map: KeyMap
    shapes: Mapping[str, Shape]
    stages: tuple[str, ...]
    last_map: Shape  # output of the last stage

    def keys(self, leaves: Iterable[str]) -> dict[str, Shape]:
        """Return the names in the source of these arrays and of the batch normalizations that are
        folded into them, with their shapes there."""
        keys = {}
        for leaf in leaves:
            layer, _, name = leaf.rpartition("/")
            keys[self.key_map.keys[leaf]] = self._source_shape(leaf)
            if name == "kernel" and layer in self.key_map.norms:
                norm, outputs = self.key_map.norms[layer], self.shapes[leaf][-1:]
                keys |= {f"{norm}.{part}": outputs for part in batch_norm.PARTS}
        return keys

    def _source_shape(self, leaf: str) -> Shape:
        shape = self.shapes[leaf]
        if not (self.key_map.torch_axes and leaf.endswith("kernel")):
            return shape
        return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def _make_scheme(backbone: str, key_map: KeyMap | None) -> Scheme:
    """Return the scheme of a key map; None: of the names that this package gives the arrays."""
    registry.check(backbone)
    network = registry.build(backbone)
    shapes, last_map = param_shapes(network), output_shapes(network)[network.stages[-1]]
    ours = KeyMap("mtl_jax", {leaf: leaf.replace("/", ".") for leaf in shapes}, False)
    return Scheme(backbone, key_map or ours, shapes, network.stages, last_map)


def map_keys(
    arrays: dict[str, np.ndarray], keep_fc: bool, path: Path
) -> tuple[Params, Scheme, tuple[str, ...]]:
    """Return the parameters, the naming scheme of the source, and notes on what was left out.

    All arrays of the stages, and all of their batch normalizations, are required; `keep_fc` keeps
    the fully connected layers that fit. The InputError lists the first MAX_PROBLEMS arrays that are
    missing, unexpected, of another shape or dtype, or not finite.
    """
    arrays_by_name, problems = _normalize_names(arrays)
    scheme = _choose_scheme(arrays_by_name, path)
    key_map = scheme.key_map
    unknown = set(arrays_by_name) - set(scheme.keys(key_map.keys)) - _ignored_keys(key_map)
    problems += _find_unexpected(sorted(unknown), scheme)
    leaves, notes = _select_leaves(scheme, arrays_by_name, keep_fc)
    # A source has all arrays with a default, or none of them.
    optional = {key_map.keys[leaf] for leaf in key_map.defaults}
    optional = optional if optional.isdisjoint(arrays_by_name) else set()
    missing = []
    for key, shape in scheme.keys(leaves).items():
        if key in arrays_by_name:
            problem = _find_problem(arrays_by_name[key], shape, key)
            problems += [f"{key} {problem}"] if problem else []
        elif key not in optional:
            missing.append(key)
    if missing:
        problems.append(f"missing {join_first(missing, MAX_PROBLEMS)}")
    values = {} if problems else _map_leaves(scheme, leaves, arrays_by_name)
    for layer, norm in key_map.norms.items():
        folded = [values[leaf] for leaf in (f"{layer}/kernel", f"{layer}/bias") if leaf in values]
        if not all(np.isfinite(array).all() for array in folded):
            problems.append(f"{norm} gives values that are not finite")
    if problems:
        raise InputError(
            f"{path}: not a checkpoint of {scheme.backbone} with {key_map.name} names: "
            f"{_join(problems)}; expected model.state_dict() of "
            f"{registry.get(scheme.backbone).source}"
        )
    return unflatten_dict(values, sep="/"), scheme, tuple(notes)


def _map_leaves(
    scheme: Scheme, leaves: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the arrays of a valid source by path, as this package stores them."""
    key_map = scheme.key_map
    values = {
        leaf: arrays[key_map.keys[leaf]]
        if key_map.keys[leaf] in arrays
        else np.full(scheme.shapes[leaf], key_map.defaults[leaf], np.float32)
        for leaf in leaves
    }
    for layer, norm in key_map.norms.items():
        parts = {
            leaf: values[f"{layer}/{leaf}"]
            for leaf in ("kernel", "bias")
            if f"{layer}/{leaf}" in values
        }
        parts |= {f"norm {part}": arrays[f"{norm}.{part}"] for part in batch_norm.PARTS}
        folded = batch_norm.fold(parts, 0 if key_map.torch_axes else -1, key_map.epsilon)
        values |= {f"{layer}/{leaf}": array for leaf, array in folded.items()}
    return {leaf: _permute_axes(value, scheme, leaf) for leaf, value in values.items()}


def _select_leaves(
    scheme: Scheme, arrays: Mapping[str, np.ndarray], keep_fc: bool
) -> tuple[list[str], list[str]]:
    """Return the paths of the arrays to convert, and notes on the others."""
    key_map = scheme.key_map
    layers: dict[str, list[str]] = {}
    for leaf in key_map.keys:
        layers.setdefault(leaf.split("/")[0], []).append(leaf)
    connected = [
        layer
        for layer, leaves in layers.items()
        if layer not in scheme.stages and any(key_map.keys[leaf] in arrays for leaf in leaves)
    ]
    dropped = [
        name
        for name in key_map.dropped
        if any(key == name or key.startswith(f"{name}.") for key in arrays)
    ]
    notes, kept = [], []
    if keep_fc:
        other_map = _describe_other_map(scheme, arrays) if "F1" in connected else ""
        notes += [other_map] if other_map else []
        kept = [layer for layer in connected if not (layer == "F1" and other_map)]
        if not kept:
            notes.append("the source has no fully connected layer that can be kept")
    elif connected or dropped:
        names = ", ".join((*connected, *dropped))
        notes.append(f"{names} dropped: all layers after the stages are initialized at random")
    counters = sorted(_counter_keys(key_map) & set(arrays))
    if counters:
        notes.append(f"training counters left out: {join_first(counters, 1)}")
    if key_map.norms:
        notes.append("batch normalization folded into the convolutions with its running statistics")
    return [leaf for layer in (*scheme.stages, *kept) for leaf in layers.get(layer, ())], notes


def _describe_other_map(scheme: Scheme, arrays: Mapping[str, np.ndarray]) -> str:
    """Return a note if F1 of the source takes the last map of an image of another size, or ''."""
    kernel = arrays.get(scheme.key_map.keys["F1/kernel"])
    if not scheme.key_map.torch_axes or kernel is None or kernel.ndim != 2:
        return ""
    size, _, features = scheme.last_map
    source_size = isqrt(kernel.shape[1] // features)
    outputs, inputs = scheme.shapes["F1/kernel"][1], features * source_size**2
    if kernel.shape != (outputs, inputs) or source_size <= size:
        return ""
    return (
        f"F1 left out: its {inputs} inputs are the {source_size}x{source_size} map of a larger "
        f"image; with {ROI_PIXELS} pixels the map is {size}x{size} ({features * size**2} inputs)"
    )


def _normalize_names(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays by plain names, and the names that occur twice.

    Parts are separated by '.'. The part 'module' that DataParallel inserts and a prefix of all
    names, such as 'model.' or 'alexnet.', are removed.
    """
    arrays_by_name: dict[str, np.ndarray] = {}
    problems = []
    for key, value in arrays.items():
        name = ".".join(part for part in key.replace("/", ".").split(".") if part != "module")
        if name in arrays_by_name:
            problems.append(f"duplicate name {_printable(name)}")
        arrays_by_name[name] = value
    first_parts = _first_parts()
    while arrays_by_name:
        (prefix, *others) = {name.split(".")[0] for name in arrays_by_name}
        if others or prefix in first_parts or not all("." in name for name in arrays_by_name):
            break
        arrays_by_name = {name.partition(".")[2]: value for name, value in arrays_by_name.items()}
    return arrays_by_name, problems


def _first_parts() -> set[str]:
    """Return the first part of every name that a source may have."""
    key_maps = [key_map for name in BACKBONES for key_map in registry.get(name).key_maps]
    names = [name for key_map in key_maps for name in (*key_map.keys.values(), *key_map.dropped)]
    return {OUR_FIRST_PART} | {name.split(".")[0] for name in names}


def _choose_scheme(arrays_by_name: dict[str, np.ndarray], path: Path) -> Scheme:
    """Return the scheme with the first kernel of the source and most of its arrays."""
    is_ours = any(name.startswith(f"{OUR_FIRST_PART}.") for name in arrays_by_name)
    candidates = [
        _make_scheme(backbone, key_map)
        for backbone in BACKBONES
        for key_map in (*registry.get(backbone).key_maps, *([None] if is_ours else []))
        if key_map is None or not arrays_by_name.keys().isdisjoint(key_map.keys.values())
    ]

    def match(scheme: Scheme) -> tuple[bool, int, int]:
        """Return whether the first kernel matches, and the numbers of matching shapes and names."""
        keys = scheme.keys(scheme.key_map.keys)
        first_kernel = next(leaf for leaf in scheme.key_map.keys if leaf.endswith("kernel"))
        common = keys.keys() & arrays_by_name.keys()
        matching = {key for key in common if arrays_by_name[key].shape == keys[key]}
        return scheme.key_map.keys[first_kernel] in matching, len(matching), len(common)

    best = max(candidates, key=match, default=None)
    if best is None:
        names = ", ".join(_printable(key) for key in sorted(arrays_by_name)[:3]) or "no arrays"
        raise InputError(
            f"{path}: unknown parameter names ({names}); expected features.0.weight (torchvision), "
            "conv1/kernel or C1/kernel, and so on"
        )
    return best


def _counter_keys(key_map: KeyMap) -> set[str]:
    """Return the names of counters of training steps, which do not change the output."""
    return {AVERAGE_COUNTER} | {f"{name}.num_batches_tracked" for name in key_map.norms.values()}


def _ignored_keys(key_map: KeyMap) -> set[str]:
    """Return the names that are known but not converted."""
    layers = {f"{name}.{leaf}" for name in key_map.dropped for leaf in ("weight", "bias")}
    return _counter_keys(key_map) | layers | set(key_map.dropped)


def _permute_axes(value: np.ndarray, scheme: Scheme, leaf: str) -> np.ndarray:
    """Return `value` as HWIO or (in, out), contiguous float32."""
    if scheme.key_map.torch_axes and leaf.endswith("kernel"):
        if leaf == "F1/kernel" and value.shape[1] == prod(scheme.last_map):
            # In the source its inputs are flattened (channel, row, column).
            rows, columns, features = scheme.last_map
            value = value.reshape(-1, features, rows, columns).transpose(0, 2, 3, 1)
            value = value.reshape(len(value), -1)
        value = value.T if value.ndim == 2 else value.transpose(2, 3, 1, 0)
    return np.array(value, np.float32, order="C")


def _find_problem(value: np.ndarray, expected: Shape, key: str) -> str:
    if value.shape != expected:
        return f"has shape {value.shape}, expected {expected}"
    if value.dtype not in (np.float32, np.float16):  # float16 converts exactly
        return f"is {value.dtype}, expected float32 or float16"
    if not np.isfinite(value).all():
        return "has values that are not finite"
    if key.endswith(".running_var") and (value < 0).any():
        return "has a negative variance"
    return ""


def _find_unexpected(keys: list[str], scheme: Scheme) -> list[str]:
    problems = [f"unexpected {_printable(key)}" for key in keys]
    if not scheme.key_map.norms and any(key.split(".")[-1] in BATCH_NORM_NAMES for key in keys):
        hint = f"has batch normalization, which {scheme.backbone} does not use (unknown names)"
        problems.insert(0, hint)
    return problems


def _join(problems: list[str]) -> str:
    """Return the first problems and the number of the others."""
    more = [f"{len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return "; ".join(problems[:MAX_PROBLEMS] + more)


def _printable(key: str) -> str:
    """Return a name from an untrusted file, shortened and escaped to one line."""
    return key if key.isprintable() and len(key) < 80 else ascii(key[:80])
