"""The Digital Database for Screening Mammography as distributed.

Heath M et al. (2001) "The Digital Database for Screening Mammography", Proc. 5th Int. Workshop on
Digital Mammography, 212-218. A case is a folder of an `.ics` file, films (`.LJPEG`) and, for views
with an abnormality, `.OVERLAY` files.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.sources import ddsm_overlay
from mtl_jax.data.sources.ddsm_overlay import Abnormality
from mtl_jax.imaging import ics, ljpeg
from mtl_jax.types import Collection, InputError, LesionView

TRUTH = {  # label and where it is from
    "MALIGNANT": (1, "biopsy"),
    "BENIGN": (0, "followup"),
    "BENIGN_WITHOUT_CALLBACK": (0, "followup"),
}
# The first letter of a case is its institution: A Massachusetts General, B and C Wake Forest,
# D ISMD. Together with the scanner it says how stored gray follows density.
CURVES = {
    ("A", "DBA"): "ddsm_dba",
    ("A", "HOWTEK"): "ddsm_howtek_mgh",
    ("B", "LUMISYS"): "ddsm_lumisys",
    ("C", "LUMISYS"): "ddsm_lumisys",
    ("D", "HOWTEK"): "ddsm_howtek_ismd",
}
NO_OVERLAY = "the .ics file says NON_OVERLAY, and an OVERLAY file is there"
OTHER_BITS = "the .ics file and the film's stream state different bits"
_CASE = re.compile(r"[ABCD]-\d{1,5}-\d")
_VIEW = re.compile(r"(LEFT|RIGHT)_(CC|MLO)")


def read_collection(path: str, *, lesion_types: tuple[str, ...]) -> Collection:
    """Return the outlined abnormalities of the chosen types, of all cases below the folder `path`.

    `lesion_types` are some of MASS, CALCIFICATION and OTHER; an abnormality of two types is taken
    if one of them is chosen. Everything else, damaged files among them, is left out and named.
    InputError: no such folder, no `.ics` file in it, no lesion type.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"ddsm: no such folder {root}")
    if not lesion_types:
        raise InputError("ddsm lesion_types (): name one or more, such as MASS")
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    found: dict[str, Path] = {}
    described: set[Path] = set()
    # Sorted by name and then by place, so that the same copy of a case is taken everywhere.
    for file in sorted(root.rglob("*.ics"), key=lambda one: (one.name, one.as_posix())):
        item = file.relative_to(root).as_posix()
        try:
            case = ics.read(file)
            if not _CASE.fullmatch(case.name) or case.name != file.stem:
                raise InputError(f"it is not of the case that its filename line says, {case.name}")
        except (InputError, OSError) as error:
            left_out.append((item, f"damaged .ics file: {_reason(error)}"))
            continue
        if found.setdefault(case.name, file) is not file:
            left_out.append((item, "the case is there twice"))
            described.update(file.parent.glob("*.LJPEG"))
            continue
        case_views: list[LesionView] = []
        for view, film in sorted(case.films.items()):
            image = file.with_name(f"{case.name.replace('-', '_')}.{view}.LJPEG")
            described.add(image)
            one, out = _film(root, image, case, view, film, lesion_types)
            case_views += one
            left_out += out
        views += _link(case_views)
    for image in sorted(set(root.rglob("*.LJPEG")) - described):
        left_out.append((image.relative_to(root).as_posix(), "no .ics file describes it"))
    if not found and not left_out:
        raise InputError(f"ddsm: no .ics file below {root}; name the folder of the case folders")
    return Collection(
        "ddsm", root, tuple(views), tuple(left_out), _decisions(views), public_ids=True
    )


def _film(
    root: Path,
    image: Path,
    case: ics.Case,
    view: str,
    film: ics.Film,
    lesion_types: tuple[str, ...],
) -> tuple[list[LesionView], list[tuple[str, str]]]:
    """Lesion views of one film, and what of it is left out. Lesions are not linked yet."""
    item = image.relative_to(root).as_posix()
    curve = CURVES.get((case.name[0], case.digitizer))
    overlay = image.with_suffix(".OVERLAY")
    reason = ""
    if not _VIEW.fullmatch(view):
        reason = f"view {view[:20]} is not known"
    elif not film.overlay and not overlay.is_file():
        reason = "no abnormality outlined"
    elif curve is None:
        reason = f"no calibration of digitizer {case.digitizer} at institution {case.name[0]}"
    elif not overlay.is_file():
        reason = "its OVERLAY file is not in the folder"
    elif not image.is_file():
        reason = "the LJPEG file is not in the folder"
    if reason:
        return [], [(item, reason)]
    try:
        abnormalities = ddsm_overlay.read(overlay)
    except (InputError, OSError) as error:
        return [], [(overlay.relative_to(root).as_posix(), f"damaged: {_reason(error)}")]
    views, left_out = [], []
    stream_bits = ljpeg.read_precision(image)
    for one in abnormalities:
        reason = _reason_to_leave_out(one, film, lesion_types)
        if reason:
            left_out.append((f"{item} abnormality {one.number}", reason))
        else:
            views.append(_lesion_view(one, image, case.name, view, film, curve, stream_bits))
    return views, left_out


