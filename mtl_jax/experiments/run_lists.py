"""Lists of Runs, made from settings alone: out of fold, or on the test set.

Sections are those of Samala et al. 2017.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mtl_jax.config import NO_WEIGHT, own_weights, parse_approach
from mtl_jax.types import InputError, Run


class Approach(NamedTuple):
    """What is learned together and how: the collections, the one tested first; shared or per_task
    heads; the weight of each collection in the loss."""

    name: str
    tasks: tuple[str, ...]
    heads: str
    task_weights: tuple[float, ...]

    def run(self, network: str, fold: int | None, seed: int, **more: int | None) -> Run:
        """Return the run of this approach with these settings; `more` are further fields of Run."""
        rest = {"heads": self.heads, "task_weights": self.task_weights} | more
        return Run(self.name, self.tasks, network, fold, seed, **rest)


def cross_validation_runs(
    approaches: Sequence[Approach],
    networks: Sequence[str],
    splits: Sequence[int],
    fold_count: int,
    seed: int,
    initializations: Sequence[int],
) -> list[Run]:
    """Return every training case of the target scored by a network that has not learned it (2.4),
    for each partition into folds, freeze depth and initialization."""
    return [
        approach.run(network, fold, seed, initialization=start, split=split)
        for approach in approaches
        for split in splits
        for network in networks
        for start in initializations
        for fold in range(fold_count)
    ]


def independent_test_runs(
    approaches: Sequence[Approach],
    network: str,
    seed: int,
    initializations: Sequence[int],
    sizes: Sequence[int | None] = (None,),
) -> list[Run]:
    """Return the test set after learning all training cases (3.3), or `sizes` of the target's; each
    initialization then has a random subset of its own."""
    return [
        approach.run(network, None, seed, initialization=start, target_cases=size)
        for size in sizes
        for approach in approaches
        for start in initializations
    ]


def expand_approaches(
    names: Sequence[str],
    target: str,
    collections: Sequence[str],
    heads: str,
    task_weights: Mapping[str, float],
) -> list[Approach]:
    """Return the approaches of config.approaches, `each` spelled out, on these collections.

    `heads` and `task_weights` hold where an approach says nothing else.
    """
    if target not in collections:
        raise InputError(
            f"config.data.target is {target!r}; config.data.sources hold {', '.join(collections)}: "
            "name one of them"
        )
    _reject_unknown("config.train.task_weights", task_weights, collections)
    named = [one for name in names for one in _expand_each(name, target, collections)]
    return [_parse_approach(name, target, collections, heads, task_weights) for name in named]


def _expand_each(name: str, target: str, collections: Sequence[str]) -> list[str]:
    """Return 'sttl+of=each' is one approach a collection beside the target; 'mttl+without=each' is
    one a collection, the target too."""
    _, options = parse_approach(name)
    for option, values in (
        ("without", collections),
        ("of", [other for other in collections if other != target]),
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
    own = own_weights(options)
    named = [*own, *(options[key] for key in ("without", "of") if key in options)]
    _reject_unknown(f"config.approaches, {name!r}", named, collections)
    weights = {**task_weights, **own}
    tasks = (options.get("of", target),)
    if kind == "mttl":
        tasks = (target, *(other for other in collections if other != target))
        if len(tasks) == 1:
            raise InputError(
                f"config.approaches asks for mttl, but {target} is the only collection; name "
                "others in config.data.sources, or set config.approaches to ('sttl',)"
            )
        without = options.get("without")
        if without == target:
            # Its ROIs still set the scale of its pixels, and are scored; they teach nothing.
            weights[target] = 0.0
        else:
            tasks = tuple(task for task in tasks if task != without)
    listed = tuple(weights.get(task, 1.0) for task in tasks)
    if not any(listed):
        raise InputError(f"config.approaches={name!r} is invalid: expected {NO_WEIGHT}")
    return Approach(name, tasks, options.get("heads", heads), listed)


def _reject_unknown(field: str, names: Iterable[str], collections: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(collections))
    if unknown:
        raise InputError(
            f"{field} names {', '.join(unknown)}; the collections are {', '.join(collections)}"
        )
