"""Controls as options of an approach: permuted labels of the auxiliary collections, equal steps."""

import csv
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kit import small_head
from test_early_stopping import METADATA, make_collection
from test_study import make_roi_set
from test_validation import COLLECTIONS, SPLIT, train

from mtl_jax import bundle, config, report
from mtl_jax.bundle import build, model_card
from mtl_jax.experiments import compute_cost, permuted_labels, run_data, splits
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.experiments.run_lists import expand_approaches
from mtl_jax.experiments.runner import run_study
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.report import methods, read_workdir
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import GROUPS, InputError, RoiSet, Run

PERMUTED, MATCHED = "mttl+labels=permuted", "sttl+steps=matched"
APPROACHES = ("mttl", "sttl", MATCHED, PERMUTED)
RUN = Run(PERMUTED, ("t", "x", "y"), "C1", None, 0)


def make_collections() -> dict[str, RoiSet]:
    """Return a target and two auxiliary collections; every third case is malignant, two views."""
    return {name: make_roi_set(name, cases) for name, cases in (("t", 30), ("x", 24), ("y", 40))}


def make_split(collections: dict[str, RoiSet], auxiliaries: tuple[str, ...] = ()) -> splits.Split:
    return splits.make_split(collections, "t", auxiliaries, splits.SplitRules(True, 1, 3, 0.4, 0))


def case_labels(
    run: Run, collections: dict[str, RoiSet], split: splits.Split
) -> dict[str, dict[str, set[int]]]:
    """Return the labels of the ROIs of each training case, by collection."""
    rows, _ = splits.run_rows(run, collections, split)
    labels = permuted_labels.training_labels(run, rows, collections, split)
    by_case: dict[str, dict[str, set[int]]] = {name: {} for name in rows}
    for name in rows:
        cases = collections[name].index["case_id"][rows[name]]
        for case, label in zip(cases.tolist(), labels[name].tolist(), strict=True):
            by_case[name].setdefault(case, set()).add(label)
    return by_case


# Permuted labels


@pytest.mark.parametrize("auxiliaries", [(), ("x", "y")])
def test_labels_are_permuted_by_case_in_the_auxiliary_collections_alone(
    auxiliaries: tuple[str, ...],
) -> None:
    """`auxiliaries` are those with a test set, whose labels are not part of the permutation."""
    collections = make_collections()
    split = make_split(collections, auxiliaries)
    true, permuted = (
        case_labels(run, collections, split) for run in (replace(RUN, approach="mttl"), RUN)
    )
    assert permuted["t"] == true["t"]
    for name in ("x", "y"):
        assert bool(split.auxiliary_tests.get(name)) == bool(auxiliaries)
        assert permuted[name].keys() == true[name].keys() and permuted[name] != true[name]
        assert all(len(labels) == 1 for labels in permuted[name].values())
        counts = [Counter(map(min, labels[name].values())) for labels in (permuted, true)]
        assert counts[0] == counts[1] and len(counts[0]) == 2


def test_a_case_has_one_label_in_all_folds_and_another_in_other_initializations() -> None:
    collections = make_collections()
    split = make_split(collections)
    first = case_labels(RUN, collections, split)
    for fold in range(3):
        assert case_labels(replace(RUN, fold=fold), collections, split)["x"] == first["x"]
    without = replace(RUN, approach=f"{PERMUTED}+without=x", tasks=("t", "y"))
    assert case_labels(without, collections, split)["y"] == first["y"]
    others = [replace(RUN, initialization=1), replace(RUN, initialization=2), replace(RUN, seed=1)]
    drawn = [first, *(case_labels(run, collections, split) for run in others)]
    for a, b in combinations(drawn, 2):
        assert a["x"] != b["x"] and a["y"] != b["y"] and a["x"].keys() == b["x"].keys()


