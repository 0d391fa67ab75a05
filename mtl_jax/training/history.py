"""The history of a training: its lines, its file, and TensorBoard events for those who watch it
there."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import jax
import numpy as np

from mtl_jax.io import atomic
from mtl_jax.training.steps import Metrics
from mtl_jax.types import InputError

Line = dict[str, float]
Report = Callable[[Line], None]


class History:
    """history.jsonl, from epoch `begin` on: what an interrupted training wrote after its last
    checkpoint is dropped. Each line is also handed to `report`. Without a `path` nothing is
    written."""

    def __init__(self, path: Path | None, begin: int, report: Report = lambda line: None) -> None:
        self._path, self._report = path, report
        if not path:
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        atomic.write_text(path, "".join(lines[:begin]))

    def write(self, line: Line) -> None:
        """Write the line to the disk, so that the file is never behind the checkpoint."""
        if self._path:
            with (
                atomic.report_write_errors(self._path),
                self._path.open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._report(line)


def summarize(epoch: int, metrics: Metrics, rates: jax.Array, tasks: Sequence[str]) -> Line:
    """Return a line of history.jsonl: means over the epoch's rows, in all and by task."""
    rows = metrics.rows.sum(0)
    line = {
        "epoch": epoch,
        "step": epoch * len(metrics.loss),
        "learning_rate": float(rates[-1]),
        "loss": float(metrics.cross_entropy.sum() / rows.sum()),
        "accuracy": float(metrics.right.sum() / rows.sum()),
        "update_norm": float(np.mean(metrics.update_norm)),
    }
    for i, task in enumerate(tasks):
        line[f"loss/{task}"] = float(metrics.cross_entropy[:, i].sum() / rows[i])
        line[f"accuracy/{task}"] = float(metrics.right[:, i].sum() / rows[i])
    return line


class TensorBoard:
    """Writes each epoch's line to `folder`/tensorboard; does nothing unless `enabled`."""

    def __init__(self, folder: Path, enabled: bool) -> None:
        self._writer = None
        if enabled:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise InputError(
                    "config.train.tensorboard needs tensorboardX: pip install tensorboardX"
                ) from error
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, line: dict[str, float]) -> None:
        if self._writer:
            for name, value in line.items():
                if name not in ("epoch", "step"):
                    self._writer.add_scalar(name, value, line["epoch"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer:
            self._writer.close()
