"""The runs, the selection rules and the mean AUCs of the stages of a study, checked by hand."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_study import CARD, RULES, make_roi_set

from mtl_jax import config, roc
from mtl_jax.experiments import compute_cost, splits, stages
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.data_use import data_use
from mtl_jax.experiments.results import summarize
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.experiments.scores import make_scores
from mtl_jax.io import workdir
from mtl_jax.types import InputError, Run

COLLECTIONS = ("sfm", "ddsm", "dm")


def make_approaches(*names: str, heads: str = "shared") -> list[Approach]:
    return expand_approaches(names, "sfm", COLLECTIONS, heads, {})


def paper_config() -> config.ConfigDict:
    c = config.default()
    c.study = "paper"
    return c


# Runs of each stage


def test_paper_study_has_482_runs() -> None:
    """Check the number of runs of each stage (Samala et al. 2017).

    - splits: 10 splits x 2 networks x 2 initializations x 4 folds, single-task (3.1)
    - depth: 6 networks x 10 initializations x 4 folds, single-task (3.2)
    - cross_validation: MTTL and STTL x 10 initializations x 4 folds (2.3 and 3.3)
    - test: MTTL and STTL on all training data (3.3)
    """
    c, choice = paper_config(), stages.Choice(3, "C1")
    approaches = make_approaches("mttl", "sttl")
    c.data.target = "sfm"
    plan = {
        stage: stages.make_runs(stage, c, approaches, choice) for stage in config.STAGES["paper"]
    }
    assert [len(runs) for runs in plan.values()] == [160, 240, 80, 2]
    assert {run.tasks for run in plan["splits"] + plan["depth"]} == {("sfm",)}
    assert {run.approach for run in plan["splits"] + plan["depth"]} == {"sttl"}
    assert {run.split for run in plan["depth"]} == {3}
    ids = [run.id for runs in plan.values() for run in runs]
    # 16 runs are in splits and in depth: 2 networks x 2 initializations x 4 folds of one split.
    # 40 runs are in depth and in cross_validation: STTL x 10 initializations x 4 folds.
    assert len(ids) - len(set(ids)) == 16 + 40
    assert len(set(plan["depth"]) & set(plan["cross_validation"])) == 40


@pytest.mark.parametrize("weight", ["sfm:2", "dm:2"])
def test_stages_share_runs_with_task_weights_and_heads(weight: str) -> None:
    c = paper_config()
    c.model.heads, c.train.task_weights = "per_task", (weight,)
    approaches = expand_approaches(
        ("mttl", "sttl"), "sfm", COLLECTIONS, "per_task", config.parse_task_weights((weight,))
    )
    depth = stages.make_runs("depth", c, approaches, stages.Choice(3, "C1"))
    cross_validation = stages.make_runs("cross_validation", c, approaches, stages.Choice(3, "C1"))
    assert len(set(depth) & set(cross_validation)) == 40


def test_every_stage_has_a_module_and_every_module_its_name() -> None:
    assert {name for names in config.STAGES.values() for name in names} == {*config.STAGE_MODULES}
    assert [stages.get(name).name for name in config.STAGE_MODULES] == [*config.STAGE_MODULES]


@pytest.mark.parametrize(
    "study", [s for s in config.STAGES if all(stage.single_task for stage in stages.of_study(s))]
)
def test_study_on_the_target_alone_rejects_multi_task_approaches(study: str) -> None:
    c = config.default()
    c.study, c.weights = study, "imagenet"
    with pytest.raises(InputError, match="config.approaches=.* trains on the target only"):
        config.validate(c)


def test_different_runs_have_different_ids() -> None:
    c = paper_config()
    approaches = make_approaches("mttl", "sttl", "mttl+heads=per_task", "mttl+without=dm")
    runs = {
        run
        for stage in ("splits", "depth", "test", "learning_curve", "cross_validation")
        for choice in (stages.Choice(1, "C1"), stages.Choice(2, "C0"))
        for run in stages.make_runs(stage, c, approaches, choice)
    }
    assert len({run.id for run in runs}) == len(runs)
    assert all(Path(run.id).name == run.id for run in runs)


def test_later_stages_use_the_selected_split_and_network() -> None:
    choice = stages.Choice(1, "C1").update({"split": {"chosen": 7}})
    assert choice == (7, "C1")
    choice = choice.update({"network": {"chosen": "C1-C4"}})
    (run,) = stages.make_runs("test", paper_config(), make_approaches("sttl"), choice)
    assert run.network == "C1-C4" and run.fold is None


@pytest.mark.parametrize(("study", "kept"), [("test", "test"), ("paper", "test"), ("depth", "")])
def test_weights_of_the_first_initialization_of_the_main_result_are_kept(
    study: str, kept: str
) -> None:
    c, approaches = paper_config(), make_approaches("mttl", "sttl")
    runs = {
        stage: stages.make_runs(stage, c, approaches, stages.Choice(1, "C1"))
        for stage in (*config.STAGES["paper"], "learning_curve", "seeds")
    }
    for run in itertools.chain(*runs.values()):
        is_main = bool(kept) and run in runs[kept]
        assert stages.keeps_weights(run, study) == (is_main and run.initialization == 0)


@pytest.mark.parametrize(
    ("name", "tasks", "heads", "weights"),
    [
        ("mttl", COLLECTIONS, "shared", (1, 1, 1)),
        ("sttl", ("sfm",), "shared", (1,)),
        ("mttl+heads=per_task", COLLECTIONS, "per_task", (1, 1, 1)),
        ("mttl+weight.dm=0.5", COLLECTIONS, "shared", (1, 1, 0.5)),
        ("mttl+without=ddsm", ("sfm", "dm"), "shared", (1, 1)),
        # The target is left out of training but scored: its ROIs have weight 0.
        ("mttl+without=sfm", COLLECTIONS, "shared", (0, 1, 1)),
        ("sttl+of=dm", ("dm",), "shared", (1,)),
    ],
)
def test_approach_is_parsed_from_its_name(
    name: str, tasks: tuple[str, ...], heads: str, weights: tuple[float, ...]
) -> None:
    assert make_approaches(name) == [Approach(name, tasks, heads, weights)]


def test_each_is_expanded_to_one_approach_per_collection() -> None:
    assert [a.name for a in make_approaches("mttl+without=each", "sttl+of=each")] == [
        *("mttl+without=sfm", "mttl+without=ddsm", "mttl+without=dm"),
        *("sttl+of=ddsm", "sttl+of=dm"),
    ]


@pytest.mark.parametrize(
    "name", ["mtl", "mttl+head=per_task", "mttl+heads=own", "sttl+without=dm", "mttl+weight.dm=x",
             "mttl+heads=shared+heads=per_task", "mttl+of=dm", "mttl+", "mttl+without=../x"]
)  # fmt: skip
def test_invalid_approach_is_rejected(name: str) -> None:
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
def test_approach_with_only_zero_weights_is_rejected(
    names: tuple[str, ...], weights: tuple[str, ...]
) -> None:
    c = config.default()
    c.approaches, c.train.task_weights = names, weights
    with pytest.raises(InputError, match="expected an approach that trains on a collection"):
        config.validate(c)
    with pytest.raises(InputError, match="expected an approach that trains on a collection"):
        expand_approaches(names, "sfm", COLLECTIONS, "shared", config.parse_task_weights(weights))


def test_approaches_with_a_nonzero_weight_are_accepted() -> None:
    c = config.default()
    c.approaches = ("mttl", "mttl+without=sfm", "mttl+weight.sfm=0", "sttl+of=each")
    c.train.task_weights = ("ddsm:0",)
    config.validate(c)
    with pytest.raises(
        InputError, match=r"'sttl\+of=ddsm' is invalid: expected an approach that trains"
    ):
        expand_approaches(c.approaches, "sfm", COLLECTIONS, "shared", {"ddsm": 0.0})  # expands each


@pytest.mark.parametrize(
    ("study", "approach"),
    [
        ("cross_validation", "sttl+of=dm"),
        ("cross_validation", "sttl+of=each"),
        ("paper", "sttl+of=dm"),
    ],
)
def test_cross_validation_of_another_collection_is_rejected(study: str, approach: str) -> None:
    c = config.default()
    c.study, c.approaches, c.weights = study, ("mttl", "sttl", approach), "some/folder"
    with pytest.raises(InputError) as rejected:
        config.validate(c)
    message = str(rejected.value)
    assert f"config.approaches={approach!r} cannot be evaluated" in message and "\n" not in message
    assert "only the target (sfm); remove it, or set config.study to 'test'" in message
    c.approaches = ("mttl", "sttl+of=sfm")  # the target itself
    config.validate(c)
    c.study, c.approaches = "test", ("mttl", approach)
    config.validate(c)


def test_approach_with_an_unknown_collection_is_rejected() -> None:
    with pytest.raises(InputError, match="unknown collection dn; expected one of sfm, ddsm, dm"):
        make_approaches("mttl+without=dn")


# Training and evaluation sets


def test_training_subsets_are_nested_and_stratified() -> None:
    target = make_roi_set("t", 90)
    split = splits.make_split(
        {target.name: target}, target.name, (), splits.SplitRules(True, 0, 4, 0.4, 0)
    )
    subsets = []
    for count in range(2, len(split.train) + 1):
        run = Run("sttl", ("t",), "C1", None, 0, initialization=5, target_cases=count)
        training, evaluation = splits.run_rows(run, {"t": target}, split)
        rows = training["t"]
        cases = set(target.index["case_id"][rows])
        assert len(cases) == count and cases <= set(split.train)
        assert not cases & set(target.index["case_id"][evaluation["t"]])
        malignant = len(set(target.index["case_id"][rows][target.index["label"][rows] == 1]))
        assert malignant == max(1, round(count / 3))
        subsets.append(cases)
    assert all(small <= large for small, large in itertools.pairwise(subsets))
    run = Run("sttl", ("t",), "C1", None, 0, initialization=6, target_cases=10)
    rows = splits.run_rows(run, {"t": target}, split)[0]["t"]
    assert set(target.index["case_id"][rows]) != subsets[8]


def test_each_collection_can_have_a_test_set() -> None:
    rois = {name: make_roi_set(name, 30, seed=i) for i, name in enumerate(("t", "x"))}
    rois["y"] = make_roi_set("y", 30, "yes")
    split = splits.make_split(rois, "t", ("x", "y"), splits.SplitRules(True, 0, 4, 0.4, 0))
    assert set(split.auxiliary_tests) == {"x", "y"} and len(split.auxiliary_tests["x"]) == 12
    official = rois["y"].index["case_id"][rois["y"].index["split"] == "test"]
    assert (
        split.auxiliary_tests["y"] == sorted(set(official)) and not split.official_tests_in_training
    )
    training, evaluation = splits.run_rows(Run("mttl", ("t", "x", "y"), "C1", None, 0), rois, split)
    for name in rois:
        case = rois[name].index["case_id"]
        assert len(evaluation[name])
        assert not set(case[training[name]]) & set(case[evaluation[name]])


@pytest.mark.parametrize("cases", [None, 10])
def test_match_steps_equalizes_the_steps_of_runs(cases: int | None) -> None:
    rois = {
        "t": make_roi_set("t", 30),
        "x": make_roi_set("x", 70),
        "y": make_roi_set("y", 51),
    }
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 0, 4, 0.4, 0))
    train_config = config.default().train
    train_config.epochs, train_config.batch_size = 7, 32
    mttl = Run("mttl", ("t", "x", "y"), "C1", None, 0)
    sttl = Run("sttl", ("t",), "C1", None, 0, target_cases=cases)
    mttl_steps = compute_cost.run_cost(mttl, rois, split, train_config, "alexnet").steps
    assert compute_cost.n_epochs(sttl, rois, split, train_config) == 7
    train_config.match_steps = True
    assert compute_cost.run_cost(mttl, rois, split, train_config, "alexnet").steps == mttl_steps
    steps = compute_cost.run_cost(sttl, rois, split, train_config, "alexnet").steps
    epoch_steps = steps // compute_cost.n_epochs(sttl, rois, split, train_config)
    assert mttl_steps <= steps < mttl_steps + epoch_steps


def test_validation_costs_a_forward_pass_of_the_trained_layers() -> None:
    rois = {"t": make_roi_set("t", 40)}
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 1, 4, 0.5, 0))
    run = Run("sttl", ("t",), "C1-C5", 0, 0)
    train_config = config.default().train
    train_config.epochs = 7
    layers = compute_cost.layer_operations("alexnet")
    images = len(splits.run_rows(run, rois, split)[1]["t"]) * 8
    validation = images * sum(layers[name] for name in ("F1", "F2", "F3", "F4", "F5"))
    operations = {}
    for fold in (0, None):
        fold_run = dataclasses.replace(run, fold=fold)
        for interval in (0, 3):
            train_config.validation_epochs = interval
            cost = compute_cost.run_cost(fold_run, rois, split, train_config, "alexnet")
            operations[fold, interval] = cost.operations
    n_validations = 3  # after epochs 3, 6 and 7
    assert operations[0, 3] - operations[0, 0] == pytest.approx(n_validations * validation)
    assert operations[None, 3] == operations[None, 0]


def test_operations_of_layers_equal_those_computed_by_hand() -> None:
    """Count two operations per weight and position: C1 has 64 kernels of 11 x 11 x 3 at 31 x 31."""
    layers = compute_cost.layer_operations("alexnet")
    assert layers["C1"] == 2 * 31**2 * 64 * 11**2 * 3
    assert layers["C3"] == 2 * 7**2 * 384 * 9 * 192
    assert layers["F1"] == 2 * 3 * 3 * 256 * 4096 and layers["F2"] == 2 * 4096**2


def test_operations_are_counted_in_all_parts_of_a_program() -> None:
    """A product of 2 x 3 and 3 x 4 has 24 multiplications: five in a loop, one of two branches, one
    in a jitted function; printing has no result."""
    a, b = jnp.ones((2, 3)), jnp.ones((3, 4))

    def program(a: jax.Array, b: jax.Array) -> jax.Array:
        jax.debug.print("{}", a)
        looped, _ = jax.lax.scan(lambda total, _: (total + a @ b, None), a @ b, None, length=5)
        branch = jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: looped)
        return looped + branch + jax.jit(jnp.matmul)(a, b)

    counted = compute_cost._multiplications(jax.make_jaxpr(program)(a, b).jaxpr)
    assert counted == (1 + 5 + 1 + 1) * 24


@pytest.mark.parametrize(
    ("backbone", "billions"), [("vgg16", 15.35), ("resnet18", 1.81), ("resnet50", 4.09)]
)
def test_operations_of_convolutions_are_the_published_ones(
    backbone: str, billions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The multiplications at 224 x 224 are those that torchvision's documentation gives for the
    models, without the fully connected layers: VGG16 15.47 - 0.12, ResNets 1.81 and 4.09. Here the
    images have 128 x 128 pixels. XLA counts no operations on GPUs: nothing may ask for them."""
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
    compute_cost.layer_operations.cache_clear()
    layers = compute_cost.layer_operations(backbone)
    convolutions = sum(layers[name] for name in ("C1", "C2", "C3", "C4", "C5"))
    assert convolutions / 2e9 * (224 / 128) ** 2 == pytest.approx(billions, rel=0.01)


