"""The history of a training run: its records, its file, and TensorBoard events."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from mtl_jax.io import atomic
from mtl_jax.training.steps import Metrics
from mtl_jax.types import InputError

EpochRecord = dict[str, float]
EpochCallback = Callable[[EpochRecord], None]


class History:
    """Write history.jsonl, one record per epoch, and call `on_epoch` with each record.

    Records after epoch `begin`, written after the last checkpoint of an interrupted run, are
    deleted. Without a `path` no file is written.
    """

    def __init__(
        self, path: Path | None, begin: int, on_epoch: EpochCallback = lambda record: None
    ) -> None:
        self._path, self._on_epoch = path, on_epoch
        if not path:
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        atomic.write_text(path, "".join(lines[:begin]))

    def write(self, record: EpochRecord) -> None:
        """Write the record and sync the file, so that it is never behind the checkpoint."""
        if self._path:
            with (
                atomic.report_write_errors(self._path),
                self._path.open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._on_epoch(record)


def progress_bar(name: str, done: int, total: int) -> tqdm:
    """Return a bar of the steps of a training, `done` of `total` at its start."""
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds; fewer lines in a log file
    )


def summarize(epoch: int, metrics: Metrics, rates: jax.Array, tasks: Sequence[str]) -> EpochRecord:
    """Return the record of an epoch: means over its rows, for all tasks and for each task."""
    rows = metrics.rows.sum(0)
    record = {
        "epoch": epoch,
        "step": epoch * len(metrics.loss),
        "learning_rate": float(rates[-1]),
        "loss": float(metrics.cross_entropy.sum() / rows.sum()),
        "accuracy": float(metrics.correct.sum() / rows.sum()),
        "update_norm": float(np.mean(metrics.update_norm)),
    }
    for i, task in enumerate(tasks):
        record[f"loss/{task}"] = float(metrics.cross_entropy[:, i].sum() / rows[i])
        record[f"accuracy/{task}"] = float(metrics.correct[:, i].sum() / rows[i])
    return record


@contextlib.contextmanager
def open_tensorboard(folder: Path, enabled: bool) -> Iterator[EpochCallback]:
    """Yield a function that writes each epoch's record to `folder`/tensorboard if `enabled`."""
    if not enabled:
        yield lambda record: None
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "config.train.tensorboard needs tensorboardX: pip install tensorboardX"
        ) from error
    with contextlib.closing(SummaryWriter(str(folder / "tensorboard"))) as writer:

        def write(record: EpochRecord) -> None:
            for name, value in record.items():
                if name not in ("epoch", "step"):
                    writer.add_scalar(name, value, record["epoch"])

        yield write
