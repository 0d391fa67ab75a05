"""Read CDD-CESM as on TCIA: low-energy JPEG images, drawn ROIs and a table of findings.

Khaled R et al. (2022) "Categorized contrast enhanced mammography dataset for diagnostic and
artificial intelligence research", Scientific Data 9, 122. Subtracted images are not mammograms and
are left out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.sources import table, via
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Box, Collection, InputError, LesionView

IMAGES = "Low energy images of CDD-CESM"
PATHOLOGY = "Pathology Classification/ Follow up"
LABELS = {"malignant": 1, "benign": 0}
SEPARATOR = "$"  # between the findings of an image
# Patient, side, kind and view; a number follows a repeated view: MLO_2 or MLO2.
_NAME = re.compile(r"P(\d{1,5})_([LR])_(DM|CM)_([A-Z]{2,4})(?:_?\d{1,2})?")
INVALID_NAME = "its name does not have the form P1_L_DM_CC"
# Columns that repeat parts of the image's name; the name is used.
REPEATED = ("Patient_ID", "Side", "View")


class ImageFacts(NamedTuple):
    """Findings and pathology of an image in the table, and notes on contradictions."""

    findings: str
    pathology: str
    noted: str = ""


class DrawnRoi(NamedTuple):
    """A row of the table of ROIs; `box` is the reason instead where there is no box."""

    where: str
    image_name: str
    box: Box | str


def read_collection(path: str, *, findings: tuple[str, ...], pixel_um: float | None) -> Collection:
    """Return the ROIs drawn in low-energy images that have one of the chosen findings.

    `findings` are beginnings of entries of the column Findings, such as 'mass'; () selects all
    images. `pixel_um` applies to all images, because the files do not state it. ROIs are not linked
    across views or to findings: each one is a lesion with the pathology of its image.
    """
    if not pixel_um or not 0 < pixel_um <= 200:
        raise InputError(
            f"cdd_cesm: pixel_um is {pixel_um}, and its JPEG files do not state their pixel size:"
            " set config.data.cdd_cesm.pixel_um (um, at most 200)"
        )
    check_pixel_um((pixel_um, pixel_um), "config.data.cdd_cesm.pixel_um")
    root = table.find_root(path, IMAGES, "cdd_cesm")
    # The tables are separate downloads, beside the images or in a folder above them.
    top = Path(path)
    facts, unnamed = _read_facts(
        _find_table(top, root, "radiologymanualannotations", (".xlsx", ".csv"))
    )
    rois = _read_rois(_find_table(top, root, "radiologyhanddrawnsegmentations", (".csv",)))
    files = {_image_name(file.name): file for file in sorted((root / IMAGES).glob("*.jp*g"))}
    views: list[LesionView] = []
    left_out = [(name, INVALID_NAME) for name in unnamed]
    n_drawn: Counter[str] = Counter()
    seen: set[tuple[str, Box]] = set()
    for roi in rois:
        name = roi.image_name
        n_drawn[name] += 1
        item = f"{name}-{n_drawn[name]}"
        reason = _reason_to_leave_out(name, files, facts, findings)
        if not reason and isinstance(roi.box, str):
            reason = roi.box
        if not reason and (name, roi.box) in seen:
            reason = "duplicate of an earlier ROI of the image"
        if reason:
            left_out.append((item, reason))
        else:
            seen.add((name, roi.box))
            views.append(_lesion_view(item, files[name], roi, facts[name], pixel_um))
    left_out += [(name, "no ROI drawn") for name in facts if name not in n_drawn]
    left_out += [
        (name, "image without a row in the table")
        for name in files
        if name not in facts and name not in n_drawn
    ]
    n_several = sum(
        SEPARATOR in facts[_image_name(view.image_path.name)].findings for view in views
    )
    decisions = (
        "cdd_cesm: the reference standard is the pathology or follow-up of the image, which applies"
        " to every ROI in it: biopsy for malignant, follow-up for benign",
        f"cdd_cesm: selected findings: {', '.join(findings) or 'all'}; {n_several} lesion views are"
        " in images with other findings too, and the ROIs do not state their finding",
        "cdd_cesm: the collection does not link ROIs across views: each one is a lesion",
        f"cdd_cesm: pixel size {pixel_um:g} um as set by the user, for all images",
        "cdd_cesm: images are 8-bit JPEG for display, used as stored; a case is a patient",
    )
    return Collection("cdd_cesm", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _find_table(top: Path, root: Path, prefix: str, suffixes: Sequence[str]) -> Path:
    """Return the table whose plain name begins with `prefix`, in `root` or above it up to `top`."""
    folders = [root, *(folder for folder in root.parents if folder.is_relative_to(top))]
    for suffix in suffixes:
        for folder in folders:
            for file in sorted(folder.glob(f"*{suffix}")):
                if table.plain(file.stem).startswith(prefix):
                    return file
    raise InputError(f"cdd_cesm: no table named like {prefix}{' or '.join(suffixes)} in {top}")


def _image_name(text: str) -> str:
    """Return the name without suffix and stray blanks: 'P1_L_DM_MLO .jpg' is P1_L_DM_MLO."""
    return re.sub(r"\s+", "", re.sub(r"\.jpe?g\s*$", "", text, flags=re.IGNORECASE)).upper()


def _read_facts(path: Path) -> tuple[dict[str, ImageFacts], list[str]]:
    """Return the facts of each image, and rows without a valid image name."""
    facts: dict[str, ImageFacts] = {}
    unnamed: list[str] = []
    columns = ("Image_name", "Findings", PATHOLOGY)
    errors = TableErrors(path)
    for where, row in table.read_rows(path, columns, errors, optional=REPEATED, sheet="all"):
        name, pathology = _image_name(row["Image_name"]), row[PATHOLOGY].lower()
        match = _NAME.fullmatch(name)
        if not match:
            unnamed.append(row["Image_name"][:60] or f"row {where.rpartition(' ')[2]}")
            continue
        if pathology not in (*LABELS, "normal", ""):
            errors.add(
                where,
                f"{PATHOLOGY}: {row[PATHOLOGY][:60]!r} is invalid: expected Malignant, Benign or"
                " Normal",
            )
            continue
        row_facts = ImageFacts(row["Findings"].lower(), pathology, _contradictions(match, row))
        facts[name] = _merge(facts[name], row_facts) if name in facts else row_facts
    errors.check()
    return facts, unnamed


def _merge(first: ImageFacts, second: ImageFacts) -> ImageFacts:
    """Merge two rows of one image: findings of both, the pathology only if they agree."""
    if second.pathology != first.pathology:
        return second._replace(pathology="differs between two rows")
    if second.findings == first.findings:
        return first
    noted = "; ".join(filter(None, (first.noted, "two rows of the image differ in Findings")))
    return first._replace(findings=f"{first.findings}{SEPARATOR}{second.findings}", noted=noted)


def _contradictions(name: re.Match[str], row: table.Row) -> str:
    """Return a note on the columns that contradict the name of the image."""
    expected = dict(zip(REPEATED, (name[1].lstrip("0"), name[2], name[4]), strict=True))
    return "; ".join(
        f"the image's name and the column {column} differ"
        for column in REPEATED
        if row[column] and row[column].upper().lstrip("P0") != expected[column]
    )


def _read_rois(path: Path) -> list[DrawnRoi]:
    rois = []
    errors = TableErrors(path)
    columns = ("#filename", "region_shape_attributes")
    for where, row in table.read_rows(path, columns, errors):
        try:
            box = via.parse_box(row["region_shape_attributes"])
            rois.append(DrawnRoi(where, _image_name(row["#filename"]), box))
        except ValueError as error:
            errors.add(where, f"region_shape_attributes: {error}")
    errors.check()
    return rois


def _reason_to_leave_out(
    name: str, files: dict[str, Path], facts: dict[str, ImageFacts], chosen: Sequence[str]
) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return INVALID_NAME
    if match[3] == "CM":
        return "subtracted image"
    if name not in facts:
        return "no row in the table"
    if name not in files:
        return "image is not in the folder"
    findings, pathology, _ = facts[name]
    if pathology not in LABELS:
        return f"pathology {pathology or '(empty)'}"
    prefixes = tuple(prefix.lower() for prefix in chosen)
    parts = (part.strip() for part in findings.split(SEPARATOR))
    if chosen and not any(part.startswith(prefixes) for part in parts):
        return f"findings {findings or '(empty)'}, none of them chosen"
    return None


def _lesion_view(
    item: str, image: Path, roi: DrawnRoi, facts: ImageFacts, pixel_um: float
) -> LesionView:
    patient, side, _, view = _NAME.fullmatch(roi.image_name).groups()
    label = LABELS[facts.pathology]
    return LesionView(
        collection="cdd_cesm",
        image_path=image,
        box=roi.box,
        case_id=f"P{patient}",
        lesion_id=item,
        view=view,
        laterality=side,
        modality="DM",
        label=label,
        truth_source="biopsy" if label else "followup",
        pixel_um=(pixel_um, pixel_um),
        spacing_source="set by the user",
        bits=8,
        noted=facts.noted,
        where=roi.where,
    )
