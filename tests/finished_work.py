"""Small made-up work folders of finished jobs, with hostile names, for the tests of the report."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from mtl_jax import config
from mtl_jax.analysis.write_results import write_arrays, write_table
from mtl_jax.experiments import scores
from mtl_jax.experiments.evaluation import EvaluationRules
from mtl_jax.experiments.primary_comparison import Primary, resolve_primary
from mtl_jax.experiments.results import add_stage, summarize
from mtl_jax.experiments.run_lists import Approach
from mtl_jax.experiments.splits import Split
from mtl_jax.experiments.stages import get
from mtl_jax.io import workdir
from mtl_jax.models import registry
from mtl_jax.types import RoiSet, Run

HOSTILE = "<script>alert('case')</script>&\"'$x_"
DM = "_<b>$dm"  # a name with special characters of HTML, TeX and Matplotlib legends
COLUMNS = ("roi_id", "case_id", "lesion_id", "view")


def make_rois(name: str, modality: str, cases: int, truth: str, seed: int) -> RoiSet:
    """Return ROIs of one lesion per case, mostly two views; the first case has a hostile id."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(cases):
        case_id = f"{HOSTILE}{name}" if case == 0 else f"{name}-{case:03d}"
        for view in ("CC", "MLO")[: 1 + (rng.random() < 0.7)]:
            row = (f"{name}/{case_id}/1/{view}", case_id, "1", view, int(case % 5 < 2))
            rows.append((*row, modality, truth, "test" if case % 2 else "train"))
    names = (*COLUMNS, "label", "modality", "truth_source", "split")
    index = {k: np.array(v) for k, v in zip(names, zip(*rows, strict=True), strict=True)}
    manifest = {
        "left_out": [[f"image-{i}.png", "no lesion is marked"] for i in range(9)]
        + [[HOSTILE, "outside the image"]],
        "decisions": [f"{name}: gray is taken as it stands in {HOSTILE}.png"],
        "notes": [
            {
                "kind": "HighBit is corrected",
                "corrected": True,
                "lesion_views": 3,
                "items": [f"{HOSTILE}/1/CC", "b/1/CC", "c/1/CC"],
                "detail": "15 of 12 bits",
            },
            {
                "kind": "few bits are used",
                "corrected": False,
                "lesion_views": 41,
                "items": ["d/2/MLO"],
                "detail": "",
            },
        ]
        if name == "ddsm"
        else [],
        "checks": [
            {
                "kind": "lesions are dark",
                "count": 83,
                "total": 100,
                "message": "lesions are dark in 83% of 100 views: is the gray inverted?",
                "items": [f"{HOSTILE}/1/CC", "b/1/CC"],
            }
        ]
        if name == "ddsm"
        else [],
        "imaging": {
            "background": {"correct": True, "along_mm": 3.2, "depth_mm": 1.6},
            "pixel_um": 200.0,
            "roi_pixels": 128,
        },
        "shards": [],
        "index": {"sha256": "0" * 64},
        "fingerprint": "0" * 64,
    }
    pixels = np.broadcast_to(np.int16(0), (len(rows), 128, 128))
    return RoiSet(name, index, (pixels,), manifest)


def make_scores(rois: RoiSet, cases: list[str], separation: float, seed: int) -> scores.Scores:
    rows = np.flatnonzero(np.isin(rois.index["case_id"], cases))
    label = rois.index["label"][rows]
    noise = np.random.default_rng(seed).standard_normal(len(rows))
    return scores.make_scores(rois, rows, 1 / (1 + np.exp(-noise - separation * label)))


def make_folder(
    folder: Path,
    study: str = "test",
    approaches: tuple[str, ...] = ("mttl", "sttl"),
    cases: int = 60,
    truth: str = "simulated",
    weights: str = "shipped",
    epochs: int = 12,
    analysed: bool = True,
    initializations: int = 1,
) -> Path:
    """Write the work folder of a finished job: made-up scores and their results."""
    settings = (study, approaches, cases, truth, weights, epochs, analysed, initializations)
    return shutil.copytree(_make_once(*settings), folder, dirs_exist_ok=True)


