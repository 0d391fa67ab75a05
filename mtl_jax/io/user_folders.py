"""The user's folders: the cache of all jobs, and the converted weights that every job finds.

The cache is the folder of MTL_JAX_CACHE, else of the XDG specification: XDG_CACHE_HOME/mtl_jax or
~/.cache/mtl_jax. Weights are in XDG_DATA_HOME/mtl_jax or ~/.local/share/mtl_jax.
"""

import os
from pathlib import Path

from mtl_jax.io import paths
from mtl_jax.types import InputError

CACHE_VARIABLE = "MTL_JAX_CACHE"
OLD_CACHE = "cache"  # in the current folder: the default of config.data.cache until 0.2.0
CHECKPOINTS = "checkpoints"  # converted weights, in the current folder and in the user's data
CHOOSE_CACHE = f"set {CACHE_VARIABLE} or config.data.cache to a folder that you can write"


def cache() -> Path:
    """Return the absolute path of the cache; InputError if the home folder is unknown."""
    named = os.environ.get(CACHE_VARIABLE)
    try:
        folder = paths.path(named) if named else _xdg("XDG_CACHE_HOME", "~/.cache")
    except InputError as error:
        raise InputError(f"the folder of the cache is unknown: {error}; {CHOOSE_CACHE}") from error
    return folder.absolute()


def create_cache(folder: Path) -> Path:
    """Create the cache, which no other user can read, if it does not exist, and return it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the cache cannot be created ({error.strerror}); {CHOOSE_CACHE}"
        ) from error
    return folder


def old_cache_note() -> str:
    """Return a note on shards in ./cache, which are no longer used by default; '' without any."""
    folder = Path(OLD_CACHE).absolute()
    if folder == cache() or not any(folder.glob("*/manifest.json")):
        return ""
    return (
        f"{folder} has ROIs that are not used: the cache is {cache()}; set"
        f" --config.data.cache={OLD_CACHE} to use them, or delete that folder"
    )


def checkpoints() -> list[Path]:
    """Return the folders that hold converted weights: the current one's, then the user's."""
    try:
        data = _xdg("XDG_DATA_HOME", "~/.local/share")
    except InputError:  # the home folder is unknown
        return [Path(CHECKPOINTS)]
    return [Path(CHECKPOINTS), data / CHECKPOINTS]


def find_checkpoint(name: str) -> Path:
    """Return the folder of the converted weights `name`, or where they are to be written.

    That is in ./checkpoints if this folder exists, else in the user's, where every job finds them.
    """
    parents = checkpoints()
    existing = [parent / name for parent in parents if (parent / name).is_dir()]
    writable = [parent / name for parent in parents if parent.is_dir()]
    return [*existing, *writable, parents[-1] / name][0]


def _xdg(variable: str, default: str) -> Path:
    """Return the folder of a variable of XDG, which must be absolute, or the default."""
    base = os.environ.get(variable, "")
    return paths.path(base if os.path.isabs(base) else default) / "mtl_jax"
