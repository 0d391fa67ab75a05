"""CDD-CESM as on TCIA: low-energy JPEG images, drawn ROIs and one table.

Khaled R et al. (2022) "Categorized contrast enhanced mammography dataset for diagnostic and
artificial intelligence research", Scientific Data 9, 122. Subtracted images are no mammograms and
are left out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.sources import table, via
from mtl_jax.data.table_errors import TableFaults
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Collection, InputError, LesionView

IMAGES = "Low energy images of CDD-CESM"
PATHOLOGY = "Pathology Classification/ Follow up"
LABELS = {"malignant": 1, "benign": 0}
SEVERAL = "$"  # between the findings of an image
# Patient, side, kind, view; a number follows where a view was taken twice: MLO_2 or MLO2.
_NAME = re.compile(r"P(\d{1,5})_([LR])_(DM|CM)_([A-Z]{2,4})(?:_?\d{1,2})?")
UNNAMED = "not named P1_L_DM_CC and the like"
# Columns that repeat what the image's name says, which decides.
REPEATED = ("Patient_ID", "Side", "View")


class Facts(NamedTuple):
    """What the table says of an image, and what was noticed about it."""

    findings: str
    pathology: str
    noted: str = ""


def read_collection(path: str, *, findings: tuple[str, ...], pixel_um: float | None) -> Collection:
    """Return the ROIs drawn in low-energy images whose findings include one of `findings`.

    `findings` are beginnings of words of the column Findings, such as 'mass'; () takes all. The
    files do not say their pixel size: `pixel_um` does, for all of them. ROIs are not linked
    across views, nor with findings: each is a lesion of its own with the pathology of its image.
    InputError: no such folder or table, no pixel size, damaged rows.
    """
    if not pixel_um or not 0 < pixel_um <= 200:
        raise InputError(
            f"cdd_cesm: pixel_um is {pixel_um}, and its JPEG files do not say their pixel size:"
            " set config.data.cdd_cesm.pixel_um (um, at most 200)"
        )
    check_pixel_um((pixel_um, pixel_um), "config.data.cdd_cesm.pixel_um")
    root = table.find_root(path, IMAGES, "cdd_cesm")
    # The tables are downloaded one by one and stand beside the images or above them.
    top = Path(path)
    facts, unnamed = _facts(_only(top, root, "radiologymanualannotations", (".xlsx", ".csv")))
    rois = _only(top, root, "radiologyhanddrawnsegmentations", (".csv",))
    files = {_stem(file.name): file for file in sorted((root / IMAGES).glob("*.jp*g"))}
    views: list[LesionView] = []
    left_out = [(name, UNNAMED) for name in unnamed]
    drawn: Counter[str] = Counter()
    boxes: set[tuple[str, via.Box]] = set()
    for place, name, roi in _rois(rois):
        drawn[name] += 1
        item = f"{name}-{drawn[name]}"
        reason = _reason_to_leave_out(name, files, facts, findings)
        if not reason and isinstance(roi, str):
            reason = roi
        if not reason and (name, roi) in boxes:
            reason = "the same ROI of the same image is drawn above"
        if reason:
            left_out.append((item, reason))
        else:
            boxes.add((name, roi))
            view = _lesion_view(item, files[name], roi, facts[name], pixel_um)
            views.append(replace(view, where=place))
    left_out += [(name, "no ROI drawn") for name in facts if name not in drawn]
    left_out += [
        (name, "image without a row in the table")
        for name in files
        if name not in facts and name not in drawn
    ]
    several = sum(SEVERAL in facts[_stem(view.image_path.name)].findings for view in views)
    decisions = (
        "cdd_cesm: truth is the pathology or follow-up of the image, given to every ROI drawn in"
        " it; malignant counts as biopsy, benign as follow-up",
        f"cdd_cesm: findings taken: {', '.join(findings) or 'all'}; {several} lesion views are in"
        " images with other findings too, and an ROI does not say which finding it is",
        "cdd_cesm: the collection does not link ROIs across views: each is its own lesion",
        f"cdd_cesm: pixel size {pixel_um:g} um as set by the user, for all images",
        "cdd_cesm: images are 8-bit JPEG as displayed, taken as they are; a case is a patient",
    )
    return Collection("cdd_cesm", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _only(top: Path, root: Path, start: str, suffixes: Sequence[str]) -> Path:
    """Return the table whose plain name begins so, in the given folder, the images' or one
    between."""
    folders = [root, *(folder for folder in root.parents if folder.is_relative_to(top))]
    for suffix in suffixes:
        for folder in folders:
            for file in sorted(folder.glob(f"*{suffix}")):
                if table.plain(file.stem).startswith(start):
                    return file
    raise InputError(f"cdd_cesm: no table named like {start}{' or '.join(suffixes)} in {top}")


def _stem(name: str) -> str:
    """Return 'P1_L_DM_MLO .jpg' and 'P1_L_DM_MLO' name the same image; blanks are stray."""
    return re.sub(r"\s+", "", re.sub(r"\.jpe?g\s*$", "", name, flags=re.IGNORECASE)).upper()


def _facts(listing: Path) -> tuple[dict[str, Facts], list[str]]:
    """Return what the table says of each image, and its rows that name no image."""
    facts: dict[str, Facts] = {}
    unnamed: list[str] = []
    columns = ("Image_name", "Findings", PATHOLOGY)
    faults = TableFaults(listing)
    for place, row in table.read_rows(
        listing, columns, optional=REPEATED, sheet="all", faults=faults
    ):
        name, pathology = _stem(row["Image_name"]), row[PATHOLOGY].lower()
        match = _NAME.fullmatch(name)
        if not match:
            unnamed.append(row["Image_name"][:60] or f"row {place.rpartition(' ')[2]}")
            continue
        if pathology not in (*LABELS, "normal", ""):
            faults.add(place, f"{PATHOLOGY}: {row[PATHOLOGY][:60]!r} is no such class")
            continue
        one = Facts(row["Findings"].lower(), pathology, _noted(match, row))
        facts[name] = _joined(facts[name], one) if name in facts else one
    faults.check()
    return facts, unnamed


def _joined(before: Facts, one: Facts) -> Facts:
    """Of two rows of one image: both findings; a pathology only where they agree."""
    if one.pathology != before.pathology:
        return one._replace(pathology="stated twice and differently")
    if one.findings == before.findings:
        return before
    noted = "; ".join(filter(None, (before.noted, "two rows of the image differ in Findings")))
    return before._replace(findings=f"{before.findings}{SEVERAL}{one.findings}", noted=noted)


def _noted(name: re.Match[str], row: table.Row) -> str:
    """Return what the table's other columns say against the name of the image."""
    repeated = zip(REPEATED, (name[1].lstrip("0"), name[2], name[4]), strict=True)
    others = [
        column
        for column, own in repeated
        if row[column] and row[column].upper().lstrip("P0") != own
    ]
    return "; ".join(f"the image's name and the column {column} differ" for column in others)


