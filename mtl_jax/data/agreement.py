"""Whether the rows of one image say the same of it. Reads no pixels."""

from collections.abc import Sequence

from mtl_jax.nouns import LesionView, Note

SEVERAL_VIEWS = "rows of one image name different views"
SEVERAL_SIDES = "rows of one image name different sides"
SEVERAL_MODALITIES = "rows of one image name different modalities"


def check_rows(views: Sequence[LesionView], tables_own: bool) -> tuple[str, tuple[Note, ...]]:
    """Why the rows of one image cannot all be right, '' where they can; and notes on the rest.

    The pixel size, the bit depth and the polarity decide the ROI, so they must be the same in every
    row. One image is of one breast: in a table that a user wrote (`tables_own`), two sides mean
    that a row names another image; a published table gives a note.
    """
    facts = {
        "pixel_um": [_size(view.pixel_um) for view in views],
        "bits": ["none" if view.bits is None else str(view.bits) for view in views],
        "polarity": ["dark_dense" if view.dark_is_dense else "bright_dense" for view in views],
        "curve": [view.curve or "none" for view in views],
    }
    sides = [view.laterality for view in views if view.laterality]
    if tables_own:
        facts["laterality"] = sides
    for column, values in facts.items():
        if len(set(values)) > 1:
            return (
                f"rows of this image give {column} {_listed(values)}: correct the table, so that"
                " all rows of one image give the same"
            ), ()
    compared = {
        SEVERAL_SIDES: sides,
        SEVERAL_VIEWS: [view.view for view in views if view.view],
        SEVERAL_MODALITIES: [view.modality for view in views if view.modality],
    }
    return "", tuple(
        Note(kind, _listed(values)) for kind, values in compared.items() if len(set(values)) > 1
    )


def _size(pixel_um: tuple[float, float]) -> str:
    return ";".join(dict.fromkeys(f"{size:.10g}" for size in pixel_um))


def _listed(values: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(values))
