"""Map the arrays of a source checkpoint to the layers C1 to C5 and F1 to F5.

Axes are permuted; values are not changed, except where a batch normalization is folded into its
convolution (`batch_norm`).
"""

from pathlib import Path

import numpy as np
from flax.traverse_util import unflatten_dict

from mtl_jax.exclusion_reasons import join_first
from mtl_jax.types import InputError, Params
from mtl_jax.weights import batch_norm
from mtl_jax.weights.key_tables import CONVOLUTIONAL, KERNELS, LAST_MAP, LEAVES, SCHEMES, Scheme

FIRST_PARTS = {
    name.split(".")[0]
    for scheme in SCHEMES
    for name in (*scheme.layers.values(), *scheme.norms.values(), *scheme.dropped)
}
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


def map_keys(
    arrays: dict[str, np.ndarray], keep_fc: bool, path: Path
) -> tuple[Params, Scheme, tuple[str, ...]]:
    """Return the parameters, the naming scheme of the source, and notes on what was left out.

    All convolutions, and all arrays of their batch normalization, are required; `keep_fc` keeps the
    fully connected layers that fit. The InputError lists the first MAX_PROBLEMS arrays that are
    missing, unexpected, of another shape or dtype, or not finite.
    """
    arrays_by_name, problems = _normalize_names(arrays)
    scheme = _choose_scheme(arrays_by_name, path)
    known = {key: layer for layer in scheme.layers for key in _source_keys(scheme, layer).values()}
    problems += _find_unexpected(
        sorted(set(arrays_by_name) - set(known) - _ignored_keys(scheme)), scheme
    )
    layers_in_source = {known[key] for key in arrays_by_name if key in known}
    layers, notes = _select_layers(scheme, layers_in_source, arrays_by_name, keep_fc)

    missing: list[str] = []
    leaves: dict[str, np.ndarray] = {}
    for layer in layers:
        layer_arrays = {}
        for leaf, key in _source_keys(scheme, layer).items():
            if key not in arrays_by_name:
                missing.append(key)
                continue
            problem = _find_problem(arrays_by_name[key], _source_shape(scheme, layer, leaf), leaf)
            if problem:
                problems.append(f"{key} {problem}")
            layer_arrays[leaf] = arrays_by_name[key]
        if problems or missing:
            continue
        if layer in scheme.norms:
            layer_arrays = batch_norm.fold(layer_arrays, 0 if scheme.torch_axes else -1)
            if not all(np.isfinite(array).all() for array in layer_arrays.values()):
                problems.append(f"{scheme.norms[layer]} gives values that are not finite")
        for leaf in LEAVES:
            leaves[f"{layer}/{leaf}"] = _permute_axes(layer_arrays[leaf], scheme, layer)
    if missing:
        problems.append(f"missing {join_first(missing, MAX_PROBLEMS)}")
    if problems:
        raise InputError(
            f"{path}: not a checkpoint of {scheme.backbone} with {scheme.name} names: "
            f"{_join(problems)}; expected model.state_dict() of torchvision's {scheme.backbone}"
        )
    return unflatten_dict(leaves, sep="/"), scheme, tuple(notes)


def _select_layers(
    scheme: Scheme, layers_in_source: set[str], arrays_by_name: dict[str, np.ndarray], keep_fc: bool
) -> tuple[list[str], list[str]]:
    """Return the layers to convert, and notes on the others."""
    layers = [layer for layer in scheme.layers if layer.split("/")[0] in CONVOLUTIONAL]
    connected = [
        layer for layer in scheme.layers if layer in layers_in_source and layer not in layers
    ]
    dropped = [name for name in scheme.dropped if f"{name}.{scheme.kernel}" in arrays_by_name]
    notes = []
    if keep_fc:
        f1 = arrays_by_name.get(_source_keys(scheme, "F1")["kernel"]) if "F1" in connected else None
        if scheme.torch_axes and f1 is not None:
            features, size, source_size = LAST_MAP[scheme.backbone]
            if f1.shape == (4096, features * source_size**2):
                connected.remove("F1")
                notes.append(
                    f"F1 left out: its {f1.shape[1]} inputs are the {source_size}x{source_size} "
                    f"map of a 224-pixel image; with 128 pixels the map is {size}x{size} "
                    f"({features * size**2} inputs)"
                )
        layers += connected
        if not connected:
            notes.append("the source has no fully connected layer that can be kept")
    elif connected or dropped:
        names = ", ".join((*connected, *dropped))
        notes.append(f"{names} dropped: fully connected layers are initialized at random")
    counters = sorted(_counter_keys(scheme) & set(arrays_by_name))
    if counters:
        notes.append(f"training counters left out: {join_first(counters, 1)}")
    if scheme.norms:
        notes.append("batch normalization folded into the convolutions with its running statistics")
    return layers, notes


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
    while arrays_by_name:
        (prefix, *others) = {name.split(".")[0] for name in arrays_by_name}
        if others or prefix in FIRST_PARTS or not all("." in name for name in arrays_by_name):
            break
        arrays_by_name = {name.partition(".")[2]: value for name, value in arrays_by_name.items()}
    return arrays_by_name, problems