def test_permuted_labels_are_independent_of_the_true_ones() -> None:
    """The number of malignant cases that stay malignant is hypergeometric (n = 40, K = 14)."""
    collections = make_collections()
    split = make_split(collections)
    true = case_labels(replace(RUN, approach="mttl"), collections, split)["y"]
    malignant = [case for case, labels in true.items() if labels == {1}]
    n, k, draws = len(true), len(malignant), 400
    stay = []
    for number in range(draws):
        run = replace(RUN, initialization=number)
        by_case = permuted_labels.permuted_unit_labels(run, collections, split)["y"]
        stay.append(sum(by_case[case] for case in malignant))
    variance = k * (k / n) * (1 - k / n) * (n - k) / (n - 1)
    assert np.mean(stay) == pytest.approx(k * k / n, abs=4 * math.sqrt(variance / draws))
    assert np.var(stay) == pytest.approx(variance, rel=0.4)


def test_a_case_with_a_malignant_and_a_benign_lesion_counts_as_malignant() -> None:
    collections = make_collections()
    x = collections["x"]
    label = x.index["label"].copy()
    label[0], label[1] = 0, 1  # of case x00
    collections["x"] = replace(x, index={**x.index, "label": label})
    permuted = permuted_labels.permuted_unit_labels(RUN, collections, make_split(collections))
    assert sum(permuted["x"].values()) == 8  # x00, x03 ... x21


def test_lesions_are_permuted_where_groups_take_the_place_of_patients() -> None:
    """A group with many lesions must not turn all of them malignant or benign at once."""
    collections = make_collections()
    y = collections["y"]
    n = len(y.index["label"])
    index = {
        **y.index,
        "case_id": np.array([f"g{number // 20}" for number in range(n)], object),
        "lesion_id": np.array([f"{number // 2}" for number in range(n)], object),
    }
    collections["y"] = replace(y, index=index, manifest={**y.manifest, "cases_are": GROUPS})
    split = make_split(collections)
    rows = {name: np.arange(len(c.index["label"])) for name, c in collections.items()}
    labels = permuted_labels.training_labels(RUN, rows, collections, split)["y"]
    assert labels.sum() == y.index["label"].sum()  # two ROIs of each lesion
    assert (labels[::2] == labels[1::2]).all() and (labels != y.index["label"]).any()
    mixed = [len(set(labels[start : start + 20].tolist())) for start in range(0, n, 20)]
    assert np.mean(mixed) > 1.5


def test_collections_of_one_class_are_rejected() -> None:
    collections = make_collections()
    for name in ("x", "y"):
        index = collections[name].index
        ones = {**index, "label": np.ones_like(index["label"])}
        collections[name] = replace(collections[name], index=ones)
    split = make_split(collections)
    rows, _ = splits.run_rows(RUN, collections, split)
    with pytest.raises(InputError, match="x, y are of one class.* remove 'mttl.labels=permuted'"):
        permuted_labels.training_labels(RUN, rows, collections, split)


def test_only_the_training_dataset_has_permuted_labels() -> None:
    run = replace(RUN, tasks=("t", "x"))
    runs = [replace(run, initialization=number) for number in range(3)]
    # Without a test set of `x`, its ROIs are only trained on; with one, they are scored, too.
    for split in (SPLIT, SPLIT._replace(auxiliary_tests={"x": ["x3", "x4"]})):
        subsets = run_data.make_subsets(runs, COLLECTIONS, split)
        assert len(subsets) == 3  # each initialization has its own labels
        dataset, ranges = run_data.training_dataset(subsets, COLLECTIONS, "auto")
        for run in runs:
            subset = subsets[run_data.subset_key(run)]
            by_case = permuted_labels.permuted_unit_labels(run, COLLECTIONS, split)["x"]
            cases = COLLECTIONS["x"].index["case_id"][subset.training["x"]].tolist()
            target = COLLECTIONS["t"].index["label"][subset.training["t"]].tolist()
            trained = np.asarray(dataset.label)[ranges[run_data.subset_key(run)]].tolist()
            assert trained == target + [by_case[case] for case in cases]
            evaluation = run_data.evaluation_dataset(subset, COLLECTIONS, "auto")
            true = [COLLECTIONS[n].index["label"][rows] for n, rows in subset.evaluation.items()]
            assert np.asarray(evaluation.label).tolist() == np.concatenate(true).tolist()


