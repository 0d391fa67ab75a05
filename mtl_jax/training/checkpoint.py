"""Save and restore the state of a training run with Orbax."""

import json
import shutil
import sys
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax.config import add_later_settings
from mtl_jax.config_diff import changed_fields, format_changes
from mtl_jax.io import atomic
from mtl_jax.training import multihost, software
from mtl_jax.types import InputError, Params
from mtl_jax.weights.param_io import make_checkpointer

FORMAT = 1  # increase it when the layout of a checkpoint changes
MAX_KEPT = 2
MAX_PENDING = 8  # states in the host's memory that wait to be written
METADATA_FILE = "card.json"
VERSIONS_BEFORE = "versions_before"  # metadata: versions that trained earlier epochs, oldest first
State = dict[str, Any]  # TrainState as a dict, and further arrays; params are the result
CHANGING_FILES = ("_CHECKPOINT_METADATA",)  # Orbax writes to it again when it reads


class Checkpoints:
    """The checkpoints of one training run, each in a folder named by its number of epochs.

    The latest two are kept, with metadata and checksums. `made_by` is everything beside the
    software that determines the weights; a checkpoint with other values is rejected. With
    `accept_versions` those of other package versions or platforms are resumed, and later ones
    record the versions. Of several processes, process 0 alone reads and writes files, and all
    processes resume from them.
    """

    def __init__(
        self, folder: Path, made_by: Mapping[str, Any], accept_versions: bool = False
    ) -> None:
        self._folder = folder.absolute()
        self._accept_versions = accept_versions
        metadata = {"format": FORMAT, **software.record(), VERSIONS_BEFORE: [], **made_by}
        self._metadata = json.loads(json.dumps(metadata, default=str))

    def save(self, epoch: int, state: State) -> None:
        """Save the state after `epoch` epochs, arrays on the host, by an atomic write.

        Of several processes, process 0 alone calls it.
        """
        with atomic.write_folder(self._folder / str(epoch)) as draft:
            try:
                with make_checkpointer() as orbax:
                    orbax.save(draft / "state", state)
            except Exception as error:  # the errors of Orbax and TensorStore have no common type
                raise atomic.write_error(self._folder / str(epoch), error) from error
            atomic.write_text(draft / METADATA_FILE, json.dumps(self._metadata, indent=1) + "\n")
            atomic.write_checksums(draft, CHANGING_FILES)
            self._remove([epoch] if epoch in saved_epochs(self._folder) else [])
        self._remove(saved_epochs(self._folder)[:-MAX_KEPT])

    def resume(self, state: State, max_epoch: int | None = None) -> tuple[int, State]:
        """Return the number of epochs of the newest intact checkpoint, and its state on the host.

        Without a checkpoint of at most `max_epoch` epochs (None: any) they are 0 and `state`
        itself. A damaged checkpoint is reported on stderr and deleted, and the one before is used;
        the final result is the same. Raises InputError if a checkpoint has other settings or
        versions.
        """
        resumed = multihost.on_primary(lambda: self._resume(state, max_epoch))
        epoch, state = multihost.broadcast_from_primary(resumed or (0, state))
        return int(epoch), state

    def _resume(self, state: State, max_epoch: int | None) -> tuple[int, State]:
        for epoch in reversed(saved_epochs(self._folder)):
            if max_epoch is not None and epoch > max_epoch:
                continue
            path = self._folder / str(epoch)
            changed_file = atomic.verify_checksums(path, CHANGING_FILES)
            if changed_file:
                print(
                    f"mtl_jax: note: {path}: damaged, {changed_file} is missing, new or changed;"
                    " resuming from the checkpoint before it, or from the start",
                    file=sys.stderr,
                )
                self._remove([epoch])
                continue
            self._reject_other(path)
            empty = jax.tree.map(lambda a: np.empty(a.shape, a.dtype), state)
            return epoch, _restore(path, empty)
        return 0, state

    def remove_after(self, epoch: int) -> None:
        """Delete the checkpoints of later epochs."""
        multihost.on_primary(
            lambda: self._remove([n for n in saved_epochs(self._folder) if n > epoch])
        )

    def close(self, keep: int) -> None:
        """Delete all checkpoints of the finished run except that of epoch `keep`."""
        multihost.on_primary(lambda: self._close(keep))

    def _close(self, keep: int) -> None:
        self._remove([epoch for epoch in saved_epochs(self._folder) if epoch != keep])
        for stale in self._folder.glob(".*"):
            shutil.rmtree(stale, ignore_errors=True)

    def _reject_other(self, path: Path) -> None:
        """Raise InputError if the checkpoint at `path` has other settings or other versions."""
        saved = software.add_later_fields(_read_metadata(path))
        saved = add_later_settings(saved, self._metadata)
        differences = changed_fields(saved, self._metadata, ignored=(VERSIONS_BEFORE,))
        if not all(map(software.may_differ, differences)):
            raise InputError(
                f"{path}: the checkpoint is of another training run: {format_changes(differences)};"
                " rerun with the settings and versions that began it, or delete"
                f" {path.parent} to train from the start"
            )
        before = _versions_before(saved, self._metadata)
        if (before or differences) and not self._accept_versions:
            difference = format_changes(differences) or f"{len(before)} {VERSIONS_BEFORE}"
            raise InputError(
                f"{path}: the checkpoint is of another version: {difference}; rerun with the"
                f" versions that began it, delete {path.parent} to train from the start, or set"
                " --accept_versions, which marks the results as mixed"
            )
        self._metadata[VERSIONS_BEFORE] = before

    def _remove(self, numbers: list[int]) -> None:
        for epoch in numbers:
            # Rename first, so that a folder with a number as its name is never half deleted.
            trash = self._folder / f".{epoch}.gone"
            with atomic.report_write_errors(trash):
                shutil.rmtree(trash, ignore_errors=True)
                (self._folder / str(epoch)).rename(trash)
                shutil.rmtree(trash)


