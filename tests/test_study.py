"""Runs, splits, scores and results of synthetic collections."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mtl_jax.data import ingest
from mtl_jax.experiments import results, scores, splits
from mtl_jax.experiments.evaluation import EvaluationRules, evaluate_conventional
from mtl_jax.experiments.primary_comparison import Primary
from mtl_jax.experiments.run_lists import (
    Approach,
    cross_validation_runs,
    expand_approaches,
    independent_test_runs,
)
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io import workdir
from mtl_jax.types import InputError, RoiSet, Run

CARD = {"name": "none", "lrn": False}
RULES = EvaluationRules("view", Primary("lesion", "obuchowski", ("mttl", "sttl")), 200, 0)


def make_roi_set(name: str, cases: int, split: str = "", views: int = 2, seed: int = 0) -> RoiSet:
    """Return a collection with zero pixels; every third case is malignant, with one lesion each."""
    rng = np.random.default_rng(seed)
    case = np.repeat([f"{name}{i:02d}" for i in range(cases)], views)
    label = np.repeat((np.arange(cases) % 3 == 0).astype(int), views)
    official_split = np.full(len(case), "")
    if split:
        official_split = np.repeat(rng.permutation(["test", "train"] * cases)[:cases], views)
    index = {
        "roi_id": np.array([f"{c}/{i}" for i, c in enumerate(case)]),
        "case_id": case,
        "lesion_id": np.full(len(case), "1"),
        "view": np.tile(["CC", "MLO"][:views], cases),
        "modality": np.full(len(case), "SFM"),
        "truth_source": np.full(len(case), "biopsy"),
        "label": label,
        "split": official_split,
    }
    manifest = {"left_out": [], "decisions": [], "imaging": {}, "shards": []}
    manifest["index"] = {"sha256": name}
    pixels = np.broadcast_to(np.int16(0), (len(case), 128, 128))
    return RoiSet(name, index, (pixels,), manifest)


def make_approaches(
    names: tuple[str, ...], target: str, collections: tuple[str, ...]
) -> list[Approach]:
    return expand_approaches(names, target, collections, "shared", {})


def test_runs_of_an_independent_test_and_of_a_cross_validation() -> None:
    runs = independent_test_runs(
        make_approaches(("mttl", "sttl"), "b", ("a", "b", "c")), "C1", 0, (0,)
    )
    assert [run.tasks for run in runs] == [("b", "a", "c"), ("b",)]
    runs = cross_validation_runs(
        make_approaches(("sttl",), "a", ("a",)), ("C1-C3",), (1,), 4, 0, (0,)
    )
    assert [run.fold for run in runs] == [0, 1, 2, 3]
    assert len({run.id for run in runs}) == 4


def test_unknown_target_and_mttl_of_one_collection_are_rejected() -> None:
    with pytest.raises(
        InputError, match="config.data.target='sfm' is invalid: expected one of .*, a, b"
    ):
        make_approaches(("mttl",), "sfm", ("a", "b"))
    with pytest.raises(InputError, match="is the only collection"):
        make_approaches(("mttl",), "a", ("a",))


@pytest.mark.parametrize("official", ["", "yes"])
@pytest.mark.parametrize("study", ["test", "cross_validation"])
def test_training_and_evaluation_sets_are_disjoint_by_case(study: str, official: str) -> None:
    for seed in range(50):
        target = make_roi_set("t", 90, official, seed=seed)
        auxiliaries = {
            "x": make_roi_set("x", 10),
            "y": make_roi_set("y", 12, "yes", seed=seed),
        }
        collections = {"t": target, **auxiliaries}
        mttl = make_approaches(("mttl",), "t", tuple(collections))
        if study == "test":
            split = splits.make_split(
                {target.name: target}, target.name, (), splits.SplitRules(True, 0, 4, 0.5, seed)
            )
            runs = independent_test_runs(mttl, "C1", seed, (0,))
        else:
            split = splits.make_split(
                {target.name: target}, target.name, (), splits.SplitRules(False, 1, 4, 0.5, seed)
            )
            runs = cross_validation_runs(mttl, ("C1",), (1,), 4, seed, (0,))
        scored_cases: Counter = Counter()
        for run in runs:
            training, evaluation = splits.run_rows(run, collections, split)
            for name, rois in collections.items():
                case = rois.index["case_id"]
                assert not set(case[training[name]]) & set(case[evaluation[name]])
            assert set(target.index["label"][training["t"]]) == {0, 1}
            # Auxiliary collections are used completely (section 3.3), with their own test set.
            assert all(len(training[name]) == len(rois) for name, rois in auxiliaries.items())
            assert not any(len(evaluation[name]) for name in auxiliaries)
            scored_cases.update(target.index["roi_id"][evaluation["t"]].tolist())
        expected = split.test if study == "test" else split.train
        rows = np.isin(target.index["case_id"], expected)
        assert scored_cases == Counter(target.index["roi_id"][rows].tolist())


def test_each_mini_mias_roi_is_scored_once_in_cross_validation(
    shared: Path, tmp_path: Path
) -> None:
    options = {"mini_mias": {"classes": ("CIRC", "SPIC", "MISC")}}
    spec = f"mini_mias:{shared / 'data' / 'mini_mias'}"
    rois = ingest.load(spec, tmp_path, RoiSettings(), options)
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(False, 1, 4, 0.0, 0)
    )
    evaluation_rows = [
        splits.run_rows(Run("sttl", ("mini_mias",), "C1", fold, 0), {"mini_mias": rois}, split)[1]
        for fold in range(4)
    ]
    rows = np.concatenate([part["mini_mias"] for part in evaluation_rows])
    assert sorted(rows.tolist()) == list(range(58))
    assert (rois.index["label"] == 1).sum() == 20 and len(split.train) == 53


def test_target_with_one_class_is_rejected() -> None:
    rois = make_roi_set("t", 20)
    rois.index["label"][:] = 0
    with pytest.raises(InputError, match="all 20 cases are benign"):
        splits.make_split({rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0))


def test_target_without_test_set_is_rejected() -> None:
    with pytest.raises(InputError, match="marks no test set and config.data.test_fraction is 0"):
        splits.make_split(
            {"t": make_roi_set("t", 20)}, "t", (), splits.SplitRules(True, 0, 4, 0.0, 0)
        )


def make_table(rois: RoiSet, values: np.ndarray) -> scores.Scores:
    return scores.make_scores(rois, np.arange(len(rois)), values)


def test_scores_round_trip_exactly(tmp_path: Path) -> None:
    rois = make_roi_set("t", 30)
    table = make_table(rois, np.random.default_rng(0).random(60))
    scores.write_scores(tmp_path / "scores.csv", table)
    read_table = scores.read_scores(tmp_path / "scores.csv")
    assert read_table.score.dtype == np.float32
    assert all(np.array_equal(a, b) for a, b in zip(table, read_table, strict=True))
    header = (tmp_path / "scores.csv").read_text().splitlines()[0]
    assert header == "roi_id,case_id,lesion_id,view,task,label,score"


def summarize(
    stages: dict[str, list[Run]],
    tables: dict[str, scores.Scores],
    rois: RoiSet,
    split: splits.Split,
) -> dict:
    study = "paper" if len(stages) > 1 else next(iter(stages))
    collections = {"t": rois, "x": make_roi_set("x", 4)}
    return results.summarize(study, stages, tables, {}, collections, split, CARD, {}, RULES)


def test_results_match_hand_computed_values() -> None:
    """Count the correctly ordered pairs of views and of lesions for four cases of two views."""
    rois = make_roi_set("t", 4)  # cases 0 and 3 malignant
    good = np.array([0.9, 0.4, 0.3, 0.3, 0.1, 0.2, 0.6, 0.8])
    poor = np.array([0.1, 0.2, 0.9, 0.3, 0.1, 0.4, 0.6, 0.8])
    runs = [Run("mttl", ("t",), "C1", None, 0), Run("sttl", ("t",), "C1", None, 0)]
    tables = {runs[0].id: make_table(rois, good), runs[1].id: make_table(rois, poor)}
    split = splits.Split("t", [], ["t00"], [], "for a test")
    out = summarize({"test": runs}, tables, rois, split)
    aucs = {(e["study"], e["unit"]): e["auc"] for e in out["auc"] if e["method"] == "empirical"}
    # Views: malignant .9 .4 .6 .8, benign .3 .3 .1 .2: all 16 pairs are ordered correctly.
    assert aucs["mttl", "view"] == 1 and aucs["mttl", "lesion"] == 1
    # Views: malignant .1 .2 .6 .8, benign .9 .3 .1 .4: .1 = .1, .2 > .1, .6 and .8 > three each:
    # 7.5 of 16.
    assert aucs["sttl", "view"] == pytest.approx(7.5 / 16)
    # Lesions: malignant .15 .7, benign .6 .25: .7 is above both, .15 above none.
    assert aucs["sttl", "lesion"] == pytest.approx(0.5)
    comparison = out["comparisons"][0]  # the primary analysis
    assert (comparison["a"], comparison["b"], comparison["unit"]) == ("mttl", "sttl", "lesion")
    assert comparison["delta"] == pytest.approx(0.5)
    assert [row["primary"] for row in out["comparisons"]] == [True] + 5 * [False]
    view = next(e for e in out["comparisons"] if e["unit"] == "view")
    assert view["method"] == "obuchowski" and view["delta"] == pytest.approx(8.5 / 16)
    json.dumps(out, allow_nan=False)
    assert out["collections"][0]["lesions"] == {"malignant": 2, "benign": 2}


def test_conventional_cad_is_evaluated_with_the_same_statistics() -> None:
    rois = make_roi_set("t", 4)  # cases 0 and 3 malignant
    run = Run("sttl", ("t",), "C1", None, 0)
    good = make_table(rois, np.array([0.9, 0.4, 0.3, 0.3, 0.1, 0.2, 0.6, 0.8]))
    poor = make_table(rois, np.array([0.1, 0.2, 0.9, 0.3, 0.1, 0.4, 0.6, 0.8]))
    out = evaluate_conventional("test", [run], {run.id: good}, {"lda": poor}, "t", RULES)
    aucs = {(e["study"], e["unit"]): e["auc"] for e in out["auc"] if e["method"] == "empirical"}
    # The AUCs of test_results_match_hand_computed_values.
    assert aucs == {("lda", "view"): pytest.approx(7.5 / 16), ("lda", "lesion"): 0.5}
    test = next(e for e in out["comparisons"] if e["method"] == "obuchowski")
    assert not any(e["primary"] for e in out["auc"] + out["comparisons"])
    assert (test["a"], test["b"], test["unit"]) == ("sttl", "lda", "view")
    assert test["delta"] == pytest.approx(8.5 / 16)


def test_workdir_of_another_config_is_rejected(tmp_path: Path) -> None:
    workdir.claim(tmp_path, {"seed": 0, "train": {"epochs": 2}})
    same_study = {"seed": 0, "train": {"epochs": 2}, "data": {"workers": 2}, "executor": "local"}
    workdir.claim(tmp_path, same_study)
    with pytest.raises(InputError, match="another config: train.epochs is 2, not 3"):
        workdir.claim(tmp_path, {"seed": 0, "train": {"epochs": 3}})


def test_changed_folds_are_rejected(tmp_path: Path) -> None:
    workdir.write_once(tmp_path / "folds.json", {"1": ["a"]}, "the folds")
    workdir.write_once(tmp_path / "folds.json", {"1": ["a"]}, "the folds")
    with pytest.raises(InputError, match="the folds of this folder differ"):
        workdir.write_once(tmp_path / "folds.json", {"1": ["b"]}, "the folds")
