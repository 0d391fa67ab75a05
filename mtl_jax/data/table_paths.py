"""File names as a table gives them, made into paths of this machine."""

import functools
import os
import re
from pathlib import Path

from mtl_jax.types import InputError

OUTSIDE = "or set data.manifest.outside if it is your own"
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def normalize_separators(root: Path, text: str) -> str:
    """Return `text` with the separators of this machine: tables written on Windows hold '\\'.

    A file in `root` whose own name holds a backslash keeps it. InputError: a path of a Windows
    drive or share, on a machine that has none.
    """
    if os.name == "nt" or "\\" not in text and not _WINDOWS_DRIVE.match(text):
        return text
    if os.path.isfile(root / text):
        return text
    if _WINDOWS_DRIVE.match(text):
        raise InputError(
            f"{text!r} is a path of a Windows drive or share, which this machine does not have:"
            " write it relative to the table's folder"
        )
    return text.replace("\\", "/")


def find_file(root: Path, text: str, column: str, where: str, outside: bool) -> Path:
    """Return the file that a cell of a table in `root` names.

    Unless `outside`, it lies in `root`, also through links, so that a table from elsewhere reads
    nothing else. InputError begins with `where` and names the column.
    """
    try:
        name = normalize_separators(root, text)
    except InputError as error:
        raise InputError(f"{where}: {column} {error}") from error
    relative = Path(name)
    if not outside and (relative.is_absolute() or ".." in relative.parts):
        raise InputError(
            f"{where}: {column} {text!r} must be relative to the manifest's folder, without '..'"
            f"; {OUTSIDE}"
        )
    path = root / name
    # Path.is_file raises on a name that is too long; this does not.
    if not os.path.isfile(path):
        raise InputError(f"{where}: {column}: no such file {text!r} in {root}")
    if not outside and not resolve(path).is_relative_to(_real_folder(root)):
        raise InputError(
            f"{where}: {column} {text!r} leads out of the manifest's folder by a link; {OUTSIDE}"
        )
    return path


def resolve(path: Path) -> Path:
    """Return the file itself, whichever way its name leads to it."""
    if path.is_symlink() or ".." in path.parts:
        return Path(os.path.realpath(path))
    return _real_folder(path.parent) / path.name


@functools.cache
def _real_folder(folder: Path) -> Path:
    """Once a folder, not once a file."""
    return Path(os.path.realpath(folder))
