"""Rows of the tables of a stage, from the scores of its runs. All statistics are in `means`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.config import UNITS
from mtl_jax.nouns import Run
from mtl_jax.study.means import Part, mean_area, mean_difference
from mtl_jax.study.scores import Scores, by_unit


class Condition(NamedTuple):
    """What the runs that differ in fold and initialization alone have in common."""

    approach: str
    network: str
    split: int
    target_cases: int | None


def conditions(runs: Sequence[Run]) -> dict[Condition, list[Run]]:
    groups: dict[Condition, list[Run]] = {}
    for run in runs:
        key = Condition(run.approach, run.network, run.split, run.target_cases)
        groups.setdefault(key, []).append(run)
    return groups


def area_rows(
    runs: Sequence[Run], tables: Mapping[str, Scores], target: str
) -> list[dict[str, Any]]:
    """A row for each condition and unit: the target's mean AUC over folds and initializations."""
    return [
        _names(own, target, unit) | mean_area(_parts(own, tables, target, unit))
        for own in conditions(runs).values()
        for unit in UNITS
    ]


def difference_rows(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    target: str,
    pairs: Sequence[tuple[Condition, Condition]],
) -> list[dict[str, Any]]:
    """A row for each pair of conditions and unit: the first's mean area less the second's."""
    groups = conditions(runs)
    rows = []
    for a, b in pairs:
        for unit in UNITS:
            first, second = (_parts(groups[one], tables, target, unit) for one in (a, b))
            rows.append(
                {
                    "a": a.approach,
                    "b": b.approach,
                    "network_a": a.network,
                    "network_b": b.network,
                    "target_cases": a.target_cases,
                    "task": target,
                    "unit": unit,
                    "method": "obuchowski",
                    **mean_difference(first, second),
                }
            )
    return rows


def difference(
    runs: Sequence[Run],
    first: Mapping[str, Scores],
    second: Mapping[str, Scores],
    target: str,
    unit: str,
) -> dict[str, Any]:
    """The mean area of the same runs by the scores of `first` less that by `second`."""
    return mean_difference(*(_parts(runs, own, target, unit) for own in (first, second)))


def _names(runs: Sequence[Run], target: str, unit: str) -> dict[str, Any]:
    run, starts = runs[0], sorted({run.initialization for run in runs})
    folds = {run.fold for run in runs}
    over = "test" if run.fold is None else f"mean of {len(folds)} folds"
    return {
        "study": run.approach,
        "task": target,
        "cases": over + (f", {len(starts)} initializations" if len(starts) > 1 else ""),
        "unit": unit,
        "method": "empirical",
        "network": run.network,
        "split": None if run.fold is None else run.split,
        "target_cases": run.target_cases,
        "initializations": starts,
    }


def _parts(runs: Sequence[Run], tables: Mapping[str, Scores], target: str, unit: str) -> list[Part]:
    """One Part a fold, its readings in the order of the initializations."""
    parts = []
    for fold in dict.fromkeys(run.fold for run in runs):
        own = sorted((run for run in runs if run.fold == fold), key=_initialization)
        scored = [tables[run.id].of(tables[run.id].task == target) for run in own]
        for other in scored[1:]:
            if not np.array_equal(other.roi_id, scored[0].roi_id):
                raise ValueError(f"{own[0].id} and another initialization scored different regions")
        label, _, patient = by_unit(scored[0], unit)
        parts.append(Part(label, patient, np.array([by_unit(s, unit)[1] for s in scored])))
    return parts


def _initialization(run: Run) -> int:
    return run.initialization
