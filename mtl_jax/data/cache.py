"""What the cache of the jobs holds, and how to delete it."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from mtl_jax.io import atomic


class Kind(NamedTuple):
    """A kind of files or folders, which jobs write while they hold the lock of `locked`."""

    name: str
    # Of the file or folder; the groups are its collection and, if there is a lock, `locked`.
    pattern: re.Pattern[str]
    is_valid: Callable[[Path], bool] = Path.is_file


def _has(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).is_file()


def _only(pattern: str) -> Callable[[Path], bool]:
    """Return whether a path is a folder of files and folders with such names alone."""
    return lambda path: (
        path.is_dir() and all(re.fullmatch(pattern, child.name) for child in path.iterdir())
    )


_HASH = "[0-9a-f]{12}"
KINDS = (
    Kind("ROIs", re.compile(rf"(?P<locked>(?P<collection>.+))-{_HASH}"), _has("manifest.json")),
    Kind(
        "simulated images",
        re.compile(rf"(?P<locked>(?P<collection>phantom)-{_HASH})"),
        _has(atomic.CHECKSUMS),
    ),
    Kind("decoded images", re.compile(rf"tfds-(?P<collection>.+)-{_HASH}"), _only(r".+\.npy")),
    Kind(
        "unfinished",
        re.compile(r"\.(?P<locked>(?P<collection>.+))\.images"),
        _only(r"[0-9a-f]+\.kept(\.part)?"),
    ),
    Kind(
        "unfinished",
        re.compile(
            rf"\.(?P<locked>(?P<collection>phantom)-{_HASH}|.+?(?=-{_HASH})).*\.partial-\d+"
        ),
        Path.is_dir,
    ),
    Kind("lesion positions", re.compile(r"\.(?P<collection>cbis_ddsm)-places-\d+\.json")),
    Kind("compiled programs", re.compile("compiled"), _only(_HASH)),
    Kind("activations", re.compile("frozen"), _only(r"\.?[0-9a-f]{32}\.npy(\.partial-.+)?")),
)
# In the folder CONTACT_SHEETS of the cache. They have images of patients, as ROIs have.
CONTACT_SHEETS = "contact_sheets"
SHEET_KINDS = (
    Kind(
        "contact sheets",
        re.compile(rf"\.?(?P<collection>.+?)-{_HASH}(\.partial-.+)?"),
        _only(r"page_\d+\.html|\..+"),
    ),
)


class Entry(NamedTuple):
    """A file or folder of the cache that a job wrote."""

    path: Path
    collection: str  # '' if it is of no collection
    kind: str
    locked: str  # name of the lock that its writer holds, '' for none
    size: int  # bytes
    used: date  # when a file of it was last read or written, as far as the disk records it

    def has_name(self, name: str) -> bool:
        """Return whether `name` is its collection, its file name, or CONTACT_SHEETS for one."""
        names = [self.collection, self.path.name]
        return name in names + [CONTACT_SHEETS] * (self.kind == SHEET_KINDS[0].name)


def list_entries(folder: Path) -> list[Entry]:
    """Return the entries of a cache by name; other files, and links, are ignored."""
    if not folder.is_dir():
        return []
    sheets = folder / CONTACT_SHEETS
    parents = [(folder, KINDS)]
    if sheets.is_dir() and not sheets.is_symlink():
        parents.append((sheets, SHEET_KINDS))
    entries = (
        _recognize(path, kinds)
        for parent, kinds in parents
        for path in sorted(parent.iterdir())
        if not path.is_symlink()
    )
    return [entry for entry in entries if entry]


def _recognize(path: Path, kinds: Sequence[Kind]) -> Entry | None:
    for kind in kinds:
        match = kind.pattern.fullmatch(path.name)
        if match and kind.is_valid(path):
            groups = match.groupdict(default="")
            stats = [file.lstat() for file in _files(path)] or [path.lstat()]
            return Entry(
                path,
                groups.get("collection") or groups.get("locked", ""),
                kind.name,
                groups.get("locked", ""),
                sum(stat.st_size for stat in stats),
                date.fromtimestamp(max(max(stat.st_atime, stat.st_mtime) for stat in stats)),
            )
    return None


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or the files below a folder; links are not followed."""
    if path.is_file():
        yield path
    for parent, _, names in os.walk(path):
        yield from (Path(parent, name) for name in names)


def delete(entry: Entry) -> None:
    """Delete an entry while no job writes it; a link in it is deleted, not followed.

    Raises InputError if it cannot be deleted. A deletion that is interrupted leaves no incomplete
    folder under the entry's name.
    """
    path = entry.path
    with contextlib.ExitStack() as stack:
        if entry.locked:
            stack.enter_context(atomic.lock(path.with_name(entry.locked)))
        stack.enter_context(atomic.report_write_errors(path))
        if path.is_symlink() or not path.exists():  # replaced or deleted meanwhile
            return
        if path.is_file():
            path.unlink()
            return
        trash = path.with_name(f".{path.name.lstrip('.')}.partial-{os.getpid()}")
        path.rename(trash)
        shutil.rmtree(trash)
