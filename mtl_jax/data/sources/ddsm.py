"""Read the Digital Database for Screening Mammography (DDSM) as distributed.

Heath M et al. (2001) "The Digital Database for Screening Mammography", Proc. 5th Int. Workshop on
Digital Mammography, 212-218. A case is a folder of an `.ics` file, films (`.LJPEG`) and, for views
with an abnormality, `.OVERLAY` files.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.image_notes import describe_notes
from mtl_jax.data.sources import ddsm_overlay
from mtl_jax.data.sources.ddsm_overlay import Abnormality
from mtl_jax.imaging import ics, ljpeg
from mtl_jax.types import Collection, InputError, LesionView

PATHOLOGIES = {  # label and reference standard
    "MALIGNANT": (1, "biopsy"),
    "BENIGN": (0, "followup"),
    "BENIGN_WITHOUT_CALLBACK": (0, "followup"),
}
# The first letter of a case is its institution: A Massachusetts General, B and C Wake Forest,
# D ISMD. Institution and scanner determine the conversion of stored gray to optical density.
CURVES = {
    ("A", "DBA"): "ddsm_dba",
    ("A", "HOWTEK"): "ddsm_howtek_mgh",
    ("B", "LUMISYS"): "ddsm_lumisys",
    ("C", "LUMISYS"): "ddsm_lumisys",
    ("D", "HOWTEK"): "ddsm_howtek_ismd",
}
NO_OVERLAY = "the .ics file says NON_OVERLAY, but there is an OVERLAY file"
OTHER_BITS = "the .ics file and the JPEG stream state different bit depths"
_CASE = re.compile(r"[ABCD]-\d{1,5}-\d")
_VIEW = re.compile(r"(LEFT|RIGHT)_(CC|MLO)")


def read_collection(path: str, *, lesion_types: tuple[str, ...]) -> Collection:
    """Return the outlined abnormalities that have one of the lesion types, such as MASS."""
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"ddsm: no such folder {root}")
    if not lesion_types:
        raise InputError(
            "config.data.ddsm.lesion_types=() is invalid: expected one or more, such as MASS"
        )
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    ics_files: dict[str, Path] = {}
    described: set[Path] = set()
    # Sorted by name and then by folder, so that every run reads the same copy of a case.
    for file in sorted(root.rglob("*.ics"), key=lambda path: (path.name, path.as_posix())):
        item = file.relative_to(root).as_posix()
        try:
            case = ics.read(file)
            if not _CASE.fullmatch(case.name) or case.name != file.stem:
                raise InputError(f"its filename line states another case, {case.name}")
        except (InputError, OSError) as error:
            left_out.append((item, f"damaged .ics file: {_reason(error)}"))
            continue
        if ics_files.setdefault(case.name, file) is not file:
            left_out.append((item, "duplicate of a case in another folder"))
            described.update(file.parent.glob("*.LJPEG"))
            continue
        case_views: list[LesionView] = []
        for view, film in sorted(case.films.items()):
            image = file.with_name(f"{case.name.replace('-', '_')}.{view}.LJPEG")
            described.add(image)
            film_views, film_left_out = _read_film(root, image, case, view, film, lesion_types)
            case_views += film_views
            left_out += film_left_out
        views += _link_lesions(case_views)
    for image in sorted(set(root.rglob("*.LJPEG")) - described):
        left_out.append((image.relative_to(root).as_posix(), "no .ics file describes it"))
    if not ics_files and not left_out:
        raise InputError(f"ddsm: no .ics file below {root}; name the folder of the case folders")
    return Collection(
        "ddsm", root, tuple(views), tuple(left_out), _decisions(views), public_ids=True
    )


def _read_film(
    root: Path,
    image: Path,
    case: ics.Case,
    view: str,
    film: ics.Film,
    lesion_types: tuple[str, ...],
) -> tuple[list[LesionView], list[tuple[str, str]]]:
    """Return the lesion views of one film, not linked yet, and what is left out with reasons."""
    item = image.relative_to(root).as_posix()
    curve = CURVES.get((case.name[0], case.digitizer))
    overlay = image.with_suffix(".OVERLAY")
    reason = ""
    if not _VIEW.fullmatch(view):
        reason = f"view {view[:20]} is not one of LEFT_CC, LEFT_MLO, RIGHT_CC and RIGHT_MLO"
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
    for abnormality in abnormalities:
        reason = _reason_to_leave_out(abnormality, film, lesion_types)
        if reason:
            left_out.append((f"{item} abnormality {abnormality.number}", reason))
        else:
            views.append(_lesion_view(abnormality, image, case, view, film, curve, stream_bits))
    return views, left_out


def _reason_to_leave_out(
    abnormality: Abnormality, film: ics.Film, lesion_types: tuple[str, ...]
) -> str:
    if not set(abnormality.types) & set(lesion_types):
        return f"lesion type {' and '.join(sorted(set(abnormality.types)))[:60]} not chosen"
    if abnormality.pathology not in PATHOLOGIES:
        return f"pathology {abnormality.pathology[:30] or '(empty)'}"
    top, left, bottom, right = abnormality.box
    if not (0 <= top + bottom < 2 * film.lines and 0 <= left + right < 2 * film.pixels_per_line):
        return "the centre of its outline is outside the film"
    return ""


def _lesion_view(
    abnormality: Abnormality,
    image: Path,
    case: ics.Case,
    view: str,
    film: ics.Film,
    curve: str,
    stream_bits: int | None,
) -> LesionView:
    side, _, projection = view.partition("_")
    notes = [] if film.overlay else [NO_OVERLAY]
    # A film with values above the smaller bit depth is rejected when it is read.
    bits = min(film.bits, stream_bits or film.bits)
    if stream_bits not in (None, film.bits):
        notes.append(f"{OTHER_BITS} ({film.bits} and {stream_bits}, {bits} used)")
    label, truth_source = PATHOLOGIES[abnormality.pathology]
    top, left, bottom, right = abnormality.box
    corrections = []
    if min(top, left) < 0 or bottom > film.lines or right > film.pixels_per_line:
        corrections.append("outline reaches beyond the film")
    if abnormality.outlines != abnormality.outlines_promised:
        corrections.append("TOTAL_OUTLINES is not the number of outlines")
    if abnormality.surplus:
        corrections.append("the OVERLAY file lists more abnormalities than TOTAL_ABNORMALITIES")
    return LesionView(
        collection="ddsm",
        image_path=image,
        box=abnormality.box,
        case_id=case.name,
        lesion_id=f"{side}-{abnormality.number}",
        view=projection,
        laterality=side[0],
        modality="SFM",
        label=label,
        truth_source=truth_source,
        pixel_um=(film.resolution_um, film.resolution_um),
        spacing_source=".ics RESOLUTION",
        bits=bits,
        curve=curve,
        device=case.device,
        note="; ".join(corrections),
        noted="; ".join(notes),
    )


def _link_lesions(views: list[LesionView]) -> list[LesionView]:
    """Return the views of one case; equal numbers on a side are one lesion if the labels agree."""
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
    n_separate = sum(view.lesion_id.count("-") == 2 for view in views)
    curves = Counter(view.curve for view in views)
    return (
        "ddsm: a case is a case folder, one patient's screening examination",
        "ddsm: malignant lesions are proven by biopsy; some benign ones were not biopsied, so the"
        " reference standard of all benign ones is follow-up; UNPROVEN is left out",
        "ddsm: abnormality numbers count within a film; the same number on the same side in CC and"
        " MLO is one lesion if the pathologies agree, otherwise two"
        f" ({n_separate} lesion views)",
        "ddsm: the box is that of the BOUNDARY outline; a CORE inside it is not used",
        "ddsm: pixel size is RESOLUTION of the .ics file",
        "ddsm: stored gray is converted to optical density by the scanner's calibration: "
        + (", ".join(f"{name} {count}" for name, count in sorted(curves.items())) or "none"),
        *(f"ddsm: {note}" for note in describe_notes(views)),
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else type(error).__name__
