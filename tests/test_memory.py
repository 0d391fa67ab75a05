"""The memory budget of a device, and what happens if a group of runs does not fit."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import pytest

from mtl_jax import config
from mtl_jax.experiments import executors
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.training import memory
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import InputError, Run
from mtl_jax.weights import Weights

RUNS = [Run("sttl", ("a",), "C1-C5", 0, 0, initialization=n) for n in range(8)]
INPUTS = StudyInputs({}, None, {"sttl": Weights({}, {})}, [])


def train(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fitting: int,
    replicas: int = 8,
    error: Exception | None = None,
) -> tuple[list[tuple[int, Replicas | None]], list[Run]]:
    """Train RUNS on a device that has memory for `fitting` of them; return the groups that were
    tried, with their replicas, and the finished runs."""
    tried, finished = [], []
    exhausted = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

    def train_and_score(
        runs: Sequence[Run], folders: Sequence[Path], *arguments: object, **_: object
    ) -> None:
        layout = arguments[-1]
        tried.append((len(runs), layout))
        if (layout.width if layout else 1) > fitting:
            raise error or exhausted
        for run_folder in folders:
            run_folder.mkdir(parents=True)
            (run_folder / "scores.csv").touch()

    c = config.default()
    c.replicas = replicas
    monkeypatch.setattr(executors, "train_and_score", train_and_score)
    monkeypatch.setattr(executors, "n_epochs", lambda *_: 1)
    inputs = INPUTS._replace(
        weights={"sttl": Weights(dict.fromkeys(("C1", "C2", "C3", "C4", "C5"), {}), {})}
    )
    callbacks = executors.Callbacks(on_finished=finished.append)
    executors.run_locally(RUNS, folder, inputs, c, callbacks)
    return tried, finished


def test_a_group_that_does_not_fit_is_trained_as_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried, finished = train(tmp_path, monkeypatch, fitting=4)
    assert tried == [(8, Replicas(1, 8)), (4, Replicas(1, 4)), (4, Replicas(1, 4))]
    assert finished == RUNS
    assert "8 runs on a device need more memory than it has: training 4 at a time" in (
        capsys.readouterr().err
    )


def test_a_group_is_resumed_without_losing_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that trained alone before, or on fewer devices, have checkpoints of other epochs."""
    for run, epochs in zip(RUNS, ([4, 5], [5, 6], [1, 2], [], [5, 6], [2]), strict=False):
        for epoch in epochs:
            (tmp_path / "runs" / run.id / "checkpoint" / str(epoch)).mkdir(parents=True)
    parts = executors._common_epochs(RUNS, tmp_path)
    numbers = [[RUNS.index(run) for run in part] for part in parts]
    assert numbers == [[0, 1, 4], [2, 5], [3, 6, 7]]


def test_runs_that_were_scored_before_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory can run out while the runs of a group are scored."""
    for run in RUNS[:3]:
        (tmp_path / "runs" / run.id).mkdir(parents=True)
    exhausted = executors._fits

    def fits(train: object, runs: Sequence[Run], layout: object) -> bool:
        if len(runs) < 8:
            return exhausted(train, runs, layout)
        for run in RUNS[:3]:
            (tmp_path / "runs" / run.id / "scores.csv").touch()
        return False

    monkeypatch.setattr(executors, "_fits", fits)
    tried, finished = train(tmp_path, monkeypatch, fitting=4)
    assert [count for count, _ in tried] == [4, 1] and finished == RUNS


def test_later_groups_begin_with_the_number_of_runs_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried, finished = train(tmp_path, monkeypatch, fitting=2, replicas=4)
    assert [count for count, _ in tried] == [4, 2, 2, 2, 2] and finished == RUNS
    assert capsys.readouterr().err.count("need more memory") == 1


def test_memory_that_is_exhausted_again_ends_the_job_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"4 runs on a device need more memory .*replicas=2"):
        train(tmp_path, monkeypatch, fitting=2)
    with pytest.raises(InputError, match=r"too little memory .*lower config.train.batch_size"):
        train(tmp_path / "one", monkeypatch, fitting=0, replicas=1)


def test_other_errors_of_a_device_are_not_mistaken_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = jax.errors.JaxRuntimeError("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        train(tmp_path, monkeypatch, fitting=4, error=error)


@dataclasses.dataclass
class FakeDevice:
    stats: dict[str, int] | None

    def memory_stats(self) -> dict[str, int] | None:
        return self.stats


def test_the_budget_of_a_gpu_is_what_jax_may_allocate_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = memory.device_bytes()  # of a CPU
    assert host > 1e9 and memory.host_activation_bytes() == 0
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "gpu")
    devices = [FakeDevice({"bytes_limit": 60_000_000_000})]
    monkeypatch.setattr(memory.jax, "local_devices", lambda: devices)
    assert memory.device_bytes() == 60e9
    assert memory.host_activation_bytes() == pytest.approx(host / 3)
    devices[0].stats = None  # it is a GPU all the same
    memory._assumed_bytes.cache_clear()
    assert memory.device_bytes() == memory.device_bytes() == memory.ASSUMED_BYTES
    assert capsys.readouterr().err.count("the GPU does not report its memory") == 1