@functools.cache
def _make_once(
    study: str,
    approaches: tuple[str, ...],
    cases: int,
    truth: str,
    weights: str,
    epochs: int,
    analysed: bool,
    initializations: int,
) -> Path:
    """Return a folder that is copied, because its statistics take a second."""
    folder = Path(tempfile.mkdtemp(prefix="mtl_jax-finished-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    modalities = {"sfm": "SFM", "ddsm": "SFM", DM: "DM"}
    rois = {n: make_rois(n, m, cases, truth, i) for i, (n, m) in enumerate(modalities.items())}
    index = rois["sfm"].index
    marked_cases = {
        split_name: sorted(set(index["case_id"][index["split"] == split_name]))
        for split_name in index["split"]
    }
    parts = [marked_cases["train"][i::3] for i in range(3)] if study == "cross_validation" else []
    partitions = [parts] if parts else []
    split = Split(
        "sfm",
        marked_cases["train"],
        marked_cases["test"],
        partitions,
        "the collection's own test set",
    )
    tasks = {"mttl": tuple(modalities), "sttl": ("sfm",)}
    runs = [
        Run(approach, tasks[approach], "C1", fold, 0, initialization=initialization)
        for approach in approaches
        for initialization in range(initializations)
        for fold in (range(len(parts)) if parts else (None,))
    ]
    tables, records = {}, {}
    for number, run in enumerate(runs):
        scored_cases = split.test if run.fold is None else parts[run.fold]
        separation = 1.4 if run.approach == "mttl" else 1.0
        run_scores = [make_scores(rois["sfm"], scored_cases, separation, 5 + run.initialization)]
        if run.fold is None:
            run_scores += [
                make_scores(rois[t], marked_test_cases(rois[t]), 1.2, number) for t in run.tasks[1:]
            ]
        tables[run.id] = scores.concatenate(run_scores)
        records[run.id] = {
            "id": run.id,
            "approach": run.approach,
            "tasks": list(run.tasks),
            "network": run.network,
            "fold": run.fold,
            "seed": run.seed,
            "initialization": run.initialization,
            "epochs": epochs,
            "rois_learned": {t: 40 for t in run.tasks},
            "rois_scored": {t: int(np.sum(tables[run.id].task == t)) for t in run.tasks},
            "input_mean": {t: 0.125 for t in run.tasks},
            "input_std": {t: 0.25 for t in run.tasks},
            "train_auc": {t: None if t == DM else 0.991 for t in run.tasks},
            "frozen": ["C1"],
            "pretrained": ["C1"],
        }
        run_folder = folder / "runs" / run.id
        run_folder.mkdir(parents=True)
        (run_folder / "history.jsonl").write_text(
            make_history(run.tasks, epochs, number, held_out=run.fold is not None)
        )
        workdir.write_json(run_folder / "run.json", records[run.id])
        workdir.write_json(run_folder / "timing.json", {"seconds": 61.5 + number})
        scores.write_scores(run_folder / "scores.csv", tables[run.id])
    weights_metadata = {
        "name": weights,
        "source": f"{HOSTILE}.pth",
        "sha256": "ab" * 32,
        "format": "npz",
        "layers": ["C1"],
        "backbone": "alexnet",
        "lrn": False,
        "note": "made for a test",
    }
    c = config.default().to_dict() | {
        "study": study,
        "approaches": approaches,
        "weights": weights,
        "folds": 3,
    }
    workdir.write_json(folder / "config.json", c)
    workdir.write_json(folder / "environment.json", workdir.environment(["made-up device"]))
    target_scored = split.train if split.partitions else split.test
    conventional = {
        name: make_scores(rois["sfm"], target_scored, 0.8, 7) for name in ("lda", "forest")
    }
    stages = {study: runs}
    names = [Approach(a, tasks[a], "shared", ()) for a in approaches]
    primary = resolve_primary(config.default().statistics.primary, study, names, "sfm")
    rules = EvaluationRules("view", primary, 200, 0)
    record = split.record() | {"primary": primary.record()}
    workdir.write_json(folder / "folds.json", record)
    results = summarize(
        study, stages, tables, records, rois, split, weights_metadata, conventional, rules
    )
    network = {"backbone": "alexnet", "weights": weights_metadata}
    results |= {
        "networks": dict.fromkeys(approaches, network),
        "backbones": {"alexnet": registry.get("alexnet").describe()},
    }
    workdir.write_json(folder / "results.json", results)
    if analysed and "mttl" in approaches:
        make_analysis(folder / "analysis", rois, tables, runs)
    return folder


def make_stages(folder: Path, last: str = "test") -> Path:
    """Add the results of the earlier stages to a folder of `make_folder`.

    `last` is the last stage of the job: splits, depth, learning_curve, seeds or test.
    """
    rois = make_rois("sfm", "SFM", 60, "simulated", 0)
    cases = sorted(set(rois.index["case_id"]))
    results = json.loads((folder / "results.json").read_text())
    runs = {
        "splits": [
            Run("mttl", ("sfm",), network, fold, 0, split, seed)
            for split in (1, 2, 3)
            for network in ("C1", "C1-C3")
            for seed in (0, 1)
            for fold in (0, 1)
        ],
        "depth": [
            Run("mttl", ("sfm",), network, fold, 0, 2, seed)
            for network in config.NETWORKS
            for seed in range(6)
            for fold in (0, 1)
        ],
        "learning_curve": [
            Run(approach, ("sfm",), "C1", None, 0, initialization=seed, target_cases=target_cases)
            for target_cases in (10, 20, 40)
            for approach in ("mttl", "sttl")
            for seed in (0, 1)
        ],
        "seeds": [
            Run(approach, ("sfm",), "C1", None, 0, initialization=seed)
            for approach in ("mttl", "sttl")
            for seed in range(5)
        ],
    }
    test = results["stages"]
    results["stages"] = []
    rules = EvaluationRules("view", Primary("lesion", "obuchowski", None), 200, 0)
    for stage, stage_runs in runs.items():
        run_scores = {
            run.id: make_scores(rois, cases[run.fold :: 2] if run.fold is not None else cases, 1, i)
            for i, run in enumerate(stage_runs)
        }
        if last in (stage, "test"):
            add_stage(results, get(stage), stage_runs, run_scores, rules, stage == last)
        if last == "test" and stage == "depth":
            selected_runs = [run for run in stage_runs if run.network == "C1"]
            add_stage(results, get("cross_validation"), selected_runs, run_scores, rules, False)
    for entry in results["stages"]:
        entry["runs"] = [run["id"] for run in results["runs"]]
    if last == "test":
        results["stages"] += test
    else:
        results.pop("conventional")
    workdir.write_json(folder / "results.json", results)
    return folder


def make_analysis(
    folder: Path, rois: dict[str, RoiSet], tables: dict[str, scores.Scores], runs: list[Run]
) -> None:
    """Write the analysis files of these runs from random numbers."""
    rng = np.random.default_rng(11)
    folder.mkdir()
    scored = tables[runs[0].id].select_rows(tables[runs[0].id].task == "sfm")
    parts = [(n, r.index["roi_id"][:12], r.index["label"][:12], True) for n, r in rois.items()]
    parts.append(("sfm", scored.roi_id, scored.label, False))
    roi_id = np.concatenate([ids for _, ids, _, _ in parts]).astype(str)
    counts = [len(ids) for _, ids, _, _ in parts]
    is_training = np.repeat([flag for *_, flag in parts], counts)
    sampled = is_training | (np.arange(len(roi_id)) % 2 == 0)
    write_arrays(
        folder / "rois.npz",
        roi_id=roi_id,
        case_id=roi_id,
        lesion_id=roi_id,
        view=roi_id,
        label=np.concatenate([labels for _, _, labels, _ in parts]),
        task=np.repeat([name for name, *_ in parts], counts),
        learned=is_training,
        sampled=sampled,
        picture=rng.integers(0, 255, (len(roi_id), 128, 128)).astype(np.uint8),
    )
    header = ("layer", "measure", "groups", "rois", "value", "se", "n")
    layers = ("F1", "F2", "F3", "F4")
    for run in runs:
        for layer in layers:
            write_arrays(
                folder / f"tsne-{run.approach}-{layer}.npz",
                points=rng.standard_normal((int(sampled.sum()), 2)).astype(np.float32),
                costs=np.array([0.5, 0.4]),
                perplexity=np.array(11.0),
            )
        write_table(
            folder / f"convergence-{run.approach}.csv",
            header,
            [
                (layer, measure, groups, subset, float(rng.random()), 0.05, 36)
                for layer in layers
                for measure, groups, subset in (
                    ("silhouette", "task", "learned"),
                    ("silhouette", "truth", "scored"),
                    ("mmd2", f"sfm and {DM}", "learned"),
                )
            ],
        )
        maps = rng.standard_normal((2, 5, 3, 128, 128))
        write_arrays(
            folder / f"maps-{run.approach}.npz",
            roi_id=np.array([HOSTILE, roi_id[1]]),
            kind=np.array(["malignant, scored highest", "requested"]),
            label=np.array([1, 0]),
            picture=rng.integers(0, 255, (2, 128, 128)).astype(np.uint8),
            layer=np.array(["C1", "C2", "C3", "C4", "C5"]),
            feature=rng.integers(0, 64, (2, 5, 3)),
            maps=np.float16(maps / np.abs(maps).max()),
            integrated=np.float32(rng.standard_normal((2, 128, 128))),
        )
    layer_header = ("layer", "nodes", "kernel", "stride", "map", "pooled", "parameters")
    rows = [("C1", 64, 11, 4, 31, 15, 23296), ("F5", 2, "", "", "", "", 202)]
    write_table(folder / "layers.csv", layer_header, rows)


def marked_test_cases(rois: RoiSet) -> list[str]:
    return sorted(set(rois.index["case_id"][rois.index["split"] == "test"]))


def make_history(tasks: tuple[str, ...], epochs: int, seed: int, held_out: bool = False) -> str:
    """Return history.jsonl; with `held_out`, every other epoch and the last have the loss
    and AUC of a held-out fold."""
    rng = np.random.default_rng(seed)
    lines = []
    for epoch in range(epochs):
        loss = {t: 0.7 * np.exp(-epoch / 5) + 0.02 * rng.random() for t in tasks}
        line = {"epoch": epoch + 1, "step": 10 * (epoch + 1), "learning_rate": 0.001}
        line |= {"loss": float(np.mean(list(loss.values()))), "accuracy": 0.9}
        line |= {f"loss/{t}": float(v) for t, v in loss.items()}
        line |= {f"accuracy/{t}": float(1 - v / 1.5) for t, v in loss.items()}
        if held_out and (epoch % 2 or epoch + 1 == epochs):
            line["validation_loss"] = 0.25 + 0.45 * np.exp(-epoch / 4) + 0.05 * rng.random()
            line["validation_auc"] = 0.85 - 0.3 * np.exp(-epoch / 4) + 0.05 * rng.random()
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)
