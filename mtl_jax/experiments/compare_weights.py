"""Train the same runs from several sets of pretrained weights and compare their AUCs."""

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
    """The runs that start from one set of weights: their folder, inputs and config."""

    folder: Path
    inputs: StudyInputs
    config: ConfigDict


def run_transfer(c: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """Train the runs of config.transfer and return the content of results.json.

    The runs of each set of weights are in `folder`/weights/NAME. The AUCs are those of the target,
    averaged over initializations; each set of weights is compared with the last one. Returns None
    in processes other than process 0.
    """
    with guards.locked_workdir(folder, c):
        jobs = multihost.primary_first(lambda: _make_jobs(c, folder))
        runs = _list_runs(c, jobs)
        provenances = {n: Provenance(*job.inputs.run_inputs, job.config) for n, job in jobs.items()}
        multihost.on_primary(lambda: _start_study(c, folder, jobs, provenances))
        for name, job in jobs.items():
            missing = executors.missing_runs(runs, job.folder)
            print(
                f"{name}: {len(runs) - len(missing)} of {len(runs)} runs already finished",
                flush=True,
            )
            guards.run_missing(
                runs, job.folder, job.inputs, provenances[name], job.config, lambda run: None
            )
        return multihost.on_primary(lambda: _evaluate(c, folder, jobs, runs))


def _start_study(
    c: ConfigDict,
    folder: Path,
    jobs: Mapping[str, WeightsJob],
    provenances: Mapping[str, Provenance],
) -> None:
    """Check and record the study in its folder, and print its plan."""
    for name, job in jobs.items():
        provenance.reject_mixed(_list_runs(c, jobs), job.folder, provenances[name], c)
    guards.record_study(folder, c, _first_inputs(jobs))
    _print_plan(c, jobs)
    for job in jobs.values():
        job.folder.mkdir(parents=True, exist_ok=True)
        workdir.write_json(job.folder / "card.json", job.inputs.weights.metadata)


def _evaluate(
    c: ConfigDict, folder: Path, jobs: Mapping[str, WeightsJob], runs: Sequence[Run]
) -> dict[str, Any]:
    """Write the AUCs and comparisons of the finished runs."""
    scores = {name: score_tables.read_runs(runs, job.folder) for name, job in jobs.items()}
    results = {
        "target": c.data.target,
        "network": c.network,
        "collections": {
            n: shards.content_digest(r) for n, r in _first_inputs(jobs).collections.items()
        },
        "auc": [
            {"weights": name, "backbone": jobs[name].config.model.backbone}
            | _auc_row(runs, run_scores, c.data.target)
            for name, run_scores in scores.items()
        ],
        "comparisons": _comparison_rows(runs, scores, c.data.target),
        "provenance": provenance.summarize_provenance(
            record for job in jobs.values() for record in _read_records(runs, job.folder)
        ),
    }
    workdir.write_json(folder / "results.json", results)
    return results


def show_plan(c: ConfigDict, folder: Path) -> None:
    """Print the plan and its cost, without training. Weights that do not exist yet are named."""
    workdir.reject_other_config(folder, c.to_dict())
    jobs: dict[str, WeightsJob] = {}
    for name in c.transfer.weights:
        try:
            pretrained = weights.find(name, c.model.backbone)
        except InputError as error:
            print(f"weights {name}: left out of this plan: {error}")
        else:
            jobs[name] = _make_job(c, name, pretrained, folder, jobs)
    if jobs:
        _print_plan(c, jobs)


def _print_plan(c: ConfigDict, jobs: Mapping[str, WeightsJob]) -> None:
    """Print the data and the cost of each set of weights; check that every run can be trained."""
    runs = _list_runs(c, jobs)
    guards.reject_unfit(runs, _first_inputs(jobs))
    console.print_data(_first_inputs(jobs))
    stages, missing, remaining = {}, [], compute_cost.Cost(0, 0.0)
    for name, (folder, inputs, config) in jobs.items():
        job_missing = executors.missing_runs(runs, folder)
        stages[name] = (runs, compute_cost.total_cost(runs, config, inputs))
        steps, operations = compute_cost.total_cost(job_missing, config, inputs)
        remaining = compute_cost.Cost(remaining.steps + steps, remaining.operations + operations)
        missing += job_missing
        print(f"weights {name}: {inputs.weights.metadata['name']}, {config.model.backbone}")
        console.print_randomly_frozen(runs, list(inputs.weights.params))
    rate = compute_cost.measure_speed() if c.executor == "local" and missing else None
    console.print_plan(stages, len(runs) * len(jobs), missing, remaining, rate)


def format_tables(results: dict[str, Any]) -> str:
    """Return the AUCs and their differences as two Markdown tables."""
    first = results["auc"][0]
    lines = [
        f"{results['target']}, network {results['network']}; lesion-level AUC; "
        f"{first['estimator']}, {len(first['aucs'])} initializations; 95% CI with the variance "
        f"over {first['se_method']}",
        *([console.MIXED] if results["provenance"]["mixed"] else []),
        "",
        "| weights | AUC | interval | SD over initializations | malignant | benign | backbone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["auc"]:
        sd = row["sd_initializations"]
        sd_text = "" if sd is None else f"{sd:.3f}"
        lines.append(
            f"| {row['weights']} | {row['auc']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} "
            f"| {sd_text} | {row['n_malignant']} | {row['n_benign']} | {row['backbone']} |"
        )
    lines += ["", "| difference | AUC | interval | p | p, Holm |", "|---|---|---|---|---|"]
    for row in results["comparisons"]:
        lines.append(
            f"| {row['a']} - {row['b']} | {row['delta']:+.3f} | {row['ci_low']:+.3f} to "
            f"{row['ci_high']:+.3f} | {_format_p(row['p_value'])} | "
            f"{'' if row['p_holm'] is None else _format_p(row['p_holm'])} |"
        )
    return "\n".join(lines)


def _make_jobs(c: ConfigDict, folder: Path) -> dict[str, WeightsJob]:
    jobs: dict[str, WeightsJob] = {}
    for name in c.transfer.weights:
        jobs[name] = _make_job(c, name, weights.find(name, c.model.backbone), folder, jobs)
    return jobs


def _make_job(
    c: ConfigDict,
    name: str,
    pretrained: weights.Weights,
    folder: Path,
    jobs: Mapping[str, WeightsJob],
) -> WeightsJob:
    """Return the job of one set of weights, with the collections of earlier `jobs` if any."""
    config = c.copy_and_resolve_references()
    config.study, config.weights = c.transfer.study, name
    config.model.backbone = pretrained.metadata["backbone"]
    inputs = _first_inputs(jobs) if jobs else prepare_inputs(config)
    job_folder = folder / "weights" / Path(name).name
    return WeightsJob(job_folder, inputs._replace(weights=pretrained), config)


def _first_inputs(jobs: Mapping[str, WeightsJob]) -> StudyInputs:
    """Return the inputs of the first job; all jobs share them, except the weights."""
    return next(iter(jobs.values())).inputs


def _list_runs(c: ConfigDict, jobs: Mapping[str, WeightsJob]) -> list[Run]:
    """Return the runs of each job: those of the first approach."""
    approach, initializations = (
        _first_inputs(jobs).approaches[:1],
        range(c.transfer.initializations),
    )
    if c.transfer.study == "test":
        return independent_test_runs(approach, c.network, c.seed, initializations)
    return cross_validation_runs(
        approach, (c.network,), (c.split,), c.folds, c.seed, initializations
    )


def _read_records(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    paths = [folder / "runs" / run.id / "run.json" for run in runs]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _auc_row(
    runs: Sequence[Run], scores: dict[str, score_tables.Scores], target: str
) -> dict[str, Any]:
    (row,) = (r for r in stage_tables.auc_rows(runs, scores, target) if r["unit"] == "lesion")
    return {field: row[field] for field in FIELDS}


def _format_p(value: float | None) -> str:
    if value is None:
        return "not tested (two initializations)"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _comparison_rows(
    runs: Sequence[Run],
    scores: dict[str, dict[str, score_tables.Scores]],
    target: str,
) -> list[dict[str, Any]]:
    """Return the difference of the last set of weights and each other one, on the same cases and
    initializations."""
    *baselines, last = scores
    rows = [
        {"a": last, "b": baseline, "unit": "lesion", "method": "obuchowski", "primary": False}
        | {"estimator": stage_tables.estimator_name(runs)}
        | stage_tables.score_difference(runs, scores[last], scores[baseline], target, "lesion")
        for baseline in baselines
    ]
    return adjust_families(rows, "transfer")
