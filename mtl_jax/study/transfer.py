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
from mtl_jax.study.evaluation import in_families
from mtl_jax.study.materials import Materials, prepare
from mtl_jax.study.plan import on_test_set, out_of_fold

FIELDS = (
    *("estimator", "auc", "se", "se_method", "ci_low", "ci_high", "ci_method", "df"),
    *("var_patients", "var_initializations", "sd_initializations", "areas"),
    *("n_malignant", "n_benign"),
)


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
            "comparisons": _compared(runs, done, c.data.target, trunks),
        }
        workdir.write_json(folder / "results.json", results)
    return results


def plan(c: ConfigDict) -> str:
    """How many runs there are."""
    each = c.transfer.initializations * (1 if c.transfer.study == "test" else c.folds)
    return f"{each} runs each from {', '.join(c.transfer.weights)}: {c.network} frozen"


def describe(results: dict[str, Any]) -> str:
    """The areas and their differences as two tables of Markdown."""
    first = results["auc"][0]
    lines = [
        f"{results['target']}, {results['network']} frozen; lesion-level AUC; "
        f"{first['estimator']}, {len(first['areas'])} initializations; 95 % intervals: "
        f"variance over {first['se_method']}",
        "",
        "| weights | AUC | interval | SD over initializations | malignant | benign | trunk |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["auc"]:
        sd = row["sd_initializations"]
        spread = "" if sd is None else f"{sd:.3f}"
        lines.append(
            f"| {row['weights']} | {row['auc']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} "
            f"| {spread} | {row['n_malignant']} | {row['n_benign']} | {row['trunk']} |"
        )
    lines += ["", "| difference | AUC | interval | p | p, Holm |", "|---|---|---|---|---|"]
    for row in results["comparisons"]:
        lines.append(
            f"| {row['a']} - {row['b']} | {row['delta']:+.3f} | {row['ci_low']:+.3f} to "
            f"{row['ci_high']:+.3f} | {_p(row['p_value'])} | {_p(row['p_holm'])} |"
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


def _p(value: float | None) -> str:
    if value is None:
        return "not tested (two initializations)"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _compared(
    runs: Sequence[Run],
    done: dict[str, dict[str, score_tables.Scores]],
    target: str,
    trunks: dict[str, str],
) -> list[dict[str, Any]]:
    """The last set of weights minus each of the others, on the same cases; crossed where both are
    of one backbone, whose new layers then start alike."""
    *others, last = done
    rows = [
        {"a": last, "b": other, "unit": "lesion", "method": "obuchowski", "primary": False}
        | {"estimator": tables.estimator(runs)}
        | tables.difference(
            runs, done[last], done[other], target, "lesion", trunks[last] == trunks[other]
        )
        for other in others
    ]
    return in_families(rows, "transfer")