def _rois(listing: Path) -> list[tuple[str, str, via.Box | str]]:
    """Line, image's name and box of each ROI drawn, or the reason why it has none."""
    found: list[tuple[str, str, via.Box | str]] = []
    faults = TableFaults(listing)
    columns = ("#filename", "region_shape_attributes")
    for place, row in table.read_rows(listing, columns, faults=faults):
        try:
            box = via.parse_box(row["region_shape_attributes"])
            found.append((place, _stem(row["#filename"]), box))
        except ValueError as error:
            faults.add(place, f"region_shape_attributes: {error}")
    faults.check()
    return found


def _reason_to_leave_out(
    name: str, files: dict[str, Path], facts: dict[str, Facts], findings: Sequence[str]
) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return UNNAMED
    if match[3] == "CM":
        return "subtracted image"
    if name not in facts:
        return "no row in the table"
    if name not in files:
        return "image is not in the folder"
    found, pathology, _ = facts[name]
    if pathology not in LABELS:
        return f"pathology {pathology or '(empty)'}"
    if findings and not _chosen(found, findings):
        return f"findings {found or '(empty)'}, none of them chosen"
    return None


def _chosen(found: str, findings: Sequence[str]) -> list[str]:
    """Return those of an image's findings that begin with one of `findings`."""
    starts = tuple(finding.lower() for finding in findings)
    return [part for part in map(str.strip, found.split(SEVERAL)) if part.startswith(starts)]


def _lesion_view(item: str, image: Path, box: via.Box, facts: Facts, pixel_um: float) -> LesionView:
    patient, side, _, view = _NAME.fullmatch(_stem(image.name)).groups()
    label = LABELS[facts.pathology]
    return LesionView(
        collection="cdd_cesm",
        image_path=image,
        box=box,
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
    )
