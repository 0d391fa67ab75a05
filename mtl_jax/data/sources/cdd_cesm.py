"""CDD-CESM as on TCIA: low-energy JPEG images, drawn regions and one table. Reads no pixels.

Khaled R et al. (2022) "Categorized contrast enhanced mammography dataset for diagnostic and
artificial intelligence research", Scientific Data 9, 122. Subtracted images are no mammograms and
are left out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.data.sources import table, via
from mtl_jax.nouns import Collection, InputError, LesionView

IMAGES = "Low energy images of CDD-CESM"
PATHOLOGY = "Pathology Classification/ Follow up"
LABELS = {"malignant": 1, "benign": 0}
SEVERAL = "$"  # between the findings of an image
_NAME = re.compile(r"P(\d{1,5})_([LR])_(DM|CM)_([A-Z]{2,4})")

Facts = tuple[str, str]  # findings and pathology of an image


def collection(path: str, *, findings: tuple[str, ...], pixel_um: float | None) -> Collection:
    """The regions drawn in low-energy images whose findings include one of `findings`.

    `findings` are beginnings of words of the column Findings, such as 'mass'; () takes all. The
    files do not say their pixel size: `pixel_um` does, for all of them. Regions are not linked
    across views, nor with findings: each is a lesion of its own with the pathology of its image.
    InputError: no such folder or table, no pixel size, a damaged row.
    """
    if not pixel_um or not 0 < pixel_um <= 200:
        raise InputError(
            f"cdd_cesm: pixel_um is {pixel_um}, and its JPEG files do not say their pixel size:"
            " set config.data.cdd_cesm.pixel_um (um, at most 200)"
        )
    root = table.root_with(path, IMAGES, "cdd_cesm")
    # The tables are downloaded one by one and stand beside the images or above them.
    top = Path(path)
    facts = _facts(_only(top, root, "radiologymanualannotations", (".xlsx", ".csv")))
    regions = _only(top, root, "radiologyhanddrawnsegmentations", (".csv",))
    files = {_stem(file.name): file for file in sorted((root / IMAGES).glob("*.jp*g"))}
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    drawn: Counter[str] = Counter()
    for place, row in table.read(regions, ("#filename", "region_shape_attributes")):
        name = _stem(row["#filename"])
        drawn[name] += 1
        item = f"{name}-{drawn[name]}"
        try:
            box = via.box(row["region_shape_attributes"])
        except ValueError as error:
            raise InputError(f"{place}: region_shape_attributes: {error}") from error
        reason = _reason_to_leave_out(name, files, facts, findings)
        if reason or isinstance(box, str):
            left_out.append((item, reason or str(box)))
        else:
            views.append(_lesion_view(item, files[name], box, facts[name][1], pixel_um))
    left_out += [(name, "no region drawn") for name in facts if name not in drawn]
    left_out += [
        (name, "image without a row in the table")
        for name in files
        if name not in facts and name not in drawn
    ]
    several = sum(SEVERAL in facts[_stem(view.image_path.name)][0] for view in views)
    decisions = (
        "cdd_cesm: truth is the pathology or follow-up of the image, given to every region drawn in"
        " it; malignant counts as biopsy, benign as follow-up",
        f"cdd_cesm: findings taken: {', '.join(findings) or 'all'}; {several} lesion views are in"
        " images with other findings too, and a region does not say which finding it is",
        "cdd_cesm: the collection does not link regions across views: each is its own lesion",
        f"cdd_cesm: pixel size {pixel_um:g} um as set by the user, for all images",
        "cdd_cesm: images are 8-bit JPEG as displayed, taken as they are; a case is a patient",
    )
    return Collection("cdd_cesm", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _only(top: Path, root: Path, start: str, suffixes: Sequence[str]) -> Path:
    """The table whose plain name begins so, in the given folder, the images' or one between."""
    folders = [root, *(folder for folder in root.parents if folder.is_relative_to(top))]
    for suffix in suffixes:
        for folder in folders:
            for file in sorted(folder.glob(f"*{suffix}")):
                if table.plain(file.stem).startswith(start):
                    return file
    raise InputError(f"cdd_cesm: no table named like {start}{' or '.join(suffixes)} in {top}")


def _stem(name: str) -> str:
    """'P1_L_DM_MLO .jpg' and 'P1_L_DM_MLO' name the same image; blanks are stray."""
    return re.sub(r"\s+", "", re.sub(r"\.jpe?g\s*$", "", name, flags=re.IGNORECASE)).upper()


def _facts(listing: Path) -> dict[str, Facts]:
    facts: dict[str, Facts] = {}
    for place, row in table.read(listing, ("Image_name", "Findings", PATHOLOGY), sheet="all"):
        name, pathology = _stem(row["Image_name"]), row[PATHOLOGY].lower()
        if not _NAME.fullmatch(name):
            raise InputError(f"{place}: Image_name {row['Image_name'][:60]!r} is no image's name")
        if pathology not in (*LABELS, "normal", ""):
            raise InputError(f"{place}: {PATHOLOGY}: {row[PATHOLOGY][:60]!r} is no such class")
        if name in facts and facts[name][1] != pathology:
            pathology = "stated twice and differently"
        facts[name] = (row["Findings"].lower(), pathology)
    return facts


def _reason_to_leave_out(
    name: str, files: dict[str, Path], facts: dict[str, Facts], findings: Sequence[str]
) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return "not named P1_L_DM_CC and the like"
    if match[3] == "CM":
        return "subtracted image"
    if name not in facts:
        return "no row in the table"
    if name not in files:
        return "image is not in the folder"
    found, pathology = facts[name]
    if pathology not in LABELS:
        return f"pathology {pathology or '(empty)'}"
    if findings and not _chosen(found, findings):
        return f"findings {found or '(empty)'}, none of them chosen"
    return None


def _chosen(found: str, findings: Sequence[str]) -> list[str]:
    """Those of an image's findings that begin with one of `findings`."""
    starts = tuple(finding.lower() for finding in findings)
    return [part for part in map(str.strip, found.split(SEVERAL)) if part.startswith(starts)]


def _lesion_view(
    item: str, image: Path, box: via.Box, pathology: str, pixel_um: float
) -> LesionView:
    patient, side, _, view = _stem(image.name).split("_")
    return LesionView(
        collection="cdd_cesm",
        image_path=image,
        box=box,
        case_id=patient,
        lesion_id=item,
        view=view,
        laterality=side,
        modality="DM",
        label=LABELS[pathology],
        truth_source="biopsy" if LABELS[pathology] else "followup",
        pixel_um=(pixel_um, pixel_um),
        spacing_source="set by the user",
        bits=8,
    )
