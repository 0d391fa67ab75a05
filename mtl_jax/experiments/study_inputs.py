"""Load the inputs of a study: collections, pretrained weights, split and approaches."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.config import (
    IMAGENET_STUDIES,
    SINGLE_TASK,
    approach_network,
    parse_approach,
    parse_task_weights,
)
from mtl_jax.data import crosswalk, ingest
from mtl_jax.experiments import splits, stages
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.io import user_folders
from mtl_jax.training import devices
from mtl_jax.types import InputError, RoiSet, Run


class StudyInputs(NamedTuple):
    """The inputs of a study, which depend only on the config and the files that it names."""

    collections: dict[str, RoiSet]
    split: splits.Split
    weights: dict[str, weights.Weights]  # of each approach
    approaches: list[Approach]

    @property
    def run_inputs(self) -> tuple[dict[str, RoiSet], splits.Split, dict[str, weights.Weights]]:
        """The inputs of a single run."""
        return self.collections, self.split, self.weights

    def backbone(self, run: Run) -> str:
        """Return the backbone of a run."""
        return self.weights[run.approach].metadata["backbone"]


def prepare_inputs(c: ConfigDict, dry_run: bool = False) -> StudyInputs:
    """Return the inputs that `c` names, after converting new collections to shards.

    A `dry_run` does not need the weights that `mtl-jax convert` writes.
    """
    cache = user_folders.create_cache(Path(c.data.cache))
    devices.enable_compilation_cache(cache / "compiled")
    # The stages splits and depth train with the default weights.
    defaults = (SINGLE_TASK,) if c.study in IMAGENET_STUDIES else ()
    pretrained = _find_weights(c, (*c.approaches, *defaults), dry_run)
    if c.preset == "paper" and defaults:
        weights.require_photographs(pretrained[approach_network(c, SINGLE_TASK)], c.study)
    collections = load_collections(c)
    approaches = expand_approaches(
        c.approaches,
        c.data.target,
        list(collections),
        c.model.heads,
        parse_task_weights(c.train.task_weights),
    )
    needs_test = any(stage.uses_test_set for stage in stages.of_study(c.study))
    split = splits.make_split(
        collections,
        c.data.target,
        evaluated_auxiliaries(c.data.target, c.data.test_each, collections, approaches),
        splits.SplitRules(
            needs_test, stages.n_partitions(c), c.folds, c.data.test_fraction, c.split_seed
        ),
    )
    trained_on = {task for approach in approaches for task in approach.tasks}
    split = split._replace(
        official_tests_in_training=tuple(
            name for name in split.official_tests_in_training if name in trained_on
        )
    )
    names = (*(approach.name for approach in approaches), *defaults)
    by_approach = {name: pretrained[approach_network(c, name)] for name in names}
    return StudyInputs(collections, split, by_approach, approaches)


def _find_weights(
    c: ConfigDict, names: Iterable[str], dry_run: bool
) -> dict[tuple[str, str], weights.Weights]:
    """Return the weights of these approaches by `approach_network`, each loaded once."""
    find = weights.find_for_plan if dry_run else weights.find_for_backbone
    found: dict[tuple[str, str], weights.Weights] = {}
    for name in names:
        backbone, weights_name = approach_network(c, name)
        if (backbone, weights_name) not in found:
            _, options = parse_approach(name)
            has_option = "backbone" in options or "weights" in options
            loaded = find(weights_name, backbone, name if has_option else "")
            found[backbone, weights_name] = loaded
    return found


def evaluated_auxiliaries(
    target: str, test_each: bool, collections: Iterable[str], approaches: Iterable[Approach]
) -> list[str]:
    """Return the collections besides the target that are evaluated on a test set.

    These are all collections if `test_each`, and those of approaches sttl+of=NAME.
    """
    first_tasks = {approach.tasks[0] for approach in approaches}
    return [name for name in collections if name != target and (test_each or name in first_tasks)]


def load_collections(c: ConfigDict) -> dict[str, RoiSet]:
    """Return the collections of config.data.sources by name, with the patients that they share.

    New collections are converted to shards.
    """
    cache = user_folders.create_cache(Path(c.data.cache))
    roi, options, rules = ingest.read_settings(c.data.to_dict(), cache)
    contact_sheets = cache / "contact_sheets" if c.analysis.show_rois else None
    collections: dict[str, RoiSet] = {}
    for source in c.data.sources:
        rois = ingest.load(source, cache, roi, options, rules, contact_sheets)
        if rois.name in collections:
            raise InputError(
                f"config.data.sources: two collections are called {rois.name!r}; give them "
                "different names"
            )
        collections[rois.name] = rois
    return crosswalk.apply_crosswalk(collections, c.data.crosswalk)
