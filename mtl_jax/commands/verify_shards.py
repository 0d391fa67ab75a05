"""Verify folders of shards: checksums, counts and the consistency of the index.

mtl-jax verify shards/mini_mias shards/mine
"""

import argparse
import sys

from mtl_jax.data.shards import open_shards
from mtl_jax.io import paths
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=paths.path, help="folder with a manifest.json")
    status = 0
    for folder in parser.parse_args(arguments).folder:
        try:
            rois = open_shards(folder)
        except InputError as error:
            print(error, file=sys.stderr)
            status = 2
        else:
            print(f"{folder}: {rois.name}, {len(rois)} ROIs in {len(rois.shards)} shards, verified")
    return status
