"""Writers of the metrics of a training, one record per epoch.

A writer is opened with the folder of the training and the number of epochs before it: those of the
checkpoint that it resumes from. Records of later epochs, which an interrupted training wrote, are
replaced.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import format_csv
from mtl_jax.types import InputError

EpochRecord = dict[str, float]

BATCH_SECONDS = 5.0  # between two writes: a GPU computes several epochs in a second


class Writer(Protocol):
    """Receives the record of each epoch."""

    def write(self, record: EpochRecord) -> None:
        """Receive the record of one epoch."""

    def flush(self) -> None:
        """Write the records that were received; called before each checkpoint."""

    def close(self) -> None:
        """Finish the file; called once, also after an error."""


class JsonLines:
    """Writes history.jsonl, which is never behind the checkpoint."""

    def __init__(self, folder: Path, begin: int) -> None:
        self._path = folder / "history.jsonl"
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        atomic.write_text(self._path, "".join(text.splitlines(keepends=True)[:begin]))
        self._lines: list[str] = []
        self._written = -math.inf

    def write(self, record: EpochRecord) -> None:
        self._lines.append(json.dumps(record) + "\n")
        if time.monotonic() - self._written >= BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self._lines:
            return
        with (
            atomic.report_write_errors(self._path),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.writelines(self._lines)
            file.flush()
            os.fsync(file.fileno())
        self._lines.clear()
        self._written = time.monotonic()

    def close(self) -> None:
        self.flush()


class TensorBoard:
    """Writes the folder tensorboard; needs the [tensorboard] extra."""

    def __init__(self, folder: Path, begin: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InputError(
                "config.train.writers: tensorboard needs tensorboardX: pip install tensorboardX"
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=begin + 1)

    def write(self, record: EpochRecord) -> None:
        for name, value in record.items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, record["epoch"])

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Csv:
    """Writes history.csv, with a column for every value of any epoch; empty where it is missing."""

    def __init__(self, folder: Path, begin: int) -> None:
        self._path = folder / "history.csv"
        # From the JSON lines, which are always there: an earlier job may have had no CSV.
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        self._records: list[EpochRecord] = [json.loads(line) for line in lines[:begin]]

    def write(self, record: EpochRecord) -> None:
        self._records.append(record)

    def flush(self) -> None:
        # Rewritten as a whole, because some epochs have further columns (the held-out fold).
        columns = list(dict.fromkeys(name for row in self._records for name in row))
        rows = ([row.get(name, "") for name in columns] for row in self._records)
        atomic.write_text(self._path, format_csv(columns, rows))

    def close(self) -> None:
        self.flush()


# Of config.train.writers; history.jsonl is always written.
WRITERS: dict[str, Callable[[Path, int], Writer]] = {"csv": Csv, "tensorboard": TensorBoard}


class Writers:
    """The writers of one training as a context that closes them."""

    def __init__(self, writers: Sequence[Writer] = ()) -> None:
        self._writers = writers
        self._closing = contextlib.ExitStack()
        for writer in writers:
            self._closing.callback(writer.close)

    def write(self, record: EpochRecord) -> None:
        for writer in self._writers:
            writer.write(record)

    def flush(self) -> None:
        for writer in self._writers:
            writer.flush()

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()  # all of them, also after an error of one


def open_writers(names: Sequence[str], folder: Path, begin: int) -> Writers:
    """Return history.jsonl and the named writers for a training after `begin` epochs."""
    for name in names:
        if not hasattr(WRITERS[name], "flush"):
            raise InputError(
                f"config.train.writers: {name} has no method flush, which writes the records that"
                " it received before each checkpoint: add it (docs/howto/new_loss.md)"
            )
    return Writers([JsonLines(folder, begin), *(WRITERS[name](folder, begin) for name in names)])
