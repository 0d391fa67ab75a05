"""Loss and AUC of the held-out fold during training: correct values, no effect on training."""

import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from kit import small_network
from sklearn.metrics import log_loss, roc_auc_score
from study_command import finish, start
from test_multihost import make_environments
from test_training import NETWORK, fit_runs

from mtl_jax import config
from mtl_jax.experiments import run_data, train_runs, validation
from mtl_jax.experiments.splits import Split
from mtl_jax.models.base import init
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError, RoiSet, Run
from mtl_jax.weights import Weights

CASES = [f"t{i}" for i in range(8)]
SPLIT = Split("t", CASES[:6], CASES[6:], [[CASES[:3], CASES[3:6]]], "made up")
FOLD = Run("mttl", ("t", "x"), "C1-C5", 0, 0)


def collection(name: str, n_cases: int, seed: int) -> RoiSet:
    """Return one ROI per case; every other ROI is malignant and brighter in the middle."""
    rng = np.random.default_rng(seed)
    label = np.arange(n_cases) % 2
    pixels = rng.normal(500 * seed, 60, (n_cases, 128, 128)).astype(np.int16)
    pixels[label == 1, 40:88, 40:88] += 120
    case_ids = np.array([f"{name}{i}" for i in range(n_cases)])
    fixed = {"lesion_id": "1", "view": "CC", "split": ""}
    index = {key: np.full(n_cases, value) for key, value in fixed.items()}
    manifest = {"shards": [], "index": {"sha256": name}}
    per_case = {"roi_id": case_ids, "case_id": case_ids, "label": label}
    return RoiSet(name, index | per_case, (pixels,), manifest)


COLLECTIONS = {"t": collection("t", 8, 0), "x": collection("x", 5, 1)}


def train(
    folder: Path, runs: Sequence[Run], replicas: Replicas | None = None, **changes: Any
) -> list[Path]:
    """Train `runs` for three epochs of one or two steps each; return their folders."""
    c = config.default()
    c.data.cache, c.stream = str(folder / "cache"), changes.pop("stream", "auto")
    c.devices = replicas.devices if replicas else changes.pop("devices", 1)
    c.train.epochs, c.train.batch_size, c.train.learning_rate = 3, 40, 0.01
    c.train.validation_epochs = 1
    c.train.update(changes)
    params = jax.device_get(init(NETWORK, jax.random.key(3)))
    convolutions = {name: params[name] for name in params if name.startswith("C")}
    weights = Weights(
        convolutions, {"name": "made up", "backbone": "alexnet", "lrn": False, "arrays_sha256": ""}
    )
    folders = [folder / run.id for run in runs]
    by_approach = {run.approach: weights for run in runs}
    with small_network.as_alexnet():
        train_runs.train_and_score(runs, folders, COLLECTIONS, SPLIT, by_approach, c, replicas)
    return folders


def read_history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def final_loss_and_auc(folder: Path) -> tuple[float, float]:
    """Return the loss and AUC of scores.csv by scikit-learn."""
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels, scores = [int(r["label"]) for r in rows], [float(r["score"]) for r in rows]
    return log_loss(labels, np.float64(scores)), roc_auc_score(labels, scores)


def drop_validation(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if "validation" not in k} for line in lines]


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("validated"), [FOLD])[0]


def test_last_values_match_the_held_out_scores(validated: Path) -> None:
    lines = read_history(validated)
    loss, auc = final_loss_and_auc(validated)
    assert len(lines) == 3 and len({line["validation_loss"] for line in lines}) == 3
    assert lines[-1]["validation_loss"] == pytest.approx(loss, rel=1e-6)
    assert lines[-1]["validation_auc"] == pytest.approx(auc, abs=1e-12)


@pytest.mark.parametrize("network", ["C1", "C1-C5"])
def test_validation_does_not_change_the_training(network: str, tmp_path: Path) -> None:
    run = dataclasses.replace(FOLD, network=network)
    (validated,) = train(tmp_path / "with", [run])
    (without,) = train(tmp_path / "without", [run], validation_epochs=0)
    for name in ("scores.csv", "run.json"):
        assert (validated / name).read_bytes() == (without / name).read_bytes()
    assert (
        read_history(without) == drop_validation(read_history(validated)) != read_history(validated)
    )


def test_a_streamed_fold_gives_equal_values(validated: Path, tmp_path: Path) -> None:
    (streamed,) = train(tmp_path, [FOLD], stream="always")
    assert read_history(streamed) == read_history(validated)


def test_each_replica_has_its_own_fold(validated: Path, tmp_path: Path) -> None:
    runs = [FOLD, dataclasses.replace(FOLD, seed=1), dataclasses.replace(FOLD, fold=1)]
    folders = train(tmp_path, runs, Replicas(1, 3, ragged=True))
    losses = [[line["validation_loss"] for line in read_history(folder)] for folder in folders]
    single_run = [line["validation_loss"] for line in read_history(validated)]
    assert losses[0] == pytest.approx(single_run, rel=1e-4)
    assert len({values[0] for values in losses}) == 3
    for values, folder in zip(losses, folders, strict=True):
        assert values[-1] == pytest.approx(final_loss_and_auc(folder)[0], rel=1e-6)