# Selection rules


def split_rows(*values: tuple[int, str, float, float]) -> list[dict]:
    return [{"split": s, "network": n, "auc": a, "sd_folds": d} for s, n, a, d in values]


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        # The highest mean minus SD: .80 - .02, .85 - .10, .79 - .00.
        (((1, "C1", 0.80, 0.02), (2, "C1", 0.85, 0.10), (3, "C1", 0.79, 0.0)), 3),
        # Two networks have equal weight: (.7 - .1 + .9 - .1) / 2 and .75 - .02.
        (
            ((1, "C1", 0.7, 0.1), (1, "C1-C3", 0.9, 0.1), (2, "C1", 0.75, 0.02),
             (2, "C1-C3", 0.75, 0.02)),
            2,
        ),
        # Equal except for rounding (.85 - .10 and .80 - .05): the smaller SD.
        (((1, "C1", 0.85, 0.10), (2, "C1", 0.80, 0.05)), 2),
        # Equal mean and SD: the lower number, in any order.
        (((3, "C1", 0.8, 0.05), (2, "C1", 0.8, 0.05)), 2),
    ],
)  # fmt: skip
def test_split_selection_rule(values: Sequence[tuple], chosen: int) -> None:
    assert stages.get("splits").select(split_rows(*values))["split"]["chosen"] == chosen


