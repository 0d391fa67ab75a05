"""Checks what the caller hands in and turns it into arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def check_scores(
    labels: ArrayLike, scores: ArrayLike, name: str = "scores"
) -> tuple[np.ndarray, ...]:
    """Labels as bool (n,), True malignant, and scores as float64 (n,).

    Raises ValueError naming the argument, the count and the first bad index: lengths that
    differ, a value that is no finite number, a label other than 0 and 1, a class without cases.
    """
    truth = _as_numbers(labels, "labels")
    values = _as_numbers(scores, name)
    if len(truth) != len(values):
        raise ValueError(f"labels has {len(truth)} entries but {name} has {len(values)}")
    _reject(~np.isin(truth, (0.0, 1.0)), truth, "labels", "are neither 0 (benign) nor 1")
    for value, kind in ((1.0, "malignant (1)"), (0.0, "benign (0)")):
        if not np.any(truth == value):
            raise ValueError(f"labels holds no {kind} case among its {len(truth)} entries")
    return truth == 1.0, values


def encode_ids(ids: Sequence | np.ndarray | None, n: int, name: str = "clusters") -> np.ndarray:
    """Return each id as a number 0..I-1 (n,); None makes every entry a cluster of its own.

    Raises ValueError where the length differs from n or an id is missing (None, NaN or '').
    """
    if ids is None:
        return np.arange(n)
    given = np.asarray(ids)
    if given.ndim != 1 or len(given) != n:
        raise ValueError(f"{name} must be one id for each of the {n} scores; its shape is "
                         f"{given.shape}")  # fmt: skip
    if given.dtype == object:
        missing = np.array([i is None or i != i or i == "" for i in given])
        given = given.astype(str)
    elif given.dtype.kind == "f":
        missing = np.isnan(given)
    else:
        missing = given == "" if given.dtype.kind == "U" else np.zeros(n, dtype=bool)
    if missing.any():
        raise ValueError(
            f"{name}: {missing.sum()} ids are missing, the first at {_first_position(missing)}"
        )
    return np.unique(given, return_inverse=True)[1]


def _as_numbers(values: ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a list or array of numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension; its shape is {array.shape}")
    _reject(~np.isfinite(array), array, name, "are not finite")
    return array


def _reject(bad: np.ndarray, values: np.ndarray, name: str, what: str) -> None:
    if bad.any():
        raise ValueError(
            f"{name}: {bad.sum()} of {len(values)} entries {what}, "
            f"the first is {values[_first_position(bad)]:g} at index {_first_position(bad)}"
        )


def _first_position(bad: np.ndarray) -> int:
    return int(np.argmax(bad))
