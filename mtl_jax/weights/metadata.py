"""Metadata of converted weights (`card.json`): origin, layers and expected input."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, path_aware_map, unflatten_dict

from mtl_jax.config import ALEXNET, BACKBONES
from mtl_jax.models import registry, response_norm
from mtl_jax.models.base import param_shapes
from mtl_jax.types import InputError, Params

CONVERTER_VERSION = 1
IMAGENET_INPUT = {  # RGB minus mean, divided by standard deviation; gray is repeated
    "channels": 3,
    "range": [0.0, 1.0],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
CONVNET_INPUT = {  # gray levels minus mean, divided by 57.6; about the mean of ImageNet
    "channels": 3,
    "range": [0.0, 255.0],
    "mean": [123.7, 116.3, 103.5],
    "std": [57.6] * 3,
}
UNNORMALIZED_INPUT = {  # the input already has mean 0 and standard deviation 1
    "channels": 3,
    "range": [0.0, 1.0],
    "mean": [0.0] * 3,
    "std": [1.0] * 3,
}
FIELDS = {
    "name": str,
    "backbone": str,
    "source": str,
    "sha256": str,
    "format": str,
    "layers": list,
    "input": dict,
    "lrn": (bool, dict),
    "note": str,
    "left_out": list,
    "parameters": int,
    "shapes": dict,
    "arrays_sha256": str,
    "converter_version": int,
}


@dataclass(frozen=True)
class Weights:
    """Parameters as nested dicts of float32 arrays, and the metadata that describe them."""

    params: Params
    metadata: dict[str, Any]


def make_metadata(
    params: Params,
    *,
    backbone: str,
    name: str,
    source: str,
    note: str,
    sha256: str = "",
    file_format: str = "none",
    input_stats: dict[str, Any] = UNNORMALIZED_INPUT,
    lrn: bool | dict[str, Any] = False,
    left_out: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the metadata of `params`, with their shapes and a checksum of the arrays.

    `input_stats` describes the input of the pretraining, `lrn` is as in `response_norm.to_json`,
    and `left_out` has notes on layers of the source that were not converted.
    """
    return {
        "name": name,
        "backbone": backbone,
        "source": source,
        "sha256": sha256,
        "format": file_format,
        "layers": sorted(params),
        "input": input_stats,
        "lrn": lrn,
        "note": note,
        "left_out": list(left_out),
        "parameters": sum(array.size for array in flatten_dict(params, sep="/").values()),
        "shapes": nested_shapes(params),
        "arrays_sha256": hash_params(params),
        "converter_version": CONVERTER_VERSION,
    }


def hash_params(params: Params) -> str:
    """Return the SHA-256 over path, shape and little-endian float32 bytes of every array."""
    total = hashlib.sha256()
    arrays = flatten_dict(params, sep="/")
    for path in sorted(arrays, key=_digest_order):
        array = np.asarray(arrays[path])
        total.update(f"{path} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array, "<f4").tobytes())
    return total.hexdigest()


def _digest_order(path: str) -> tuple[str, bool, str]:
    """Sort arrays by layer, with the bias last."""
    return path.rpartition("/")[0], path.endswith("bias"), path


def round_to_half(params: Params) -> Params:
    """Return `params` rounded to half precision, as float32."""
    return path_aware_map(lambda _, array: np.float32(np.float16(array)), params)


def check_metadata(metadata: Any, location: str) -> None:
    """Raise InputError, with the names of all invalid fields, if the metadata are invalid."""
    if not isinstance(metadata, dict):
        raise InputError(f"{location}: is not a JSON object; convert the weights again")
    invalid = [name for name, kind in FIELDS.items() if not isinstance(metadata.get(name), kind)]
    if not invalid:
        invalid = [] if metadata["backbone"] in BACKBONES else ["backbone"]
        invalid += [] if _is_valid_input(metadata["input"]) else ["input"]
        invalid += [] if metadata["lrn"] is True or _is_valid_lrn(metadata) else ["lrn"]
    if invalid:
        raise InputError(
            f"{location}: damaged, field {', '.join(invalid)} missing or invalid; "
            "convert the weights again"
        )
    if metadata["lrn"] is True:
        raise InputError(
            f"{location}: written by a version with local response normalization of five times "
            "the correct scale; convert the weights again"
        )
    if metadata["converter_version"] != CONVERTER_VERSION:
        raise InputError(
            f"{location}: written by converter version {metadata['converter_version']}, expected "
            f"{CONVERTER_VERSION}; convert the weights again"
        )


def check_params(params: Params, backbone: str, location: str) -> None:
    """Raise InputError, with all problems, unless `params` are finite float32 layers."""
    check_shapes(nested_shapes(params), backbone, location)
    arrays = flatten_dict(params, sep="/")
    problems = [
        f"{n} is {a.dtype}, expected float32" for n, a in arrays.items() if a.dtype != np.float32
    ]
    problems += [
        f"{n} has NaN or infinite values" for n, a in arrays.items() if not np.isfinite(a).all()
    ]
    if problems:
        raise InputError(f"{location}: {'; '.join(problems)}; convert the weights again")


def check_shapes(shapes: dict[str, Any], backbone: str, location: str) -> None:
    """Raise InputError if a stage is missing, or a shape is not that of the backbone."""
    network = registry.build(backbone)
    expected = unflatten_dict({p: list(s) for p, s in param_shapes(network).items()}, sep="/")
    problems = [f"missing {layer}" for layer in network.stages if layer not in shapes]
    for layer, layer_shapes in shapes.items():
        if layer not in expected:
            problems.append(f"unknown layer {layer}")
        elif layer_shapes != expected[layer]:
            problems.append(f"{layer} has shapes {layer_shapes}, expected {expected[layer]}")
    if problems:
        raise InputError(f"{location}: {'; '.join(problems)}; convert the weights again")


def nested_shapes(params: Params) -> dict[str, Any]:
    """Return the shapes of the arrays as lists, in the structure of `params`."""
    return path_aware_map(lambda _, array: list(array.shape), params)


def _is_valid_lrn(metadata: dict[str, Any]) -> bool:
    lrn = metadata["lrn"]
    return response_norm.is_valid(lrn) and (not lrn or metadata["backbone"] == ALEXNET)


def _is_valid_input(stats: dict[str, Any]) -> bool:
    def has_numbers(field: str, count: int) -> bool:
        values = stats.get(field)
        return (
            isinstance(values, list)
            and len(values) == count
            and all(isinstance(v, float | int) and np.isfinite(v) for v in values)
        )

    return (
        stats.get("channels") == 3
        and has_numbers("range", 2)
        and has_numbers("mean", 3)
        and has_numbers("std", 3)
        and min(stats["std"]) > 0
    )
