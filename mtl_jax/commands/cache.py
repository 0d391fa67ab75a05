"""Show what the cache of the jobs holds, or clear it.

    mtl-jax cache
    mtl-jax cache --clear
    mtl-jax cache --clear sfm

The cache is the folder of MTL_JAX_CACHE, else ~/.cache/mtl_jax. Whatever is deleted is made again
when a job needs it. Do not clear it while a job runs.
"""

import argparse
import os
from pathlib import Path

from mtl_jax.data import cache
from mtl_jax.io import paths, user_folders
from mtl_jax.io.text_table import align
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clear",
        nargs="*",
        metavar="NAME",
        help="delete the entries of these collections or with these names (default: all)",
    )
    parser.add_argument(
        "--folder", type=paths.path, help="another cache, such as that of config.data.cache"
    )
    args = parser.parse_args(arguments)
    folder = args.folder or user_folders.cache()
    if not folder.is_dir() and os.path.lexists(folder):
        raise InputError(f"{folder}: the cache is not a folder; {user_folders.CHOOSE_CACHE}")
    entries = cache.list_entries(folder)
    if args.clear is None:
        show(folder, entries)
        return 0
    for name in args.clear:
        if not any(entry.has_name(name) for entry in entries):
            known = ", ".join(sorted({entry.collection or entry.path.name for entry in entries}))
            raise InputError(
                f"--clear {name}: {folder} has no such entry; expected one of: {known or 'none'}"
            )
    if not entries:
        print(f"{folder}: nothing to delete")
    for entry in entries:
        if not args.clear or any(map(entry.has_name, args.clear)):
            cache.delete(entry)
            print(f"deleted {entry.path} ({_format_size(entry.size)})")
    return 0


def show(folder: Path, entries: list[cache.Entry]) -> None:
    """Print a line for each entry, and the total."""
    rows = [("name", "collection", "kind", "size", "last used")]
    rows += [
        (e.path.name, e.collection, e.kind, _format_size(e.size), e.used.isoformat())
        for e in entries
    ]
    if entries:
        print("\n".join(align(rows)))
    total = _format_size(sum(entry.size for entry in entries))
    print(f"{folder}: {len(entries)} entries, {total}")


def _format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
