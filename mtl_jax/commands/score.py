"""Score lesions in mammograms with a model bundle. For research only.

    mtl-jax score MODEL IMAGES... --lesions LESIONS.csv --out DIR [--task NAME]
        [--compare MODEL] [--classes NEGATIVE,POSITIVE] [--pixel-um UM] [--no-evidence]
        [--keep-ids] [--sr]

IMAGES are DICOM, PNG, PGM, TIFF or other images, or folders of them. LESIONS.csv has a row for each
lesion in each image with the columns of docs/manifest.md; image_path, lesion_id and a location
(such as box: top;left;bottom;right) are required. The command writes lesions.csv, views.csv,
scores.json, images and scores.html to DIR, and with --sr a DICOM Structured Report per study to
DIR/sr, with the patient data of the images. All other files have pseudonyms for ids and file names
unless --keep-ids is given; the lookup table is written next to the key of the pseudonyms.

If the column truth has malignant and benign lesions, the scores are evaluated: AUC, sensitivity and
specificity at the thresholds of the model, and calibration (evaluation.json).
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtl_jax import environment
from mtl_jax.io import paths
from mtl_jax.roc.class_names import parse_classes
from mtl_jax.training import malloc

if TYPE_CHECKING:
    from mtl_jax.bundle.scoring import LesionScore


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
    parser.add_argument(
        "--classes",
        type=parse_classes,
        metavar="NEGATIVE,POSITIVE",
        help="words of the column truth, benign first, such as 0,1 (default: benign, malignant)",
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
    malloc.keep_freed_memory()
    environment.start_jax()
    return _score(args)


def _score(args: argparse.Namespace) -> int:
    from mtl_jax import bundle
    from mtl_jax.bundle import lesion_table, output, scoring, sr
    from mtl_jax.data import privacy

    output.check_folder(args.out)
    names = privacy.Pseudonyms(None if args.keep_ids else privacy.load_key())
    names.check_lookup()
    asked = lesion_table.read(args.lesions, args.images, args.pixel_um, args.classes)
    if unused := lesion_table.unused_columns(args.lesions):
        print(f"mtl_jax: note: {args.lesions.name}: {unused}", file=sys.stderr)
    models = [bundle.load(path) for path in (args.model, args.compare) if path]
    tasks = [model.task(args.task) for model in models]
    if args.sr:
        sr.check(models[0], asked)
    shown = lesion_table.pseudonymize(asked, names)
    results = [
        scoring.ModelScores(model, task, scoring.score(model, shown, task, not args.no_evidence))
        for model, task in zip(models, tasks, strict=True)
    ]
    record, files = output.render(results, args.classes)
    reports = sr.render(models[0], results[0].lesions) if args.sr else {}
    # First the lookup, without which nobody can read the pseudonyms of the other files.
    lookup = names.save_lookup("scores", output.fingerprint(record))
    output.write(args.out, files | reports)
    for lesion in record["lesions"]:
        flags = f"  {len(lesion['flags'])} flags" if lesion["flags"] else ""
        print(f"{lesion['case_id']} {lesion['lesion_id']}  {lesion['score']:.4f}{flags}")
    for name in reports:
        print(f"Structured Report with the patient's name and id: {args.out / name}")
    if lookup:
        print(f"ids and file names are pseudonyms; lookup table: {lookup}")
    for model in filter(None, (record, record.get("compared"))):
        for note in model["notes"]:
            print(f"note: {model['model']['run']}: {note}")
    _print_evaluation(record["evaluation"], results[0].lesions)
    print(f"{len(asked)} views of {len(results[0].lesions)} lesions: {args.out / 'scores.html'}")
    print("phantom model. " * record["phantom"] + record["use"])
    return 0


def _print_evaluation(record: dict[str, Any] | None, lesions: Sequence["LesionScore"]) -> None:
    """Print the evaluation, and the truths that were not recognized."""
    from mtl_jax.bundle import evaluation

    if unrecognized := evaluation.unrecognized_text(lesions):
        print(unrecognized)
    if record is None:
        return
    print("\n".join(evaluation.describe(record)))
    for name, texts in evaluation.table(record):
        print(f"{name}: {texts[0]}")
        for text in texts[1:]:
            print(f"  second model: {text}")
    if difference := evaluation.difference_text(record):
        print(difference)
    for note in record["notes"]:
        print(f"note: {note}")
