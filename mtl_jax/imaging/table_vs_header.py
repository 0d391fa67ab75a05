"""What a table says of an image against what its DICOM header says. Reads no files."""

from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.types import InputError, Note

SAME_SPACING = 0.01  # by how much two statements of one pixel size may differ
OTHER_UNIT = 5.0  # a factor that no geometry explains
# What spacing_source holds where nobody explains the pixel size.
UNEXPLAINED = ("", "manifest", "command line", "assumed", "set by the user", "the dataset")
SIDE_FIELDS = ("ImageLaterality", "FrameLaterality", "Laterality")

SIDE = "the side differs from the header's"
VIEW = "the view differs from the header's"
MODALITY = "film or digital differs from the header"
OTHER_SPACING = "the pixel size is another spacing of the header than the one that is used"
SPACING = "the pixel size differs from the header's"
TABLES_SPACING = "the pixel size of the table is taken, the header's is another"
NOT_SQUARE = "rows and columns have different pixel sizes"


def compare(
    laterality: str,
    view: str,
    modality: str,
    pixel_um: tuple[float, float],
    spacing_source: str,
    header: HeaderAttributes | None,
    user_table: bool,
) -> tuple[Note, ...]:
    """Return what differs between a table's statements on an image and its DICOM header.

    '' is no statement. `user_table`: the statements are from a table that the user wrote, where a
    contradiction may mean that a row names another image. InputError, with the cure: another side
    than the header's own field; a pixel size that is not the one of the field that it names, or
    that is five times the header's or more.
    """
    notes = square_notes(pixel_um)
    if header is None:
        return notes
    notes += _side(laterality, header, user_table)
    if view and header.view and view != header.view:
        notes += (Note(VIEW, f"{view}; {header.view_source} says {header.view}"),)
    if modality and header.modality and modality != header.modality:
        notes += (Note(MODALITY, f"{modality}; the header is of {header.modality}"),)
    return notes + _spacing(pixel_um, spacing_source, header, user_table)


def square_notes(pixel_um: tuple[float, float]) -> tuple[Note, ...]:
    """Return a note where rows and columns of a pixel differ by more than 1 %."""
    if same_spacing(pixel_um, (pixel_um[1], pixel_um[0])):
        return ()
    return (Note(NOT_SQUARE, _um(pixel_um)),)


def _side(laterality: str, header: HeaderAttributes, user_table: bool) -> tuple[Note, ...]:
    if not laterality or not header.laterality or laterality == header.laterality:
        return ()
    if user_table and header.laterality_source in SIDE_FIELDS:
        raise InputError(
            f"laterality {laterality}, but the header says {header.laterality}"
            f" ({header.laterality_source}): the row may name another image; correct the table, or"
            " leave laterality empty"
        )
    detail = f"{laterality}; {header.laterality_source} says {header.laterality}"
    return (Note(SIDE, detail),)


def _spacing(
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
        detail = f"{_um(pixel_um)} as {equal[0]}; {used} says {_um(spacings[used])}"
        return (Note(OTHER_SPACING, detail),)
    field = source if source in spacings else used
    size = spacings[field]
    detail = f"{_um(pixel_um)}; {field} says {_um(size)}"
    ratios = [said / stated for said, stated in zip(size, pixel_um, strict=True)]
    if max(*ratios, *(1 / ratio for ratio in ratios)) >= OTHER_UNIT:
        raise InputError(f"pixel_um {detail}: that is a factor of units; correct pixel_um, in um")
    if user_table and source in spacings:
        raise InputError(
            f"pixel_um {detail}: spacing_source names that field; leave pixel_um empty to take the"
            " header's, or say in spacing_source where the other is from"
        )
    if user_table and source in UNEXPLAINED:
        # An empty cell takes the header's size: one that is filled in was meant to overrule it.
        return (Note(TABLES_SPACING, detail, corrected=True),)
    return (Note(SPACING, detail),)


def same_spacing(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two pixel sizes (row, column) are the same within 1 %."""
    return all(abs(a - b) <= SAME_SPACING * b for a, b in zip(one, other, strict=True))


def _um(size: tuple[float, float]) -> str:
    return f"{size[0]:g} x {size[1]:g} um"
