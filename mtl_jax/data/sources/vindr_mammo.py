"""VinDr-Mammo as released on PhysioNet: finding_annotations.csv and DICOM images.

Nguyen HT et al. (2023) "VinDr-Mammo: a large-scale benchmark dataset for computer-aided diagnosis
in full-field digital mammography", Scientific Data 10, 277.
"""

import re
from collections import Counter
from pathlib import Path

from mtl_jax.data.sources import table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging import dicom_header
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Collection, InputError, LesionView

COLUMNS = ("study_id", "image_id", "laterality", "view_position", "height", "width", "split")
FINDING = ("finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
LABELS = {"BI-RADS 3": 0, "BI-RADS 4": 1, "BI-RADS 5": 1}
SPLITS = {"training": "train", "test": "test"}
_NAME = re.compile(r"\w{1,64}")
_CATEGORIES = re.compile(r"\[('[\w \-]*'(, ?'[\w \-]*')*)?\]")

Box = tuple[float, float, float, float]


def read_collection(path: str) -> Collection:
    """Return the boxes of category Mass in the release in folder `path`.

    Every row of finding_annotations.csv is a view or left out with a reason. Truth is the reader's
    BI-RADS of the finding, 3 benign and 4 or 5 malignant: a proxy, marked so by its truth source.
    InputError: no such folder, no table, or a row that is damaged.
    """
    root = table.find_root(path, "finding_annotations.csv", "vindr_mammo")
    listing = root / "finding_annotations.csv"
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, Box], list[LesionView]] = {}
    faults = TableErrors(listing)
    count: Counter[str] = Counter()
    for place, row in table.read_rows(listing, (*COLUMNS, *FINDING), faults=faults):
        with faults.collected(place):
            for column in ("study_id", "image_id"):
                if not _NAME.fullmatch(row[column]):
                    raise InputError(f"{place}: {column} {row[column]!r} is no identifier")
            count[row["image_id"]] += 1
            item = f"{row['image_id']}-{count[row['image_id']]}"
            try:
                view = _lesion_view(row, root, item, place)
            except _LeftOut as reason:
                left_out.append((item, str(reason)))
                continue
            seen.setdefault((row["image_id"], view.box), []).append(view)
    faults.check()
    for same in seen.values():
        agree = len({view.label for view in same}) == 1
        reason = "stands above" if agree else "stands twice, once benign and once malignant"
        views += same[:1] if agree else []
        left_out += [
            (view.lesion_id, f"the same box of the same image {reason}") for view in same[agree:]
        ]
    clipped = sum(bool(view.note) for view in views)
    decisions = (
        "vindr_mammo: no pathology; truth is the reader's BI-RADS of the finding, 3 benign, 4 and 5"
        " malignant. Findings of BI-RADS 2 were never marked, so no plainly benign mass is there",
        "vindr_mammo: a case is a study, as patients are not named; split as released, by study",
        "vindr_mammo: the collection does not link lesions across views: each box is its own",
        f"vindr_mammo: {clipped} boxes reached beyond their image and were clipped to it",
    )
    return Collection(
        "vindr_mammo", root, tuple(views), tuple(left_out), decisions, public_ids=True
    )


class _LeftOut(Exception):
    """Why a sound row gives no lesion view."""


def _lesion_view(row: table.Row, root: Path, item: str, place: str) -> LesionView:
    categories = row["finding_categories"]
    if not _CATEGORIES.fullmatch(categories):
        raise InputError(f"{place}: finding_categories {categories[:60]!r} is no list of names")
    names = re.findall(r"'([^']*)'", categories)
    if "Mass" not in names:
        raise _LeftOut(f"no mass: {', '.join(names) or 'no category'}")
    birads = row["finding_birads"]
    if birads not in LABELS:
        raise _LeftOut(f"finding_birads {birads or '(empty)'} is none of {', '.join(LABELS)}")
    if row["split"] not in SPLITS:
        raise InputError(f"{place}: split {row['split']!r} is none of {', '.join(SPLITS)}")
    laterality, view = row["laterality"].upper(), row["view_position"].upper()
    if laterality not in ("L", "R"):
        raise InputError(f"{place}: laterality {laterality!r} is neither L nor R")
    if view not in ("CC", "MLO"):
        raise InputError(f"{place}: view_position {view!r} is neither CC nor MLO")
    box, note = _box(row, place)
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
        where=place,
    )


def _box(row: table.Row, place: str) -> tuple[Box, str]:
    """Return the box inside its image, and a note where it had to be clipped."""
    names = ("ymin", "xmin", "ymax", "xmax", "height", "width")
    top, left, bottom, right, height, width = (table.parse_number(row, n, place) for n in names)
    if height <= 0 or width <= 0:
        raise InputError(f"{place}: height {height:g}, width {width:g}: no size of an image")
    inside = (max(top, 0.0), max(left, 0.0), min(bottom, height), min(right, width))
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise _LeftOut("its box is empty or outside its image")
    clipped = inside != (top, left, bottom, right)
    return inside, "box clipped to the image" if clipped else ""


def _pixel_size(image: Path, row: table.Row) -> tuple[tuple[float, float], str]:
    """As the header says, of an image of the size that the row's box counts in."""
    try:
        header = dicom_header.read_dataset(image)
        found = dicom_header.get_spacing(header)
        if found is not None:
            check_pixel_um(*found)
    except InputError as error:
        raise _LeftOut(str(error)) from error
    if found is None:
        raise _LeftOut("its header does not say the pixel size")
    size = [dicom_header.get_value(header, name) for name in ("Rows", "Columns")]
    if size != [float(row["height"]), float(row["width"])]:
        raise _LeftOut(
            f"its header says {size[0]}x{size[1]} pixels, the table {row['height']}x{row['width']}:"
            " the box may be of another image"
        )
    return found
