"""Print the inputs and the plan of a study."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from mtl_jax import patient_notes
from mtl_jax.config import ALEXNET, BUILTIN_WEIGHTS, approach_network
from mtl_jax.data import audit, crosswalk, patients
from mtl_jax.experiments.compute_cost import Cost
from mtl_jax.experiments.permuted_labels import permuted_tasks
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.types import Run
from mtl_jax.weights import Weights

MIXED = "note: mixed: runs of several versions or platforms are compared (--accept_versions)"


def print_inputs(c: ConfigDict, inputs: StudyInputs) -> None:
    """Print the collections, the split, the approaches and the weights."""
    _print_data(inputs)
    approaches: dict[tuple[str, str], list[str]] = {}
    for name in inputs.weights:
        approaches.setdefault(approach_network(c, name), []).append(name)
    for (backbone, _), names in approaches.items():
        metadata = inputs.weights[names[0]].metadata
        of = f" of {', '.join(names)}" if len(approaches) > 1 else ""
        print(f"weights{of}: {metadata['name']}. {metadata['note']}")
        if backbone != ALEXNET:
            print(f"backbone{of}: {backbone}")
    if list(approaches) == [(ALEXNET, c.weights)] and c.weights in BUILTIN_WEIGHTS:
        print(
            "note: these weights are not pretrained on ImageNet. For ImageNet weights run mtl-jax "
            "convert --download and set --config.weights=imagenet"
        )


def _print_data(inputs: StudyInputs) -> None:
    """Print the collections, the split and the approaches."""
    for name, rois in inputs.collections.items():
        malignant = int((rois.index["label"] == 1).sum())
        target_note = " (target)" if name == inputs.split.target else ""
        print(
            f"{name}{target_note}: {len(rois)} ROIs, {malignant} malignant and "
            f"{len(rois) - malignant} benign, of {len(set(rois.index['case_id']))} cases"
        )
        for line in audit.summary_lines(rois):
            print(line)
    print(f"split of {inputs.split.target}: {inputs.split.rule}")
    for line in crosswalk.describe_matches(inputs.collections):
        print(line)
    for name, namespace in patients.guessed_namespaces(inputs.collections).items():
        print(f"note: {name}: {patient_notes.id_format_note(namespace)}")
    for name, counts in inputs.split.excluded_counts.items():
        print(f"{name}: {patient_notes.exclusion_note(counts)}")
    for name in inputs.split.official_tests_in_training:
        print(
            f"{name}: its official test set is used for training, because this job does not "
            "evaluate it"
        )
    for approach in inputs.approaches:
        permuted = permuted_tasks(approach.name, approach.tasks)
        control = f"; a control with permuted labels of {', '.join(permuted)}" if permuted else ""
        print(f"{approach.name}: trained on {', '.join(approach.tasks)}{control}")


def print_plan(
    stages: Mapping[str, tuple[Sequence[Run], Cost]],
    n_runs: int,
    missing: Sequence[Run],
    remaining: Cost,
) -> None:
    """Print the runs and cost of each stage, and the `remaining` cost of the `missing` runs."""
    for stage, (runs, cost) in stages.items():
        networks = ", ".join(dict.fromkeys(run.network for run in runs))
        approaches = ", ".join(dict.fromkeys(run.approach for run in runs))
        print(f"{stage}: {len(runs)} runs ({approaches}; {networks}), {cost.steps:,} steps")
    print(
        f"to do: {len(missing)} of {n_runs} runs, {remaining.steps:,} steps, "
        f"{remaining.operations:.1e} operations",
        flush=True,
    )


def print_randomly_frozen(runs: Sequence[Run], weights: Mapping[str, Weights]) -> None:
    """Print a note on frozen layers that have no pretrained weights."""
    layers: dict[str, set[str]] = {}
    for run in runs:
        random_layers = set(frozen_layers(run.network)) - set(weights[run.approach].params)
        layers.setdefault(run.approach, set()).update(random_layers)
    approaches: dict[str, list[str]] = {}
    for approach, random_layers in layers.items():
        approaches.setdefault(", ".join(sorted(random_layers)), []).append(approach)
    for names, of in approaches.items():
        if names:
            where = f" in {', '.join(of)}" if len(approaches) > 1 else ""
            print(
                f"note: {names} are frozen with random values{where}, because the weights do not "
                "have these layers",
                flush=True,
            )
