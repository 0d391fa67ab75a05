"""One image as its file holds it, of which any part can be had as gray. Reads no files."""

from typing import NamedTuple

import numpy as np

from mtl_jax.nouns import Note

# More than any mammogram holds (24x30 cm at 42 um: 41 million): beyond it a header is absurd.
MAX_PIXELS = 80_000_000
ALL = slice(None)


class Header(NamedTuple):
    """What the header of a DICOM file says of facts that a table may state as well.

    Each value with the field that it is from; '' or () where the header does not say it.
    `spacings` lists every spacing of the header as (field, row, column) in um, the one that is
    used first.
    """

    laterality: str = ""
    laterality_source: str = ""
    view: str = ""
    view_source: str = ""
    modality: str = ""
    spacings: tuple[tuple[str, float, float], ...] = ()


class Stored(NamedTuple):
    """Stored values (H, W), whole numbers or float32; the bit depth of their gray; the gray
    (levels,) float32 that each value is worth (None: the value itself); whether that gray was made
    on the way, so that nobody can say its depth otherwise; whether its header says that it is a
    magnification view; the PatientID in its header, '' where there is none, which is compared
    and never written; the facts of a DICOM header that a table may contradict; and what was
    noticed while reading.

    A mammogram has millions of pixels and a lesion's surroundings a few hundred thousand: what is
    done a pixel is done to those alone.
    """

    values: np.ndarray
    bits: int
    table: np.ndarray | None = None
    made: bool = False
    magnified: bool = False
    patient_id: str = ""
    header: Header | None = None
    notes: tuple[Note, ...] = ()

    def gray(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """The gray (h, w) float32 of a part, bright where the file means bright."""
        part = self.values[rows, columns]
        return np.asarray(part, np.float32) if self.table is None else self.table.take(part)

    def limits(self) -> tuple[float, float]:
        """Bounds of the gray of the whole image."""
        low, high = self.values.min(), self.values.max()
        if self.table is None:
            return float(low), float(high)
        between = self.table[int(low) : int(high) + 1]
        return float(between.min()), float(between.max())