@pytest.mark.parametrize(
    ("aucs", "chosen"),
    [
        ({"C0": 0.80, "C1": 0.82, "C1-C5": 0.70}, "C1"),
        ({"C0": 0.1 + 0.2, "C1": 0.3, "C1-C3": 0.2}, "C1"),  # equal except for rounding
        ({"C1-C5": 0.8, "C0": 0.8, "C1-C2": 0.8}, "C1-C5"),
    ],
)
def test_network_selection_rule(aucs: dict[str, float], chosen: str) -> None:
    rows = [{"network": network, "auc": auc} for network, auc in aucs.items()]
    selection = stages.get("depth").select(rows)["network"]
    assert selection["chosen"] == chosen and len(selection["table"]) == len(rows)


def test_results_contain_the_selection_of_each_stage() -> None:
    """Simulate scores that are best for split 2 and for C1-C3."""
    rois = make_roi_set("t", 24, "yes", seed=1)
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
    finished: dict[str, list[Run]] = {}
    tables = {}
    for stage in config.STAGES["paper"]:
        finished[stage] = stages.make_runs(stage, c, sttl, choice)
        for run in finished[stage]:
            rows = splits.run_rows(run, {"t": rois}, split)[1]["t"]
            rng = np.random.default_rng([run.initialization, run.split])
            noise_sd = 2 * ((run.split == 1) + 0.3 * (run.network == "C1"))
            values = rois.index["label"][rows] + noise_sd * rng.standard_normal(len(rows))
            tables[run.id] = make_scores(rois, rows, values)
        partial = summarize("paper", finished, tables, {}, {"t": rois}, split, CARD, {}, RULES)
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


