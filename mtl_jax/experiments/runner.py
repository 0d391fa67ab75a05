"""Run a study: prepare its inputs, train the missing runs of each stage and write the results."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax.analysis import choose_rois
from mtl_jax.config import STAGES, default
from mtl_jax.experiments import compute_cost, console, duration, executors, guards, stages
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.analyses import run_analyses
from mtl_jax.experiments.evaluation import EvaluationRules
from mtl_jax.experiments.hand_crafted import conventional_scores
from mtl_jax.experiments.predictions import write_predictions
from mtl_jax.experiments.primary_comparison import Primary, resolve_primary
from mtl_jax.experiments.provenance import Provenance, reject_mixed, summarize_provenance
from mtl_jax.experiments.results import select, summarize
from mtl_jax.experiments.scores import Scores
from mtl_jax.experiments.shortcuts import evaluate_shortcuts
from mtl_jax.experiments.stage_tables import auc_rows
from mtl_jax.experiments.study_inputs import StudyInputs, prepare_inputs
from mtl_jax.experiments.study_progress import StudyProgress
from mtl_jax.experiments.time_steps import estimate_by_zeros
from mtl_jax.io import workdir
from mtl_jax.models import registry
from mtl_jax.training import multihost
from mtl_jax.types import Run


def run_study(c: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """Run the study of `c` in its work folder and return the content of results.json.

    Finished runs are not trained again. docs/architecture.md, section 4, lists the files of the
    folder. Returns None in processes other than process 0.
    """
    begin = time.monotonic()
    with guards.locked_workdir(folder, c):
        inputs = multihost.primary_first(lambda: prepare_inputs(c))
        choose_rois.find_rois(inputs.collections[c.data.target], c.analysis.roi_ids)
        primary = resolve_primary(c.statistics.primary, c.study, inputs.approaches, c.data.target)
        job = Provenance(*inputs.run_inputs, c)
        multihost.on_primary(lambda: _start_study(c, folder, inputs, job, primary))
        with StudyProgress(
            begin, _evaluation_seconds(c, inputs), c.train.early_stopping.fraction > 0
        ) as progress:
            finished = _run_stages(c, folder, inputs, job, progress)
            progress.phase("statistics and analyses")
            return multihost.on_primary(lambda: _evaluate(c, folder, inputs, finished, primary))


def _start_study(
    c: ConfigDict, folder: Path, inputs: StudyInputs, job: Provenance, primary: Primary
) -> None:
    """Check and record the study in its folder, and print its plan."""
    planned = _unique_runs(_plan_stages(c, inputs, {}, stages.Choice(c.split, c.network)))
    reject_mixed(planned, folder, job, c)
    guards.record_study(folder, c, inputs, {"primary": primary.record()})
    _print_plan(c, folder, inputs)


def _evaluate(
    c: ConfigDict,
    folder: Path,
    inputs: StudyInputs,
    finished: Mapping[str, Sequence[Run]],
    primary: Primary,
) -> dict[str, Any]:
    """Write the predictions, results and analyses of the finished runs of each stage."""
    runs = _unique_runs(finished)
    records = {
        run.id: json.loads((folder / "runs" / run.id / "run.json").read_text(encoding="utf-8"))
        for run in runs
    }
    last_stage, last_runs = list(finished.items())[-1]
    shortcuts = evaluate_shortcuts(last_runs, inputs.collections, inputs.split)
    if not stages.get(last_stage).compares_approaches:
        last_runs = []
    provenance = {run.id: records[run.id]["provenance"] for run in last_runs}
    conventional = _conventional_scores(c, folder, inputs, last_runs, provenance)
    networks = _describe_networks(inputs, runs)
    tables = score_tables.read_runs(runs, folder)
    results = summarize(
        c.study,
        finished,
        tables,
        records,
        inputs.collections,
        inputs.split,
        networks[runs[0].approach]["weights"],
        conventional,
        EvaluationRules(
            c.selection.unit,
            primary,
            c.statistics.bootstrap,
            c.seed,
            c.train.early_stopping.fraction,
        ),
    )
    results |= {
        "networks": networks,
        "backbones": {
            name: registry.get(name).describe()
            for name in sorted({network["backbone"] for network in networks.values()})
        },
        "provenance": summarize_provenance(records.values()),
        "shortcuts": shortcuts,
        "equal_scores": score_tables.equal_scores(tables),
    }
    results["predictions_sha256"] = write_predictions(folder, finished, tables)
    workdir.write_json(folder / "results.json", results)
    if c.analysis.enabled and last_runs:
        run_analyses(
            folder,
            last_runs,
            score_tables.read_runs(last_runs, folder),
            inputs,
            c,
            provenance,
        )
    return results


def _describe_networks(inputs: StudyInputs, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Return the entry `networks` of results.json: backbone and weights of each approach."""
    metadata = {run.approach: inputs.weights[run.approach].metadata for run in runs}
    return {
        approach: {"backbone": pretrained["backbone"], "weights": dict(pretrained)}
        for approach, pretrained in metadata.items()
    }


def _conventional_scores(
    c: ConfigDict,
    folder: Path,
    inputs: StudyInputs,
    runs: Sequence[Run],
    provenance: Mapping[str, Any],
) -> dict[str, Scores]:
    """Return the scores of conventional CAD by classifier; none if config.analysis disables it."""
    if not (c.analysis.enabled and c.analysis.conventional):
        return {}
    cad_folder = folder / "analysis" / "conventional"
    return conventional_scores(
        cad_folder, runs, inputs.collections, inputs.split, c.seed, provenance
    )


