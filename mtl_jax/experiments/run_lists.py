"""Make the runs of a cross-validation or of an independent test from the settings.

Sections are those of Samala et al. 2017.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mtl_jax.config import (
    EXPECTED_WEIGHT,
    MATCHED_STEPS,
    PERMUTED_LABELS,
    approach_task_weights,
    has_option,
    parse_approach,
)
from mtl_jax.types import InputError, Run


class Approach(NamedTuple):
    """How a network is trained: the collections, the evaluated one first; shared or per_task heads;
    the weight of each collection in the loss."""

    name: str
    tasks: tuple[str, ...]
    heads: str
    task_weights: tuple[float, ...]

    def make_run(self, network: str, fold: int | None, seed: int, **fields: int | None) -> Run:
        """Return a run of this approach; `fields` are further fields of Run."""
        heads = {"heads": self.heads, "task_weights": self.task_weights}
        return Run(self.name, self.tasks, network, fold, seed, **heads, **fields)


def cross_validation_runs(
    approaches: Sequence[Approach],
    networks: Sequence[str],
    splits: Sequence[int],
    fold_count: int,
    seed: int,
    initializations: Sequence[int],
) -> list[Run]:
    """Return the runs of a cross-validation on the training cases of the target (2.4), for each
    partition into folds, freeze depth and initialization."""
    return [
        approach.make_run(network, fold, seed, initialization=initialization, split=split)
        for approach in approaches
        for split in splits
        for network in networks
        for initialization in initializations
        for fold in range(fold_count)
    ]


def independent_test_runs(
    approaches: Sequence[Approach],
    network: str,
    seed: int,
    initializations: Sequence[int],
    sizes: Sequence[int | None] = (None,),
) -> list[Run]:
    """Return the runs on the test set after training on all training cases (3.3).

    `sizes` are numbers of training cases of the target, None for all; each initialization draws its
    own random subset of that size.
    """
    return [
        approach.make_run(network, None, seed, initialization=initialization, target_cases=size)
        for size in sizes
        for approach in approaches
        for initialization in initializations
    ]


def expand_approaches(
    names: Sequence[str],
    target: str,
    collections: Sequence[str],
    heads: str,
    task_weights: Mapping[str, float],
) -> list[Approach]:
    """Return the approaches named in config.approaches, with `each` expanded to the collections.

    `heads` and `task_weights` are the defaults of approaches without such options.
    """
    if target not in collections:
        raise InputError(
            f"config.data.target={target!r} is invalid: expected one of the collections of "
            f"config.data.sources, {', '.join(collections)}"
        )
    _reject_unknown("config.train.task_weights", task_weights, collections)
    return [
        _parse_approach(expanded, target, collections, heads, task_weights)
        for name in names
        for expanded in _expand_each(name, target, collections)
    ]


def _expand_each(name: str, target: str, collections: Sequence[str]) -> list[str]:
    """Expand 'sttl+of=each' to each collection besides the target, and 'mttl+without=each' to each
    collection."""
    _, options = parse_approach(name)
    for option, values in (
        ("without", collections),
        ("of", [collection for collection in collections if collection != target]),
    ):
        if options.get(option) == "each":
            return [name.replace(f"{option}=each", f"{option}={value}") for value in values]
    return [name]


def _parse_approach(
    name: str,
    target: str,
    collections: Sequence[str],
    heads: str,
    task_weights: Mapping[str, float],
) -> Approach:
    kind, options = parse_approach(name)
    weights = approach_task_weights(options)
    named = [*weights, *(options[key] for key in ("without", "of") if key in options)]
    _reject_unknown(f"config.approaches={name!r}", named, collections)
    weights = {**task_weights, **weights}
    tasks = (options.get("of", target),)
    if has_option(name, MATCHED_STEPS) and len(collections) == 1:
        raise InputError(
            f"config.approaches={name!r} is invalid: {target} is the only collection, so that every"
            " run takes as many steps; add others to config.data.sources, or remove the approach"
        )
    if kind == "mttl":
        tasks = (target, *(collection for collection in collections if collection != target))
        if len(tasks) == 1:
            raise InputError(
                f"config.approaches includes mttl, but {target} is the only collection; add "
                "others to config.data.sources, or set config.approaches to ('sttl',)"
            )
        without = options.get("without")
        if without == target:
            # Its ROIs are standardized and scored as usual, but do not count in the loss.
            weights[target] = 0.0
        else:
            tasks = tuple(task for task in tasks if task != without)
    loss_weights = tuple(weights.get(task, 1.0) for task in tasks)
    if not any(loss_weights):
        raise InputError(f"config.approaches={name!r} is invalid: expected {EXPECTED_WEIGHT}")
    if has_option(name, PERMUTED_LABELS) and not any(loss_weights[1:]):
        raise InputError(
            f"config.approaches={name!r} is invalid: it trains on the labels of {target} alone, and"
            " labels=permuted permutes those of other collections; remove the option"
        )
    return Approach(name, tasks, options.get("heads", heads), loss_weights)


def _reject_unknown(setting: str, names: Iterable[str], collections: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(collections))
    if unknown:
        raise InputError(
            f"{setting} is invalid: unknown collection {', '.join(unknown)}; expected one of "
            f"{', '.join(collections)}"
        )
