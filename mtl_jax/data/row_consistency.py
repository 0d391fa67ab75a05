"""Check that the rows of one image agree with each other, and their spacing with the header."""

from collections.abc import Sequence

from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.imaging.table_vs_header import same_spacing
from mtl_jax.types import LesionView, Note

ROUNDING = 1e-5  # of a pixel size: less than a tenth of a pixel across a mammogram

DIFFERENT_VIEWS = "rows of one image state different views"
DIFFERENT_SIDES = "rows of one image state different sides"
DIFFERENT_MODALITIES = "rows of one image state different modalities"
INEXACT_SPACING = "the pixel size differs slightly from the one that the header states"


def check_rows(views: Sequence[LesionView], user_table: bool) -> tuple[str, tuple[Note, ...]]:
    """Return why the rows of one image contradict each other, '' if they do not, and the notes.

    Pixel size, bit depth, polarity and curve determine the ROI, so they must be equal in all rows.
    An image shows one breast: in a table that the user wrote (`user_table`), two sides mean that a
    row names another image, which is an error; in a published table they are noted.
    """
    facts = {
        "pixel_um": [_format_size(view.pixel_um) for view in views],
        "bits": ["none" if view.bits is None else str(view.bits) for view in views],
        "polarity": ["dark_dense" if view.dark_is_dense else "bright_dense" for view in views],
        "curve": [view.curve or "none" for view in views],
    }
    sides = [view.laterality for view in views if view.laterality]
    if user_table:
        facts["laterality"] = sides
    for column, values in facts.items():
        if len(set(values)) > 1:
            return (
                f"rows of this image state {column} {_join_values(values)}: correct the table, so"
                " that all rows of one image agree"
            ), ()
    compared = {
        DIFFERENT_SIDES: sides,
        DIFFERENT_VIEWS: [view.view for view in views if view.view],
        DIFFERENT_MODALITIES: [view.modality for view in views if view.modality],
    }
    return "", tuple(
        Note(kind, _join_values(values))
        for kind, values in compared.items()
        if len(set(values)) > 1
    )


def check_spacing(
    pixel_um: tuple[float, float], header: HeaderAttributes | None
) -> tuple[Note, ...]:
    """Return a note if a pixel size is only about that of the header: ROIs are then displaced."""
    for field, *size in header.spacings if header else ():
        pairs = list(zip(pixel_um, size, strict=True))
        if same_spacing(pixel_um, (size[0], size[1])) and any(
            abs(used - stated) > ROUNDING * stated for used, stated in pairs
        ):
            detail = (
                f"{_format_size(pixel_um)} um; {field} states {_format_size((size[0], size[1]))} um"
            )
            return (Note(INEXACT_SPACING, detail),)
    return ()


def _format_size(pixel_um: tuple[float, float]) -> str:
    return ";".join(dict.fromkeys(f"{size:.10g}" for size in pixel_um))


def _join_values(values: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(values))
