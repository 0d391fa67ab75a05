"""Read the MIAS mini-database (mini-MIAS) as distributed: PGM films and Info.txt.

Suckling J et al. (1994) "The Mammographic Image Analysis Society Digital Mammogram Database",
Excerpta Medica International Congress Series 1069, 375-378. For research only: see its licence.
"""

import re
from pathlib import Path

from mtl_jax.data.table_errors import TableErrors
from mtl_jax.types import Collection, InputError, LesionView

CLASSES = ("CIRC", "SPIC", "MISC", "ARCH", "ASYM")
SIZE = 1024
PIXEL_UM = 200.0
_FILM = re.compile(r"mdb(\d{3})$")
_DECISIONS = (
    "mini_mias: films 2k-1 and 2k are one patient and one case, as Info.txt note 1 says;"
    " even numbers are left, odd ones right",
    "mini_mias: coordinates count from the bottom left, so row = 1023 - y",
    "mini_mias: the table locates each abnormality by a circle; the box is its bounding square",
    "mini_mias: films are padded with black to 1024 columns; ROIs may contain padding",
    "mini_mias: severity is that of the table, which does not state its reference standard",
)


def read_collection(path: str, *, classes: tuple[str, ...]) -> Collection:
    """Return the located abnormalities of the chosen classes.

    CIRC, SPIC and MISC are masses, ARCH is architectural distortion and ASYM asymmetry. Rows of
    other classes, without coordinates or without a film in the folder are left out. Lesion ids
    count the rows of a film in the table, so that they do not depend on `classes`.
    """
    if not classes or set(classes) - set(CLASSES):
        raise InputError(
            f"config.data.mini_mias.classes={classes} is invalid: expected some of"
            f" {', '.join(CLASSES)}"
        )
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"mini_mias: no such folder {root}")
    table = root / "Info.txt"
    if not table.is_file():
        raise InputError(f"mini_mias: no Info.txt in {root}; name its folder")
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    n_rows: dict[str, int] = {}
    text = table.read_text(encoding="latin-1")
    circles: dict[tuple[str, ...], LesionView] = {}
    errors = TableErrors(table)
    for number, line in enumerate(text.splitlines(), start=1):
        # Only rows of the table begin with the name of a film; other lines are free text.
        fields = line.split()
        if not fields or not _FILM.match(fields[0]):
            continue
        film = fields[0]
        n_rows[film] = n_rows.get(film, 0) + 1
        item = f"{film}-{n_rows[film]}"
        where = f"{table} line {number}"
        with errors.collect(where):
            reason = _reason_to_leave_out(fields, root, classes, where)
            if reason:
                left_out.append((item, reason))
                continue
            view = _lesion_view(fields, root, item, where)
            first = circles.setdefault((film, *fields[4:]), view)
            if first.label != view.label:
                raise InputError(f"{where}: an earlier row has another severity for this circle")
            if first is view:
                views.append(view)
            else:
                left_out.append((item, "duplicate of an earlier circle of the film"))
    errors.check()
    if not n_rows:
        raise InputError(f"{table}: no row begins with the name of a film such as mdb001")
    return Collection("mini_mias", root, tuple(views), tuple(left_out), _DECISIONS, public_ids=True)


def _reason_to_leave_out(
    fields: list[str], root: Path, classes: tuple[str, ...], where: str
) -> str | None:
    kind = fields[2] if len(fields) > 2 else ""
    if kind == "NORM":
        return "normal film"
    if kind not in (*CLASSES, "CALC"):
        raise InputError(
            f"{where}: class {kind!r} is invalid: expected {', '.join(CLASSES)}, CALC or NORM"
        )
    if len(fields) <= 4 or fields[4].startswith("*NOTE"):
        return f"{kind} without coordinates"
    if kind not in classes:
        return f"class {kind} not chosen"
    if not (root / f"{fields[0]}.pgm").is_file():
        return f"image {fields[0]}.pgm is not in the folder"
    return None


def _lesion_view(fields: list[str], root: Path, item: str, where: str) -> LesionView:
    film, severity = fields[0], fields[3]
    try:
        x, y, radius = (int(field) for field in fields[4:])
    except ValueError as error:
        raise InputError(f"{where}: expected x, y and radius after the severity") from error
    if severity not in ("B", "M") or radius <= 0:
        raise InputError(f"{where}: expected severity B or M and a radius above 0")
    # Pixel r spans r to r + 1, so the centre of row 1023 - y is at 1023.5 - y.
    row, column = SIZE - 1 - y + 0.5, x + 0.5
    box = (row - radius, column - radius, row + radius, column + radius)
    inside = min(box) >= 0 and max(box) <= SIZE
    number = int(film.removeprefix("mdb"))
    return LesionView(
        collection="mini_mias",
        image_path=root / f"{film}.pgm",
        box=box,
        case_id=f"p{(number + 1) // 2:03d}",
        lesion_id=item,
        view="MLO",
        laterality="R" if number % 2 else "L",
        modality="SFM",
        label=int(severity == "M"),
        truth_source="unstated",
        pixel_um=(PIXEL_UM, PIXEL_UM),
        spacing_source="stated by the collection",
        bits=8,
        note="" if inside else "circle reaches beyond the image",
        where=where,
    )