def test_the_inner_set_has_true_labels() -> None:
    collections = {"t": make_collection("t", 28), "x": make_collection("x", 20)}
    cases = list(dict.fromkeys(collections["t"].index["case_id"]))
    split = splits.Split("t", cases[:20], cases[20:], [], "made up")
    collections = {
        name: replace(rois, shards=(rois.shards[0] + np.arange(128, dtype=np.int16),))
        for name, rois in collections.items()
    }
    run = replace(RUN, tasks=("t", "x"))
    (subset,) = run_data.make_subsets([run], collections, split, 0.25).values()
    assert len(subset.inner["t"]) and not len(subset.inner["x"])
    inner = run_data.inner_dataset(subset, collections, "auto")
    expected = collections["t"].index["label"][subset.inner["t"]]
    assert np.asarray(inner.label).tolist() == expected.tolist()


def read_scores(folder: Path) -> list[float]:
    lines = (folder / "scores.csv").read_text().splitlines()
    return [float(row["score"]) for row in csv.DictReader(lines)]


@pytest.mark.slow  # test_only_the_training_dataset_has_permuted_labels is a quick one
def test_replicas_with_their_own_labels_train_as_alone(tmp_path: Path) -> None:
    run = Run(PERMUTED, ("t", "x"), "C1-C5", 0, 0)
    runs = [run, replace(run, initialization=1)]
    together = train(tmp_path / "together", runs, Replicas(1, 2, ragged=True))
    (alone,) = train(tmp_path / "alone", runs[1:])
    assert read_scores(together[1]) == pytest.approx(read_scores(alone), rel=1e-3)
    records = [json.loads((folder / "run.json").read_text()) for folder in together]
    digests = [record["provenance"]["data"]["permuted_labels"]["x"] for record in records]
    assert digests[0] != digests[1]
    assert all(record["labels_permuted"] == ["x"] for record in records)


def test_the_provenance_names_the_permuted_labels() -> None:
    collections = make_collections()
    weights = {
        name: SimpleNamespace(metadata=dict.fromkeys(METADATA, "")) for name in ("mttl", PERMUTED)
    }
    job = Provenance(collections, make_split(collections), weights, config.default())
    true, first, fold, second = (
        job.record(run)["data"]
        for run in (
            replace(RUN, approach="mttl"),
            RUN,
            replace(RUN, fold=0),
            replace(RUN, initialization=1),
        )
    )
    assert "permuted_labels" not in true  # as in the records of earlier versions
    assert first["permuted_labels"].keys() == {"x", "y"}
    assert first["permuted_labels"] == fold["permuted_labels"] != second["permuted_labels"]
    assert {k: v for k, v in first.items() if k != "permuted_labels"} == true


# Equal steps


@pytest.mark.parametrize(
    ("name", "tasks"),
    [(MATCHED, ("t",)), ("sttl+of=x+steps=matched", ("x",)),
     ("mttl+without=y+steps=matched", ("t", "x"))],
)  # fmt: skip
def test_an_approach_takes_the_steps_of_a_run_on_all_collections(
    name: str, tasks: tuple[str, ...]
) -> None:
    collections, train_config = make_collections(), config.default().train
    split = make_split(collections, ("x",) if tasks == ("x",) else ())
    train_config.epochs, train_config.batch_size = 7, 32

    def count(run: Run) -> tuple[int, int]:
        """Return the steps of a run, and those of an epoch: batches of eight orientations."""
        rows, _ = splits.run_rows(run, collections, split)
        epoch_steps = -(-8 * sum(map(len, rows.values())) // 32)
        steps = compute_cost.run_cost(run, collections, split, train_config, "alexnet").steps
        return steps, epoch_steps

    run = Run(name, tasks, "C1", None, 0)
    all_steps, per_epoch = count(
        replace(run, approach="mttl", tasks=(*tasks, *{*"txy"} - {*tasks}))
    )
    assert all_steps == 7 * per_epoch
    steps, per_epoch = count(run)
    assert all_steps <= steps < all_steps + per_epoch and steps > 7 * per_epoch
    plain = replace(run, approach=name.removesuffix("+steps=matched"))
    assert count(plain) == (7 * per_epoch, per_epoch)


@pytest.mark.parametrize(
    ("approach", "changes", "message"),
    [
        (MATCHED, {"train.match_steps": True}, "config.train.match_steps=True is invalid"),
        (MATCHED, {"train.early_stopping.fraction": 0.2}, "no option steps with .*early_stopping"),
        ("mttl+steps=matched", {}, "a run on all collections takes these steps in any case"),
        ("sttl+steps=equal", {}, "expected one of matched"),
        ("mttl+labels=shuffled", {}, "expected one of permuted"),
        ("sttl+labels=permuted", {}, "sttl with options of, steps"),
    ],
)
def test_options_that_mean_nothing_are_rejected(
    approach: str, changes: dict[str, Any], message: str
) -> None:
    c = config.default()
    c.approaches = ("mttl", "sttl", approach)
    c.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=message):
        config.validate(c)


