"""Epochs that are dispatched before the one before is read, as on GPUs, tried on CPUs.

With C1 to C5 frozen a step has no convolution, which a CPU computes slowly in a loop.
"""

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from test_replicas import assert_close, is_identical, make_runs
from test_training import NETWORK, fit_runs, random_dataset

from mtl_jax.io import atomic
from mtl_jax.training import checkpoint, dataset, feature_cache, writers
from mtl_jax.training import epoch as epochs
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.early_stopping import EarlyStopping
from mtl_jax.training.loop import Loop, LoopRun, run_epochs
from mtl_jax.training.predict import Predictor
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError, TrainState

FROZEN = ("C1", "C2", "C3", "C4", "C5")


def scan_epochs(patch: pytest.MonkeyPatch) -> None:
    """Run epochs as on a GPU: one compiled loop each, and one epoch ahead."""
    for module in ("epoch", "fit"):
        patch.setattr(f"mtl_jax.training.{module}.is_stepwise", lambda on_host: on_host)
    patch.setattr(epochs, "SCANNED_STEPS", 2)  # an epoch of these tests has one or three steps
    # With another cache: that of the module has epochs of steps, and would keep scanned ones.
    make_epoch = functools.cache(epochs.make_epoch.__wrapped__)
    patch.setattr("mtl_jax.training.setup.make_epoch", make_epoch)


def add_validation(run: TrainingRun) -> TrainingRun:
    """Validate a run on other ROIs by its mean score."""
    predictor = Predictor(NETWORK, random_dataset(seed=9), FROZEN)

    def validate(params: dict) -> Callable[[], dict[str, float]]:
        read = predictor.start(params)
        return lambda: {"validation_loss": float(read().mean())}

    return run._replace(validate=validate)


def train(
    folder: Path,
    count: int,
    devices: int = 1,
    replicas: Replicas | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    **changes: object,
) -> list[dict]:
    runs = [add_validation(run)._replace(on_epoch=on_epoch) for run in make_runs(folder, count)]
    settings = {"epochs": 3, "batch_size": 40, "validation_epochs": 1, **changes}
    return fit_runs(runs, "C1-C5", devices, replicas, folder.parent / "cache", **settings)


