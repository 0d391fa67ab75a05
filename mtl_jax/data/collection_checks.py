"""Check what only all images of a collection show together: bits, polarity, size, constant ROIs.

The limits are from docs/facts.md. A check changes no ROI and rejects none.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.data.plausibility import BEYOND, ONE_GRAY
from mtl_jax.types import LesionView, Note

MAX_EXAMPLES = 3  # lesion views named per check
MIN_IMAGES = 20  # of one bit depth: fewer may all be dark
# Bits of detectors and digitizers. Images of the fewest are rendered for a display, with any
# maximum.
DEPTHS = (8, 10, 12, 14, 16)
MIN_VIEWS = 10  # with a measured contrast
# Share of lesions darker than their surroundings: up to 0.03 in real collections, 0.97 or more if
# their gray is inverted, and about half at locations of another image.
MAX_DARKER, MIN_INVERTED = 0.3, 0.7
MAX_SIZE_MM = 100.0

BITS = "the largest values use fewer bits than the images state"
POLARITY = "lesions are darker than their surroundings"
LARGE = f"locations are larger than {MAX_SIZE_MM:g} mm"


class CheckedView(NamedTuple):
    """A lesion view with its ROI: the name that is written, the notes, the number of its image, and
    the measurements of data/extract_rois.py."""

    name: str
    view: LesionView
    notes: Sequence[Note]
    image: int
    contrast: float
    largest: float
    depth: int

    @property
    def size_mm(self) -> float:
        """Return the larger side of the location."""
        top, left, bottom, right = self.view.box
        row_um, column_um = self.view.pixel_um
        return max((bottom - top) * row_um, (right - left) * column_um) / 1000


class Check(NamedTuple):
    """What was found: `count` of `total` lesion views or images, the first of them, a message.

    `kind` is a fixed sentence, which the notes on lesion views may use, too.
    """

    kind: str
    count: int
    total: int
    message: str
    items: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """Return the entry for manifest.json."""
        return self._asdict() | {"items": list(self.items[:MAX_EXAMPLES])}


def check_collection(views: Sequence[CheckedView], constant: Sequence[str]) -> list[Check]:
    """Return what a user should look at.

    `constant` names the lesion views that are left out because their ROI has one gray value.
    """
    checks = [
        check_constant(constant, len(views) + len(constant)),
        *check_bits(views),
        check_polarity([view.contrast for view in views]),
        check_size(views),
        check_outside(views),
    ]
    return [check for check in checks if check]


def check_constant(items: Sequence[str], total: int) -> Check | None:
    """Return a check if ROIs have one gray value."""
    if not items:
        return None
    message = (
        f"{len(items)} of {total:,} ROIs have one gray value and are left out: correct their"
        " locations, or the images if they are blank"
    )
    return Check(ONE_GRAY, len(items), total, message, items)


def check_bits(views: Iterable[CheckedView]) -> list[Check]:
    """Return a check for each bit depth whose images all fit fewer bits."""
    by_depth: dict[int, dict[int, float]] = {}
    for view in views:
        # A curve of a source states what its values mean.
        if view.depth > DEPTHS[0] and np.isfinite(view.largest) and not view.view.curve:
            by_depth.setdefault(view.depth, {})[view.image] = view.largest
    checks = []
    for depth, largest in sorted(by_depth.items()):
        top, limit = int(max(largest.values())), (1 << depth) - 1
        used = next(bits for bits in (*DEPTHS, depth) if top < 1 << bits)
        if len(largest) >= MIN_IMAGES and used < depth:
            message = (
                f"the largest value of {len(largest):,} images is {top:,} of {limit:,}: {used}"
                f" bits? If so, set the column bits of a manifest to {used}"
            )
            checks.append(Check(BITS, len(largest), len(largest), message))
    return checks


def check_polarity(contrasts: Sequence[float]) -> Check | None:
    """Return a check if many lesions are darker than their surroundings."""
    measured = np.array([contrast for contrast in contrasts if np.isfinite(contrast)])
    darker = int((measured < 0).sum())
    if len(measured) < MIN_VIEWS or darker <= MAX_DARKER * len(measured):
        return None
    share = darker / len(measured)
    question = (
        "is the gray inverted? If so, change the column polarity of a manifest"
        if share > MIN_INVERTED
        else "do the locations belong to these images, is the order of rows and columns right, and"
        " coord_origin? Or is the gray of some images inverted (polarity)?"
    )
    message = (
        f"lesions are darker than their surroundings in {100 * share:.0f}% of {len(measured):,}"
        f" views: {question}"
    )
    return Check(POLARITY, darker, len(measured), message)


def check_size(views: Sequence[CheckedView]) -> Check | None:
    """Return a check if locations are larger than any mass of the collections in docs/facts.md."""
    items = [view.name for view in views if view.size_mm > MAX_SIZE_MM]
    if not items:
        return None
    message = (
        f"{len(items)} of {len(views):,} locations are larger than {MAX_SIZE_MM:g} mm (the largest:"
        f" {max(view.size_mm for view in views):.0f} mm): check pixel_um, and whether they outline"
        " the breast instead of the lesion"
    )
    return Check(LARGE, len(items), len(views), message, items)


def check_outside(views: Sequence[CheckedView]) -> Check | None:
    """Return a check if locations extend beyond their images, as data/plausibility.py notes them.

    Exchanged rows and columns, or rows that count from the bottom, do this to many of them.
    """
    items = [view.name for view in views if BEYOND in [note.kind for note in view.notes]]
    if not items:
        return None
    message = (
        f"{len(items)} of {len(views):,} locations extend beyond their images: check the order of"
        " rows and columns, and coord_origin"
    )
    return Check(BEYOND, len(items), len(views), message, items)
