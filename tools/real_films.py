"""Write the manifests of two collections of real mammograms from the tables of their masses.

python tools/real_films.py FOLDER --out DIR

FOLDER has ddsm299/ (masses of DDSM on whole films of 299 x 299 pixels) and dmid/ (masses of DMID on
digital mammograms of 1024 x 1024 pixels), each with masses.csv and the folder png. Their masses
with keep=1 are written to DIR/ddsm299/manifest.csv and DIR/dmid/manifest.csv. Images are neither
copied nor resampled: the paths lead out of the folder of the manifest
(config.data.manifest.outside), and the pixel sizes are those of the images, row and column.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtl_jax.data.sources.disputed_lesions import disputed_lesions
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.io.csv_safe import format_csv
from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError

Row = dict[str, str]

# The detector's pixel size of DMID is not stated: 50 um at 4728 x 5928 pixels is inferred.
DMID_UM = "290;231"
TRUTH = {"1": "malignant", "0": "benign"}  # another label is written as it is
# Columns of the boxes: top, left, bottom, right.
DDSM_BOX = ("r0_299", "c0_299", "r1_299", "c1_299")
DMID_BOX = ("box_y0", "box_x0", "box_y1", "box_x1")
COLUMNS = ("image", "side", "view", "label", "keep")
DDSM_COLUMNS = (
    *(*COLUMNS, *DDSM_BOX, "patient_id", "abnormality", "mm_per_row_299", "mm_per_col_299"),
    *("cbis_split", "digitizer"),
)
DMID_COLUMNS = (*COLUMNS, *DMID_BOX, "run_group")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=paths.path, metavar="FOLDER", help="has ddsm299 and dmid")
    parser.add_argument(
        "--out", type=paths.path, required=True, metavar="DIR", help="folder of the manifests"
    )
    flags = parser.parse_args(arguments)
    for name, rows in (("ddsm299", ddsm_rows(flags.folder)), ("dmid", dmid_rows(flags.folder))):
        path = flags.out / name / "manifest.csv"
        write_manifest(path, flags.folder / name / "png", rows)
        print(f"{path}: {describe(rows)}")
    return 0


def ddsm_rows(folder: Path) -> list[Row]:
    """Return a row for each mass of DDSM in each film.

    The number of an abnormality in a breast is the lesion in all its views, whatever their truths,
    so that a lesion with two truths is seen. In one breast the numbers of two masses are exchanged.
    """
    return [
        {
            **_facts(mass, "ddsm299", DDSM_BOX),
            "modality": "SFM",
            "patient_id": mass["patient_id"],
            "namespace": "cbis_ddsm",
            "lesion_id": f"{mass['side'][0]}{mass['abnormality']}",
            "pixel_um": f"{_um(mass['mm_per_row_299'])};{_um(mass['mm_per_col_299'])}",
            "truth_source": "followup",  # some benign masses were not biopsied
            "split": mass["cbis_split"],
            "device": mass["digitizer"],
        }
        for mass in _kept(folder / "ddsm299", DDSM_COLUMNS)
    ]


def dmid_rows(folder: Path) -> list[Row]:
    """Return a row for each mass of DMID in each image.

    Patients have no ids: runs of consecutive image numbers take their place, and nothing links the
    views of a lesion. The sheet does not state what its classes are based on.
    """
    numbers: Counter[str] = Counter()  # of the masses of an image
    rows = []
    for mass in _kept(folder / "dmid", DMID_COLUMNS):
        numbers[mass["image"]] += 1
        rows.append(
            {
                **_facts(mass, "dmid", DMID_BOX),
                "modality": "DM",
                "group_id": mass["run_group"],
                "lesion_id": f"{Path(mass['image']).stem}_{numbers[mass['image']]}",
                "pixel_um": DMID_UM,
                "truth_source": "unstated",
            }
        )
    return rows


def write_manifest(path: Path, images: Path, rows: list[Row]) -> None:
    """Write the manifest with the paths of the images from its folder; InputError if one lacks."""
    missing = [row["image_path"] for row in rows if not (images / row["image_path"]).is_file()]
    if missing:
        raise InputError(f"{images}: {len(missing)} images are missing, the first {missing[0]}")
    atomic.make_folder(path.parent)
    # '..' leads out of the real folder, also if its path has links.
    prefix = os.path.relpath(os.path.realpath(images), os.path.realpath(path.parent))
    cells = [row | {"image_path": Path(prefix, row["image_path"]).as_posix()} for row in rows]
    atomic.write_text(path, format_csv(rows[0], (row.values() for row in cells)))


def describe(rows: list[Row]) -> str:
    """Return the counts of a manifest, with the lesions whose rows have different truths."""
    case = "group_id" if "group_id" in rows[0] else "patient_id"
    lesions = [((row[case], row["lesion_id"]), int(row["truth"] == "malignant")) for row in rows]
    text = (
        f"{len(rows)} views of {len({lesion for lesion, _ in lesions})} lesions,"
        f" {sum(label for _, label in lesions)} views malignant,"
        f" {len({row[case] for row in rows})} {case.removesuffix('_id')}s"
    )
    disputed = disputed_lesions(lesions)
    if not disputed:
        return text
    views = sum(lesion in disputed for lesion, _ in lesions)
    return (
        f"{text}; {len(disputed)} lesions are malignant in one view and benign in another"
        f" ({views} views): set config.data.manifest.conflicts='leave_out'"
    )


def _kept(folder: Path, columns: Sequence[str]) -> list[Row]:
    """Return the masses with keep=1, without those of unknown class or on unusable images."""
    path = folder / "masses.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the folder that has ddsm299 and dmid")
    table = read_csv(path, strip=True)
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; restore the file")
    kept = [mass for mass in table.to_dict("records") if mass["keep"] == "1"]
    if not kept:
        raise InputError(f"{path}: no row has keep=1")
    return kept


def _facts(mass: Mapping[str, str], dataset: str, box: tuple[str, str, str, str]) -> Row:
    """Return the cells that both collections state in the same way; `box` names its columns."""
    return {
        "dataset": dataset,
        "laterality": mass["side"][0],
        "view": mass["view"],
        "image_path": mass["image"],
        "box": ";".join(mass[column] for column in box),
        "bits": "8",
        "truth": TRUTH.get(mass["label"], mass["label"]),
    }


def _um(mm: str) -> str:
    try:
        return f"{1000 * float(mm):.10g}"
    except ValueError as error:
        raise InputError(
            f"masses.csv: mm_per_row_299 and mm_per_col_299 must be numbers, got {mm!r}"
        ) from error


if __name__ == "__main__":
    sys.exit(command_line.run(main))
