"""Files and folders that stand under their name only when whole, and the sums that tell.

A write that fails leaves what stood there before.
"""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from mtl_jax.types import InputError

CHECKSUMS = "SHA256SUMS"
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PERMISSION_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """`data` under the name `path`, once it is all on the disk. InputError: it cannot be."""
    part = path.with_name(path.name + ".part")
    with report_write_errors(path):
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Yield a draft folder to be filled in the block, which then becomes `path`, whole and on the
    disk.

    If the block fails the draft is deleted. A folder that stands at `path` by then, as from another
    process with the same work, is left standing.
    """
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.partial-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            for file in draft.rglob("*"):
                _fsync(file)
            _rename_draft(draft, path)
        finally:
            # With the folder standing, a draft of a killed or slower process is of no use.
            shutil.rmtree(draft, ignore_errors=True)
            if path.exists():
                for stale in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
                    shutil.rmtree(stale, ignore_errors=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Wait while another process makes what `path` names, and keeps others waiting meanwhile.

    The system lets go of the lock of a process that ends, however it ends. On a disk without
    locks the file itself is the lock.
    """
    file = path.with_name(f".{path.name}.lock")
    with report_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file_lock = filelock.FileLock(file)
        try:
            file_lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"mtl_jax: note: waiting for another job that makes {path}", file=sys.stderr)
            file_lock.acquire()
    try:
        yield
    finally:
        file_lock.release()


def _rename_draft(draft: Path, path: Path) -> None:
    try:
        draft.rename(path)
    except OSError:
        if not path.exists():
            raise


@contextlib.contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Whatever the system rejects in the block is said in one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> InputError:
    """Return the one line for a write to `path` that failed, with the cure."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    number = getattr(error, "errno", None)
    # What TensorStore raises carries the reason in its text alone.
    if number in FULL_ERRORS or os.strerror(errno.ENOSPC) in str(error):
        reason, cure = os.strerror(number or errno.ENOSPC), "free space on that disk"
    elif number in PERMISSION_ERRORS:
        cure = "name a folder that may be written"
    else:
        cure = "see to that disk"
    return InputError(
        f"{path}: cannot be written ({reason}); {cure} and run the same again: what was finished"
        " is kept"
    )


def write_checksums(place: Path, skip: tuple[str, ...] = ()) -> None:
    """SHA256SUMS of all files in the folder `place`, in the form that `sha256sum -c` reads.

    Files called as in `skip` are left out.
    """
    write_text(place / CHECKSUMS, "".join(line + "\n" for line in _checksum_lines(place, skip)))


def verify_checksums(place: Path, skip: tuple[str, ...] = ()) -> str:
    """Return the first file in `place` that is missing, new or changed since its sums were
    written; '' where there is none."""
    path = place / CHECKSUMS
    try:
        said = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        differ = set(said.splitlines()) ^ set(_checksum_lines(place, skip))
    except OSError as error:
        return str(error.filename or place)
    return min((line[66:] for line in differ), default="" if said else CHECKSUMS)


def file_sha256(path: Path) -> str:
    """Return SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum_lines(place: Path, skip: tuple[str, ...]) -> list[str]:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return [
        f"{file_sha256(path)}  {path.relative_to(place).as_posix()}"
        for path in files
        if path.name not in (CHECKSUMS, *skip)
    ]


def _fsync(path: Path) -> None:
    """Forces a file to the disk, so that the rename of its folder cannot outrun it."""
    if path.is_file():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
