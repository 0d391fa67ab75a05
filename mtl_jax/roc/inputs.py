"""Check labels, scores and ids, and return them as arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def check_scores(
    labels: ArrayLike, scores: ArrayLike, name: str = "scores", both_classes: bool = True
) -> tuple[np.ndarray, ...]:
    """Return the labels as bool (n,), True malignant, and the scores as float64 (n,).

    Raises ValueError, with the number and the first index of the invalid entries, if the lengths
    differ, a value is not finite, a label is not 0 or 1, or, with `both_classes`, a class has no
    case.
    """
    truth = _as_numbers(labels, "labels")
    values = _as_numbers(scores, name)
    if len(truth) != len(values):
        raise ValueError(
            f"labels has {len(truth)} entries but {name} has {len(values)}; expected one label per"
            " score"
        )
    _reject(
        ~np.isin(truth, (0.0, 1.0)), truth, "labels", "are neither 0 (benign) nor 1 (malignant)"
    )
    for value, kind in ((1.0, "malignant (1)"), (0.0, "benign (0)")):
        if both_classes and not np.any(truth == value):
            raise ValueError(f"labels: no {kind} case among {len(truth)}; add cases of this class")
    return truth == 1.0, values


def encode_ids(ids: Sequence | np.ndarray | None, n: int, name: str = "clusters") -> np.ndarray:
    """Return the ids as integers from 0 (n,); without ids each case is its own cluster.

    Raises ValueError if the length is not n or an id is missing (None, NaN or '').
    """
    if ids is None:
        return np.arange(n)
    id_array = np.asarray(ids)
    if id_array.ndim != 1 or len(id_array) != n:
        raise ValueError(
            f"{name}: expected one id for each of the {n} scores; the shape is {id_array.shape}"
        )
    if id_array.dtype == object:
        missing = np.array([i is None or i != i or i == "" for i in id_array])
        id_array = id_array.astype(str)
    elif id_array.dtype.kind == "f":
        missing = np.isnan(id_array)
    else:
        missing = id_array == "" if id_array.dtype.kind == "U" else np.zeros(n, dtype=bool)
    if missing.any():
        raise ValueError(
            f"{name}: {missing.sum()} ids are missing, the first at index"
            f" {_first_position(missing)}"
        )
    return np.unique(id_array, return_inverse=True)[1]


def _as_numbers(values: ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension; the shape is {array.shape}")
    _reject(~np.isfinite(array), array, name, "are not finite")
    return array


def _reject(invalid: np.ndarray, values: np.ndarray, name: str, fault: str) -> None:
    if invalid.any():
        raise ValueError(
            f"{name}: {invalid.sum()} of {len(values)} entries {fault}; the first is"
            f" {values[_first_position(invalid)]:g} at index {_first_position(invalid)}"
        )


def _first_position(mask: np.ndarray) -> int:
    return int(np.argmax(mask))
