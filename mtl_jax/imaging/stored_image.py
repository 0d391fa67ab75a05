"""Hold one image as stored and return any part of it as gray."""

from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, Note

# A mammogram of 24x30 cm at 42 um has 41 million pixels; a header with more is damaged.
MAX_PIXELS = 80_000_000
ALL = slice(None)


class HeaderAttributes(NamedTuple):
    """Attributes of a DICOM header that a table may state too.

    Each value has its source; '' or () if the header does not state it. `spacings` lists every
    spacing of the header as (field, row, column) in um; the first one is used.
    """

    laterality: str = ""
    laterality_source: str = ""
    view: str = ""
    view_source: str = ""
    modality: str = ""
    spacings: tuple[tuple[str, float, float], ...] = ()


class StoredImage(NamedTuple):
    """One image as stored, whose gray is computed on access, only where it is needed."""

    values: np.ndarray  # (H, W), integers or float32
    bits: int  # of the gray, by a table or by the file
    lut: np.ndarray | None = None  # gray of each stored value; None: the stored value
    transformed: bool = False  # the gray is not the stored value: no curve may follow
    magnified: bool = False
    patient_id: str = ""  # of the header; it is compared and never written
    header: HeaderAttributes | None = None
    notes: tuple[Note, ...] = ()
    padding: tuple[int, int] = (0, 0)  # stored values [first, stop)
    stored_bits: int | None = None  # if they differ from those of the gray

    @property
    def depth(self) -> int:
        """Return the bit depth of the stored values."""
        return self.stored_bits or self.bits

    def gray(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """Return the gray (h, w) float32 of a part; larger values are brighter."""
        part = self.values[rows, columns]
        return np.asarray(part, np.float32) if self.lut is None else self.lut.take(part)

    @property
    def largest(self) -> float:
        """Return the largest stored value without padding; NaN if all values are padding."""
        values = self.without_padding(self.values)
        return float(values.max()) if values.size else float("nan")

    def without_padding(self, values: np.ndarray) -> np.ndarray:
        """Return those of some of the stored `values` that are not padding, (n,)."""
        first, stop = self.padding
        return values[(values < first) | (values >= stop)] if stop > first else values.ravel()

    def limits(self) -> tuple[float, float]:
        """Return the bounds of the gray of the whole image."""
        low, high = self.values.min(), self.values.max()
        if self.lut is None:
            return float(low), float(high)
        lut = self.lut[int(low) : int(high) + 1]
        return float(lut.min()), float(lut.max())


def check_fit(values: np.ndarray, bits: int) -> None:
    """Raise InputError if stored values exceed a bit depth."""
    largest = int(values.max(initial=0))
    if largest >= 1 << bits:
        raise InputError(
            f"its largest stored value, {largest}, does not fit {bits} bits: correct bits"
        )
