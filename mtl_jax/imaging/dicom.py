"""Read DICOM mammograms as normalized gray values, which rise with tissue density.

VOI look-up tables and windows are recorded in the record and never applied: a vendor chooses them
for a display and a reader, they clip the values outside them, and they differ between images of one
device. The record and the messages contain no patient data. The PatientID that `read` returns is
compared with the ids of a table during an ingest and is never written.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging import (
    dicom_bits,
    dicom_fields,
    dicom_frame,
    dicom_gray,
    dicom_lut,
    dicom_padding,
    dicom_spacing,
)
from mtl_jax.imaging.dicom_attributes import (
    header_attributes,
    read_attributes,
    read_pixel_attributes,
)
from mtl_jax.imaging.dicom_gray import GrayLUT, check_od
from mtl_jax.imaging.image_formats import select_frame
from mtl_jax.imaging.stored_image import HeaderAttributes, StoredImage, check_fit
from mtl_jax.imaging.table_vs_header import square_notes
from mtl_jax.imaging.value_checks import check_values
from mtl_jax.types import InputError, Note, prefix_errors

SUFFIXES = (".dcm", ".dicom")  # a file with such a name is reported as damaged if it is not DICOM
PREFIX, PREFIX_OFFSET = b"DICM", 128

FIRST_FRAME = "several frames: the first is shown; an ingest requires frame"


class DecodedImage(NamedTuple):
    """The dataset of one image, the record of its attributes, its stored values (H, W) from 0 to
    2^BitsStored - 1, and the notes made while decoding it."""

    header: Dataset
    record: dict[str, Any]
    values: np.ndarray
    notes: tuple[Note, ...]


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its content or by its suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(PREFIX_OFFSET + len(PREFIX))[PREFIX_OFFSET:] == PREFIX
    except OSError:
        return False


def read(path: Path, frame: int | None, bits: int | None = None) -> StoredImage:
    """Return one image with its gray look-up table, which is applied on access.

    `frame` (from 0) is required for a file of several frames. `bits` is the bit depth that a table
    states; it replaces BitsStored before any inversion. The InputError does not name the file.
    """
    image = _decode(path, frame)
    depth, record = bits or image.record["bits_stored"], image.record
    gray, padding = _gray_lut(image, depth)
    notes = image.notes + gray.notes
    if padding.stop:
        counts = np.bincount(image.values.ravel(), minlength=len(gray.table))
        _, padding, padding_notes = dicom_padding.fill_padding(gray.table, padding, counts)
        notes += padding_notes
    return StoredImage(
        image.values,
        gray.bits,
        gray.table,
        gray.transformed,
        record["magnified"],
        dicom_fields.patient_id(image.header),
        header_attributes(image.header, record),
        notes,
        (padding.start, padding.stop),
        depth,
    )


def read_values(path: Path) -> np.ndarray:
    """Return the stored words (H, W) of a file with one frame, without any transformation."""
    header = dicom_fields.read_dataset(path, stop_before_pixels=False)
    frames = read_pixel_attributes(header, 0, [])["frames"]
    return dicom_frame.decode(header, select_frame(None, frames), frames).words


def read_with_record(
    path: Path, frame: int | None = None
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Return the gray values (H, W) float32, their bit depth, and a record of every decision.

    Gray is 0 to 2^bits - 1 and rises with tissue density. A For Processing image that is linear in
    exposure is transformed by the inverse logarithm, an image in optical density by its scale, both
    to 12 bits; any other image keeps its stored scale. Padding gets the lowest gray value of the
    image. The record contains numbers and terms of fixed lists only.

    Parameters
    ----------
    path
        A DICOM file.
    frame
        Number of the frame, from 0; None reads the first of several and adds a note.

    Raises
    ------
    InputError
        One line that names the file: it is not DICOM, damaged, in colour, signed or too large, or
        it has no such frame.
    """
    path = Path(path)
    with prefix_errors(path):
        image = _decode(path, frame or 0)
        record, values, depth = image.record, image.values, image.record["bits_stored"]
        gray, padding = _gray_lut(image, depth)
        counts = np.bincount(values.ravel(), minlength=len(gray.table))
        present, padding, padding_notes = dicom_padding.fill_padding(gray.table, padding, counts)
        stored = StoredImage(
            values, gray.bits, padding=(padding.start, padding.stop), stored_bits=depth
        )
        size = record["spacing_um"]  # an ingest makes this note about the pixel size that it uses
        size_notes = square_notes((size[0], size[1])) if size else ()
        value_notes = check_values(stored, None)
        notes = [*image.notes, *size_notes, *gray.notes, *padding_notes, *value_notes]
        if frame is None and record["frames"] > 1:
            notes.append(Note(FIRST_FRAME, f"{record['frames']} frames"))
        del record["notes"]
        record |= gray.decisions | {
            "padding": [padding.start, padding.stop - 1] if padding.stop else None,
            "padded_pixels": int(counts[padding].sum()),
            "bits": gray.bits,
            "smallest": float(gray.table[present].min()),
            "largest": float(gray.table[present].max()),
            "notes": [note.text for note in notes],  # last, so that they are seen
        }
        return gray.table.take(values), gray.bits, record


