"""Density of one DICOM mammogram, bright where dense, with a plain record of every decision.

Applies no VOI look-up table or window: they are made for one screen and one reader, cut off what
lies outside them, and differ between images of one device; stored values keep all that was
measured. What the header offers is in the record. Nothing of the patient leaves this module but the
PatientID of `read`, which an ingest compares with the ids of its table and never writes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging import dicom_density, dicom_frame, dicom_header
from mtl_jax.imaging.dicom_facts import facts
from mtl_jax.imaging.stored import MAX_PIXELS, Stored
from mtl_jax.nouns import InputError

SUFFIXES = (".dcm", ".dicom")  # a file so named that is no DICOM is answered as such
MARK, MARK_AT = b"DICM", 128


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its content, or claims to be by its name."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(MARK_AT + len(MARK))[MARK_AT:] == MARK
    except OSError:
        return False


def read(path: Path, frame: int | None, max_pixels: int, bits: int | None = None) -> Stored:
    """As `read_with_record`, without the record, looked up only where asked, and naming no file in
    its errors."""
    header, record, values = _decoded(path, frame or 0, max_pixels)
    table, bits, decided = dicom_density.table(header, record)
    made = decided["polarity"] != "as stored" or bits != record["bits_stored"]
    padding = dicom_density.padding(header, len(table))
    if padding.stop:
        _level(table, padding, np.bincount(values.ravel(), minlength=len(table)))
    patient = dicom_header.patient_id(header)
    return Stored(values, bits, table, made, record["magnified"], patient)


def read_values(path: Path, max_pixels: int) -> np.ndarray:
    """Stored values (H, W) of the one frame of a file, without inversion or look-up tables."""
    return _decoded(path, 0, max_pixels)[2]


def read_with_record(
    path: Path, frame: int = 0, second_opinion: bool = False
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Density (H, W) float32, its bit depth, and what was decided on the way.

    Density is 0 to 2^bits - 1, larger where denser. A For Processing image linear in exposure goes
    through the inverse logarithm, one in optical density through its scale, both to 12 bits; any
    other keeps its stored scale. Padding becomes the least density of the rest. The record holds
    numbers and words of fixed lists only. `second_opinion` as in `dicom_frame.decode`, to be looked
    at: the record then says so.

    InputError, one line that names the file: it is no DICOM, damaged, in colour, signed, of an
    absurd size, or has no such frame.
    """
    try:
        return _read(Path(path), frame, MAX_PIXELS, second_opinion)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def spacing(path: Path) -> tuple[tuple[float, float], str] | None:
    """Pixel size (row, column) in um and the header field it is from; None where none says it.

    A damaged file or a size that is not positive is an InputError that names the file.
    """
    try:
        return dicom_header.spacing_of(dicom_header.open_header(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def described(path: Path, frame: int = 0) -> dict[str, Any]:
    """What the header alone says: numbers and words of fixed lists. InputError as for reading."""
    try:
        return facts(dicom_header.open_header(path), frame, MAX_PIXELS)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read(
    path: Path, frame: int, max_pixels: int, second_opinion: bool
) -> tuple[np.ndarray, int, dict[str, Any]]:
    header, record, values = _decoded(path, frame, max_pixels, second_opinion)
    table, bits, decided = dicom_density.table(header, record)
    padding = dicom_density.padding(header, len(table))
    counts = np.bincount(values.ravel(), minlength=len(table))
    present = _level(table, padding, counts)
    record |= decided | {
        "padding": [padding.start, padding.stop - 1] if padding.stop else None,
        "padded_pixels": int(counts[padding].sum()),
        "bits": bits,
        "smallest": float(table[present].min()),
        "largest": float(table[present].max()),
    }
    record["notes"] = record.pop("notes")  # last, where they are seen
    _note_range(record, int(present[-1]))
    return table.take(values), bits, record


def _decoded(
    path: Path, frame: int, max_pixels: int, second_opinion: bool = False
) -> tuple[Dataset, dict[str, Any], np.ndarray]:
    """The header, its facts, and values (H, W) from 0 to 2^BitsStored - 1."""
    header = dicom_header.open_header(path, stop_before_pixels=False)
    record = facts(header, frame, max_pixels)
    # Bits above HighBit (old overlays) are cleared; values that do not start at bit 0 move down.
    header.BitsStored = record["high_bit"] + 1
    stored, record["decoder"] = dicom_frame.decode(header, frame, second_opinion)
    if record["high_bit"] >= record["bits_stored"]:
        stored = stored >> (record["high_bit"] + 1 - record["bits_stored"])
    shape = record["rows"], record["columns"]
    if stored.shape != shape or int(stored.max()) >= 1 << record["bits_stored"]:
        raise InputError("its pixels do not have the shape or the bits that its header says")
    return header, record, stored


def _level(table: np.ndarray, padding: slice, counts: np.ndarray) -> np.ndarray:
    """Gives padding the least density of the rest, in place; returns the other values present."""
    real = counts > 0
    real[padding] = False
    present = np.flatnonzero(real)
    if not len(present):
        raise InputError("all its pixels are padding")
    table[padding] = table[present].min()
    return present


def _note_range(record: dict[str, Any], largest: int) -> None:
    if largest.bit_length() + 1 < record["bits_stored"]:
        as_stored = record["polarity"] == "as stored" and record["bits"] == record["bits_stored"]
        cure = "give bits if the device uses fewer" if as_stored else "BitsStored may be too many"
        record["notes"].append(
            f"no stored value is above {largest}, though there is room for"
            f" {record['bits_stored']} bits: {cure}"
        )
    if record["lossy"]:
        record["notes"].append("was once compressed with loss")
    if record["decoder"] == dicom_frame.SECOND_DECODER:
        record["notes"].append(
            "an ingest refuses this frame as damaged; the decoder that read it fills in what is"
            " wrong without a word: look at it, and fetch or export it again"
        )
    if record["magnified"]:
        record["notes"].append("magnification view: its spacing is not that of a contact view")
