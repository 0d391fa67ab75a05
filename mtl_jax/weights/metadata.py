"""The card of converted weights: what they are, where they came from, what input they expect."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtl_jax.models import response_norm
from mtl_jax.types import InputError, Params
from mtl_jax.weights.key_tables import CONVOLUTIONAL, KERNELS, LEAVES

CONVERTER_VERSION = 1
IMAGENET_INPUT = {  # RGB minus the mean, divided by the standard deviation; gray is repeated
    "channels": 3,
    "range": [0.0, 1.0],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
CONVNET_INPUT = {  # gray levels less their mean, over 57.6; the mean is about that of ImageNet
    "channels": 3,
    "range": [0.0, 255.0],
    "mean": [123.7, 116.3, 103.5],
    "std": [57.6] * 3,
}
UNNORMALIZED_INPUT = {  # of mean 0 and standard deviation 1 as it comes
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
    """Parameters as plain nested dicts of float32 arrays, and the card that describes them."""

    params: Params
    metadata: dict[str, Any]


def make_metadata(
    params: Params,
    *,
    backbone: str,
    name: str,
    source: str,
    sha256: str,
    file_format: str,
    input_stats: dict[str, Any],
    lrn: bool | dict[str, Any],
    note: str,
    left_out: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the card of `params`; `sha256` is that of the source file, arrays get one of their
    own. `lrn` is false, or the settings of response normalization
    (models.response_norm.to_json)."""
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
    """Return SHA-256 over path, shape and little-endian float32 bytes of every array, layers
    sorted, of each the kernel first."""
    total = hashlib.sha256()
    arrays = flatten_dict(params, sep="/")
    for path in sorted(arrays, key=lambda path: (path.rpartition("/")[0], path.endswith("bias"))):
        array = np.asarray(arrays[path])
        total.update(f"{path} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array, "<f4").tobytes())
    return total.hexdigest()


def round_to_half(params: Params) -> Params:
    """Return `params` with each number rounded to half precision, still as float32."""
    rounded = {
        path: array.astype(np.float16).astype(np.float32)
        for path, array in flatten_dict(params, sep="/").items()
    }
    return unflatten_dict(rounded, sep="/")


def check_metadata(card: Any, place: str) -> None:
    """Reject a card with a missing or ill-typed field, naming all of them in one line."""
    if not isinstance(card, dict):
        raise InputError(f"{place}: is not a JSON object; convert the weights again")
    wrong = [f for f, kind in FIELDS.items() if not isinstance(card.get(f), kind)]
    if not wrong:
        wrong = [] if card["backbone"] in KERNELS else ["backbone"]
        wrong += [] if _input_is_usable(card["input"]) else ["input"]
        wrong += [] if card["lrn"] is True or _lrn_is_usable(card) else ["lrn"]
    if wrong:
        raise InputError(
            f"{place}: damaged, field {', '.join(wrong)} missing or wrong; "
            "convert the weights again"
        )
    if card["lrn"] is True:
        raise InputError(
            f"{place}: written by a version that normalized responses five times too strongly; "
            "convert the weights again"
        )
    if card["converter_version"] != CONVERTER_VERSION:
        raise InputError(
            f"{place}: written by converter version {card['converter_version']}, this is "
            f"{CONVERTER_VERSION}; convert the weights again"
        )


def check_params(params: Params, backbone: str, place: str) -> None:
    """Reject parameters that are not finite float32 layers of the table, naming all faults."""
    check_shapes(nested_shapes(params), backbone, place)
    arrays = flatten_dict(params, sep="/")
    wrong = [
        f"{n} is {a.dtype}, expected float32" for n, a in arrays.items() if a.dtype != np.float32
    ]
    wrong += [f"{n} holds NaN or infinity" for n, a in arrays.items() if not np.isfinite(a).all()]
    if wrong:
        raise InputError(f"{place}: {'; '.join(wrong)}; convert the weights again")


def check_shapes(shapes: dict[str, Any], backbone: str, place: str) -> None:
    """Reject shapes that are not those of the backbone's table; all convolutions must be there."""
    expected = unflatten_dict(
        {
            f"{path}/{leaf}": list(kernel) if leaf == "kernel" else [kernel[-1]]
            for path, kernel in KERNELS[backbone].items()
            for leaf in LEAVES
        },
        sep="/",
    )
    problems = [f"missing {layer}" for layer in CONVOLUTIONAL if layer not in shapes]
    for layer, found in shapes.items():
        if layer not in expected:
            problems.append(f"unknown layer {layer}")
        elif found != expected[layer]:
            problems.append(f"{layer} has shapes {found}, expected {expected[layer]}")
    if problems:
        raise InputError(f"{place}: {'; '.join(problems)}; convert the weights again")


def nested_shapes(params: Params) -> dict[str, Any]:
    return unflatten_dict(
        {path: list(a.shape) for path, a in flatten_dict(params, sep="/").items()}, sep="/"
    )


def _lrn_is_usable(card: dict[str, Any]) -> bool:
    return response_norm.is_valid(card["lrn"]) and not (
        card["lrn"] and card["backbone"] != "alexnet"
    )


def _input_is_usable(stats: dict[str, Any]) -> bool:
    def numbers(field: str, count: int) -> bool:
        values = stats.get(field)
        return (
            isinstance(values, list)
            and len(values) == count
            and all(isinstance(v, float | int) and np.isfinite(v) for v in values)
        )

    return (
        stats.get("channels") == 3
        and numbers("range", 2)
        and numbers("mean", 3)
        and numbers("std", 3)
        and min(stats["std"]) > 0
    )
