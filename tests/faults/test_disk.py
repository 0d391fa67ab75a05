"""Full, read-only and failing disks, and files that disappear."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from kit.spoiling import films, load

from mtl_jax.data import shards
from mtl_jax.io import atomic, workdir
from mtl_jax.types import InputError


def names(folder: Path) -> list[str]:
    """Return the names of all files in a folder except locks."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_full_disk_is_a_one_line_error_and_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "results.json"
    workdir.write_json(path, {"auc": 0.8})
    before = path.read_bytes()
    with pytest.raises(InputError, match="results.json: cannot be written .No space.*free space"):
        workdir.write_json(path, {"auc": "x" * 500_000})
    assert path.read_bytes() == before and names(small_disk) == ["results.json"]


def test_shards_on_a_full_disk_leave_no_folder_and_are_made_after_space_is_freed(
    small_disk: Path, tmp_path: Path
) -> None:
    table = films(tmp_path / "films", 12)  # 12 ROIs of 32 KiB do not fit
    with pytest.raises(InputError, match="cannot be written .No space.*free space on that disk"):
        load(table, small_disk)
    assert not [n for n in names(small_disk) if not n.startswith(".")]
    assert len(load(table, tmp_path / "roomy")) == 12


def test_a_read_only_folder_is_a_one_line_error(read_only: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Read-only file system.*name a folder with write perm"):
        load(films(tmp_path / "films"), read_only)
    with (
        pytest.raises(InputError, match="cannot be created .Read-only"),
        workdir.lock(read_only / "w"),
    ):
        pass
    with pytest.raises(InputError, match="Read-only file system"):
        atomic.write_text(read_only / "x", "x")
    assert names(read_only) == []


class FailingCall:
    """A system call such as os.fsync that fails once: at call number `fails_at`."""

    def __init__(self, call: object, fails_at: int, error_number: int) -> None:
        self.call, self.fails_at, self.error_number = call, fails_at, error_number
        self.n_calls = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.n_calls += 1
        if self.n_calls == self.fails_at:
            raise OSError(self.error_number, os.strerror(self.error_number))
        return self.call(*args, **kwargs)


@pytest.mark.parametrize("name", ["fsync", "rename"])
@pytest.mark.parametrize("error_number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failed_write_leaves_no_partial_folder(
    name: str, error_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write shards with each system call failing once, until all calls succeed."""
    roi = np.zeros((1, 128, 128), np.int16)
    index = [dict.fromkeys(shards.COLUMNS, 1) | {"roi_id": "a", "case_id": "b", "lesion_id": "c"}]
    system_call = getattr(os, name)
    for call_number in range(1, 20):
        failing = FailingCall(system_call, call_number, error_number)
        monkeypatch.setattr(os, name, failing)
        try:
            shards.write(tmp_path / "x", "x", index, [roi], {}, "")
        except InputError as error:
            assert "x: cannot be written" in str(error) and os.strerror(error_number) in str(error)
            assert names(tmp_path) == []
        else:
            assert failing.n_calls < call_number
            break
        finally:
            monkeypatch.setattr(os, name, system_call)
    assert call_number >= 2 or name == "rename"
    assert len(shards.open_shards(tmp_path / "x")) == 1


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.csv"
    atomic.write_text(path, "old")
    monkeypatch.setattr(os, name, FailingCall(getattr(os, name), 1, errno.EIO))
    with pytest.raises(InputError, match="scores.csv: cannot be written .Input/output error"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["scores.csv"]
    atomic.write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["roi-00000.npy", "index.csv", "audit.csv", "manifest.json"])
def test_a_missing_file_of_the_shards_is_named(name: str, tmp_path: Path) -> None:
    table = films(tmp_path / "films")
    load(table, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").glob("ours-*")
    (folder / name).unlink()
    with pytest.raises(InputError, match="missing|no shards here"):
        load(table, tmp_path / "cache")


def test_an_image_that_disappears_is_named(tmp_path: Path) -> None:
    table = films(tmp_path / "films")
    (tmp_path / "films/2.pgm").unlink()
    with pytest.raises(InputError, match="line 4: image_path: no such file '2.pgm'"):
        load(table, tmp_path / "cache")
