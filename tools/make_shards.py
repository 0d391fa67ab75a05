"""Makes shards of 128x128 regions of interest from collections of mammograms.

python tools/make_shards.py mini_mias:data/mini_mias manifest:mine/lesions.csv --out shards
Each collection becomes a folder OUT/<collection>, itself a data source: shards:OUT/<collection>.
"""

import argparse
import sys
from pathlib import Path

from mtl_jax.config import default
from mtl_jax.data.ingest import make
from mtl_jax.nouns import InputError

COLUMNS = ("images", "rois", "lesions", "cases", "malignant", "benign", "left_out")


def main() -> int:
    settings = default().data
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="+", help="name:path, as in mini_mias:data/mini_mias")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument(
        "--classes",
        default=",".join(settings.mini_mias.classes),
        help="mini_mias: which abnormalities, of CIRC,SPIC,MISC,ARCH,ASYM (default: %(default)s)",
    )
    flags = parser.parse_args()
    options = {
        "mini_mias": {"classes": tuple(flags.classes.split(","))},
        "phantom": {**settings.phantom, "folder": flags.out},
    }
    try:
        made = [make(spec, flags.out, settings.background, options) for spec in flags.source]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'collection':16}", *(f"{name:>9}" for name in COLUMNS))
    for rois in made:
        print(f"{rois.name:16}", *(f"{rois.manifest['counts'][name]:9d}" for name in COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