@pytest.mark.parametrize("option", ["without=x", "without=each", "weight.x=0"])
def test_labels_permuted_in_no_collection_are_rejected(option: str) -> None:
    name = f"{PERMUTED}+{option}"
    with pytest.raises(InputError, match="trains on the labels of t alone, .*remove the option"):
        expand_approaches((name,), "t", ("t", "x"), "shared", {})
    if option != "without=each":
        assert expand_approaches((name,), "t", ("t", "x", "y"), "shared", {})


@pytest.mark.parametrize("blank_mm", [-1.0, 0.1, 25.6, math.nan])
def test_a_blanked_disc_has_two_pixels_and_is_smaller_than_the_roi(blank_mm: float) -> None:
    c = config.default()
    c.data.roi.blank_mm = blank_mm
    rule = r"expected 0, or a number >= 0.4 \(two pixels\) and < data.roi.extent_mm \(25.6\)"
    with pytest.raises(InputError, match=rule):
        config.validate(c)


def test_controls_that_mean_something_are_valid() -> None:
    c = config.default()
    c.approaches = (*APPROACHES, "mttl+without=each+steps=matched", f"{PERMUTED}+heads=per_task")
    config.validate(c)
    c.study, c.approaches = "learning_curve", ("mttl+steps=matched",)
    config.validate(c)  # runs on a subset of the target's cases take fewer steps
    with pytest.raises(InputError, match="sfm is the only collection"):
        expand_approaches((MATCHED,), "sfm", ("sfm",), "shared", {})


# A study of four approaches


def make_config(cache: Path) -> config.ConfigDict:
    c = config.default()
    c.approaches, c.network, c.data.test_each = APPROACHES, "C1-C5", True
    c.data.sources, c.data.cache = ("phantom:sfm", "phantom:dm"), str(cache)
    c.data.phantom.cases, c.train.epochs, c.train.batch_size = 14, 2, 32
    c.statistics.bootstrap, c.analysis.enabled = 100, False
    c.statistics.primary.pair = ("mttl", PERMUTED)
    config.validate(c)
    return c


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controls")
    with small_head.as_alexnet():
        run_study(make_config(folder / "cache"), folder / "w")
    return folder / "w"


