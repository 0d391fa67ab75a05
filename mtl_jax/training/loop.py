"""The loop over the epochs of a training: records, checkpoints, resuming, progress, stop signals.

Fine-tuning and pretraining differ in what they do in an epoch, which they give as a function.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mtl_jax.io import signals
from mtl_jax.io.progress import Bar, Lines
from mtl_jax.training import multihost
from mtl_jax.training.checkpoint import Checkpoints, Saves
from mtl_jax.training.replicas import Replicas, take_replica
from mtl_jax.training.writers import EpochRecord, Writers, open_writers
from mtl_jax.types import Params, TrainState

ProgressCallback = Callable[[int], object]  # called with the number of completed steps
# Waits for an epoch, and returns the record of each run; None for a run that had stopped.
ReadRecords = Callable[[], list[EpochRecord | None]]
# Maps the state, the number of epochs before and a callback to the state after one more epoch, and
# its records. The state is donated; the device may still compute the new one.
RunEpoch = Callable[[TrainState, int, ProgressCallback], tuple[TrainState, ReadRecords]]
MONITOR = "monitor"  # key in a checkpoint


class Monitor(Protocol):
    """Watches one run: may end it, and decides which weights are its result."""

    stopped: bool  # the run has ended; nothing of it changes any more

    def is_due(self, epoch: int) -> bool:
        """Return whether it evaluates the weights after this epoch."""

    def observe(self, epoch: int, params: Callable[[], Params]) -> EpochRecord:
        """Receive the weights after an epoch, and return values for its record."""

    def result(self, params: Params) -> Params:
        """Return the weights that are the result of the run; `params` are the latest."""

    def state(self) -> dict[str, Any]:
        """Return the arrays that a checkpoint keeps."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the arrays of a checkpoint."""


@dataclass(frozen=True)
class LoopRun:
    """One run of a loop: its folder, its checkpoints and what watches it."""

    folder: Path
    checkpoints: Checkpoints
    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    monitor: Monitor | None = None

    @property
    def stopped(self) -> bool:
        return self.monitor is not None and self.monitor.stopped

    def tree(self, state: TrainState) -> dict[str, Any]:
        """Return what a checkpoint keeps of a state."""
        watched = {MONITOR: self.monitor.state()} if self.monitor else {}
        return state._asdict() | watched

    def restore(self, tree: dict[str, Any]) -> TrainState:
        """Return the state in a checkpoint, and continue the monitor from it."""
        if self.monitor:
            self.monitor.restore(tree[MONITOR])
        return TrainState(**{name: tree[name] for name in TrainState._fields})

    def result(self, params: Params) -> Params:
        return self.monitor.result(params) if self.monitor else params


@dataclass(frozen=True)
class Loop:
    """A training over epochs, of one run or of several replicas."""

    runs: Sequence[LoopRun]
    run_epoch: RunEpoch
    steps: int  # of an epoch
    epochs: int
    checkpoint_minutes: float
    writers: tuple[str, ...] = ()  # of config.train.writers
    keep: bool = True  # save the state after the last epoch
    replicas: Replicas | None = None
    epochs_ahead: int = 0  # that are dispatched before an epoch is read
    # Called with the number of completed steps: at the start those of earlier jobs, then after
    # each step, or where an accelerator computes an epoch at once, after each epoch.
    on_steps: Callable[[int], object] = lambda completed: None

    def has_stopped(self) -> bool:
        """Return whether all runs have stopped."""
        return all(run.stopped for run in self.runs)

    def save(self, epoch: int, state: TrainState, is_last: bool, saves: Saves) -> None:
        """Save the state of every run after `epoch` epochs, the last one with its result."""
        for number, run in enumerate(self.runs):
            run_state = take_replica(state, self.replicas, number)
            if is_last:
                run_state = run_state._replace(params=run.result(run_state.params))
            saves.submit(run.checkpoints, epoch, run.tree(run_state))