def read_spacing(path: Path) -> tuple[tuple[float, float], str] | None:
    """Return the pixel size (row, column) in um and its header field; None if none states it.

    Raises InputError, which names the file, if the file is damaged, the size is implausible or two
    fields contradict each other.
    """
    with prefix_errors(path):
        return dicom_spacing.get_spacing(dicom_fields.read_dataset(path))


def describe_header(path: Path, frame: int | None = None) -> dict[str, Any]:
    """Return the record of the header alone. Raises InputError as `read_with_record` does."""
    with prefix_errors(path):
        record = read_attributes(dicom_fields.read_dataset(path), frame)
    return record | {"notes": [note.text for note in record["notes"]]}


def read_header_attributes(path: Path, frame: int | None = None) -> HeaderAttributes:
    """Return the attributes that a table may state too. Raises InputError as `read_with_record`."""
    with prefix_errors(path):
        header = dicom_fields.read_dataset(path)
        return header_attributes(header, read_attributes(header, frame))


def _decode(path: Path, frame: int | None) -> DecodedImage:
    """Return one frame, its bits that hold no gray cleared or shifted out."""
    header = dicom_fields.read_dataset(path, stop_before_pixels=False)
    record = read_attributes(header, frame)
    number = select_frame(frame, record["frames"])
    header_bits = dicom_bits.HeaderBits(
        record["bits_stored"],
        record["high_bit"],
        overlays=dicom_fields.get_overlay_bits(header),
        padding=dicom_fields.get_padding_value(header),
    )
    decoded = dicom_frame.decode(header, number, record["frames"])
    if decoded.words.shape != (record["rows"], record["columns"]):
        raise InputError("its pixel data does not have the Rows and Columns of its header")
    header_bits = header_bits._replace(stream=decoded.stream_bits)
    gray = dicom_bits.extract_gray(decoded.words, header_bits)
    record |= {"bits_stored": gray.bits, "high_bit": gray.high, "decoder": decoded.decoder}
    padding = dicom_padding.get_padding_range(header, 1 << gray.bits)
    notes = (
        *record["notes"],
        *decoded.notes,
        *gray.notes,
        *dicom_padding.outside_notes(header, gray.bits),
        *dicom_lut.clipping_notes(header, gray.values, padding),
    )
    return DecodedImage(header, record, gray.values, notes)


def _gray_lut(image: DecodedImage, bits: int) -> tuple[GrayLUT, slice]:
    """Return the gray of each stored value at a depth of `bits`, and the values of the padding."""
    stored_bits = image.record["bits_stored"]
    if bits > stored_bits:
        raise InputError(
            f"bits {bits} is invalid: the file stores {stored_bits} bits; correct bits"
        )
    gray = dicom_gray.compute_gray_lut(image.header, image.record, bits)
    is_od = gray.decisions["polarity_source"] == "RescaleType"
    if bits == stored_bits:
        if is_od:
            gray = gray._replace(notes=gray.notes + check_od(gray.table, image.values))
        return gray, dicom_padding.get_padding_range(image.header, len(gray.table))
    if is_od:
        raise InputError(f"bits {bits} is invalid: its gray is optical density; leave bits empty")
    padding = dicom_padding.get_padding_range(image.header, 1 << stored_bits)
    values, top = image.values, (1 << bits) - 1
    if padding.stop > top + 1:
        # Padding may be above the largest gray value of `bits`: extend the table for it.
        outside = (values >= padding.start) & (values < padding.stop)
        check_fit(values[~outside], bits)
        extension = np.zeros(padding.stop - len(gray.table), np.float32)
        return gray._replace(table=np.concatenate([gray.table, extension])), padding
    check_fit(values, bits)
    return gray, padding
