"""Several processes train one network over loopback; they are stopped, fail or are killed."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
import pytest
from study_command import finish
from study_command import start as start_study
from test_training import NETWORK, fit_runs, random_dataset

from mtl_jax.models import alexnet
from mtl_jax.training import multihost
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError, Params

start = partial(start_study, job="mttl", small_head=True)
ONE_RUN = {"folds": "4", "study": "test", "network": "C1-C5"}


def make_environments(count: int) -> list[dict[str, str]]:
    """Return the environment of each of `count` processes, with a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
    return [{**shared, "JAX_PROCESS_ID": str(n)} for n in range(count)]


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"JAX_NUM_PROCESSES": "1"}, False),
        ({"JAX_NUM_PROCESSES": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, False),  # the batch script itself
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
    ],
)
def test_several_processes_are_detected_from_the_environment(
    environment: dict[str, str], several: bool
) -> None:
    assert multihost.is_multiprocess(environment) is several


def test_an_invalid_environment_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="JAX_NUM_PROCESSES='two' is invalid: expected an integer"):
        multihost.is_multiprocess({"JAX_NUM_PROCESSES": "two"})
    for name in multihost.JAX_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(InputError, match="JAX_COORDINATOR_ADDRESS is missing"):
        multihost.initialize(2)


def train(folder: Path, devices: int, until: int = 2, checkpoint_minutes: float = 0.0) -> Params:
    """Train for two epochs; raise KeyboardInterrupt in the one after `until`."""

    def on_epoch(record: dict[str, float]) -> None:
        if record["epoch"] > until:
            raise KeyboardInterrupt

    params = jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))
    (trained,) = fit_runs(
        [TrainingRun(folder, params, jax.random.key(7), on_epoch)],
        devices=devices,
        cache=folder / "cache",
        source=random_dataset(4),
        keep=False,
        checkpoint_minutes=checkpoint_minutes,
    )
    return trained


PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_multihost as t
from mtl_jax.types import InputError
from mtl_jax.training import multihost
multihost.initialize(2)
folder = Path(sys.argv[1])
assert multihost.from_primary(lambda: {"made by": 0}) == {"made by": 0}
assert multihost.primary_first(lambda: (folder / "first").touch()) is None
exists = multihost.primary_first(lambda: (folder / "first").exists())
assert exists and multihost.on_primary(lambda: 3) == (3 if multihost.is_primary() else None)
multihost.assert_same("5 ROIs")
try:
    multihost.assert_same("4 ROIs" if multihost.is_primary() else "5 ROIs")
except InputError as error:
    print(error)
except SystemExit as error:
    assert error.code == 2 and not multihost.is_primary()
try:
    t.train(folder / ("work" if multihost.is_primary() else "scratch"), 2, until=1)
except KeyboardInterrupt:
    assert multihost.agreed_signal(0 if multihost.is_primary() else 15) == 15

def fail():
    raise InputError("no such file")

multihost.on_primary(fail)
"""


@pytest.mark.slow  # starts three processes
def test_two_processes_train_as_one_does_and_one_resumes(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(Path(__file__).parent)],
            env=os.environ | environment | {"JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in make_environments(2)
    ]
    expected = train(tmp_path / "expected", 1, checkpoint_minutes=99.0)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [1, 2], outputs
    assert outputs[0][1].splitlines()[-1] == "mtl_jax.types.InputError: no such file"
    assert "process 0 has 4 ROIs, process 1 5 ROIs; give them the same files" in outputs[0][0]
    assert not (tmp_path / "scratch").exists()  # process 0 alone writes
    assert [p.name for p in (tmp_path / "work/checkpoint").glob("[0-9]*")] == ["1"]
    resumed = train(tmp_path / "work", 1)
    for name, layer in expected.items():
        for part, value in layer.items():
            np.testing.assert_allclose(resumed[name][part], value, atol=1e-6)


SESSION = """
import sys, time
from mtl_jax.types import InputError
from mtl_jax.training import multihost
multihost.GRACE_PERIOD = 2
with multihost.session(2):
    if sys.argv[1] == "wait":
        multihost.on_primary(lambda: time.sleep(75))
    elif not multihost.is_primary():
        raise InputError("no such file")
    multihost.assert_same("the same")
print("done")
"""


def run_sessions(mode: str) -> list[tuple[int, str, str]]:
    """Return exit code, standard output and standard error of each of two processes."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SESSION, mode],
            env=os.environ | environment | {"JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in make_environments(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    return [
        (process.returncode, *output) for process, output in zip(processes, outputs, strict=True)
    ]


def test_a_process_that_fails_alone_prints_its_error_and_the_other_is_ended() -> None:
    (status, out, _), (status_1, _, errors) = run_sessions("fail")
    assert status != 0 and "done" not in out
    assert status_1 == 2 and errors.splitlines()[-1] == "mtl_jax: process 1: no such file"


@pytest.mark.slow
def test_a_process_waits_for_process_0_longer_than_a_minute() -> None:
    for status, out, errors in run_sessions("wait"):
        assert status == 0 and "done" in out.splitlines(), (out, errors)


SIGNAL_DURING_AGREEMENT = """
import os, signal
from mtl_jax.io import signals
signals.install_handlers()

def agreed(number):
    os.kill(os.getpid(), signal.SIGTERM)
    return number

try:
    with signals.defer(agreed) as stopping:
        print(stopping())
except signals.Stopped as error:
    print(error)
"""