def read_histories(folder: Path) -> list[list[dict]]:
    paths = sorted(folder.glob("*/history.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


def assert_equal_histories(actual: Path, expected: Path) -> None:
    pairs = zip(read_histories(actual), read_histories(expected), strict=True)
    for records, expected_records in pairs:
        for record, other in zip(records, expected_records, strict=True):
            assert record == pytest.approx(other, rel=2e-3)


def run_fake_loop(folder: Path, epochs_ahead: int, **settings: object) -> list[str]:
    """Return what a loop of three epochs does, in order: dispatch, read, and save."""
    events: list[str] = []

    class Recorder(Checkpoints):
        def save(self, number: int, state: object) -> None:
            lines = (folder / "history.jsonl").read_text().splitlines()
            events.append(f"save {number} after {len(lines)} records")

        def close(self, keep: int) -> None:
            events.append("close")

    def run_epoch(state: TrainState, done: int, progress: object) -> tuple:
        events.append(f"dispatch {done + 1}")

        def read() -> list[dict]:
            events.append(f"read {done + 1}")
            return [{"epoch": done + 1, "loss": 1.0}]

        return state, read

    run = LoopRun(folder, Recorder(folder / "checkpoint", {}))
    defaults = {"checkpoint_minutes": 99.0, "epochs_ahead": epochs_ahead}
    loop = Loop([run], run_epoch, steps=1, epochs=3, **defaults | settings)
    run_epochs(loop, TrainState(np.int32(0), {}, {}), 0)
    return events


def test_an_epoch_is_dispatched_before_the_one_before_is_read(tmp_path: Path) -> None:
    end = ["save 3 after 3 records", "close"]
    assert run_fake_loop(tmp_path, 1) == [
        *("dispatch 1", "dispatch 2", "read 1", "dispatch 3", "read 2", "read 3"),
        *end,
    ]
    assert run_fake_loop(tmp_path, 0) == [
        *("dispatch 1", "read 1", "dispatch 2", "read 2", "dispatch 3", "read 3"),
        *end,
    ]


def test_the_history_is_on_the_disk_before_each_checkpoint(tmp_path: Path) -> None:
    events = run_fake_loop(tmp_path, 1, checkpoint_minutes=0.0)
    saves = [event for event in events if event.startswith("save")]
    numbers = [[int(word) for word in event.split() if word.isdecimal()] for event in saves]
    # A thread writes them: later records may be there already.
    assert [epoch for epoch, _ in numbers] == [1, 2, 3]
    assert all(n_records >= epoch for epoch, n_records in numbers)
    assert events.index("read 2") < events.index("dispatch 3")  # an epoch that is saved is read


def test_records_are_written_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: now[0])
    path = tmp_path / "history.jsonl"
    with writers.open_writers((), tmp_path, 0) as opened:
        counts = []
        for number in range(6):
            now[0] = 2.0 * number
            opened.write({"epoch": number + 1})
            counts.append(len(path.read_text().splitlines()))
        assert counts == [1, 1, 1, 4, 4, 4]  # at once, then every five seconds
        opened.flush()
        assert len(path.read_text().splitlines()) == 6
        opened.write({"epoch": 7})
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [*range(1, 8)]


def test_runs_that_restart_together_keep_all_records(tmp_path: Path) -> None:
    """One run has checkpoints of epochs 4 and 5, the other none: both restart."""
    train(tmp_path / "both", 1, epochs=5, checkpoint_minutes=0.0)
    shutil.copytree(tmp_path / "both", tmp_path / "alone")
    settings = {"epochs": 9, "checkpoint_minutes": 0.0}

    def interrupt(record: dict) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    for folder in ("both", "alone"):  # as if the job had more epochs from the start
        for path in (tmp_path / folder).glob("0/checkpoint/*/card.json"):
            card = json.loads(path.read_text())
            card["train"]["epochs"] = 9
            path.write_text(json.dumps(card, indent=1) + "\n")
            atomic.write_checksums(path.parent, checkpoint.CHANGING_FILES)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "both", 2, replicas=Replicas(1, 2), on_epoch=interrupt, **settings)
    for number in "01":
        saved = checkpoint.saved_epochs(tmp_path / "both" / number / "checkpoint")
        assert saved == [1, 2]
    train(tmp_path / "both", 2, replicas=Replicas(1, 2), **settings)
    for history in read_histories(tmp_path / "both"):
        assert [record["epoch"] for record in history] == [*range(1, 10)]


def test_an_error_of_a_save_ends_the_training_at_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Checkpoints.save, []

    def fail_once(self: Checkpoints, number: int, state: object) -> None:
        saved.append(number)
        if number == 1:
            raise InputError("1: cannot be written (No space left on device)")
        save(self, number, state)

    monkeypatch.setattr(Checkpoints, "save", fail_once)
    with pytest.raises(InputError, match="No space left"):
        train(tmp_path / "run", 1, epochs=30, checkpoint_minutes=0.0)
    # The next state was saved, if its epoch was finished before the error was known.
    assert saved in ([1], [1, 2], [1, 2, 3])
    assert checkpoint.saved_epochs(tmp_path / "run/0/checkpoint") == saved[1:]


def test_a_loss_that_is_not_finite_is_reported_before_weights_are_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_epochs(monkeypatch)
    rates = {"learning_rate": 1e8, "final_learning_rate": 1e8}
    (run,) = make_runs(tmp_path / "run", 1)
    monitor = EarlyStopping(lambda weights: float("nan"), run.params, 1, 3, 3)
    with pytest.raises(InputError, match=r"run 0: the loss is NaN or infinite at step \d"):
        fit_runs([run._replace(monitor=monitor)], "C1-C5", epochs=3, cache=tmp_path, **rates)


def test_a_writer_without_flush_is_rejected_and_all_writers_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Old:
        def __init__(self, folder: Path, begin: int) -> None:
            pass

        def write(self, record: dict) -> None:
            pass

        def close(self) -> None:
            closed.append("second")

    class New(Old):
        def flush(self) -> None:
            pass

        def close(self) -> None:
            closed.append("first")
            raise OSError

    monkeypatch.setitem(writers.WRITERS, "old", Old)
    with pytest.raises(InputError, match="old has no method flush"):
        writers.open_writers(("old",), tmp_path, 0)
    with pytest.raises(OSError), writers.Writers([Old(tmp_path, 0), New(tmp_path, 0)]):
        pass
    assert closed == ["first", "second"]


