"""Files and folders that stand under their name only when whole, and the sums that tell.

A write that fails leaves what stood there before. It knows nothing of what is in them.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mtl_jax.nouns import InputError

SUMS = "SHA256SUMS"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """`data` under the name `path`, once it is all on the disk. InputError: it cannot be."""
    part = path.with_name(path.name + ".part")
    with writing(path):
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
def folder(path: Path) -> Iterator[Path]:
    """A draft folder to be filled in the block, which then becomes `path`; what stood there goes.

    If the block fails the draft is deleted. Drafts that a killed process left of the same folder
    are deleted too: callers see to it that no other process writes it meanwhile.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_drafts(path)
        draft = path.with_name(f".{path.name}.partial-{os.getpid()}")
        draft.mkdir()
        try:
            yield draft
            for file in draft.rglob("*"):
                sync(file)
            if path.exists():
                shutil.rmtree(path)
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def clear_drafts(path: Path) -> None:
    """Deletes what `folder(path)` began in a process that was killed."""
    for stale in path.parent.glob(f".{_literally(path.name)}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)


def sync(path: Path) -> None:
    """Forces a file to the disk, so that the rename of its folder cannot outrun it."""
    if path.is_file():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system refuses in the block is said in one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> InputError:
    """The one line for a write to `path` that failed, with the cure."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    number = getattr(error, "errno", None)
    # What TensorStore raises carries the reason in its text alone.
    if number in FULL or os.strerror(errno.ENOSPC) in str(error):
        reason, cure = os.strerror(number or errno.ENOSPC), "free space on that disk"
    elif number in FORBIDDEN:
        cure = "name a folder that may be written"
    else:
        cure = "see to that disk"
    return InputError(
        f"{path}: cannot be written ({reason}); {cure} and run the same again: what was finished"
        " is kept"
    )


def write_sums(place: Path, skip: tuple[str, ...] = ()) -> None:
    """SHA256SUMS of all files in the folder `place`, in the form that `sha256sum -c` reads.

    Files called as in `skip` are left out.
    """
    write_text(place / SUMS, "".join(line + "\n" for line in _sums(place, skip)))


def damage(place: Path, skip: tuple[str, ...] = ()) -> str:
    """The first file in `place` that is missing, new or changed since its sums were written; ''
    where there is none."""
    path = place / SUMS
    try:
        said = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        differ = set(said.splitlines()) ^ set(_sums(place, skip))
    except OSError as error:
        return str(error.filename or place)
    return min((line[66:] for line in differ), default="" if said else SUMS)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sums(place: Path, skip: tuple[str, ...]) -> list[str]:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return [
        f"{digest(path)}  {path.relative_to(place).as_posix()}"
        for path in files
        if path.name not in (SUMS, *skip)
    ]


def _literally(name: str) -> str:
    """`name` for a glob pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
