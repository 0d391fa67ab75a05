"""Resolve the file names in a table to paths on this machine."""

import functools
import os
import re
from pathlib import Path

from mtl_jax.types import InputError

OUTSIDE = "or set data.manifest.outside if the table is your own"
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def normalize_separators(root: Path, text: str) -> str:
    """Return `text` with the path separators of this machine: Windows tables use '\\'.

    The name of an existing file in `root` is unchanged. A path on a Windows drive is an error.
    """
    if os.name == "nt" or "\\" not in text and not _WINDOWS_DRIVE.match(text):
        return text
    if os.path.isfile(root / text):
        return text
    if _WINDOWS_DRIVE.match(text):
        raise InputError(
            f"{text!r} is a path on a Windows drive or share, which does not exist on this"
            " machine: write it relative to the table's folder"
        )
    return text.replace("\\", "/")


def find_file(root: Path, text: str, column: str, where: str, outside: bool) -> Path:
    """Return the path of the file that a cell of a table in `root` names.

    Unless `outside` is True, the file must be in `root`, also after resolving symbolic links, so
    that a table from elsewhere cannot read other files.
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
    # Unlike Path.is_file, os.path.isfile does not raise for a name that is too long.
    if not os.path.isfile(path):
        raise InputError(f"{where}: {column}: no such file {text!r} in {root}")
    if not outside and not resolve(path).is_relative_to(_real_folder(root)):
        raise InputError(
            f"{where}: {column} {text!r} is a link out of the manifest's folder: copy the file,"
            f" {OUTSIDE}"
        )
    return path


def resolve(path: Path) -> Path:
    """Return the real path of a file, with symbolic links resolved."""
    if path.is_symlink() or ".." in path.parts:
        return Path(os.path.realpath(path))
    return _real_folder(path.parent) / path.name


@functools.cache
def _real_folder(folder: Path) -> Path:
    """Return the real path of a folder, resolved once per folder."""
    return Path(os.path.realpath(folder))
