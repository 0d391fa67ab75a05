"""The loop over the epochs of a training: records, checkpoints, resuming, progress, stop signals.

Fine-tuning and pretraining differ in what they do in an epoch, which they give as a function.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mtl_jax.io import signals
from mtl_jax.training import multihost
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.replicas import Replicas, take_replica
from mtl_jax.training.writers import EpochRecord, Writers, open_writers
from mtl_jax.types import TrainState

ProgressCallback = Callable[[int], object]  # called with the number of completed steps
# Maps the state, the number of epochs before and a callback to the state after one more epoch, and
# the record of each run.
RunEpoch = Callable[[TrainState, int, ProgressCallback], tuple[TrainState, list[EpochRecord]]]


@dataclass(frozen=True)
class LoopRun:
    """One run of a loop: its folder and its checkpoints."""

    folder: Path
    checkpoints: Checkpoints
    on_epoch: Callable[[EpochRecord], None] = lambda record: None


@dataclass(frozen=True)
class Loop:
    """A training over epochs, of one run or of several replicas."""

    runs: Sequence[LoopRun]
    run_epoch: RunEpoch
    steps: int  # of an epoch
    epochs: int
    checkpoint_epochs: int
    writers: tuple[str, ...] = ()  # of config.train.writers
    keep: bool = True  # save the state after the last epoch
    replicas: Replicas | None = None

    def save(self, epoch: int, state: TrainState) -> None:
        """Save the state of every run after `epoch` epochs."""
        for number, run in enumerate(self.runs):
            run.checkpoints.save(epoch, take_replica(state, self.replicas, number)._asdict())


def resume(runs: Sequence[LoopRun], states: Sequence[TrainState]) -> tuple[int, list[TrainState]]:
    """Return the newest epoch that all runs have a checkpoint of (0 for none), and their states.

    A kill between two saves leaves the runs one epoch apart; two checkpoints of each are kept.
    """
    max_epoch = None
    while True:
        resumed = [
            run.checkpoints.resume(state._asdict(), max_epoch)
            for run, state in zip(runs, states, strict=True)
        ]
        epochs = [epoch for epoch, _ in resumed]
        if len(set(epochs)) == 1:
            return epochs[0], [TrainState(**tree) for _, tree in resumed]
        max_epoch = min(epochs)


def run_epochs(loop: Loop, state: TrainState, begin: int) -> TrainState:
    """Return the state after the last epoch, from that after `begin` epochs, which is donated.

    Each run writes its records into its folder, and checkpoints. On a signal to stop, the state is
    saved after the current epoch.
    """
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_open_writers(loop, run, begin)) for run in loop.runs]
        bar = stack.enter_context(_progress_bar(loop, begin))
        stopping = stack.enter_context(signals.defer(multihost.agreed_signal))
        for done in range(begin, loop.epochs):
            state, records = loop.run_epoch(state, done, bar.update)
            for run, writer, record in zip(loop.runs, writers, records, strict=True):
                writer.write(record)
                run.on_epoch(record)
            bar.set_postfix(loss=f"{records[-1]['loss']:.4f}", refresh=False)
            is_last = done + 1 == loop.epochs
            is_due = loop.keep if is_last else (done + 1) % loop.checkpoint_epochs == 0
            stop = stopping()
            if is_due or stop:
                loop.save(done + 1, state)
            if stop:
                break
    if loop.keep:
        for run in loop.runs:
            run.checkpoints.close(keep=loop.epochs)
    return state


def _open_writers(loop: Loop, run: LoopRun, begin: int) -> Writers:
    """Return the writers of a run; of several processes, process 0 alone has any."""
    if not multihost.is_primary():
        return Writers()
    return open_writers(loop.writers, run.folder, begin)


def _progress_bar(loop: Loop, begin: int) -> tqdm:
    """Return a bar of the steps."""
    name = loop.runs[0].folder.name
    return tqdm(
        total=loop.epochs * loop.steps,
        initial=begin * loop.steps,
        desc=name + (f" and {len(loop.runs) - 1} more" if len(loop.runs) > 1 else ""),
        unit="step",
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds; fewer lines in a log file
    )
