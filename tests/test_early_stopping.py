"""Early stopping on an inner set of training patients."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from test_training import NETWORK, fit_runs
from test_validation import COLLECTIONS, FOLD, SPLIT, read_history, train

from mtl_jax import config
from mtl_jax.data import patients
from mtl_jax.experiments import splits
from mtl_jax.experiments.data_use import data_use
from mtl_jax.experiments.inner_set import draw_inner
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.models.base import init
from mtl_jax.training.checkpoint import read_params
from mtl_jax.training.early_stopping import EarlyStopping
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError, RoiSet, Run

METADATA = ("name", "backbone", "lrn", "arrays_sha256")


def run_monitor(losses: Sequence[float], interval: int, patience: int) -> EarlyStopping:
    """Feed the losses of epochs 1, 2, ...; the weights of an epoch are its number."""
    values = dict(enumerate(losses, 1))
    monitor = EarlyStopping(
        lambda weights: values[int(weights["w"])], {"w": np.int32(0)}, interval, patience, 99
    )
    for epoch in values:
        if monitor.stopped:
            break
        monitor.observe(epoch, lambda epoch=epoch: {"w": np.int32(epoch)})
    return monitor


@pytest.mark.parametrize(
    ("losses", "interval", "patience", "best", "stopped"),
    [
        ([5, 4, 3, 2], 1, 2, 4, False),
        ([5, 4, 4.5, 4.2, 1], 1, 2, 2, True),  # the loss of 1 is never seen
        ([5, 4, 4.5, 3, 3.5, 3.5], 1, 2, 4, True),
        ([9, 5, 1, 4, 9, 4, 1, 4], 2, 2, 4, True),  # 5, 4, 4 and 4: equal is not lower
    ],
)
def test_the_best_epoch_and_the_stop(
    losses: list[float], interval: int, patience: int, best: int, stopped: bool
) -> None:
    monitor = run_monitor(losses, interval, patience)
    assert int(monitor.result({"w": -1})["w"]) == best and monitor.stopped == stopped
    restored = run_monitor([], interval, patience)
    restored.restore(jax.tree.map(np.array, monitor.state()))
    assert int(restored.result({})["w"]) == best and restored.stopped == stopped


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(InputError, match="NaN or infinite after epoch 2; lower config.train"):
        run_monitor([1, float("inf")], 1, 2)


# The inner set


def make_collection(name: str, cases: int, shared: int = 0) -> RoiSet:
    """Return two ROIs per case; the first `shared` cases are patients of every collection."""
    case = np.repeat([f"{name}{i}" for i in range(cases)], 2)
    label = np.repeat(np.arange(cases) % 2, 2)
    index = {"case_id": case, "label": label, "split": np.full(len(case), "")}
    ids = [f"{name}{i}" for i in range(cases)]
    keys = [f"p{i}" if i < shared else f"{name}-p{i}" for i in range(cases)]
    table = {"case_id": np.array(ids), "patient": np.array(keys)} if shared else {}
    pixels = np.zeros((len(case), 128, 128), np.int16)
    ids_of_rois = [f"{name}-roi{i}" for i in range(len(case))]
    index |= {"roi_id": np.array(ids_of_rois), "lesion_id": np.full(len(case), "1")}
    manifest = {"shards": [], "index": {"sha256": name}}
    return RoiSet(name, index, (pixels,), manifest, table)


def draw(run: Run, collections: dict[str, RoiSet], seed: int = 0) -> tuple[dict, dict, dict]:
    cases = {name: list(dict.fromkeys(r.index["case_id"])) for name, r in collections.items()}
    parts = [cases["t"][i:20:4] for i in range(4)]
    # Cases of test patients in other collections, which are in no training set.
    excluded = {name: ids[20:28] for name, ids in cases.items() if name != "t"}
    fields = cases["t"][:20], cases["t"][20:], [parts], "made up"
    split = splits.Split("t", *fields, seed=seed, excluded=excluded)
    training, evaluation = splits.run_rows(run, collections, split)
    return *draw_inner(run, training, collections, 0.25, seed), evaluation


def patients_in(rows: dict[str, np.ndarray], collections: dict[str, RoiSet]) -> set[str]:
    return {
        patients.patient_of_case(collections[name])[case]
        for name in rows
        for case in collections[name].index["case_id"][rows[name]]
    }


@pytest.mark.parametrize("fold", [0, 3, None])
def test_the_inner_set_is_a_stratified_part_of_the_training_patients(fold: int | None) -> None:
    collections = {"t": make_collection("t", 28, 28), "x": make_collection("x", 30, 30)}
    run = Run("mttl", ("t", "x"), "C1", fold, 0)
    training, inner, evaluation = draw(run, collections)
    assert not len(inner["x"])
    index = collections["t"].index
    labels = index["label"][inner["t"]]
    n_patients = 20 if fold is None else 15
    assert len(labels) / 2 == pytest.approx(n_patients / 4, abs=1) and 0 < labels.mean() < 1
    sides = [patients_in(rows, collections) for rows in (training, inner, {"t": evaluation["t"]})]
    assert all(not a & b for a, b in itertools.combinations(sides, 2))
    again = draw(dataclasses.replace(run, initialization=7, seed=3), collections)
    for ours, theirs in zip((training, inner), again, strict=False):
        assert all(np.array_equal(ours[task], theirs[task]) for task in run.tasks)


def test_other_folds_and_seeds_have_other_inner_sets() -> None:
    collections = {"t": make_collection("t", 28)}
    draws = [
        draw(Run("sttl", ("t",), "C1", fold, 0), collections, seed)[1]["t"].tolist()
        for fold, seed in ((None, 0), (0, 0), (1, 0), (None, 1))
    ]
    assert all(a != b for a, b in itertools.combinations(draws, 2))


def test_an_inner_set_that_cannot_be_drawn_is_rejected() -> None:
    collections = {"t": make_collection("t", 28)}
    run = Run("mttl+without=t", ("t",), "C1", None, 0, task_weights=(0.0,))
    with pytest.raises(InputError, match="does not learn from t.*early_stopping.fraction to 0"):
        draw(run, collections)
    few = {"t": make_collection("t", 3)}
    with pytest.raises(InputError, match="1 malignant training patients.*early_stopping"):
        draw_inner(Run("sttl", ("t",), "C1", None, 0), {"t": np.arange(6)}, few, 0.5, 0)
    c = config.default()
    c.train.early_stopping.fraction = 0.9
    with pytest.raises(InputError, match="early_stopping.fraction=0.9 is invalid"):
        config.validate(c)
    c.train.early_stopping.fraction, c.train.match_steps = 0.2, True
    with pytest.raises(InputError, match="config.train.match_steps=True is invalid"):
        config.validate(c)


def test_the_provenance_and_the_table_of_the_data_name_the_inner_set() -> None:
    collections = {"t": make_collection("t", 28)}
    run, c = Run("sttl", ("t",), "C1", None, 0), config.default()
    weights = {"sttl": SimpleNamespace(metadata=dict.fromkeys(METADATA, ""))}
    cases = list(dict.fromkeys(collections["t"].index["case_id"]))
    digests = []
    for fraction, seed in ((0.0, 0), (0.25, 0), (0.25, 1)):
        split = splits.Split("t", cases[:20], cases[20:], [], "made up", seed=seed)
        c.train.early_stopping.fraction = fraction
        digests.append(Provenance(collections, split, weights, c)._data_digests(run))
    assert "inner" not in digests[0]
    assert len({digest["learned"] for digest in digests}) == 3
    assert digests[1]["inner"] != digests[2]["inner"]
    entries = data_use({"test": [run]}, collections, split, 0.25)
    parts = {
        (bool(e["trained_in"]), bool(e["evaluated_in"]), bool(e["inner_in"])): e["cases"]
        for e in entries
    }
    assert parts == {(True, False, False): 16, (False, True, False): 8, (False, False, True): 4}


# Training


class Losses:
    """A made-up inner loss by call."""

    def __init__(self, losses: Sequence[float]) -> None:
        self.seen: list[dict] = []
        self._losses: Iterator[float] = iter(losses)

    def __call__(self, params: dict) -> float:
        self.seen.append(jax.tree.map(np.array, params))
        return next(self._losses)


def make_run(
    folder: Path,
    losses: Losses,
    seed: int = 0,
    stop_after: int = 99,
    epochs: int = 6,
    patience: int = 2,
) -> TrainingRun:
    def interrupt(record: dict[str, float]) -> None:
        if record["epoch"] > stop_after:
            raise KeyboardInterrupt

    first = jax.device_get(init(NETWORK, jax.random.key(0)))
    random = jax.device_get(init(NETWORK, jax.random.key(seed)))
    params = {name: (first if name[0] == "C" else random)[name] for name in first}
    monitor = EarlyStopping(losses, params, 1, patience, epochs)
    key = jax.random.key(7 + seed)
    return TrainingRun(folder, params, key, interrupt, monitor=monitor)


def is_equal(a: dict, b: dict) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_the_result_are_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    losses = Losses([3, 1, 2, 2])
    (trained,) = fit_runs(
        [make_run(tmp_path / "run", losses)], epochs=6, batch_size=80, cache=tmp_path / "cache"
    )
    history = read_history(tmp_path / "run")
    assert [line["inner_loss"] for line in history] == [3, 1, 2, 2]
    assert is_equal(trained, losses.seen[1]) and not is_equal(trained, losses.seen[3])
    assert is_equal(read_params(tmp_path / "run" / "checkpoint"), losses.seen[1])
    # A job that was killed before it scored continues: nothing is trained again.
    again = Losses([])
    (resumed,) = fit_runs(
        [make_run(tmp_path / "run", again)], epochs=6, batch_size=80, cache=tmp_path / "cache"
    )
    assert is_equal(resumed, trained)
    assert read_history(tmp_path / "run") == history and not again.seen


@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_a_resumed_run_is_bit_identical(tmp_path: Path, interrupted_after: int) -> None:
    values = [3, 1, 2, 2]
    (expected,) = fit_runs(
        [make_run(tmp_path / "whole", Losses(values))],
        epochs=6,
        batch_size=80,
        cache=tmp_path / "cache",
    )
    run = make_run(tmp_path / "resumed", Losses(values), stop_after=interrupted_after)
    with pytest.raises(KeyboardInterrupt):
        fit_runs([run], epochs=6, batch_size=80, cache=tmp_path / "cache")
    rest = Losses(values[interrupted_after:])
    (resumed,) = fit_runs(
        [make_run(tmp_path / "resumed", rest)], epochs=6, batch_size=80, cache=tmp_path / "cache"
    )
    assert is_equal(resumed, expected)
    assert read_history(tmp_path / "resumed") == read_history(tmp_path / "whole")


def test_replicas_stop_one_by_one(tmp_path: Path) -> None:
    """Each has the history and the weights that it has beside another replica, bit by bit."""
    early, late = [1, 2], [3, 2, 1]
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 80, "replicas": Replicas(1, 2)}

    def train_pair(name: str, losses: list[list[float]]) -> list[dict]:
        runs = [
            make_run(tmp_path / name / str(seed), Losses(values), seed, epochs=3, patience=1)
            for seed, values in enumerate(losses)
        ]
        return fit_runs(runs, **settings, cache=tmp_path / "cache")

    mixed, both_late = train_pair("mixed", [early, late]), train_pair("late", [late, late])
    assert len(read_history(tmp_path / "mixed" / "0")) == 2
    histories = [read_history(tmp_path / name / "1") for name in ("mixed", "late")]
    assert histories[0] == histories[1] and len(histories[0]) == 3
    assert is_equal(mixed[1], both_late[1])
    first_epochs = [read_history(tmp_path / name / "0")[:2] for name in ("mixed", "late")]
    for ours, theirs in zip(*first_epochs, strict=True):
        assert ours | {"inner_loss": 0} == theirs | {"inner_loss": 0}


def test_a_run_of_a_study_records_its_early_stopping(tmp_path: Path) -> None:
    settings = {"fraction": 0.3, "interval": 1, "patience": 1}
    run = dataclasses.replace(FOLD, fold=None)
    (folder,) = train(tmp_path, [run], early_stopping=settings, epochs=4)
    record, history = json.loads((folder / "run.json").read_text()), read_history(folder)
    assert record["epochs"] == len(history) <= 4
    losses = [line["inner_loss"] for line in history]
    assert record["best_epoch"] == 1 + int(np.argmin(losses))
    assert record["rois_inner"] == {"t": 2, "x": 0} and record["rois_learned"]["t"] == 4
    training, inner = draw_inner(
        run, splits.run_rows(run, COLLECTIONS, SPLIT)[0], COLLECTIONS, 0.3, SPLIT.seed
    )
    mean = COLLECTIONS["t"].shards[0][training["t"]].mean()
    assert record["input_mean"]["t"] == pytest.approx(mean, rel=1e-6) and len(inner["t"]) == 2
