"""Expand `~` and `~name` at the start of paths that a user writes.

The shell expands `~` only at the start of a word, so it is still there in `--workdir=~/runs`, in
`manifest:~/m.csv` and in config files. Every option, config field and source that names a path is
passed through `expand_user`, so that no folder named `~` is created.
"""

import os
from pathlib import Path

from mtl_jax.types import InputError


def expand_user(text: str) -> str:
    """Return `text` with a `~` or `~name` at its start replaced by that home folder."""
    if not text.startswith("~"):
        return text
    user = text.partition(os.sep)[0]
    expanded = os.path.expanduser(text)
    if user == "~" and (expanded.startswith("~") or os.environ.get("HOME") == ""):
        raise InputError(
            f"{text}: the home folder is unknown (HOME is not set); set HOME or write the absolute"
            " path"
        )
    if expanded.startswith("~"):
        raise InputError(
            f"{text}: there is no user {user[1:]!r} here; write the absolute path, or ./{text} for"
            " a name that begins with ~"
        )
    return expanded


def path(text: str) -> Path:
    """Return the path that a command-line option names, with `~` expanded.

    An empty one is an error: the variable of `--out=$FOLDER` may not be set.
    """
    if not text:
        raise InputError("a path on the command line is empty; name a file or folder")
    return Path(expand_user(text))


def expand_source(text: str) -> str:
    """Return 'name:path' with its path expanded, such as 'manifest:~/films/manifest.csv'."""
    name, colon, file = text.partition(":")
    return f"{name}{colon}{expand_user(file)}"