def test_the_test_set_is_never_evaluated_during_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ROI of the test set is read before training has ended."""
    events = []
    fit, evaluation_dataset = train_runs.fit, run_data.evaluation_dataset

    def logged_fit(trainings: Sequence[TrainingRun], *rest: Any) -> list[dict]:
        assert all(training.validate is None for training in trainings)
        trained = fit(trainings, *rest)
        events.append("trained")
        return trained

    def logged_evaluation_dataset(*args: Any) -> Any:
        events.append("test set read")
        return evaluation_dataset(*args)

    monkeypatch.setattr(train_runs, "fit", logged_fit)
    monkeypatch.setattr(run_data, "evaluation_dataset", logged_evaluation_dataset)
    all_cases = dataclasses.replace(FOLD, fold=None)
    four_cases = dataclasses.replace(all_cases, target_cases=4)
    for run in (all_cases, four_cases):
        (folder,) = train(tmp_path, [run], epochs=1)
        assert events == ["trained", "test set read"]
        assert drop_validation(read_history(folder)) == read_history(folder)
        events.clear()


def test_loss_and_auc_match_hand_computed_values() -> None:
    labels, scores = np.array([1, 0, 0]), np.float32([0.5, 0.75, 0.25])
    metrics = validation.loss_and_auc(labels, scores)
    assert metrics["validation_loss"] == pytest.approx(-np.log([0.5, 0.25, 0.75]).mean())
    assert metrics["validation_auc"] == 0.5
    one_class = validation.loss_and_auc(np.ones(2, int), np.float32([0, 1]))
    assert one_class == {"validation_loss": pytest.approx(-np.log(2.0**-23) / 2)}
    assert validation.loss_and_auc(labels, np.float32([0.5, np.nan, 0.5])) == {}


def fit_and_record(folder: Path, stop_after: int = 9, **changes: Any) -> tuple[dict, list[dict]]:
    """Return the trained weights, and the weights of each call of `validate`."""
    validated: list[dict] = []

    def validate(params: dict) -> Callable[[], dict[str, float]]:
        validated.append(jax.tree.map(np.array, params))
        values = {"validation_loss": float(len(validated))}
        return lambda: values

    def report(line: dict[str, float]) -> None:
        if line["epoch"] > stop_after:
            raise KeyboardInterrupt

    params = jax.device_get(init(NETWORK, jax.random.key(0)))
    training = TrainingRun(folder, params, jax.random.key(7), report, validate=validate)
    return fit_runs([training], batch_size=80, **changes)[0], validated


def test_validation_runs_at_the_interval_and_in_the_last_epoch(tmp_path: Path) -> None:
    trained, validated = fit_and_record(tmp_path / "run", epochs=3, validation_epochs=2)
    lines = read_history(tmp_path / "run")
    assert [line.get("validation_loss") for line in lines] == [None, 1.0, 2.0]
    jax.tree.map(np.testing.assert_array_equal, validated[-1], trained)
    assert not np.array_equal(validated[0]["F5"]["kernel"], trained["F5"]["kernel"])
    fit_and_record(tmp_path / "never", epochs=1, validation_epochs=0)
    assert "validation_loss" not in read_history(tmp_path / "never")[0]


def test_a_job_resumed_with_another_interval_keeps_finished_lines(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_and_record(tmp_path, stop_after=2, epochs=4, validation_epochs=1)
    fit_and_record(tmp_path, epochs=4, validation_epochs=4)
    losses = [line.get("validation_loss") for line in read_history(tmp_path)]
    assert losses == [1.0, 2.0, None, 1.0]


def test_an_interval_below_zero_is_rejected() -> None:
    c = config.default()
    c.train.validation_epochs = -1
    with pytest.raises(
        InputError, match=r"config.train.validation_epochs=-1 is invalid: expected an integer >= 0"
    ):
        config.validate(c)


ON_FOUR_DEVICES = """
import sys
from dataclasses import replace
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, sys.argv[2])
import test_validation as t
folder = Path(sys.argv[1])
runs = [replace(t.FOLD, seed=seed, fold=fold) for fold in (0, 1) for seed in (0, 1)]
losses = {}
for name, selected, replicas, changes in (
    ("replicas", runs, t.Replicas(4, 1, ragged=True), {}),
    ("shared batch", runs[:1], None, {"devices": 4}),
    ("single device", runs[:1], None, {}),
):
    folders = t.train(folder / name, selected, replicas, **changes)
    losses[name] = [[line["validation_loss"] for line in t.read_history(f)] for f in folders]
    for values, run_folder in zip(losses[name], folders):
        assert abs(values[-1] - t.final_loss_and_auc(run_folder)[0]) < 1e-6
for name in ("replicas", "shared batch"):
    t.np.testing.assert_allclose(losses[name][0], losses["single device"][0], rtol=1e-4)
print("equal")
"""


@pytest.mark.slow
def test_over_four_devices(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.stdout.strip().endswith("equal"), process.stderr[-2000:]


@pytest.mark.slow
def test_process_0_of_two_validates(tmp_path: Path) -> None:
    settings = {"study": "cross_validation", "network": "C1-C5", "train.validation_epochs": "1"}
    processes = [
        start(
            tmp_path / "two",
            tmp_path / "cache",
            {**settings, "devices": "2"},
            "mttl",
            {**environment, "JAX_NUM_CPU_DEVICES": "1"},
        )
        for environment in make_environments(2)
    ]
    for process in processes:
        finish(process)
    finish(start(tmp_path / "one", tmp_path / "cache", settings, "mttl"))
    folders = sorted((tmp_path / "two" / "runs").iterdir())
    assert len(folders) == 2
    for run_folder in folders:
        lines = zip(
            read_history(run_folder),
            read_history(tmp_path / "one" / "runs" / run_folder.name),
            strict=True,
        )
        for line, single in lines:
            assert line["validation_loss"] == pytest.approx(single["validation_loss"], rel=1e-4)