def read_run(study: Path, approach: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the run.json and the scores of an approach."""
    folder = study / "runs" / f"{approach}-C1-C5-test-seed0"
    record = json.loads((folder / "run.json").read_text())
    with (folder / "scores.csv").open(newline="") as file:
        return record, list(csv.DictReader(file))


def test_a_study_compares_all_four_approaches(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    rows = [row for row in results["comparisons"] if row["task"] == "sfm"]
    pairs = {frozenset((row["a"], row["b"])) for row in rows}
    assert pairs == set(map(frozenset, combinations(APPROACHES, 2)))
    (primary,) = (row for row in rows if row["primary"])
    assert (primary["a"], primary["b"]) == ("mttl", PERMUTED)
    assert {row["study"] for row in results["auc"]} == set(APPROACHES)


def test_runs_record_their_labels_and_steps(study: Path) -> None:
    runs = {approach: read_run(study, approach) for approach in APPROACHES}
    assert [a for a, (record, _) in runs.items() if "labels_permuted" in record] == [PERMUTED]
    assert runs[PERMUTED][0]["labels_permuted"] == ["dm"]
    steps = {}
    for approach, (record, _) in runs.items():
        n_batches = -(-8 * sum(record["rois_learned"].values()) // 32)
        steps[approach] = n_batches * record["epochs"]
    assert steps["mttl"] == steps[PERMUTED] <= steps[MATCHED] and steps["sttl"] < steps["mttl"]
    # Both are trained on the same ROIs and evaluated by the true labels, of sfm and of dm.
    (mttl, true), (permuted, scored) = runs["mttl"], runs[PERMUTED]
    assert mttl["provenance"]["data"]["learned"] == permuted["provenance"]["data"]["learned"]
    assert {row["task"] for row in scored} == {"sfm", "dm"}
    truth = [[(row["roi_id"], row["label"]) for row in rows] for rows in (true, scored)]
    assert truth[0] == truth[1]
    assert [row["score"] for row in true] != [row["score"] for row in scored]


def test_the_report_says_which_labels_and_steps(study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(study, tmp_path / "w")
    report.write(folder)
    text = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    epochs = read_run(study, MATCHED)[0]["epochs"]
    for words in (
        "trained on sfm and dm with permuted labels of dm</h3>",
        "MTTL (labels=permuted) is a control, trained with permuted labels of dm",
        "the label of a case, malignant if any of its lesions is, was that of a random case",
        "The networks were trained for 2 epochs by",
        f"STTL (steps=matched) was trained for {epochs} epochs, so that each run took at least",
    ):
        assert words in text
    work = read_workdir.read(folder)
    assert "of lesions in place of cases" not in " ".join(methods.paragraphs(work))
    for collection in work.results["collections"]:
        collection["cases_are"] = "groups"
    lesions = "the same in all folds; in dm, of lesions in place of cases)"
    assert lesions in " ".join(methods.paragraphs(work))


def test_the_bundle_of_a_control_says_so(study: Path, tmp_path: Path) -> None:
    with small_head.as_alexnet():
        model = build.build_model(study / "runs" / f"{PERMUTED}-C1-C5-test-seed0")
    card = model_card.render_card(model)
    bundle.save(model, card, tmp_path / "bundle")
    words = "A control: trained with permuted labels of dm."
    for name in ("card.md", "bundle.json"):
        assert words in (tmp_path / "bundle" / name).read_text()
    record = read_run(study, "mttl")[0]
    assert build._intended_use(record, {}) == build.INTENDED_USE
    blanked = "A control: a disc of 8 mm in the center of each ROI is blanked."
    imaging = RoiSettings(blank_mm=8.0).record()
    assert build._intended_use(record, imaging) == f"{build.INTENDED_USE} {blanked}"


@pytest.mark.parametrize("source", ["mttl", PERMUTED])
def test_runs_with_and_without_permuted_labels_are_not_mixed(
    study: Path, tmp_path: Path, source: str
) -> None:
    """A finished run under the name of the other approach ends the resumed study."""
    folder = shutil.copytree(study, tmp_path / "w")
    other = PERMUTED if source == "mttl" else "mttl"
    names = [f"{approach}-C1-C5-test-seed0" for approach in (source, other)]
    shutil.rmtree(folder / "runs" / names[1])
    shutil.copytree(folder / "runs" / names[0], folder / "runs" / names[1])
    with small_head.as_alexnet(), pytest.raises(InputError, match="permuted_labels"):
        run_study(make_config(study.parent / "cache"), folder)


def test_a_finished_study_resumes_to_the_same_results(study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(study, tmp_path / "w")
    shutil.rmtree(folder / "runs" / f"{PERMUTED}-C1-C5-test-seed0")
    with small_head.as_alexnet():
        run_study(make_config(study.parent / "cache"), folder)
    for name in ("results.json", "predictions.csv"):
        assert (folder / name).read_bytes() == (study / name).read_bytes()
