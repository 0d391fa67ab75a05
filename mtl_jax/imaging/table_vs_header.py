"""Compare what a table states about an image with its DICOM header."""

from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.types import InputError, LesionView, Note

SAME_SPACING = 0.01  # relative tolerance of two statements of one pixel size
UNIT_ERROR = 5.0  # a ratio that no geometry explains
# Values of spacing_source that do not tell where the pixel size is from.
UNVERIFIED_SOURCES = ("", "manifest", "command line", "assumed", "set by the user", "the dataset")
LATERALITY_FIELDS = ("ImageLaterality", "FrameLaterality", "Laterality")

LATERALITY = "the laterality differs from the header"
VIEW = "the view differs from the header"
MODALITY = "the modality (SFM or DM) differs from the header"
OTHER_SPACING = "the pixel size equals a non-preferred spacing attribute of the header"
SPACING = "the pixel size differs from the header"
SPACING_OVERRIDDEN = "the pixel size of the table overrides a different one of the header"
NOT_SQUARE = "rows and columns have different pixel sizes"


def compare(
    view: LesionView, header: HeaderAttributes | None, user_table: bool
) -> tuple[Note, ...]:
    """Return notes on differences between a table's row and the DICOM header of an image.

    A contradiction may mean that a row of a table that the user wrote (`user_table`) names another
    image. Raises InputError if the laterality contradicts an attribute of the header, the pixel
    size is not that of the header field in its source, or it differs by a factor of five or
    more.
    """
    notes = square_notes(view.pixel_um)
    if header is None:
        return notes
    notes += _laterality_notes(view.laterality, header, user_table)
    if view.view and header.view and view.view != header.view:
        notes += (Note(VIEW, f"{view.view}; {header.view_source} is {header.view}"),)
    if view.modality and header.modality and view.modality != header.modality:
        notes += (Note(MODALITY, f"{view.modality}; the header is that of {header.modality}"),)
    return notes + _spacing_notes(view.pixel_um, view.spacing_source, header, user_table)


def square_notes(pixel_um: tuple[float, float]) -> tuple[Note, ...]:
    """Return a note if rows and columns of a pixel differ by more than 1%."""
    if same_spacing(pixel_um, (pixel_um[1], pixel_um[0])):
        return ()
    return (Note(NOT_SQUARE, _um(pixel_um)),)


def _laterality_notes(
    laterality: str, header: HeaderAttributes, user_table: bool
) -> tuple[Note, ...]:
    if not laterality or not header.laterality or laterality == header.laterality:
        return ()
    if user_table and header.laterality_source in LATERALITY_FIELDS:
        raise InputError(
            f"laterality {laterality}, but the header states {header.laterality}"
            f" ({header.laterality_source}): the row may name another image; correct the table, or"
            " leave laterality empty"
        )
    detail = f"{laterality}; {header.laterality_source} is {header.laterality}"
    return (Note(LATERALITY, detail),)


def _spacing_notes(
    pixel_um: tuple[float, float], source: str, header: HeaderAttributes, user_table: bool
) -> tuple[Note, ...]:
    spacings = {field: (row, column) for field, row, column in header.spacings}
    if not spacings:
        return ()
    used = next(iter(spacings))
    equal = [field for field, size in spacings.items() if same_spacing(pixel_um, size)]
    if source in equal or (used in equal and source not in spacings):
        return ()
    if equal and source not in spacings:
        detail = f"{_um(pixel_um)} as {equal[0]}; {used} is {_um(spacings[used])}"
        return (Note(OTHER_SPACING, detail),)
    field = source if source in spacings else used
    size = spacings[field]
    detail = f"{_um(pixel_um)}; {field} is {_um(size)}"
    ratios = [header_um / table_um for header_um, table_um in zip(size, pixel_um, strict=True)]
    if max(*ratios, *(1 / ratio for ratio in ratios)) >= UNIT_ERROR:
        raise InputError(f"pixel_um {detail}: the unit is probably wrong; correct pixel_um, in um")
    if user_table and source in spacings:
        raise InputError(
            f"pixel_um {detail}: spacing_source names that field; leave pixel_um empty to use the"
            " header, or give the source of pixel_um in spacing_source"
        )
    if user_table and source in UNVERIFIED_SOURCES:
        # An empty cell means the pixel size of the header: a filled cell overrides it on purpose.
        return (Note(SPACING_OVERRIDDEN, detail, corrected=True),)
    return (Note(SPACING, detail),)


def same_spacing(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Return whether two pixel sizes (row, column) are equal within 1%."""
    return all(abs(a - b) <= SAME_SPACING * b for a, b in zip(first, second, strict=True))


def _um(size: tuple[float, float]) -> str:
    return f"{size[0]:g} x {size[1]:g} um"