def _reason_to_leave_out(one: Abnormality, film: ics.Film, lesion_types: tuple[str, ...]) -> str:
    if not set(one.types) & set(lesion_types):
        return f"lesion type {' and '.join(sorted(set(one.types)))[:60]} not chosen"
    if one.pathology not in TRUTH:
        return f"pathology {one.pathology[:30] or 'not given'}"
    top, left, bottom, right = one.box
    if not (0 <= top + bottom < 2 * film.lines and 0 <= left + right < 2 * film.pixels_per_line):
        return "the middle of its outline is outside the film"
    return ""


def _lesion_view(
    one: Abnormality,
    image: Path,
    case: str,
    view: str,
    film: ics.Film,
    curve: str,
    stream_bits: int | None,
) -> LesionView:
    side, _, projection = view.partition("_")
    notes = [] if film.overlay else [NO_OVERLAY]
    # A film that holds more than the fewer of the two bits is rejected when it is read.
    bits = min(film.bits, stream_bits or film.bits)
    if stream_bits not in (None, film.bits):
        notes.append(f"{OTHER_BITS} ({film.bits} and {stream_bits}, {bits} taken)")
    label, truth_source = TRUTH[one.pathology]
    top, left, bottom, right = one.box
    repairs = []
    if min(top, left) < 0 or bottom > film.lines or right > film.pixels_per_line:
        repairs.append("outline reaches beyond the film")
    if one.outlines != one.outlines_promised:
        repairs.append("TOTAL_OUTLINES is not the number of outlines")
    if one.surplus:
        repairs.append("the OVERLAY file holds more abnormalities than TOTAL_ABNORMALITIES")
    return LesionView(
        collection="ddsm",
        image_path=image,
        box=one.box,
        case_id=case,
        lesion_id=f"{side}-{one.number}",
        view=projection,
        laterality=side[0],
        modality="SFM",
        label=label,
        truth_source=truth_source,
        pixel_um=(film.resolution_um, film.resolution_um),
        spacing_source=".ics RESOLUTION",
        bits=bits,
        curve=curve,
        note="; ".join(repairs),
        noted="; ".join(notes),
    )


def _link(views: list[LesionView]) -> list[LesionView]:
    """Return `views` of one case, those of one lesion with the same lesion id.

    Numbers count within a film, and nothing in the collection links them. The same number on the
    same side is the same lesion as long as the truth agrees.
    """
    labels: dict[str, set[int]] = {}
    for view in views:
        labels.setdefault(view.lesion_id, set()).add(view.label)
    return [
        view
        if len(labels[view.lesion_id]) == 1
        else replace(view, lesion_id=f"{view.lesion_id}-{view.view}")
        for view in views
    ]


def _decisions(views: list[LesionView]) -> tuple[str, ...]:
    notes = Counter(
        part.partition(" (")[0]
        for view in views
        for part in f"{view.note}; {view.noted}".split("; ")
        if part
    )
    apart = sum(view.lesion_id.count("-") == 2 for view in views)
    curves = Counter(view.curve for view in views)
    return (
        "ddsm: a case is a case folder, one patient's screening examination",
        "ddsm: malignant lesions are proven by biopsy, as the collection says; not every benign one"
        " was biopsied, so all benign ones count as followed up; UNPROVEN is left out",
        "ddsm: abnormality numbers count within a film; the same number on the same side in CC and"
        " MLO is taken as one lesion where the truth agrees, and as two where it differs"
        f" ({apart} lesion views)",
        "ddsm: the box is that of the BOUNDARY outline; a CORE inside it is not used",
        "ddsm: pixel size is RESOLUTION of the .ics file",
        "ddsm: stored gray becomes density by the scanner's calibration: "
        + (", ".join(f"{name} {count}" for name, count in sorted(curves.items())) or "none"),
        *(f"ddsm: {note}: {count} lesion views" for note, count in sorted(notes.items())),
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else type(error).__name__