def _choose_scheme(arrays_by_name: dict[str, np.ndarray], path: Path) -> Scheme:
    def match(scheme: Scheme) -> tuple[bool, int, int]:
        """Return whether the first kernel matches, and the numbers of matching shapes and names."""
        keys = {
            key: _source_shape(scheme, layer, leaf)
            for layer in scheme.layers
            for leaf, key in _source_keys(scheme, layer).items()
        }
        first_key = next(iter(keys))
        matching = {
            key
            for key in keys.keys() & arrays_by_name.keys()
            if arrays_by_name[key].shape == keys[key]
        }
        return first_key in matching, len(matching), len(keys.keys() & arrays_by_name.keys())

    best = max(SCHEMES, key=match)
    if not any(match(best)):
        names = ", ".join(_printable(key) for key in sorted(arrays_by_name)[:3]) or "no arrays"
        raise InputError(
            f"{path}: unknown parameter names ({names}); expected features.0.weight (torchvision), "
            "conv1/kernel or C1/kernel, and so on"
        )
    return best


def _source_keys(scheme: Scheme, layer: str) -> dict[str, str]:
    """Return the source's name of each array of `layer` and its normalization."""
    keys = {"kernel": f"{scheme.layers[layer]}.{scheme.kernel}"}
    if layer not in scheme.norms or scheme.biased:
        keys["bias"] = f"{scheme.layers[layer]}.bias"
    if layer in scheme.norms:
        keys |= {f"norm {leaf}": f"{scheme.norms[layer]}.{leaf}" for leaf in batch_norm.PARTS}
    return keys


def _counter_keys(scheme: Scheme) -> set[str]:
    """Return the names of counters of training steps, which do not change the output."""
    return {AVERAGE_COUNTER} | {f"{name}.num_batches_tracked" for name in scheme.norms.values()}


def _ignored_keys(scheme: Scheme) -> set[str]:
    """Return the names that are known but not converted."""
    dropped = {f"{name}.{leaf}" for name in scheme.dropped for leaf in ("weight", "bias")}
    return _counter_keys(scheme) | dropped


def _source_shape(scheme: Scheme, layer: str, leaf: str) -> tuple[int, ...]:
    shape = KERNELS[scheme.backbone][layer]
    if leaf != "kernel":
        return shape[-1:]
    if not scheme.torch_axes:
        return shape
    return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def _permute_axes(value: np.ndarray, scheme: Scheme, layer: str) -> np.ndarray:
    """Return `value` as HWIO or (in, out), contiguous float32."""
    if scheme.torch_axes and value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
    elif scheme.torch_axes and value.ndim == 2:
        if layer == "F1":  # in the source its inputs are flattened (channel, row, column)
            features, size, _ = LAST_MAP[scheme.backbone]
            value = value.reshape(-1, features, size, size).transpose(0, 2, 3, 1)
            value = value.reshape(len(value), -1)
        value = value.T
    return np.array(value, np.float32, order="C")


def _find_problem(value: np.ndarray, expected: tuple[int, ...], leaf: str) -> str:
    if value.shape != expected:
        return f"has shape {value.shape}, expected {expected}"
    if value.dtype not in (np.float32, np.float16):  # float16 converts exactly
        return f"is {value.dtype}, expected float32 or float16"
    if not np.isfinite(value).all():
        return "has values that are not finite"
    if leaf == "norm running_var" and (value < 0).any():
        return "has a negative variance"
    return ""


def _find_unexpected(keys: list[str], scheme: Scheme) -> list[str]:
    problems = [f"unexpected {_printable(key)}" for key in keys]
    if not scheme.norms and any(key.split(".")[-1] in BATCH_NORM_NAMES for key in keys):
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
