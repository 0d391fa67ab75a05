"""A whole study: materials, plan, stages, results. What is done already is not done again."""

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import patient_notes
from mtl_jax.analysis import choose as choose_regions
from mtl_jax.config import STAGES
from mtl_jax.data import patients, shards
from mtl_jax.models import trunks
from mtl_jax.nouns import Run
from mtl_jax.study import driver, leaks, length, splits, stages, tell, workdir
from mtl_jax.study import scores as score_tables
from mtl_jax.study.analyses import look_into
from mtl_jax.study.conventional import conventional_scores
from mtl_jax.study.materials import Materials, prepare
from mtl_jax.study.results import TABULATED, choose, summarize
from mtl_jax.study.scores import Scores
from mtl_jax.study.tables import area_rows


def conduct(c: ConfigDict, folder: Path) -> dict[str, Any]:
    """Runs the study of `c` in `folder` (DESIGN of the folder: docs/architecture.md, section 4) and
    returns what results.json holds."""
    with workdir.alone(folder):
        workdir.claim(folder, c.to_dict())
        materials = prepare(c)
        choose_regions.asked(materials.collections[c.data.target], c.analysis.rois)
        _record(folder, materials)
        show_plan(c, folder, materials)
        done = _complete(c, folder, materials)
        runs = _distinct(done)
        last = [] if list(done)[-1] in TABULATED else list(done.values())[-1]
        conventional = _conventional(c, folder, materials, last)
        results = summarize(
            c.study,
            done,
            _scores(runs, folder),
            {run.id: _read_json(folder / "runs" / run.id / "run.json") for run in runs},
            materials.collections,
            materials.split,
            materials.weights.card,
            conventional,
            c.selection.unit,
            c.statistics.bootstrap,
            c.seed,
        )
        workdir.write_json(folder / "results.json", results)
        if c.analysis.enabled and last:
            look_into(
                folder,
                last,
                _scores(last, folder),
                materials.collections,
                materials.split,
                functools.partial(trunks.build, c.model.trunk, lrn=materials.weights.card["lrn"]),
                c.analysis,
                c.seed,
            )
    return results


def show_plan(c: ConfigDict, folder: Path, materials: Materials | None = None) -> None:
    """Prints what is about to happen and what it costs; trains nothing."""
    workdir.refuse_other(folder, c.to_dict())
    materials = materials or prepare(c, dry_run=True)
    tell.materials(c, materials)
    plan = _plan(c, materials, {}, stages.Choice(c.split, c.network))
    for run in _distinct(plan):
        splits.refuse_unfit(run, materials.collections, materials.split)
    todo = driver.missing(_distinct(plan), folder)
    rate = length.speed() if c.executor == "local" and todo else None
    tell.plan(
        {stage: (runs, _cost(runs, c, materials)) for stage, runs in plan.items()},
        len(_distinct(plan)),
        todo,
        _cost(todo, c, materials),
        rate,
        list(materials.weights.params),
    )


def _conventional(
    c: ConfigDict, folder: Path, materials: Materials, runs: Sequence[Run]
) -> dict[str, Scores]:
    if not (c.analysis.enabled and c.analysis.conventional):
        return {}
    place = folder / "analysis" / "conventional"
    return conventional_scores(
        place, runs, materials.collections, materials.split, c.analysis.trees, c.seed
    )


def _record(folder: Path, materials: Materials) -> None:
    """environment.json; and folds.json, before any training and once for all."""
    devices = [device.device_kind for device in jax.devices()]
    workdir.write_json(folder / "environment.json", workdir.environment(devices))
    content = {name: shards.content(rois) for name, rois in materials.collections.items()}
    alike = leaks.across(materials.collections, materials.split)
    if alike:
        print(leaks.note(alike), file=sys.stderr)
    similar = patients.similar(list(materials.collections.values()))
    if similar:
        print(f"mtl_jax: note: {patient_notes.similar_note(similar)}", file=sys.stderr)
    namespaces = {name: patients.space(rois) for name, rois in materials.collections.items()}
    people = {name: patients.digest(rois) for name, rois in materials.collections.items()}
    found = {"namespaces": namespaces, "patients": people}
    found |= {"similar_ids": similar, "alike": alike}
    workdir.freeze(
        folder / "folds.json",
        materials.split.record() | {"collections": content} | found,
        "the folds, or the collections they were made from,",
    )


def _complete(c: ConfigDict, folder: Path, materials: Materials) -> dict[str, list[Run]]:
    """Does the runs of every stage that are missing, each stage as those before it chose."""
    choice = stages.Choice(c.split, c.network)
    done: dict[str, list[Run]] = {}
    with tell.study_bar() as bar:

        def finished(run: Run) -> None:
            bar.update(_cost([run], c, materials).operations)
            tell.say(bar, f"done: {run.id} ({bar.n / bar.total:.0%} of the study)")

        for stage in STAGES[c.study]:
            plan = _plan(c, materials, done, choice)
            todo = driver.missing(plan[stage], folder)
            before = [run for run in _distinct(plan) if driver.is_done(run, folder)]
            tell.advance(
                bar, *(_cost(r, c, materials).operations for r in (before, _distinct(plan)))
            )
            tell.say(
                bar,
                f"{stage}: {len(plan[stage]) - len(todo)} of {len(plan[stage])} runs done before",
            )
            driver.EXECUTORS[c.executor](plan[stage], folder, materials, c, finished)
            done[stage] = plan[stage]
            if stage in TABULATED:
                rows = area_rows(done[stage], _scores(done[stage], folder), c.data.target)
                selection = choose(stage, rows, c.selection.unit)
                choice = choice.after(selection)
                for what, found in selection.items():
                    tell.say(bar, f"{what}: {found['chosen']}, {found['rule']}")
    return done


def _plan(
    c: ConfigDict,
    materials: Materials,
    done: Mapping[str, Sequence[Run]],
    choice: stages.Choice,
) -> dict[str, list[Run]]:
    """The runs of every stage: of those done as they were, of those to come as far as chosen."""
    return {
        stage: list(done.get(stage) or stages.runs_of(stage, c, materials.approaches, choice))
        for stage in STAGES[c.study]
    }


def _distinct(plan: Mapping[str, Sequence[Run]]) -> list[Run]:
    """Stages that ask for the same run share it."""
    return list(dict.fromkeys(run for runs in plan.values() for run in runs))


def _cost(runs: Sequence[Run], c: ConfigDict, materials: Materials) -> length.Cost:
    return length.total(runs, materials.collections, materials.split, c.train, c.model.trunk)


def _scores(runs: Sequence[Run], folder: Path) -> dict[str, Scores]:
    return {run.id: score_tables.read(folder / "runs" / run.id / "scores.csv") for run in runs}


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