def show_plan(c: ConfigDict, folder: Path) -> None:
    """Print the plan, its cost and its estimated duration, without training."""
    workdir.reject_other_config(folder, c.to_dict(), default().to_dict())
    inputs = prepare_inputs(c, dry_run=True)
    plan = _print_plan(c, folder, inputs)
    if executors.missing_runs(_unique_runs(plan), folder):
        work = _plan_work(plan, c, folder, inputs)
        print(estimate_by_zeros(work, c, inputs, _evaluation_seconds(c, inputs)))


def _print_plan(c: ConfigDict, folder: Path, inputs: StudyInputs) -> dict[str, list[Run]]:
    """Print the inputs and the plan, and return the runs of every stage."""
    console.print_inputs(c, inputs)
    print(resolve_primary(c.statistics.primary, c.study, inputs.approaches, c.data.target))
    plan = _plan_stages(c, inputs, {}, stages.Choice(c.split, c.network))
    planned = _unique_runs(plan)
    guards.reject_unfit(planned, inputs, c)
    missing = executors.missing_runs(planned, folder)
    console.print_plan(
        {stage: (runs, compute_cost.total_cost(runs, c, inputs)) for stage, runs in plan.items()},
        len(planned),
        missing,
        compute_cost.total_cost(missing, c, inputs),
    )
    console.print_randomly_frozen(planned, inputs.weights)
    return plan


def _evaluation_seconds(c: ConfigDict, inputs: StudyInputs) -> float:
    """Return the estimated duration of what follows the training."""
    compares = stages.get(STAGES[c.study][-1]).compares_approaches
    n_networks = sum(approach.tasks[0] == c.data.target for approach in inputs.approaches)
    return duration.evaluation_seconds(
        c.analysis, n_networks if compares else 0, len(inputs.collections)
    )


def _run_stages(
    c: ConfigDict, folder: Path, inputs: StudyInputs, job: Provenance, progress: StudyProgress
) -> dict[str, list[Run]]:
    """Train the missing runs of each stage, and return the runs by stage.

    A stage may choose the partition or the freeze depth of those after it.
    """
    choice = stages.Choice(c.split, c.network)
    finished: dict[str, list[Run]] = {}
    for stage in STAGES[c.study]:
        plan = _plan_stages(c, inputs, finished, choice)
        _print_stage(stage, plan, c, folder, inputs, progress)
        guards.run_missing(
            plan[stage], folder, inputs, job, c, _callbacks(progress, c, folder, inputs)
        )
        finished[stage] = plan[stage]
        selection = multihost.from_primary(lambda: _make_selection(c, folder, finished))
        choice = choice.update(selection)
        for name, rule in selection.items():
            progress.print(f"{name}: {rule['chosen']}, {rule['rule']}")
    return finished


def _callbacks(
    progress: StudyProgress, c: ConfigDict, folder: Path, inputs: StudyInputs
) -> executors.Callbacks:
    """Return what an executor calls to show the progress of the study."""

    def on_finished(run: Run) -> None:
        cost = compute_cost.total_cost([run], c, inputs)
        if c.executor == "local":
            progress.finish_run(run, cost)
        else:
            path = folder / "runs" / run.id / "timing.json"
            timing = json.loads(path.read_text(encoding="utf-8"))
            progress.finish_remote_run(run, cost, timing["seconds"])

    return executors.Callbacks(
        progress.start_group, progress.phase, progress.complete_steps, on_finished, progress.print
    )


def _print_stage(
    stage: str,
    plan: Mapping[str, Sequence[Run]],
    c: ConfigDict,
    folder: Path,
    inputs: StudyInputs,
    progress: StudyProgress,
) -> None:
    """Print how many runs of a stage are finished, and plan the rest of the study."""
    planned = _unique_runs(plan)
    finished = [run for run in planned if executors.is_finished(run, folder)]
    costs = [compute_cost.total_cost(runs, c, inputs) for runs in (finished, planned)]
    progress.plan(*costs, _plan_work(plan, c, folder, inputs))
    n_runs = len(plan[stage])
    n_finished = n_runs - len(executors.missing_runs(plan[stage], folder))
    progress.print(f"{stage}: {n_finished} of {n_runs} runs already finished")


def _plan_work(
    plan: Mapping[str, Sequence[Run]], c: ConfigDict, folder: Path, inputs: StudyInputs
) -> list[duration.Work]:
    """Return what each group of missing runs computes; none if a cluster trains them."""
    if c.executor != "local":
        return []
    runs = _unique_runs(plan)
    missing_ids = [run.id for run in executors.missing_runs(runs, folder)]
    missing = set(multihost.from_primary(lambda: missing_ids))
    work = []
    for runs in plan.values():
        groups = executors.plan_groups(runs, missing, inputs, c, folder)
        work += [duration.group_work(*group, c, inputs, folder) for group in groups]
        missing -= {run.id for run in runs}
    return work


def _make_selection(
    c: ConfigDict, folder: Path, finished: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    """Return the choice that the latest finished stage makes for those after it."""
    name, runs = list(finished.items())[-1]
    stage = stages.get(name)
    if stage.compares_approaches:
        return {}
    rows = auc_rows(runs, score_tables.read_runs(runs, folder), c.data.target)
    return select(stage, rows, c.selection.unit)


def _plan_stages(
    c: ConfigDict,
    inputs: StudyInputs,
    finished: Mapping[str, Sequence[Run]],
    choice: stages.Choice,
) -> dict[str, list[Run]]:
    """Return the runs of every stage; those of stages to come are based on the present choice."""
    return {
        stage: list(finished.get(stage) or stages.make_runs(stage, c, inputs.approaches, choice))
        for stage in STAGES[c.study]
    }


def _unique_runs(plan: Mapping[str, Sequence[Run]]) -> list[Run]:
    """Return the runs of all stages once, as stages share identical runs."""
    return list(dict.fromkeys(run for runs in plan.values() for run in runs))