def test_data_use_lists_the_stages_that_use_each_set() -> None:
    """Training cases are used in every stage and test cases only in the last one; auxiliary
    collections are used for training in the last two stages."""
    rois = {"t": make_roi_set("t", 24, "yes", seed=1), "x": make_roi_set("x", 12)}
    split = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 2, 2, 0.0, 0))
    c = paper_config()
    c.folds, c.splits.count, c.data.target = 2, 2, "t"
    for stage in ("splits", "depth", "cross_validation"):
        c[stage].initializations = 1
    approaches = expand_approaches(("mttl", "sttl"), "t", ("t", "x"), "shared", {})
    runs = {
        s: stages.make_runs(s, c, approaches, stages.Choice(1, "C1"))
        for s in config.STAGES["paper"]
    }
    train, test, auxiliary = data_use(runs, rois, split)
    in_folds = ["splits", "depth", "cross_validation"]
    assert (train["trained_in"], train["evaluated_in"]) == ([*in_folds, "test"], in_folds)
    assert (test["trained_in"], test["evaluated_in"]) == ([], ["test"])
    assert (auxiliary["trained_in"], auxiliary["evaluated_in"]) == (
        ["cross_validation", "test"],
        [],
    )
    assert (train["cases"], test["cases"]) == (len(split.train), len(split.test))
    # 12 cases of two views, every third malignant; eight orientations each.
    assert auxiliary["lesions"] == {"malignant": 4, "benign": 8}
    assert auxiliary["rois_augmented"] == 192


