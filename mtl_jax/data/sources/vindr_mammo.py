"""Read VinDr-Mammo as released on PhysioNet: finding_annotations.csv and DICOM images.

Nguyen HT et al. (2023) "VinDr-Mammo: a large-scale benchmark dataset for computer-aided diagnosis
in full-field digital mammography", Scientific Data 10, 277.
"""

import re
from collections import Counter
from pathlib import Path

from mtl_jax.data.sources import table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging.dicom_fields import get_value, read_dataset
from mtl_jax.imaging.dicom_spacing import get_spacing
from mtl_jax.types import Box, Collection, InputError, LesionView

COLUMNS = ("study_id", "image_id", "laterality", "view_position", "height", "width", "split")
FINDING = ("finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
LABELS = {"BI-RADS 3": 0, "BI-RADS 4": 1, "BI-RADS 5": 1}
SPLITS = {"training": "train", "test": "test"}
DUPLICATE = "duplicate of an earlier box of the image"
CONTRADICTION = "its box is listed as benign and as malignant"
_NAME = re.compile(r"\w{1,64}")
_CATEGORIES = re.compile(r"\[('[\w \-]*'(, ?'[\w \-]*')*)?\]")


def read_collection(path: str) -> Collection:
    """Return the boxes of category Mass with the reader's BI-RADS as reference standard."""
    root = table.find_root(path, "finding_annotations.csv", "vindr_mammo")
    listing = root / "finding_annotations.csv"
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, Box], list[LesionView]] = {}
    errors = TableErrors(listing)
    n_rows: Counter[str] = Counter()
    for where, row in table.read_rows(listing, (*COLUMNS, *FINDING), errors):
        with errors.collect(where):
            for column in ("study_id", "image_id"):
                if not _NAME.fullmatch(row[column]):
                    raise InputError(
                        f"{where}: {column} {row[column]!r} is invalid: expected an identifier"
                    )
            n_rows[row["image_id"]] += 1
            item = f"{row['image_id']}-{n_rows[row['image_id']]}"
            try:
                view = _lesion_view(row, root, item, where)
            except _LeftOut as reason:
                left_out.append((item, str(reason)))
                continue
            seen.setdefault((row["image_id"], view.box), []).append(view)
    errors.check()
    for same_box in seen.values():
        n_kept = int(len({view.label for view in same_box}) == 1)
        reason = DUPLICATE if n_kept else CONTRADICTION
        views += same_box[:n_kept]
        left_out += [(view.lesion_id, reason) for view in same_box[n_kept:]]
    n_clipped = sum(bool(view.note) for view in views)
    decisions = (
        "vindr_mammo: the reference standard is the readers' BI-RADS category of the finding, 3"
        " benign, 4 and 5 malignant, not a pathology; findings of BI-RADS 2 are not marked, so"
        " there are no clearly benign masses",
        "vindr_mammo: a case is a study, as patients are not identified; split as released",
        "vindr_mammo: the collection does not link lesions across views: each box is a lesion",
        f"vindr_mammo: {n_clipped} boxes that reached beyond the image were clipped to it",
    )
    return Collection(
        "vindr_mammo", root, tuple(views), tuple(left_out), decisions, public_ids=True
    )


class _LeftOut(Exception):
    """The reason why a valid row gives no lesion view."""


def _lesion_view(row: table.Row, root: Path, item: str, where: str) -> LesionView:
    categories = row["finding_categories"]
    if not _CATEGORIES.fullmatch(categories):
        raise InputError(
            f"{where}: finding_categories {categories[:60]!r} is invalid: expected a list of names"
        )
    names = re.findall(r"'([^']*)'", categories)
    if "Mass" not in names:
        raise _LeftOut(f"not a mass: {', '.join(names) or 'no category'}")
    birads = row["finding_birads"]
    if birads not in LABELS:
        raise _LeftOut(f"finding_birads {birads or '(empty)'} is not one of {', '.join(LABELS)}")
    if row["split"] not in SPLITS:
        raise InputError(
            f"{where}: split {row['split']!r} is invalid: expected one of {', '.join(SPLITS)}"
        )
    laterality, view = row["laterality"].upper(), row["view_position"].upper()
    if laterality not in ("L", "R"):
        raise InputError(f"{where}: laterality {laterality!r} is invalid: expected L or R")
    if view not in ("CC", "MLO"):
        raise InputError(f"{where}: view_position {view!r} is invalid: expected CC or MLO")
    box, note = _box(row, where)
    image = root / "images" / row["study_id"] / f"{row['image_id']}.dicom"
    if not image.is_file():
        raise _LeftOut("its image is not in the folder images")
    pixel_um, spacing_source = _pixel_size(image, row)
    return LesionView(
        collection="vindr_mammo",
        image_path=image,
        box=box,
        case_id=row["study_id"],
        lesion_id=item,
        view=view,
        laterality=laterality,
        modality="DM",
        label=LABELS[birads],
        truth_source="birads",
        pixel_um=pixel_um,
        spacing_source=spacing_source,
        split=SPLITS[row["split"]],
        note=note,
        where=where,
    )


def _box(row: table.Row, where: str) -> tuple[Box, str]:
    """Return the box inside its image, and a note if it was clipped."""
    names = ("ymin", "xmin", "ymax", "xmax", "height", "width")
    top, left, bottom, right, height, width = (
        table.parse_number(row, name, where) for name in names
    )
    if height <= 0 or width <= 0:
        raise InputError(
            f"{where}: height {height:g}, width {width:g} are invalid: expected numbers above 0"
        )
    inside = (max(top, 0.0), max(left, 0.0), min(bottom, height), min(right, width))
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise _LeftOut("its box is empty or outside its image")
    clipped = inside != (top, left, bottom, right)
    return inside, "box clipped to the image" if clipped else ""


def _pixel_size(image: Path, row: table.Row) -> tuple[tuple[float, float], str]:
    """Return the pixel size in the header if the image has the size in the table."""
    try:
        header = read_dataset(image)
        spacing = get_spacing(header)
    except InputError as error:
        raise _LeftOut(str(error)) from error
    if spacing is None:
        raise _LeftOut("its header does not state the pixel size")
    size = [get_value(header, name) for name in ("Rows", "Columns")]
    if size != [float(row["height"]), float(row["width"])]:
        raise _LeftOut(
            f"its header states {size[0]}x{size[1]} pixels, the table"
            f" {row['height']}x{row['width']}: the box may be of another image"
        )
    return spacing
