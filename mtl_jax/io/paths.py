"""Paths as a user writes them: `~` and `~name` stand for home folders.

The shell expands `~` at the start of a word only, so `--workdir=~/runs`, `manifest:~/m.csv` and a
config file bring it here as it is. Every flag, field and source that names a path goes through
`expand_user`; nothing may make a folder called `~`.
"""

import os
from pathlib import Path

from mtl_jax.types import InputError


def expand_user(text: str) -> str:
    """Return `text` with a `~` or `~name` at its start replaced by that home folder.

    Raises InputError where the home folder is not known.
    """
    if not text.startswith("~"):
        return text
    user = text.partition(os.sep)[0]
    found = os.path.expanduser(text)
    if user == "~" and (found.startswith("~") or os.environ.get("HOME") == ""):
        raise InputError(
            f"{text}: the home folder is not known (HOME is not set); set HOME or write the whole"
            " path"
        )
    if found.startswith("~"):
        raise InputError(
            f"{text}: there is no user {user[1:]!r} here; write the whole path, or ./{text} for a"
            " name that begins so"
        )
    return found


def path(text: str) -> Path:
    """Return the path that a command-line option names, with `~` expanded.

    Raises InputError as `expand_user` does, or if `text` is empty, as after `--out=$FOLDER` where
    the variable is not set.
    """
    if not text:
        raise InputError("a path on the command line is empty; name a file or folder")
    return Path(expand_user(text))


def expand_source(text: str) -> str:
    """Return 'name:path' with its path expanded, such as 'manifest:~/films/manifest.csv'."""
    name, colon, place = text.partition(":")
    return f"{name}{colon}{expand_user(place)}"