def saved_epochs(folder: Path) -> list[int]:
    """Return the epochs that have a checkpoint in `folder`, ascending."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal())


def versions_before(folder: Path) -> list[dict[str, str]]:
    """Return the versions, not those of now, that trained the newest checkpoint, oldest first."""
    saved = saved_epochs(folder)
    if not saved:
        return []
    return _versions_before(_read_metadata(folder / str(saved[-1])), software.record())


def _versions_before(
    metadata: Mapping[str, Any], current: Mapping[str, Any]
) -> list[dict[str, str]]:
    before = [*metadata.get(VERSIONS_BEFORE, []), software.version_of(metadata)]
    return before if before[-1] != software.version_of(current) else before[:-1]


def _read_metadata(path: Path) -> dict[str, Any]:
    return json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))


def read_params(folder: Path) -> Params:
    """Return the parameters of the newest checkpoint in `folder` as NumPy arrays.

    Raises InputError if there is no checkpoint or it is damaged.
    """
    saved = saved_epochs(folder)
    if not saved:
        raise InputError(f"{folder}: no checkpoint here; run the job to its end first")
    path = folder.absolute() / str(saved[-1])
    changed_file = atomic.verify_checksums(path, CHANGING_FILES)
    if changed_file:
        raise InputError(
            f"{path}: damaged, {changed_file} is missing, new or changed; delete the run's folder"
            " and run the job again"
        )
    return jax.tree.map(np.asarray, dict(_restore(path, None)["params"]))


def _restore(path: Path, structure: Any) -> dict[str, Any]:
    try:
        with make_checkpointer() as orbax:
            return orbax.restore(path / "state", structure)
    except Exception as error:  # the errors of Orbax and TensorStore have no common type
        raise InputError(
            f"{path}: the checkpoint cannot be read ({str(error).splitlines()[0][:120]});"
            " delete that folder and run again"
        ) from error


class Saves:
    """Saves checkpoints in a thread, in the order of `submit`; a context that waits for the last.

    An error is raised by `raise_error`, by a later `submit`, which saves its state all the same, or
    at the end. Of several processes, process 0 alone saves, and all end with its error.
    """

    def __init__(self) -> None:
        self._pending: deque[Future[None]] = deque()

    def submit(self, checkpoints: Checkpoints, epoch: int, state: State) -> None:
        """Copy `state` to the host, and save it in the thread."""
        multihost.on_primary(lambda: self._submit(checkpoints, epoch, state))

    def _submit(self, checkpoints: Checkpoints, epoch: int, state: State) -> None:
        # Copied, because the next step takes the memory of the state, on a CPU too.
        copy = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
        self._pending.append(self._thread.submit(checkpoints.save, epoch, copy))
        self._wait(MAX_PENDING)

    def raise_error(self) -> None:
        """Raise the error of a save that has failed, without waiting. Process 0 alone calls it."""
        self._wait(len(self._pending))

    def _wait(self, max_pending: int) -> None:
        while self._pending and (len(self._pending) > max_pending or self._pending[0].done()):
            self._pending.popleft().result()

    def __enter__(self) -> "Saves":
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:  # otherwise the first error counts
            multihost.on_primary(lambda: self._wait(0))