def test_a_signal_during_the_agreement_of_the_processes_is_not_lost() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SIGNAL_DURING_AGREEMENT], capture_output=True, text=True, timeout=60
    )
    assert process.stdout.split("\n")[:2] == ["False", "stopped by SIGTERM"], process.stderr


def start_processes(
    workdir: Path, cache: Path, changes: Mapping[str, str] = MappingProxyType({}), count: int = 2
) -> list[subprocess.Popen]:
    settings = {**ONE_RUN, "devices": str(count), **changes}
    return [
        start(workdir, cache, settings, environment={**environment, "JAX_NUM_CPU_DEVICES": "1"})
        for environment in make_environments(count)
    ]


def wait_for_all(processes: list[subprocess.Popen]) -> tuple[list[int], list[list[str]]]:
    """Return the exit code and our lines on stderr of each process."""
    errors = [process.communicate(timeout=300)[1] for process in processes]
    lines = [[x for x in text.splitlines() if x.startswith("mtl_jax:")] for text in errors]
    assert not any("Traceback" in text for text in errors), errors
    return [process.returncode for process in processes], lines


def test_a_wrong_number_of_devices_is_reported_once(tmp_path: Path) -> None:
    changes = {"devices": "4"}
    status, lines = wait_for_all(start_processes(tmp_path / "w", tmp_path / "cache", changes))
    assert status == [2, 2] and lines[1] == []
    (line,) = lines[0]
    assert line.endswith("the 2 processes have 2 together; set it to 2")


def read_scores(workdir: Path) -> np.ndarray:
    with next(workdir.glob("runs/*/scores.csv")).open(encoding="utf-8") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)])


def wait_for_checkpoint(workdir: Path, processes: list[subprocess.Popen]) -> None:
    begin = time.monotonic()
    while not list(workdir.glob("runs/*/checkpoint/[0-9]*")):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() - begin < 200
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def expected_scores(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> np.ndarray:
    """Return the scores of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone")
    finish(start(workdir, cache, {**ONE_RUN, "train.epochs": "6"}))
    return read_scores(workdir)


LONGER = {"train.epochs": "6"}


@pytest.mark.slow
def test_a_study_of_two_processes_gives_the_same_scores(
    tmp_path: Path, cache: Path, expected_scores: np.ndarray
) -> None:
    first, second = start_processes(tmp_path, cache, LONGER)
    out = finish(first)
    assert out.count("report:") == 1 and (tmp_path / "report.html").exists()
    # Gloo, which connects the processes, prints lines of its own.
    assert all("peer ranks is" in line for line in finish(second).splitlines())
    np.testing.assert_allclose(read_scores(tmp_path), expected_scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [[0], [1], [0, 1]])
def test_a_killed_study_is_finished_by_one_process(
    killed: list[int], tmp_path: Path, cache: Path, expected_scores: np.ndarray
) -> None:
    processes = start_processes(tmp_path, cache, LONGER)
    wait_for_checkpoint(tmp_path, processes)
    for number in killed:
        processes[number].send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=250)  # JAX ends the others
        assert process.returncode != 0
    finish(start(tmp_path, cache, {**ONE_RUN, **LONGER}))
    np.testing.assert_allclose(read_scores(tmp_path), expected_scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_both_processes_stop_on_a_signal_to_one(
    stopped: int, tmp_path: Path, cache: Path, expected_scores: np.ndarray
) -> None:
    processes = start_processes(tmp_path, cache, LONGER)
    wait_for_checkpoint(tmp_path, processes)
    processes[stopped].send_signal(signal.SIGTERM)
    status, lines = wait_for_all(processes)
    assert status == [143, 143]
    assert lines[0][-1] == "mtl_jax: stopped by SIGTERM; rerun the same command to resume"
    assert not (tmp_path / "results.json").exists()
    for process in start_processes(tmp_path, cache, LONGER):
        finish(process)
    np.testing.assert_allclose(read_scores(tmp_path), expected_scores, atol=1e-5)


@pytest.mark.slow
def test_processes_of_different_configs_are_rejected(tmp_path: Path, cache: Path) -> None:
    settings = [{**ONE_RUN, "devices": "2", "seed": str(number)} for number in range(2)]
    processes = [
        start(tmp_path, cache, config, environment={**environment, "JAX_NUM_CPU_DEVICES": "1"})
        for config, environment in zip(settings, make_environments(2), strict=True)
    ]
    status, lines = wait_for_all(processes)
    assert status == [2, 2] and lines[1] == []
    assert "process 0 has the config" in lines[0][-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.learning_rate": "1e9", "train.final_learning_rate": "1e9"},
            "the loss is NaN or infinite at step",
        ),
        ({"data.sources": "('mini_mias:nowhere',)"}, "nowhere"),
        ({"executor": "ray"}, "config.executor='ray' is invalid: expected 'local'"),
    ],
)
def test_an_error_of_process_0_ends_the_other(
    changes: dict[str, str], message: str, tmp_path: Path, cache: Path
) -> None:
    status, lines = wait_for_all(start_processes(tmp_path, cache, changes))
    assert status == [2, 2] and message in lines[0][-1]
