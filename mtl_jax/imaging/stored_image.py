"""One image as its file holds it, of which any part can be had as gray. Reads no files."""

from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, Note

# More than any mammogram holds (24x30 cm at 42 um: 41 million): beyond it a header is absurd.
MAX_PIXELS = 80_000_000
ALL = slice(None)


class HeaderAttributes(NamedTuple):
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


class StoredImage(NamedTuple):
    """Stored values (H, W), whole numbers or float32; the bit depth of their gray, a depth that the
    table gives included; the gray (levels,) float32 that each value is worth (None: the value
    itself); whether that gray is another than the value (inverted, a logarithm, a look-up table),
    so that no polarity or curve may be applied once more; whether its header says that it is a
    magnification view; the PatientID in its header, '' where there is none, which is compared
    and never written; the facts of a DICOM header that a table may contradict; what was noticed
    while reading; the stored values [first, stop) that are padding; and the bit depth of the stored
    values where their gray has another.

    A mammogram has millions of pixels and a lesion's surroundings a few hundred thousand: what is
    done a pixel is done to those alone.
    """

    values: np.ndarray
    bits: int
    lut: np.ndarray | None = None
    transformed: bool = False
    magnified: bool = False
    patient_id: str = ""
    header: HeaderAttributes | None = None
    notes: tuple[Note, ...] = ()
    padding: tuple[int, int] = (0, 0)
    stored_bits: int | None = None

    @property
    def depth(self) -> int:
        """Bits of the stored values, where `bits` is that of the gray."""
        return self.stored_bits or self.bits

    def gray(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """The gray (h, w) float32 of a part, bright where the file means bright."""
        part = self.values[rows, columns]
        return np.asarray(part, np.float32) if self.lut is None else self.lut.take(part)

    def limits(self) -> tuple[float, float]:
        """Bounds of the gray of the whole image."""
        low, high = self.values.min(), self.values.max()
        if self.lut is None:
            return float(low), float(high)
        between = self.lut[int(low) : int(high) + 1]
        return float(between.min()), float(between.max())


def check_fit(values: np.ndarray, bits: int) -> None:
    """Reject stored values beyond a bit depth."""
    largest = int(values.max(initial=0))
    if largest >= 1 << bits:
        raise InputError(
            f"its largest stored value, {largest}, does not fit {bits} bits: correct bits"
        )
