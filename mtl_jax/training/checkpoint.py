"""Saving and restoring a training in progress. The only room of training that knows Orbax."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax.config_diff import changes, in_words
from mtl_jax.io import atomic
from mtl_jax.training import multihost, software
from mtl_jax.types import InputError, Params, TrainState
from mtl_jax.weights.param_io import make_checkpointer

FORMAT = 1  # raise it when a checkpoint of the same state looks otherwise
MAX_KEPT = 2
METADATA_FILE = "card.json"
VERSIONS_BEFORE = "versions_before"  # versions that trained earlier epochs, oldest first
CHANGING_FILES = ("_CHECKPOINT_METADATA",)  # Orbax writes to it again when it reads


class Checkpoints:
    """The checkpoints of one training, each a folder named by its number of finished epochs.

    Each holds what it was made by and the checksums of its files; the latest two are kept.
    `made_by` is what decides the training's numbers, beside the software: a checkpoint made by
    anything else is rejected. With `accept_versions` it may be of other versions or another
    platform, which each later checkpoint then records. Of several processes, process 0 alone reads
    and writes them, and all resume from them.
    """

    def __init__(
        self, folder: Path, made_by: Mapping[str, Any], accept_versions: bool = False
    ) -> None:
        self._folder = folder.absolute()
        self._accept_versions = accept_versions
        card = {"format": FORMAT, **software.record(), VERSIONS_BEFORE: [], **made_by}
        self._card = json.loads(json.dumps(card, default=str))

    def save(self, epoch: int, state: TrainState) -> None:
        """Writes the state after `epoch` epochs, whole or not at all, before it returns: the step
        takes over the state's memory. InputError: the disk does not take it."""
        multihost.on_primary(lambda: self._save(epoch, state))

    def _save(self, epoch: int, state: TrainState) -> None:
        with atomic.folder(self._folder / str(epoch)) as draft:
            try:
                with make_checkpointer() as orbax:
                    orbax.save(draft / "state", jax.device_get(state._asdict()))
            except Exception as error:  # what Orbax and TensorStore raise has no common type
                raise atomic.unwritable(self._folder / str(epoch), error) from error
            atomic.write_text(draft / METADATA_FILE, json.dumps(self._card, indent=1) + "\n")
            atomic.write_sums(draft, CHANGING_FILES)
            self._remove([epoch] if epoch in saved_epochs(self._folder) else [])
        self._remove(saved_epochs(self._folder)[:-MAX_KEPT])

    def resume(self, state: TrainState, most: int | None = None) -> tuple[int, TrainState]:
        """Finished epochs and state of the newest whole checkpoint, on the host, whatever devices
        trained it; 0 and `state` itself where there is none. With `most`, the newest of at most so
        many epochs.

        A damaged checkpoint is named on stderr and deleted: the one before serves, to the same
        result. InputError where one was made by something else, with the difference.
        """
        resumed = multihost.on_primary(lambda: self._resume(state, most))
        epoch, state = multihost.broadcast_from_primary(resumed or (0, state))
        return int(epoch), state

    def _resume(self, state: TrainState, most: int | None) -> tuple[int, TrainState]:
        for epoch in reversed(saved_epochs(self._folder)):
            if most is not None and epoch > most:
                continue
            place = self._folder / str(epoch)
            changed = atomic.damage(place, CHANGING_FILES)
            if changed:
                print(
                    f"mtl_jax: note: {place}: damaged, {changed} is missing, new or changed;"
                    " going on from the checkpoint before it, or from the start",
                    file=sys.stderr,
                )
                self._remove([epoch])
                continue
            self._reject_other(place)
            like = jax.tree.map(lambda a: np.empty(a.shape, a.dtype), state._asdict())
            return epoch, TrainState(**_restore(place, like))
        return 0, state

    def close(self, keep: int) -> None:
        """Ends a finished run: only the checkpoint of epoch `keep` stays on disk."""
        multihost.on_primary(lambda: self._close(keep))

    def _close(self, keep: int) -> None:
        self._remove([epoch for epoch in saved_epochs(self._folder) if epoch != keep])
        for stale in self._folder.glob(".*"):
            shutil.rmtree(stale, ignore_errors=True)

    def _reject_other(self, place: Path) -> None:
        there = _card(place)
        differ = changes(there, self._card, but=(VERSIONS_BEFORE,))
        if not all(map(software.may_differ, differ)):
            raise InputError(
                f"{place}: this checkpoint is of another training: {in_words(differ)}; finish it"
                f" with what began it, or delete {place.parent} to train from the start"
            )
        before = _versions_before(there, self._card)
        if before and not self._accept_versions:
            other = in_words(differ) or f"{VERSIONS_BEFORE} {len(before)} there"
            raise InputError(
                f"{place}: this checkpoint is of another version: {other}; finish it with what"
                f" began it, delete {place.parent} to train from the start, or set"
                " --accept_versions, by which results are marked as mixed"
            )
        self._card[VERSIONS_BEFORE] = before

    def _remove(self, numbers: list[int]) -> None:
        for epoch in numbers:
            # Renamed first: a folder under its number is whole, or damaged by somebody else.
            gone = self._folder / f".{epoch}.gone"
            with atomic.writing(gone):
                shutil.rmtree(gone, ignore_errors=True)
                (self._folder / str(epoch)).rename(gone)
                shutil.rmtree(gone)


def saved_epochs(folder: Path) -> list[int]:
    """The numbers of finished epochs of the checkpoints in `folder`, ascending."""
    return sorted(int(place.name) for place in folder.glob("[0-9]*") if place.name.isdecimal())


def versions_before(folder: Path) -> list[dict[str, str]]:
    """Return the versions other than those of this process that trained what `folder` holds, oldest
    first: none where no checkpoint was resumed under others."""
    found = saved_epochs(folder)
    if not found:
        return []
    return _versions_before(_card(folder / str(found[-1])), software.record())


def _versions_before(card: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, str]]:
    before = [*card.get(VERSIONS_BEFORE, []), software.version_of(card)]
    return before if before[-1] != software.version_of(now) else before[:-1]


def _card(place: Path) -> dict[str, Any]:
    return json.loads((place / METADATA_FILE).read_text(encoding="utf-8"))


def read_params(folder: Path) -> Params:
    """The parameters of the newest checkpoint in `folder`, as NumPy arrays, whatever trained them.

    InputError where there is none, or it is damaged.
    """
    found = saved_epochs(folder)
    if not found:
        raise InputError(f"{folder}: no checkpoint here; run the job to its end first")
    place = folder.absolute() / str(found[-1])
    changed = atomic.damage(place, CHANGING_FILES)
    if changed:
        raise InputError(
            f"{place}: damaged, {changed} is missing, new or changed; delete the run's folder and"
            " run the job again"
        )
    return jax.tree.map(np.asarray, dict(_restore(place, None)["params"]))


def _restore(place: Path, like: Any) -> dict[str, Any]:
    try:
        with make_checkpointer() as orbax:
            return orbax.restore(place / "state", like)
    except Exception as error:  # what Orbax and TensorStore raise has no common type
        raise InputError(
            f"{place}: this checkpoint cannot be read back ({str(error).splitlines()[0][:120]});"
            " delete that folder and run again"
        ) from error
