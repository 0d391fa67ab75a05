"""The stages of a study: each is one object, `STAGE`, of a module of its own.

`base.Stage` describes what a stage has, config.STAGE_MODULES names the module of each stage, and
config.STAGES the stages of each study. Nothing else knows a stage by its name.
docs/howto/new_experiment.md adds one.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mtl_jax.config import SINGLE_TASK, STAGE_MODULES, STAGES, parse_task_weights
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.experiments.stages.base import Choice, Stage
from mtl_jax.io.import_object import import_object
from mtl_jax.types import Run

__all__ = ["Choice", "Stage", "get", "keeps_weights", "make_runs", "n_partitions", "of_study"]


def get(name: str) -> Stage:
    """Return the stage with this name; InputError if its module does not define it."""
    return import_object(STAGE_MODULES, name, "STAGE", Stage, "config.STAGE_MODULES")


def of_study(study: str) -> list[Stage]:
    """Return the stages of a study in order."""
    return [get(name) for name in STAGES[study]]


def make_runs(
    name: str, c: ConfigDict, approaches: Sequence[Approach], choice: Choice
) -> list[Run]:
    """Return the runs of a stage in a study of these approaches."""
    stage = get(name)
    return stage.runs(c, _single_task_approach(c) if stage.single_task else approaches, choice)


def _single_task_approach(c: ConfigDict) -> list[Approach]:
    """Return the approach on the target alone, with the settings that 'sttl' has in
    config.approaches, so that the stages share its runs."""
    target = c.data.target
    weights = parse_task_weights(c.train.task_weights)
    target_weight = {name: weight for name, weight in weights.items() if name == target}
    return expand_approaches((SINGLE_TASK,), target, (target,), c.model.heads, target_weight)


def keeps_weights(run: Run, study: str) -> bool:
    """Return whether the weights of the run are kept by default: those of the first initialization
    in the stage that gives the main result of the study."""
    last = of_study(study)[-1]
    is_main = (run.fold is None) == last.uses_test_set and run.target_cases is None
    return last.compares_approaches and is_main and run.initialization == 0


def n_partitions(c: ConfigDict) -> int:
    """Return the number of random partitions into folds that the study needs."""
    return max(stage.n_partitions(c) for stage in of_study(c.study))