# Mean AUCs


def make_fold(seed: int, patients: int, seeds: int = 3, signal: float = 1.0) -> FoldScores:
    """Return correlated scores of several runs for two ROIs per patient."""
    rng = np.random.default_rng(seed)
    label = np.repeat((np.arange(patients) % 3 == 0).astype(int), 2)
    shared = signal * label + np.repeat(rng.standard_normal(patients), 2)
    noise = rng.standard_normal((seeds, 2 * patients))
    return FoldScores(label, np.repeat(np.arange(patients), 2), shared + noise)


def test_mean_of_one_auc() -> None:
    fold = make_fold(0, 40, seeds=1)
    row = mean_auc([fold])
    test = roc.compare(
        fold.label, fold.scores[0], -fold.scores[0], method="obuchowski", clusters=fold.patient
    )
    assert row["auc"] == pytest.approx(test.auc_a)
    # Negated scores have AUC 1 - A and negated influence values: the difference is 2 A - 1, with
    # twice the standard error.
    assert row["se"] == pytest.approx(test.se / 2)
    assert row["aucs"] == [[pytest.approx(test.auc_a)]]


def test_mean_aucs_match_hand_computed_values() -> None:
    folds = [make_fold(1, 30), make_fold(2, 33)]
    aucs = [[roc.empirical(f.label, f.scores[s]).auc for f in folds] for s in range(3)]
    row = mean_auc(folds)
    np.testing.assert_allclose(row["aucs"], aucs)
    assert row["auc"] == pytest.approx(np.mean(aucs))
    assert row["sd_initializations"] == pytest.approx(np.std(np.mean(aucs, 1), ddof=1))
    assert row["sd_folds"] == pytest.approx(np.std(np.mean(aucs, 0), ddof=1))
    assert (row["n_malignant"], row["n_benign"], row["n_cases"]) == (42, 84, 63)


