"""How far each initialization carries: the same runs from several sets of weights, compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.data import shards
from mtl_jax.experiments import compute_cost, console, executors, guards, provenance, stage_tables
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.evaluation import adjust_families
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.experiments.run_lists import cross_validation_runs, independent_test_runs
from mtl_jax.experiments.study_inputs import StudyInputs, prepare_inputs
from mtl_jax.io import workdir
from mtl_jax.training import multihost
from mtl_jax.types import InputError, Run

FIELDS = (
    *("estimator", "auc", "se", "se_method", "ci_low", "ci_high", "ci_method", "df"),
    *("var_patients", "var_initializations", "sd_initializations", "aucs"),
    *("n_malignant", "n_benign"),
)


class WeightsJob(NamedTuple):
    """One set of weights: the folder of its runs, the materials with it, and its config."""

    folder: Path
    inputs: StudyInputs
    config: ConfigDict


def run_transfer(c: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """Do the runs of config.transfer in `folder` and returns what its results.json holds; None in
    a process other than process 0.

    Each set of weights has a folder of runs of its own, in `weights/NAME/`. The areas are of the
    target, the mean over the seeds; each set is compared with the last one named.
    """
    with guards.locked_workdir(folder, c):
        starts = multihost.primary_first(lambda: _make_jobs(c, folder))
        inputs = next(iter(starts.values())).inputs
        runs = _test_runs(c, inputs)
        here = {n: Provenance(*s.inputs.of_runs, s.config) for n, s in starts.items()}
        multihost.on_primary(lambda: _start_job(c, folder, starts, here))
        for name, start in starts.items():
            todo = executors.missing_runs(runs, start.folder)
            print(f"{name}: {len(runs) - len(todo)} of {len(runs)} runs done before", flush=True)
            guards.run_missing(
                runs, start.folder, start.inputs, here[name], start.config, lambda run: None
            )
        return multihost.on_primary(lambda: _evaluate(c, folder, starts, runs))


def _start_job(
    c: ConfigDict, folder: Path, starts: Mapping[str, WeightsJob], here: Mapping[str, Provenance]
) -> None:
    """Check and record the job in its folder, and print its plan."""
    inputs = next(iter(starts.values())).inputs
    for name, start in starts.items():
        provenance.reject_mixed(_test_runs(c, inputs), start.folder, here[name], c)
    guards.record_study(folder, c, inputs)
    _print_plan(c, starts)
    for start in starts.values():
        start.folder.mkdir(parents=True, exist_ok=True)
        workdir.write_json(start.folder / "card.json", start.inputs.weights.metadata)


def _evaluate(
    c: ConfigDict, folder: Path, starts: Mapping[str, WeightsJob], runs: Sequence[Run]
) -> dict[str, Any]:
    """Write the AUCs and comparisons of the finished runs."""
    collections = next(iter(starts.values())).inputs.collections
    done = {name: score_tables.read_runs(runs, start.folder) for name, start in starts.items()}
    results = {
        "target": c.data.target,
        "network": c.network,
        "collections": {n: shards.content_digest(r) for n, r in collections.items()},
        "auc": [
            {"weights": name, "backbone": starts[name].config.model.backbone}
            | _auc_rows(runs, scored, c.data.target)
            for name, scored in done.items()
        ],
        "comparisons": _comparison_rows(runs, done, c.data.target),
        "provenance": provenance.summarize_provenance(
            record for start in starts.values() for record in _read_records(runs, start.folder)
        ),
    }
    workdir.write_json(folder / "results.json", results)
    return results


def show_plan(c: ConfigDict, folder: Path) -> None:
    """Print the plan and its cost, without training. Weights that are still to
    be made are named and not counted."""
    workdir.reject_other_config(folder, c.to_dict())
    starts: dict[str, WeightsJob] = {}
    for name in c.transfer.weights:
        try:
            found = weights.find(name, c.model.backbone)
        except InputError as error:
            print(f"{name}: not counted: {error}")
        else:
            starts[name] = _make_job(c, name, found, folder, starts)
    if starts:
        _print_plan(c, starts)


def _print_plan(c: ConfigDict, starts: Mapping[str, WeightsJob]) -> None:
    """The data, and the runs and cost of each set of weights; InputError: a run is unfit."""
    first = next(iter(starts.values()))
    runs = _test_runs(c, first.inputs)
    guards.reject_unfit(runs, first.inputs)
    console.print_data(first.inputs)
    stages, todo, left = {}, [], compute_cost.Cost(0, 0.0)
    for name, (folder, inputs, own) in starts.items():
        missing = executors.missing_runs(runs, folder)
        stages[name] = (runs, compute_cost.total_cost(runs, own, inputs))
        steps, operations = compute_cost.total_cost(missing, own, inputs)
        left = compute_cost.Cost(left.steps + steps, left.operations + operations)
        todo += missing
        print(f"weights {name}: {inputs.weights.metadata['name']}, {own.model.backbone}")
        console.print_randomly_frozen(runs, list(inputs.weights.params))
    rate = compute_cost.measure_speed() if c.executor == "local" and todo else None
    console.print_plan(stages, len(runs) * len(starts), todo, left, rate)


def format_tables(results: dict[str, Any]) -> str:
    """Return the areas and their differences as two tables of Markdown."""
    first = results["auc"][0]
    lines = [
        f"{results['target']}, {results['network']} frozen; lesion-level AUC; "
        f"{first['estimator']}, {len(first['aucs'])} initializations; 95 % intervals: "
        f"variance over {first['se_method']}",
        *([console.MIXED] if results["provenance"]["mixed"] else []),
        "",
        "| weights | AUC | interval | SD over initializations | malignant | benign | backbone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["auc"]:
        sd = row["sd_initializations"]
        spread = "" if sd is None else f"{sd:.3f}"
        lines.append(
            f"| {row['weights']} | {row['auc']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} "
            f"| {spread} | {row['n_malignant']} | {row['n_benign']} | {row['backbone']} |"
        )
    lines += ["", "| difference | AUC | interval | p | p, Holm |", "|---|---|---|---|---|"]
    for row in results["comparisons"]:
        lines.append(
            f"| {row['a']} - {row['b']} | {row['delta']:+.3f} | {row['ci_low']:+.3f} to "
            f"{row['ci_high']:+.3f} | {_format_p(row['p_value'])} | "
            f"{_format_adjusted(row['p_holm'])} |"
        )
    return "\n".join(lines)


def _make_jobs(c: ConfigDict, folder: Path) -> dict[str, WeightsJob]:
    starts: dict[str, WeightsJob] = {}
    for name in c.transfer.weights:
        starts[name] = _make_job(c, name, weights.find(name, c.model.backbone), folder, starts)
    return starts


def _make_job(
    c: ConfigDict, name: str, found: weights.Weights, folder: Path, before: Mapping[str, WeightsJob]
) -> WeightsJob:
    """Return the job of config.transfer as the study of a single set of weights, on the
    collections that those `before` were prepared with."""
    own = c.copy_and_resolve_references()
    own.study, own.weights, own.model.backbone = c.transfer.study, name, found.metadata["backbone"]
    shared = next(iter(before.values())).inputs if before else prepare_inputs(own)
    return WeightsJob(folder / "weights" / Path(name).name, shared._replace(weights=found), own)


def _test_runs(c: ConfigDict, inputs: StudyInputs) -> list[Run]:
    first, starts = inputs.approaches[:1], range(c.transfer.initializations)
    if c.transfer.study == "test":
        return independent_test_runs(first, c.network, c.seed, starts)
    return cross_validation_runs(first, (c.network,), (c.split,), c.folds, c.seed, starts)


def _read_records(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    paths = [folder / "runs" / run.id / "run.json" for run in runs]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _auc_rows(
    runs: Sequence[Run], scored: dict[str, score_tables.Scores], target: str
) -> dict[str, Any]:
    (row,) = (r for r in stage_tables.auc_rows(runs, scored, target) if r["unit"] == "lesion")
    return {field: row[field] for field in FIELDS}


def _format_adjusted(value: float | None) -> str:
    """Empty where nothing was adjusted: a family of one, or a test whose status is not ok."""
    return "" if value is None else _format_p(value)


def _format_p(value: float | None) -> str:
    if value is None:
        return "not tested (two initializations)"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _comparison_rows(
    runs: Sequence[Run],
    done: dict[str, dict[str, score_tables.Scores]],
    target: str,
) -> list[dict[str, Any]]:
    """Return the last set of weights minus each of the others, on the same cases and
    initializations."""
    *others, last = done
    rows = [
        {"a": last, "b": other, "unit": "lesion", "method": "obuchowski", "primary": False}
        | {"estimator": stage_tables.estimator_name(runs)}
        | stage_tables.score_difference(runs, done[last], done[other], target, "lesion")
        for other in others
    ]
    return adjust_families(rows, "transfer")