def test_scanned_epochs_give_the_results_of_steps_and_resume_bit_identically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stepped,) = train(tmp_path / "stepped", 1)
    scan_epochs(monkeypatch)
    (scanned,) = train(tmp_path / "scanned", 1)
    assert_close(scanned, stepped, make_runs(tmp_path, 1)[0].params, share=1e-3)
    assert_equal_histories(tmp_path / "scanned", tmp_path / "stepped")

    def interrupt(record: dict) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", 1, on_epoch=interrupt)
    assert checkpoint.saved_epochs(tmp_path / "resumed/0/checkpoint") == [1, 2]
    (resumed,) = train(tmp_path / "resumed", 1)
    assert is_identical(resumed, scanned)
    assert read_histories(tmp_path / "resumed") == read_histories(tmp_path / "scanned")


def test_runs_of_similar_size_share_compiled_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds differ by some ROIs: the second of 34 and 36 compiles nothing."""
    scan_epochs(monkeypatch)
    compiled: list[str] = []

    def train_on(count: int) -> None:
        predictor = Predictor(NETWORK, random_dataset(count // 2 + 1, seed=1), FROZEN)

        def validate(params: dict) -> Callable[[], dict[str, float]]:
            read = predictor.start(params)
            return lambda: {"validation_loss": float(read().mean())}

        (run,) = make_runs(tmp_path / str(count), 1)
        settings = {"epochs": 2, "batch_size": 16, "validation_epochs": 1}
        rois = random_dataset(count // 2 + 1)
        runs = [run._replace(validate=validate)]
        fit_runs(runs, "C1-C5", source=rois, cache=tmp_path, **settings)

    train_on(34)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    train_on(36)
    assert compiled == []
    monkeypatch.setattr(dataset, "padded_count", lambda count: count)
    monkeypatch.setattr(feature_cache, "padded_count", lambda count: count)
    train_on(38)
    assert compiled


def test_a_state_that_is_not_finite_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_epochs(monkeypatch)
    rates = {"learning_rate": 1e8, "final_learning_rate": 1e8}
    with pytest.raises(InputError, match=r"NaN or infinite at step \d \(epoch 1\)"):
        train(tmp_path / "run", 1, **rates)
    assert checkpoint.saved_epochs(tmp_path / "run/0/checkpoint") == []


ON_FOUR_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, sys.argv[2])
import pytest
import test_epochs_ahead as t
folder = Path(sys.argv[1])
expected = t.train(folder / "expected", 4, replicas=t.Replicas(1, 4))
with pytest.MonkeyPatch.context() as patch:
    t.scan_epochs(patch)
    states = []
    make_scanned = t.epochs._scanned
    def checked(step, make_batch, replicas=None):
        epoch = make_scanned(step, make_batch, replicas)
        def run(state, source, *arguments):
            # Nothing moves between devices, and the state gives its memory to the next one.
            with jax.transfer_guard_device_to_device("disallow"):
                result = epoch(state, source, *arguments)
            states.append(state)
            return result
        return run
    patch.setattr(t.epochs, "_scanned", checked)
    for number, replicas in enumerate((t.Replicas(4, 1), t.Replicas(2, 2))):
        trained = t.train(folder / f"pmap{number}", 4, replicas.devices, replicas)
        for run, actual, other in zip(t.make_runs(folder, 4), trained, expected):
            t.assert_close(actual, other, run.params, share=1e-3)
        t.assert_equal_histories(folder / f"pmap{number}", folder / "expected")
    (sharded,) = t.train(folder / "sharded", 1, devices=4)
    t.assert_close(sharded, expected[0], t.make_runs(folder, 1)[0].params, share=1e-3)
    leaves = [leaf for state in states for leaf in jax.tree.leaves(state)]
    assert len(states) == 9 and all(leaf.is_deleted() for leaf in leaves)
print("equal")
"""


@pytest.mark.slow
def test_scanned_epochs_on_four_devices_equal_those_on_one(tmp_path: Path) -> None:
    """Shard the batches of one run, and give replicas a device each, both with donated states."""
    process = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.stdout.strip().endswith("equal"), process.stderr[-3000:]