def resume(runs: Sequence[LoopRun], states: Sequence[TrainState]) -> tuple[int, list[TrainState]]:
    """Return the newest epoch that all runs have a checkpoint of (0 for none), and their states.

    A kill between two saves leaves the runs one epoch apart; two checkpoints of each are kept.
    Later checkpoints of a run are removed: they would seem to be the newest.
    """
    max_epoch = None
    while True:
        resumed = [
            run.checkpoints.resume(run.tree(state), max_epoch)
            for run, state in zip(runs, states, strict=True)
        ]
        epochs = [epoch for epoch, _ in resumed]
        if len(set(epochs)) == 1:
            for run in runs:
                run.checkpoints.remove_after(epochs[0])
            trees = [tree for _, tree in resumed]
            return epochs[0], [run.restore(tree) for run, tree in zip(runs, trees, strict=True)]
        max_epoch = min(epochs)


def run_epochs(loop: Loop, state: TrainState, begin: int) -> TrainState:
    """Return the state after the last epoch, from that after `begin` epochs, which is donated.

    Each run writes its records into its folder, and checkpoints. An epoch is dispatched before the
    records of the one before are read, so that the device does not wait for the host. On a signal
    to stop, the state is saved after the current epoch. The loop ends early if the monitors of all
    runs have stopped.
    """
    last = begin
    unread: deque[tuple[int, ReadRecords]] = deque()
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_open_writers(loop, run, begin)) for run in loop.runs]
        bar = stack.enter_context(_progress_bar(loop, begin))
        loop.on_steps(begin * loop.steps)

        def progress(steps: int) -> None:
            bar.update(steps)
            loop.on_steps(int(bar.completed))

        def write_records(epochs_ahead: int) -> None:
            while len(unread) > epochs_ahead:
                epoch, read = unread.popleft()
                for run, writer, record in zip(loop.runs, writers, read(), strict=True):
                    if record:
                        writer.write(record)
                        run.on_epoch(record)
                        bar.note(f"epoch {epoch} of {loop.epochs}, loss {record['loss']:.4f}")

        stopping = stack.enter_context(signals.defer(multihost.agreed_signal))
        saves = stack.enter_context(Saves())
        timer = _Timer(60 * loop.checkpoint_minutes)
        while last < loop.epochs and not loop.has_stopped():
            state, read = loop.run_epoch(state, last, progress)
            last += 1
            unread.append((last, read))
            is_last = last == loop.epochs or loop.has_stopped()
            write_records(0 if is_last else loop.epochs_ahead)
            stop = stopping()
            # Of several processes, process 0 decides; all end if a save has failed there.
            is_due = multihost.from_primary(lambda: saves.raise_error() or timer.is_due())
            is_due = loop.keep if is_last else is_due
            if is_due or stop:
                # A checkpoint is of a state whose records are finite and on the disk.
                write_records(0)
                for writer in writers:
                    writer.flush()
                loop.save(last, state, is_last, saves)
                timer.restart()
            if stop:
                break
    if loop.keep:
        for run in loop.runs:
            run.checkpoints.close(keep=last)
    return state


class _Timer:
    """The time of the next checkpoint."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._end = time.monotonic() + self._seconds

    def is_due(self) -> bool:
        """Return whether the time is over."""
        return time.monotonic() >= self._end


def _open_writers(loop: Loop, run: LoopRun, begin: int) -> Writers:
    """Return the writers of a run; of several processes, process 0 alone has any."""
    if not multihost.is_primary():
        return Writers()
    return open_writers(loop.writers, run.folder, begin)


def _progress_bar(loop: Loop, begin: int) -> Bar:
    """Return a bar of the steps; a log file has at most one line for an epoch."""
    others = f" and {len(loop.runs) - 1} more" if len(loop.runs) > 1 else ""
    label = loop.runs[0].folder.name + others
    return Bar(label, loop.epochs * loop.steps, "step", begin * loop.steps, Lines.ON_NOTE)
