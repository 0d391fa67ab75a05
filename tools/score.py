"""Scores lesions in mammograms with a model bundle. For research only.

    python tools/score.py MODEL IMAGES... --lesions LESIONS.csv --out DIR [--task NAME]
        [--compare MODEL] [--pixel-um UM] [--no-evidence] [--keep-ids] [--sr]

IMAGES are DICOM, PNG, PGM, TIFF or other images, or folders of them. LESIONS.csv has a row for each
lesion in each image, in the columns of docs/manifest.md, of which image_path, lesion_id and a
location (such as box: top;left;bottom;right) are needed. DIR then holds lesions.csv, views.csv,
scores.json, pictures and scores.html; with --sr also sr/, a DICOM Structured Report a study, which
names the patient as the images do. Elsewhere ids and file names are pseudonyms unless --keep-ids is
given; what they stand for is written beside the key of the pseudonyms, for you alone.
"""

import argparse
import sys

from mtl_jax import environment
from mtl_jax.io import command_line, paths
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=paths.path, metavar="MODEL", help="made by tools/export.py")
    parser.add_argument("images", type=paths.path, nargs="+", metavar="IMAGES")
    parser.add_argument("--lesions", type=paths.path, required=True, metavar="CSV")
    parser.add_argument("--out", type=paths.path, required=True, metavar="DIR", help="new or empty")
    parser.add_argument("--task", help="the learned collection that these images are like")
    parser.add_argument(
        "--compare", type=paths.path, metavar="MODEL", help="a second model, shown beside the first"
    )
    parser.add_argument("--pixel-um", type=float, help="of images that do not say it themselves")
    parser.add_argument("--no-evidence", action="store_true", help="no maps: much faster")
    parser.add_argument(
        "--keep-ids", action="store_true", help="write ids and file names as they are"
    )
    parser.add_argument("--sr", action="store_true", help="DICOM Structured Reports: [sr] extra")
    given = parser.parse_args(arguments)
    try:
        environment.start_jax()
        return _score(given)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _score(given: argparse.Namespace) -> int:
    from mtl_jax import bundle
    from mtl_jax.bundle import lesion_table, output, scoring, sr
    from mtl_jax.data import privacy
    from mtl_jax.training import malloc

    malloc.keep()
    names = privacy.Pseudonyms(None if given.keep_ids else privacy.key())
    names.check_lookup()
    asked = lesion_table.read(given.lesions, given.images, given.pixel_um)
    if unused := lesion_table.not_used(given.lesions):
        print(f"mtl_jax: note: {given.lesions.name}: {unused}", file=sys.stderr)
    model = bundle.load(given.model)
    task = model.task(given.task)
    if given.sr:
        sr.check(model, asked)
    second = bundle.load(given.compare) if given.compare else None
    second_task = second.task(given.task) if second else ""
    shown, evidence = lesion_table.hide(asked, names), not given.no_evidence
    found = scoring.score(model, shown, task, evidence)
    compared = None
    if second:
        scored = scoring.score(second, shown, second_task, evidence)
        compared = output.Result(second, second_task, scored)
    said = output.write(given.out, output.Result(model, task, found), compared)
    reports = sr.write(given.out / "sr", model, found) if given.sr else []
    lookup = names.save_lookup("scores", output.fingerprint(said))
    for lesion in said["lesions"]:
        flags = f"  {len(lesion['flags'])} flags" if lesion["flags"] else ""
        print(f"{lesion['case_id']} {lesion['lesion_id']}  {lesion['score']:.4f}{flags}")
    for path in reports:
        print(f"Structured Report, with the patient's name and id of the images: {path}")
    if lookup:
        print(f"ids and file names are pseudonyms; what they stand for: {lookup}")
    print(f"{len(asked)} views of {len(found)} lesions: {given.out / 'scores.html'}")
    print("phantom model. " * said["phantom"] + said["use"])
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main))
