"""Stages of a study: which runs, which rule chooses, which means, by cases worked by hand."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_study import CARD, RULES, made_up

from mtl_jax import config, roc
from mtl_jax.experiments import compute_cost, splits, stages
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.data_use import data_use
from mtl_jax.experiments.results import summarize
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.experiments.scores import make_scores
from mtl_jax.experiments.select import choose_network, choose_split
from mtl_jax.io import workdir
from mtl_jax.types import InputError, Run

COLLECTIONS = ("sfm", "ddsm", "dm")


def approaches(*names: str, heads: str = "shared") -> list[Approach]:
    return expand_approaches(names, "sfm", COLLECTIONS, heads, {})


def paper_config() -> config.ConfigDict:
    c = config.default()
    c.study = "paper"
    return c


# Which runs


def test_the_paper_asks_for_as_many_trainings_as_the_paper_did() -> None:
    """Samala et al. 2017: 10 splits x 2 networks x 2 initializations x 4 folds (3.1); 6 networks x
    10 initializations x 4 folds (3.2), both single-task; both approaches x 10 initializations x 4
    folds (2.3 with 3.3); MTTL and STTL on all training data (3.3)."""
    c, both, chosen = paper_config(), approaches("mttl", "sttl"), stages.Choice(3, "C1")
    c.data.target = "sfm"
    found = {stage: stages.make_runs(stage, c, both, chosen) for stage in config.STAGES["paper"]}
    assert [len(runs) for runs in found.values()] == [160, 240, 80, 2]
    assert {run.tasks for run in found["splits"] + found["depth"]} == {("sfm",)}
    assert {run.approach for run in found["splits"] + found["depth"]} == {"sttl"}
    assert {run.split for run in found["depth"]} == {3}
    ids = [run.id for runs in found.values() for run in runs]
    # Depth repeats what splits did on its split: 2 networks x 2 initializations x 4 folds. The
    # single-task half of the cross-validation is depth's: 10 initializations x 4 folds.
    assert len(ids) - len(set(ids)) == 16 + 40
    assert len(set(found["depth"]) & set(found["cross_validation"])) == 40


@pytest.mark.parametrize("weight", ["sfm:2", "dm:2"])
def test_task_weights_and_heads_keep_the_shared_runs(weight: str) -> None:
    c = paper_config()
    c.model.heads, c.train.task_weights = "per_task", (weight,)
    both = expand_approaches(
        ("mttl", "sttl"), "sfm", COLLECTIONS, "per_task", config.parse_task_weights((weight,))
    )
    depth = stages.make_runs("depth", c, both, stages.Choice(3, "C1"))
    crossed = stages.make_runs("cross_validation", c, both, stages.Choice(3, "C1"))
    assert len(set(depth) & set(crossed)) == 40


def test_a_study_of_splits_or_depth_takes_the_target_alone() -> None:
    c = config.default()
    c.study, c.weights = "depth", "imagenet"
    with pytest.raises(InputError, match="config.approaches=.* single-task, on the target alone"):
        config.validate(c)


def test_runs_that_differ_have_ids_that_differ() -> None:
    c = paper_config()
    both = approaches("mttl", "sttl", "mttl+heads=per_task", "mttl+without=dm")
    runs = {
        run
        for stage in ("splits", "depth", "test", "learning_curve", "cross_validation")
        for choice in (stages.Choice(1, "C1"), stages.Choice(2, "C0"))
        for run in stages.make_runs(stage, c, both, choice)
    }
    assert len({run.id for run in runs}) == len(runs)
    assert all(Path(run.id).name == run.id for run in runs)


def test_a_later_stage_goes_by_what_was_chosen() -> None:
    choice = stages.Choice(1, "C1").update({"split": {"chosen": 7}})
    assert choice == (7, "C1")
    choice = choice.update({"network": {"chosen": "C1-C4"}})
    (run,) = stages.make_runs("test", paper_config(), approaches("sttl"), choice)
    assert run.network == "C1-C4" and run.fold is None


@pytest.mark.parametrize(
    ("name", "tasks", "heads", "weights"),
    [
        ("mttl", COLLECTIONS, "shared", (1, 1, 1)),
        ("sttl", ("sfm",), "shared", (1,)),
        ("mttl+heads=per_task", COLLECTIONS, "per_task", (1, 1, 1)),
        ("mttl+weight.dm=0.5", COLLECTIONS, "shared", (1, 1, 0.5)),
        ("mttl+without=ddsm", ("sfm", "dm"), "shared", (1, 1)),
        # Left out, but scored: its ROIs are there and count nothing.
        ("mttl+without=sfm", COLLECTIONS, "shared", (0, 1, 1)),
        ("sttl+of=dm", ("dm",), "shared", (1,)),
    ],
)
def test_an_approach_by_its_name(
    name: str, tasks: tuple[str, ...], heads: str, weights: tuple[float, ...]
) -> None:
    assert approaches(name) == [Approach(name, tasks, heads, weights)]


def test_each_is_one_approach_a_collection() -> None:
    assert [a.name for a in approaches("mttl+without=each", "sttl+of=each")] == [
        *("mttl+without=sfm", "mttl+without=ddsm", "mttl+without=dm"),
        *("sttl+of=ddsm", "sttl+of=dm"),
    ]


@pytest.mark.parametrize(
    "name", ["mtl", "mttl+head=per_task", "mttl+heads=own", "sttl+without=dm", "mttl+weight.dm=x",
             "mttl+heads=shared+heads=per_task", "mttl+of=dm", "mttl+", "mttl+without=../x"]
)  # fmt: skip
def test_an_approach_that_is_none_is_rejected(name: str) -> None:
    c = config.default()
    c.approaches = (name,)
    with pytest.raises(InputError, match="config.approaches="):
        config.validate(c)


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (("mttl",), ("sfm:0", "ddsm:0", "dm:0")),
        (("mttl+without=dm",), ("sfm:0", "ddsm:0")),
        (("mttl+without=sfm",), ("ddsm:0", "dm:0.0")),
        (("mttl+weight.dm=0",), ("sfm:0", "ddsm:0")),
        (("mttl", "sttl"), ("sfm:0",)),
        (("sttl+of=dm",), ("dm:0",)),
    ],
)
def test_an_approach_whose_weights_are_all_zero_is_rejected(
    names: tuple[str, ...], weights: tuple[str, ...]
) -> None:
    c = config.default()
    c.approaches, c.train.task_weights = names, weights
    with pytest.raises(InputError, match="expected an approach that trains on a collection"):
        config.validate(c)
    with pytest.raises(InputError, match="expected an approach that trains on a collection"):
        expand_approaches(names, "sfm", COLLECTIONS, "shared", config.parse_task_weights(weights))


def test_weights_that_leave_something_to_learn_are_accepted() -> None:
    c = config.default()
    c.approaches = ("mttl", "mttl+without=sfm", "mttl+weight.sfm=0", "sttl+of=each")
    c.train.task_weights = ("ddsm:0",)
    config.validate(c)
    with pytest.raises(
        InputError, match=r"'sttl\+of=ddsm' is invalid: expected an approach that trains"
    ):
        expand_approaches(
            c.approaches, "sfm", COLLECTIONS, "shared", {"ddsm": 0.0}
        )  # each, spelled out


@pytest.mark.parametrize(
    ("study", "approach"),
    [
        ("cross_validation", "sttl+of=dm"),
        ("cross_validation", "sttl+of=each"),
        ("paper", "sttl+of=dm"),
        ("transfer", "sttl+of=dm"),
    ],
)
def test_a_cross_validation_of_another_collection_is_rejected(study: str, approach: str) -> None:
    c = config.default()
    c.study, c.approaches, c.weights = study, ("mttl", "sttl", approach), "some/folder"
    c.transfer.study = "cross_validation"
    with pytest.raises(InputError) as rejected:
        config.validate(c)
    said = str(rejected.value)
    assert (
        f"config.approaches={approach!r} is invalid: expected no such approach" in said
        and "\n" not in said
    )
    field = "config.transfer.study" if study == "transfer" else "config.study"
    assert f"the target (sfm) only; remove it, or set {field} to 'test'" in said
    c.approaches = ("mttl", "sttl+of=sfm")  # the target itself
    config.validate(c)
    c.study, c.approaches = "test", ("mttl", approach)
    config.validate(c)


def test_an_approach_of_an_unknown_collection_is_rejected() -> None:
    with pytest.raises(InputError, match="unknown collection dn; expected one of sfm, ddsm, dm"):
        approaches("mttl+without=dn")


# Who learns


def test_few_cases_are_nested_balanced_and_from_the_training_set() -> None:
    target = made_up("t", 90)
    split = splits.make_split(
        {target.name: target}, target.name, (), splits.SplitRules(True, 0, 4, 0.4, 0)
    )
    learned = []
    for count in range(2, len(split.train) + 1):
        run = Run("sttl", ("t",), "C1", None, 0, initialization=5, target_cases=count)
        rows, scored = splits.run_rows(run, {"t": target}, split)
        cases = set(target.index["case_id"][rows["t"]])
        assert len(cases) == count and cases <= set(split.train)
        assert not cases & set(target.index["case_id"][scored["t"]])
        malignant = len(
            set(target.index["case_id"][rows["t"]][target.index["label"][rows["t"]] == 1])
        )
        assert malignant == max(1, round(count / 3))
        learned.append(cases)
    assert all(few <= more for few, more in zip(learned, learned[1:], strict=False))
    other = Run("sttl", ("t",), "C1", None, 0, initialization=6, target_cases=10)
    rows = splits.run_rows(other, {"t": target}, split)[0]["t"]
    assert set(target.index["case_id"][rows]) != learned[8]


def test_every_collection_can_hold_out_a_test_set() -> None:
    rois = {name: made_up(name, 30, seed=i) for i, name in enumerate(("t", "x"))}
    rois["y"] = made_up("y", 30, "yes")
    split = splits.make_split(rois, "t", ("x", "y"), splits.SplitRules(True, 0, 4, 0.4, 0))
    assert set(split.auxiliary_tests) == {"x", "y"} and len(split.auxiliary_tests["x"]) == 12
    official = rois["y"].index["case_id"][rois["y"].index["split"] == "test"]
    assert (
        split.auxiliary_tests["y"] == sorted(set(official)) and not split.official_tests_in_training
    )
    learned, scored = splits.run_rows(Run("mttl", ("t", "x", "y"), "C1", None, 0), rois, split)
    for name in rois:
        case = rois[name].index["case_id"]
        assert len(scored[name]) and not set(case[learned[name]]) & set(case[scored[name]])


@pytest.mark.parametrize("cases", [None, 10])
def test_matched_runs_take_as_many_steps(cases: int | None) -> None:
    rois = {"t": made_up("t", 30), "x": made_up("x", 70), "y": made_up("y", 51)}
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 0, 4, 0.4, 0))
    train_config = config.default().train
    train_config.epochs, train_config.batch_size = 7, 32
    mttl = Run("mttl", ("t", "x", "y"), "C1", None, 0)
    sttl = Run("sttl", ("t",), "C1", None, 0, target_cases=cases)
    most = compute_cost.run_cost(mttl, rois, split, train_config, "alexnet").steps
    assert compute_cost.n_epochs(sttl, rois, split, train_config) == 7
    train_config.match_steps = True
    assert compute_cost.run_cost(mttl, rois, split, train_config, "alexnet").steps == most
    steps = compute_cost.run_cost(sttl, rois, split, train_config, "alexnet").steps
    epoch = steps // compute_cost.n_epochs(sttl, rois, split, train_config)
    assert most <= steps < most + epoch


def test_a_validation_costs_a_forward_pass_of_the_trained_layers() -> None:
    rois = {"t": made_up("t", 40)}
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 1, 4, 0.5, 0))
    run = Run("sttl", ("t",), "C1-C5", 0, 0)
    train_config = config.default().train
    train_config.epochs = 7
    layers = compute_cost.layer_operations("alexnet")
    scored = len(splits.run_rows(run, rois, split)[1]["t"]) * 8
    one = scored * sum(layers[name] for name in ("F1", "F2", "F3", "F4", "F5"))
    found = {}
    for fold in (0, None):
        own = dataclasses.replace(run, fold=fold)
        for interval in (0, 3):
            train_config.validation_epochs = interval
            cost = compute_cost.run_cost(own, rois, split, train_config, "alexnet")
            found[fold, interval] = cost.operations
    assert found[0, 3] - found[0, 0] == pytest.approx(3 * one)  # epochs 3, 6 and 7
    assert found[None, 3] == found[None, 0]


def test_operations_of_a_pass_are_those_of_the_layers() -> None:
    """Two for each weight and place: C1 has 31 x 31 places of 64 kernels of 11 x 11 x 3."""
    layers = compute_cost.layer_operations("alexnet")
    assert layers["C1"] == pytest.approx(2 * 31**2 * 64 * 11**2 * 3, rel=0.08)
    assert layers["C3"] == pytest.approx(2 * 7**2 * 384 * 9 * 192, rel=0.3)
    assert layers["F2"] == pytest.approx(2 * 4096**2, rel=0.01)


# Which is chosen


def rows_of_splits(*entries: tuple[int, str, float, float]) -> list[dict]:
    return [{"split": s, "network": n, "auc": a, "sd_folds": d} for s, n, a, d in entries]


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        # The highest mean less spread: .80 - .02, .85 - .10, .79 - .00.
        (((1, "C1", 0.80, 0.02), (2, "C1", 0.85, 0.10), (3, "C1", 0.79, 0.0)), 3),
        # Two networks count alike: (.7 - .1 + .9 - .1) / 2 against .75 - .02.
        (
            ((1, "C1", 0.7, 0.1), (1, "C1-C3", 0.9, 0.1), (2, "C1", 0.75, 0.02),
             (2, "C1-C3", 0.75, 0.02)),
            2,
        ),
        # Equal but for rounding (.85 - .10 and .80 - .05): the smaller spread.
        (((1, "C1", 0.85, 0.10), (2, "C1", 0.80, 0.05)), 2),
        # Equal in both: the lower number, whatever the order.
        (((3, "C1", 0.8, 0.05), (2, "C1", 0.8, 0.05)), 2),
    ],
)  # fmt: skip
def test_the_split_by_its_rule(entries: Sequence[tuple], chosen: int) -> None:
    assert choose_split(rows_of_splits(*entries))["chosen"] == chosen


@pytest.mark.parametrize(
    ("aucs", "chosen"),
    [
        ({"C0": 0.80, "C1": 0.82, "C1-C5": 0.70}, "C1"),
        ({"C0": 0.1 + 0.2, "C1": 0.3, "C1-C3": 0.2}, "C1"),  # equal but for rounding
        ({"C1-C5": 0.8, "C0": 0.8, "C1-C2": 0.8}, "C1-C5"),
    ],
)
def test_the_network_by_its_rule(aucs: dict[str, float], chosen: str) -> None:
    rows = [{"network": network, "auc": auc} for network, auc in aucs.items()]
    found = choose_network(rows)
    assert found["chosen"] == chosen and len(found["table"]) == len(rows)


def test_results_of_a_study_hold_what_each_stage_chose() -> None:
    """Split 2 is made the better one, and C1-C3 the better network on it."""
    rois = made_up("t", 24, "yes", seed=1)
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(True, 2, 2, 0.0, 0)
    )
    c = paper_config()
    c.folds = c.splits.count = 2
    c.splits.initializations, c.depth.initializations = 1, 2
    c.cross_validation.initializations = 1
    c.depth.networks = ("C1", "C1-C3")
    c.data.target = "t"
    sttl, choice = expand_approaches(("sttl",), "t", ("t",), "shared", {}), stages.Choice(1, "C1")
    done: dict[str, list[Run]] = {}
    tables = {}
    for stage in config.STAGES["paper"]:
        done[stage] = stages.make_runs(stage, c, sttl, choice)
        for run in done[stage]:
            rows = splits.run_rows(run, {"t": rois}, split)[1]["t"]
            rng = np.random.default_rng([run.initialization, run.split])
            wrong = (run.split == 1) + 0.3 * (run.network == "C1")
            values = rois.index["label"][rows] + 2 * wrong * rng.standard_normal(len(rows))
            tables[run.id] = make_scores(rois, rows, values)
        partial = summarize("paper", done, tables, {}, {"t": rois}, split, CARD, {}, RULES)
        choice = choice.update(partial["selection"])
    assert choice == (2, "C1-C3")
    assert partial["selection"]["split"]["chosen"] == 2
    assert [s["stage"] for s in partial["stages"]] == [
        "splits",
        "depth",
        "cross_validation",
        "test",
    ]
    assert {row["study"] for row in partial["auc"]} == {"sttl"}
    depth = {(row["network"], row["unit"]): row for row in partial["depth"]}
    row = depth["C1-C3", "view"]
    assert row["auc"] == 1 and row["initializations"] == [0, 1] and np.shape(row["aucs"]) == (2, 2)
    assert row["status"] == "perfect" and row["ci_low"] < 1


def test_the_use_of_the_data_is_that_of_the_stages_that_ran() -> None:
    """The paper's study: training cases are in every stage, test cases in the last alone; another
    collection is trained on from the cross-validation on."""
    rois = {"t": made_up("t", 24, "yes", seed=1), "x": made_up("x", 12)}
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 2, 2, 0.0, 0))
    c = paper_config()
    c.folds, c.splits.count, c.data.target = 2, 2, "t"
    for stage in ("splits", "depth", "cross_validation"):
        c[stage].initializations = 1
    both = expand_approaches(("mttl", "sttl"), "t", ("t", "x"), "shared", {})
    runs = {s: stages.make_runs(s, c, both, stages.Choice(1, "C1")) for s in config.STAGES["paper"]}
    train, test, other = data_use(runs, rois, split)
    in_folds = ["splits", "depth", "cross_validation"]
    assert (train["trained_in"], train["evaluated_in"]) == ([*in_folds, "test"], in_folds)
    assert (test["trained_in"], test["evaluated_in"]) == ([], ["test"])
    assert (other["trained_in"], other["evaluated_in"]) == (["cross_validation", "test"], [])
    assert (train["cases"], test["cases"]) == (len(split.train), len(split.test))
    # 12 cases of two views, every third malignant; eight orientations each.
    assert other["lesions"] == {"malignant": 4, "benign": 8} and other["rois_augmented"] == 192


# Which means


def part(seed: int, patients: int, seeds: int = 3, signal: float = 1.0) -> FoldScores:
    """Two cases a patient; readings of several trainings that agree in part."""
    rng = np.random.default_rng(seed)
    label = np.repeat((np.arange(patients) % 3 == 0).astype(int), 2)
    shared = signal * label + np.repeat(rng.standard_normal(patients), 2)
    noise = rng.standard_normal((seeds, 2 * patients))
    return FoldScores(label, np.repeat(np.arange(patients), 2), shared + noise)


def test_a_mean_of_one_area_is_that_area() -> None:
    one = part(0, 40, seeds=1)
    found = mean_auc([one])
    test = roc.compare(
        one.label, one.scores[0], -one.scores[0], method="obuchowski", clusters=one.patient
    )
    assert found["auc"] == pytest.approx(test.auc_a)
    # The reversed reading has area 1 - A and the same influences turned over: a difference of
    # 2 A - 1, with twice the standard error.
    assert found["se"] == pytest.approx(test.se / 2)
    assert found["aucs"] == [[pytest.approx(test.auc_a)]]


def test_means_by_hand() -> None:
    parts = [part(1, 30), part(2, 33)]
    aucs = [[roc.empirical(p.label, p.scores[s]).auc for p in parts] for s in range(3)]
    found = mean_auc(parts)
    np.testing.assert_allclose(found["aucs"], aucs)
    assert found["auc"] == pytest.approx(np.mean(aucs))
    assert found["sd_initializations"] == pytest.approx(np.std(np.mean(aucs, 1), ddof=1))
    assert found["sd_folds"] == pytest.approx(np.std(np.mean(aucs, 0), ddof=1))
    assert (found["n_malignant"], found["n_benign"], found["n_cases"]) == (42, 84, 63)


def test_the_standard_error_of_a_mean_is_that_of_resampled_patients() -> None:
    parts = [part(3, 60), part(4, 60)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        means = []
        for p in parts:
            take = rng.integers(0, 60, 60)
            rows = np.concatenate([2 * take, 2 * take + 1])
            means.append(np.mean([roc.empirical(p.label[rows], s[rows]).auc for s in p.scores]))
        drawn.append(np.mean(means))
    assert mean_auc(parts)["se"] == pytest.approx(np.std(drawn), rel=0.12)


def test_a_difference_of_means_by_its_aucs() -> None:
    parts = [part(5, 40), part(6, 40)]
    worse = [p._replace(scores=p.scores[:, ::-1]) for p in parts]
    found = mean_difference(parts, worse)
    assert found["delta"] == pytest.approx(mean_auc(parts)["auc"] - mean_auc(worse)["auc"])
    assert found["ci_low"] < found["delta"] < found["ci_high"]
    same = mean_difference(parts, parts)
    assert (same["delta"], same["p_value"], same["status"]) == (0, 1, "undetermined")


def test_perfect_and_sparse_means_have_an_interval() -> None:
    perfect = part(7, 12)._replace(scores=np.tile(part(7, 12).label, (2, 1)).astype(float))
    found = mean_auc([perfect])
    assert (found["auc"], found["status"]) == (1, "perfect") and 0.5 < found["ci_low"] < 1
    one = FoldScores(np.array([1, 0, 0]), np.arange(3), np.array([[0.5, 0.1, 0.9]]))
    found = mean_auc([one])
    assert (found["auc"], found["status"]) == (0.5, "sparse")
    assert found["ci_low"] < 0.5 < found["ci_high"]


# Who may work


def test_a_busy_folder_is_rejected_and_a_left_lock_is_not(tmp_path: Path) -> None:
    with workdir.lock(tmp_path / "w"):
        with pytest.raises(InputError, match="another job uses this folder"):
            with workdir.lock(tmp_path / "w"):
                pass
        with workdir.lock(tmp_path / "other"):
            pass
    (tmp_path / "w" / ".lock").touch()
    with workdir.lock(tmp_path / "w"):
        pass
