"""How far each initialization carries: the same runs from several sets of weights, compared.

It trains through the driver and averages through the tables; what the weights are is not its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.data import shards
from mtl_jax.nouns import Run
from mtl_jax.study import driver, tables, workdir
from mtl_jax.study import scores as score_tables
from mtl_jax.study.materials import Materials, prepare
from mtl_jax.study.plan import on_test_set, out_of_fold

FIELDS = ("auc", "se", "ci_low", "ci_high", "sd_seeds", "areas", "n_malignant", "n_benign")


def transfer(c: ConfigDict, folder: Path) -> dict[str, Any]:
    """Does the runs of config.transfer in `folder` and returns what its results.json holds.

    Each set of weights has a folder of runs of its own, in `weights/NAME/`. The areas are of the
    target, the mean over the seeds; each set is compared with the last one named.
    """
    with workdir.alone(folder):
        workdir.claim(folder, c.to_dict())
        plain = c.copy_and_resolve_references()
        plain.study = c.transfer.study
        plain.weights = c.transfer.weights[0]
        plain.model.trunk = weights.find(plain.weights, c.model.trunk).card["trunk"]
        materials = prepare(plain)
        devices = [device.device_kind for device in jax.devices()]
        workdir.write_json(folder / "environment.json", workdir.environment(devices))
        runs = _runs(plain, materials, c.transfer.initializations)
        done, trunks = {}, {}
        for name in c.transfer.weights:
            own = plain.copy_and_resolve_references()
            found = weights.find(name, c.model.trunk)
            own.weights, own.model.trunk = name, found.card["trunk"]
            trunks[name] = own.model.trunk
            done[name] = _scored(name, found, runs, folder, materials, own)
        results = {
            "target": c.data.target,
            "network": c.network,
            "collections": {n: shards.content(r) for n, r in materials.collections.items()},
            "auc": [
                {"weights": name, "trunk": trunks[name]} | _area(runs, scored, c.data.target)
                for name, scored in done.items()
            ],
            "comparisons": _compared(runs, done, c.data.target),
        }
        workdir.write_json(folder / "results.json", results)
    return results


def plan(c: ConfigDict) -> str:
    """How many runs there are."""
    each = c.transfer.initializations * (1 if c.transfer.study == "test" else c.folds)
    return f"{each} runs each from {', '.join(c.transfer.weights)}: {c.network} frozen"


def describe(results: dict[str, Any]) -> str:
    """The areas and their differences as two tables of Markdown."""
    lines = [
        f"{results['target']}, {results['network']} frozen; per lesion; mean over "
        f"{len(results['auc'][0]['areas'])} seeds, 95 % intervals with patients as the unit",
        "",
        "| weights | AUC | interval | SD over seeds | malignant | benign | trunk |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["auc"]:
        spread = "" if row["sd_seeds"] is None else f"{row['sd_seeds']:.3f}"
        lines.append(
            f"| {row['weights']} | {row['auc']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} "
            f"| {spread} | {row['n_malignant']} | {row['n_benign']} | {row['trunk']} |"
        )
    lines += ["", "| difference | AUC | interval | p |", "|---|---|---|---|"]
    for row in results["comparisons"]:
        p = "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
        lines.append(
            f"| {row['a']} less {row['b']} | {row['delta']:+.3f} | {row['ci_low']:+.3f} to "
            f"{row['ci_high']:+.3f} | {p} |"
        )
    return "\n".join(lines)


def _runs(c: ConfigDict, materials: Materials, count: int) -> list[Run]:
    first, starts = materials.approaches[:1], range(count)
    if c.study == "test":
        return on_test_set(first, c.network, c.seed, starts)
    return out_of_fold(first, (c.network,), (c.split,), c.folds, c.seed, starts)


def _scored(
    name: str,
    found: weights.Weights,
    runs: Sequence[Run],
    folder: Path,
    materials: Materials,
    c: ConfigDict,
) -> dict[str, score_tables.Scores]:
    """The scores of each run that starts from `found`, the weights of this name."""
    place = folder / "weights" / Path(name).name
    place.mkdir(parents=True, exist_ok=True)
    workdir.freeze(place / "card.json", found.card, f"the weights {name}")
    todo = driver.missing(runs, place)
    print(f"{name}: {len(runs) - len(todo)} of {len(runs)} runs done before", flush=True)
    of_these = materials._replace(weights=found)
    driver.EXECUTORS[c.executor](todo, place, of_these, c, lambda run: None)
    return {run.id: score_tables.read(place / "runs" / run.id / "scores.csv") for run in runs}


def _area(
    runs: Sequence[Run], scored: dict[str, score_tables.Scores], target: str
) -> dict[str, Any]:
    (row,) = (r for r in tables.area_rows(runs, scored, target) if r["unit"] == "lesion")
    return {field: row[field] for field in FIELDS}


def _compared(
    runs: Sequence[Run], done: dict[str, dict[str, score_tables.Scores]], target: str
) -> list[dict[str, Any]]:
    """The last set of weights less each of the others, on the same cases and seeds."""
    *others, last = done
    return [
        {"a": last, "b": other} | tables.difference(runs, done[last], done[other], target, "lesion")
        for other in others
    ]
