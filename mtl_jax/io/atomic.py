"""Write files and folders atomically, lock them, and verify their checksums.

A file or folder appears under its name only when it is complete. A write that fails leaves the
previous file or folder unchanged.
"""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from mtl_jax.types import InputError

CHECKSUMS = "SHA256SUMS"
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PERMISSION_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they are missing. Raise InputError if that fails."""
    with report_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 to `path` atomically, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raise InputError if it cannot be written."""
    write_chunks(path, (data,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that is made in `chunks`, as `write_bytes` does."""
    part = path.with_name(path.name + ".part")
    with report_write_errors(path):
        try:
            with part.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Yield a draft folder to fill in the block; at its end, sync it and rename it to `path`.

    If the block fails, the draft is deleted. If another process has created `path` meanwhile, that
    folder is kept and the draft is deleted.
    """
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.partial-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            for file in filter(Path.is_file, draft.rglob("*")):
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
            try:
                draft.rename(path)
            except OSError:
                if not path.exists():
                    raise
        finally:
            # Once the folder exists, drafts of killed or slower processes are useless.
            shutil.rmtree(draft, ignore_errors=True)
            if path.exists():
                for stale in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
                    shutil.rmtree(stale, ignore_errors=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path` during the block; wait while another process holds it.

    The operating system releases the lock when a process ends or crashes.
    """
    file = path.with_name(f".{path.name}.lock")
    with report_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file_lock = filelock.FileLock(file)
        try:
            file_lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"mtl_jax: note: waiting for another job that writes {path}", file=sys.stderr)
            file_lock.acquire()
    try:
        yield
    finally:
        file_lock.release()


@contextlib.contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an InputError of one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> InputError:
    """Return the InputError for a failed write to `path`: the reason and what to do."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    number = getattr(error, "errno", None)
    # TensorStore gives the reason only in its message.
    if number in FULL_ERRORS or os.strerror(errno.ENOSPC) in str(error):
        reason, cure = os.strerror(number or errno.ENOSPC), "free space on that disk"
    elif number in PERMISSION_ERRORS:
        cure = "name a folder with write permission"
    elif number in (errno.EEXIST, errno.ENOTDIR):
        cure = "a file has that name: name another folder"
    elif number == errno.ENOENT:
        cure = "make that folder"
    else:
        cure = "check that disk"
    return InputError(
        f"{path}: cannot be written ({reason}); {cure} and rerun the same command: finished work"
        " is kept"
    )


def write_checksums(folder: Path, skip: tuple[str, ...] = ()) -> None:
    """Write SHA256SUMS for all files in `folder` but those named in `skip` (`sha256sum -c`)."""
    write_text(folder / CHECKSUMS, "".join(line + "\n" for line in _checksum_lines(folder, skip)))


def verify_checksums(folder: Path, skip: tuple[str, ...] = ()) -> str:
    """Return the first file that is missing, new or changed since SHA256SUMS, '' if none is."""
    path = folder / CHECKSUMS
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        differences = set(text.splitlines()) ^ set(_checksum_lines(folder, skip))
    except OSError as error:
        return str(error.filename or folder)
    return min((line[66:] for line in differences), default="" if text else CHECKSUMS)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum_lines(folder: Path, skip: tuple[str, ...]) -> list[str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}"
        for path in files
        if path.name not in (CHECKSUMS, *skip)
    ]
