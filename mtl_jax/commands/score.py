"""Score lesions in mammograms with a model bundle. For research only.

    mtl-jax score MODEL IMAGES... --lesions LESIONS.csv --out DIR [--task NAME]
        [--compare MODEL] [--pixel-um UM] [--no-evidence] [--keep-ids] [--sr]

IMAGES are DICOM, PNG, PGM, TIFF or other images, or folders of them. LESIONS.csv has a row for each
lesion in each image with the columns of docs/manifest.md; image_path, lesion_id and a location
(such as box: top;left;bottom;right) are required. The command writes lesions.csv, views.csv,
scores.json, images and scores.html to DIR, and with --sr a DICOM Structured Report per study to
DIR/sr, with the patient data of the images. All other files have pseudonyms for ids and file names
unless --keep-ids is given; the lookup table is written next to the key of the pseudonyms.
"""

import argparse
import sys

from mtl_jax import environment
from mtl_jax.io import paths
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=paths.path, metavar="MODEL", help="made by mtl-jax export")
    parser.add_argument(
        "images",
        type=paths.path,
        nargs="+",
        metavar="IMAGES",
        help="DICOM, PNG, PGM, TIFF or other images, or folders of them",
    )
    parser.add_argument(
        "--lesions",
        type=paths.path,
        required=True,
        metavar="CSV",
        help="table with a row for each lesion in each image (docs/manifest.md)",
    )
    parser.add_argument("--out", type=paths.path, required=True, metavar="DIR", help="new or empty")
    parser.add_argument("--task", help="training collection that these images resemble")
    parser.add_argument(
        "--compare",
        type=paths.path,
        metavar="MODEL",
        help="a second model to show next to the first",
    )
    parser.add_argument("--pixel-um", type=float, help="pixel size of images that do not state it")
    parser.add_argument(
        "--no-evidence", action="store_true", help="skip the attribution maps (much faster)"
    )
    parser.add_argument(
        "--keep-ids", action="store_true", help="write the original ids and file names"
    )
    parser.add_argument(
        "--sr", action="store_true", help="write DICOM Structured Reports (extra [sr])"
    )
    args = parser.parse_args(arguments)
    try:
        environment.start_jax()
        return _score(args)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _score(args: argparse.Namespace) -> int:
    from mtl_jax import bundle
    from mtl_jax.bundle import lesion_table, output, scoring, sr
    from mtl_jax.data import privacy
    from mtl_jax.training import malloc

    malloc.keep_freed_memory()
    names = privacy.Pseudonyms(None if args.keep_ids else privacy.load_key())
    names.check_lookup()
    asked = lesion_table.read(args.lesions, args.images, args.pixel_um)
    if unused := lesion_table.unused_columns(args.lesions):
        print(f"mtl_jax: note: {args.lesions.name}: {unused}", file=sys.stderr)
    model = bundle.load(args.model)
    task = model.task(args.task)
    if args.sr:
        sr.check(model, asked)
    second = bundle.load(args.compare) if args.compare else None
    second_task = second.task(args.task) if second else ""
    shown, evidence = lesion_table.pseudonymize(asked, names), not args.no_evidence
    found = scoring.score(model, shown, task, evidence)
    compared = None
    if second:
        scored = scoring.score(second, shown, second_task, evidence)
        compared = output.ModelScores(second, second_task, scored)
    said = output.write(args.out, output.ModelScores(model, task, found), compared)
    reports = sr.write(args.out / "sr", model, found) if args.sr else []
    lookup = names.save_lookup("scores", output.fingerprint(said))
    for lesion in said["lesions"]:
        flags = f"  {len(lesion['flags'])} flags" if lesion["flags"] else ""
        print(f"{lesion['case_id']} {lesion['lesion_id']}  {lesion['score']:.4f}{flags}")
    for path in reports:
        print(f"Structured Report with the patient's name and id: {path}")
    if lookup:
        print(f"ids and file names are pseudonyms; lookup table: {lookup}")
    print(f"{len(asked)} views of {len(found)} lesions: {args.out / 'scores.html'}")
    print("phantom model. " * said["phantom"] + said["use"])
    return 0