def test_standard_error_of_a_mean_matches_resampled_patients() -> None:
    folds = [make_fold(3, 60), make_fold(4, 60)]
    rng, bootstrap_means = np.random.default_rng(0), []
    for _ in range(400):
        aucs = []
        for fold in folds:
            patients = rng.integers(0, 60, 60)
            rows = np.concatenate([2 * patients, 2 * patients + 1])
            aucs.append(
                np.mean([roc.empirical(fold.label[rows], s[rows]).auc for s in fold.scores])
            )
        bootstrap_means.append(np.mean(aucs))
    assert mean_auc(folds)["se"] == pytest.approx(np.std(bootstrap_means), rel=0.12)


def test_difference_of_means_matches_the_means() -> None:
    folds = [make_fold(5, 40), make_fold(6, 40)]
    reversed_folds = [fold._replace(scores=fold.scores[:, ::-1]) for fold in folds]
    difference = mean_difference(folds, reversed_folds)
    assert difference["delta"] == pytest.approx(
        mean_auc(folds)["auc"] - mean_auc(reversed_folds)["auc"]
    )
    assert difference["ci_low"] < difference["delta"] < difference["ci_high"]
    same = mean_difference(folds, folds)
    assert (same["delta"], same["p_value"], same["status"]) == (0, 1, "undetermined")


def test_perfect_and_sparse_means_have_a_confidence_interval() -> None:
    fold = make_fold(7, 12)
    perfect = fold._replace(scores=np.tile(fold.label, (2, 1)).astype(float))
    row = mean_auc([perfect])
    assert (row["auc"], row["status"]) == (1, "perfect") and 0.5 < row["ci_low"] < 1
    sparse = FoldScores(np.array([1, 0, 0]), np.arange(3), np.array([[0.5, 0.1, 0.9]]))
    row = mean_auc([sparse])
    assert (row["auc"], row["status"]) == (0.5, "sparse")
    assert row["ci_low"] < 0.5 < row["ci_high"]


# Work-folder lock


def test_locked_folder_is_rejected_and_a_stale_lock_is_released(tmp_path: Path) -> None:
    with workdir.lock(tmp_path / "w"):
        with pytest.raises(InputError, match="another job uses this folder"):
            with workdir.lock(tmp_path / "w"):
                pass
        with workdir.lock(tmp_path / "other"):
            pass
    (tmp_path / "w" / ".lock").touch()
    with workdir.lock(tmp_path / "w"):
        pass
