"""A whole study: materials, plan, stages, results. What is done already is not done again."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax.analysis import choose_rois as choose_rois
from mtl_jax.config import STAGES
from mtl_jax.experiments import compute_cost, console, executors, guards, provenance, stages
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.analyses import run_analyses
from mtl_jax.experiments.evaluation import EvaluationRules
from mtl_jax.experiments.hand_crafted import conventional_scores
from mtl_jax.experiments.primary_comparison import Primary, resolve_primary
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.experiments.results import TABULATED, make_selection, summarize
from mtl_jax.experiments.scores import Scores
from mtl_jax.experiments.stage_tables import auc_rows
from mtl_jax.experiments.study_inputs import StudyInputs, prepare_inputs
from mtl_jax.io import workdir
from mtl_jax.models import registry
from mtl_jax.training import multihost
from mtl_jax.types import Run


def run_study(c: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """Run the study of `c` in `folder` (DESIGN of the folder: docs/architecture.md, section 4) and
    returns what results.json holds; None in a process other than process 0."""
    with guards.locked_workdir(folder, c):
        inputs = multihost.primary_first(lambda: prepare_inputs(c))
        choose_rois.find_rois(inputs.collections[c.data.target], c.analysis.roi_ids)
        primary = resolve_primary(c.statistics.primary, c.study, inputs.approaches, c.data.target)
        here = Provenance(*inputs.of_runs, c)
        multihost.on_primary(lambda: _start_job(c, folder, inputs, here, primary))
        done = _run_stages(c, folder, inputs, here)
        return multihost.on_primary(lambda: _evaluate(c, folder, inputs, done, primary))


def _start_job(
    c: ConfigDict, folder: Path, inputs: StudyInputs, here: Provenance, primary: Primary
) -> None:
    """Check and record the job in its folder, and print its plan."""
    planned = _unique_runs(_plan_stages(c, inputs, {}, stages.Choice(c.split, c.network)))
    provenance.reject_mixed(planned, folder, here, c)
    guards.record_study(folder, c, inputs, {"primary": primary.record()})
    show_plan(c, folder, inputs)


def _evaluate(
    c: ConfigDict,
    folder: Path,
    inputs: StudyInputs,
    done: Mapping[str, Sequence[Run]],
    primary: Primary,
) -> dict[str, Any]:
    """Write the results and the analyses of the finished runs."""
    runs = _unique_runs(done)
    records = {run.id: _read_json(folder / "runs" / run.id / "run.json") for run in runs}
    last = [] if list(done)[-1] in TABULATED else list(done.values())[-1]
    made_from = {run.id: records[run.id]["provenance"] for run in last}
    conventional = _conventional_scores(c, folder, inputs, last, made_from)
    results = summarize(
        c.study,
        done,
        score_tables.read_runs(runs, folder),
        records,
        inputs.collections,
        inputs.split,
        inputs.weights.metadata,
        conventional,
        EvaluationRules(c.selection.unit, primary, c.statistics.bootstrap, c.seed),
    )
    results["provenance"] = provenance.summarize_provenance(records.values())
    workdir.write_json(folder / "results.json", results)
    if c.analysis.enabled and last:
        run_analyses(
            folder,
            last,
            score_tables.read_runs(last, folder),
            inputs.collections,
            inputs.split,
            functools.partial(registry.build, c.model.backbone, lrn=inputs.weights.metadata["lrn"]),
            c.analysis,
            c.seed,
            made_from,
        )
    return results


def show_plan(c: ConfigDict, folder: Path, inputs: StudyInputs | None = None) -> None:
    """Print the plan and its cost, without training."""
    workdir.reject_other_config(folder, c.to_dict())
    inputs = inputs or prepare_inputs(c, dry_run=True)
    console.print_inputs(c, inputs)
    print(resolve_primary(c.statistics.primary, c.study, inputs.approaches, c.data.target))
    plan = _plan_stages(c, inputs, {}, stages.Choice(c.split, c.network))
    guards.reject_unfit(_unique_runs(plan), inputs)
    todo = executors.missing_runs(_unique_runs(plan), folder)
    rate = compute_cost.measure_speed() if c.executor == "local" and todo else None
    console.print_plan(
        {stage: (runs, compute_cost.total_cost(runs, c, inputs)) for stage, runs in plan.items()},
        len(_unique_runs(plan)),
        todo,
        compute_cost.total_cost(todo, c, inputs),
        rate,
    )
    console.print_randomly_frozen(_unique_runs(plan), list(inputs.weights.params))


def _conventional_scores(
    c: ConfigDict,
    folder: Path,
    inputs: StudyInputs,
    runs: Sequence[Run],
    made_from: Mapping[str, Any],
) -> dict[str, Scores]:
    if not (c.analysis.enabled and c.analysis.conventional):
        return {}
    place = folder / "analysis" / "conventional"
    return conventional_scores(place, runs, inputs.collections, inputs.split, c.seed, made_from)


def _run_stages(
    c: ConfigDict, folder: Path, inputs: StudyInputs, here: Provenance
) -> dict[str, list[Run]]:
    """Do the runs of every stage that are missing, each stage as those before it chose."""
    choice = stages.Choice(c.split, c.network)
    done: dict[str, list[Run]] = {}
    with console.progress_bar() as bar:

        def finished(run: Run) -> None:
            bar.update(compute_cost.total_cost([run], c, inputs).operations)
            console.print_line(bar, f"done: {run.id} ({bar.n / bar.total:.0%} of the study)")

        for stage in STAGES[c.study]:
            plan = _plan_stages(c, inputs, done, choice)
            todo = executors.missing_runs(plan[stage], folder)
            before = [run for run in _unique_runs(plan) if executors.is_done(run, folder)]
            console.update_progress(
                bar,
                *(
                    compute_cost.total_cost(r, c, inputs).operations
                    for r in (before, _unique_runs(plan))
                ),
            )
            console.print_line(
                bar,
                f"{stage}: {len(plan[stage]) - len(todo)} of {len(plan[stage])} runs done before",
            )
            guards.run_missing(plan[stage], folder, inputs, here, c, finished)
            done[stage] = plan[stage]
            if stage in TABULATED:
                selection = multihost.from_primary(lambda: _make_selection(c, folder, done))
                choice = choice.after(selection)
                for what, found in selection.items():
                    console.print_line(bar, f"{what}: {found['chosen']}, {found['rule']}")
    return done


def _make_selection(
    c: ConfigDict, folder: Path, done: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    """Return what the latest stage of `done` chooses for those after it."""
    stage, runs = list(done.items())[-1]
    rows = auc_rows(runs, score_tables.read_runs(runs, folder), c.data.target)
    return make_selection(stage, rows, c.selection.unit)


def _plan_stages(
    c: ConfigDict,
    inputs: StudyInputs,
    done: Mapping[str, Sequence[Run]],
    choice: stages.Choice,
) -> dict[str, list[Run]]:
    """Return the runs of every stage: of those done as they were, of those to come as far as
    chosen."""
    return {
        stage: list(done.get(stage) or stages.make_runs(stage, c, inputs.approaches, choice))
        for stage in STAGES[c.study]
    }


def _unique_runs(plan: Mapping[str, Sequence[Run]]) -> list[Run]:
    """Stages that ask for the same run share it."""
    return list(dict.fromkeys(run for runs in plan.values() for run in runs))


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
