"""What a study prints before and while it runs."""

import sys
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict
from tqdm import tqdm

from mtl_jax import patient_notes
from mtl_jax.config import OWN_WEIGHTS
from mtl_jax.data import audit, crosswalk, patients
from mtl_jax.experiments.compute_cost import Cost
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.types import Run

MIXED = "note: mixed: runs of several versions or platforms are compared (--accept_versions)"


def print_inputs(c: ConfigDict, held: StudyInputs) -> None:
    """The collections, the split, the approaches, the weights."""
    print_data(held)
    card = held.weights.metadata
    print(f"weights: {card['name']}. {card['note']}")
    if c.model.backbone != "alexnet":
        print(f"backbone: {c.model.backbone}")
    elif c.weights in OWN_WEIGHTS:
        print(
            "note: these are not ImageNet's weights. For those: python tools/convert_weights.py "
            "--download, then --config.weights=imagenet"
        )


def print_data(held: StudyInputs) -> None:
    """The collections, the split, the approaches."""
    for name, rois in held.collections.items():
        malignant = int((rois.index["label"] == 1).sum())
        mark = " (target)" if name == held.split.target else ""
        print(
            f"{name}{mark}: {len(rois)} ROIs, {malignant} malignant and "
            f"{len(rois) - malignant} benign, of {len(set(rois.index['case_id']))} cases"
        )
        for line in audit.summary_lines(rois):
            print(line)
    print(f"split of {held.split.target}: {held.split.rule}")
    for line in crosswalk.describe_matches(held.collections):
        print(line)
    for name, public in patients.guessed_namespaces(held.collections).items():
        print(f"note: {name}: {patient_notes.id_format_note(public)}")
    for name, counts in held.split.excluded_counts.items():
        print(f"{name}: {patient_notes.held_out_note(counts)}")
    for name in held.split.official_tests_in_training:
        print(f"{name}: its official test set is learned, as it is not evaluated in this job")
    for approach in held.approaches:
        print(f"{approach.name}: learns {', '.join(approach.tasks)}")


def print_plan(
    stages: Mapping[str, tuple[Sequence[Run], Cost]],
    total: int,
    todo: Sequence[Run],
    left: Cost,
    rate: float | None,
) -> None:
    """Each stage's runs and cost, and what is left to do, at `rate` operations a second."""
    for stage, (runs, cost) in stages.items():
        networks = ", ".join(dict.fromkeys(run.network for run in runs))
        approaches = ", ".join(dict.fromkeys(run.approach for run in runs))
        print(f"{stage}: {len(runs)} runs ({approaches}; {networks}), {cost.steps:,} steps")
    print(
        f"to do: {len(todo)} of {total} runs, {left.steps:,} steps, "
        f"{left.operations:.1e} operations"
    )
    if rate:
        print(
            f"at least {format_duration(left.operations / rate)}, at the {rate / 1e9:.0f} billion "
            "operations a second that this device does now in products of matrices"
        )
    print(end="", flush=True)


def print_randomly_frozen(runs: Sequence[Run], pretrained: Sequence[str]) -> None:
    """Names the layers that some run freezes and the weights do not hold."""
    random = {name for run in runs for name in frozen_layers(run.network)} - set(pretrained)
    if random:
        print(
            f"note: {', '.join(sorted(random))} are frozen at random values: no pretrained weights",
            flush=True,
        )


def progress_bar() -> tqdm:
    """Return the progress of the study, in operations; each run has a bar of its own below it."""
    return tqdm(
        desc="study",
        bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}",
        total=1.0,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )


def update_progress(bar: tqdm, done: float, total: float) -> None:
    """Set what is done and what there is; what was done before counts for no speed."""
    bar.initial += done - bar.n
    bar.n, bar.total = done, total


def print_line(bar: tqdm, line: str) -> None:
    """A line above the bars, or in a log file a line."""
    if sys.stderr.isatty():
        bar.write(line)
    else:
        print(line, flush=True)


def format_duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
