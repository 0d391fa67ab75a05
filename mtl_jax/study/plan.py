"""The list of Runs that answers a study. Knows names only."""

from collections.abc import Sequence

from mtl_jax.nouns import InputError, Run


def plan(
    study: str,
    approaches: Sequence[str],
    network: str,
    fold_count: int,
    seed: int,
    target: str,
    collections: Sequence[str],
) -> list[Run]:
    """One Run an approach, or one a fold of each. The target's task comes first."""
    if target not in collections:
        raise InputError(
            f"config.data.target is {target!r}; config.data.sources hold {', '.join(collections)}: "
            "name one of them"
        )
    others = tuple(name for name in collections if name != target)
    if "mttl" in approaches and not others:
        raise InputError(
            f"config.approaches asks for mttl, but {target} is the only collection; name others in "
            "config.data.sources, or set config.approaches to ('sttl',)"
        )
    tasks = {"sttl": (target,), "mttl": (target, *others)}
    folds = range(fold_count) if study == "cross_validation" else (None,)
    return [Run(a, tasks[a], network, fold, seed) for a in approaches for fold in folds]
