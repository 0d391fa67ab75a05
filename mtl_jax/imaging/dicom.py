"""Density of one DICOM mammogram, bright where dense, with a plain record of every decision.

Applies no VOI look-up table or window: they are made for one screen and one reader, cut off what
lies outside them, and differ between images of one device; stored values keep all that was
measured. What the header offers is in the record. Nothing of the patient leaves this module but the
PatientID of `read`, which an ingest compares with the ids of its table and never writes.
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
from mtl_jax.imaging.stored_image import MAX_PIXELS, HeaderAttributes, StoredImage, check_fit
from mtl_jax.imaging.table_vs_header import square_notes
from mtl_jax.imaging.value_checks import check_values
from mtl_jax.types import InputError, Note, naming

SUFFIXES = (".dcm", ".dicom")  # a file so named that is no DICOM is answered as such
MARK, MARK_AT = b"DICM", 128

FRAME_OPEN = "several frames, of which the first is shown: an ingest asks for frame"


class Image(NamedTuple):
    """The header of one image, what it says, its stored values (H, W) from 0 to 2^BitsStored - 1,
    and notes on all that was decided up to there."""

    header: Dataset
    record: dict[str, Any]
    values: np.ndarray
    notes: tuple[Note, ...]


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its content, or claims to be by its name."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(MARK_AT + len(MARK))[MARK_AT:] == MARK
    except OSError:
        return False


def read(path: Path, frame: int | None, max_pixels: int, bits: int | None = None) -> StoredImage:
    """As `read_with_record`, without the record, looked up only where asked, and naming no file in
    its errors. `bits`, where a table gives it, takes the place of BitsStored, before any inversion;
    `frame` must be given where there are several."""
    image = _decoded(path, frame, max_pixels)
    depth, record = bits or image.record["bits_stored"], image.record
    table, padding = _density(image, depth)
    notes = image.notes + table.notes
    if padding.stop:
        counts = np.bincount(image.values.ravel(), minlength=len(table.table))
        _, padding, more = dicom_padding.fill_padding(table.table, padding, counts)
        notes += more
    return StoredImage(
        image.values,
        table.bits,
        table.table,
        table.transformed,
        record["magnified"],
        dicom_fields.patient_id(image.header),
        header_attributes(image.header, record),
        notes,
        (padding.start, padding.stop),
        depth,
    )


def read_values(path: Path, max_pixels: int) -> np.ndarray:
    """The words (H, W) of the one frame of a file, as they are stored."""
    opened = dicom_fields.read_dataset(path, stop_before_pixels=False)
    record = read_pixel_attributes(opened, 0, max_pixels, [])
    return dicom_frame.decode(opened, select_frame(None, record["frames"]), record["frames"]).words


def read_with_record(
    path: Path, frame: int | None = None
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Density (H, W) float32, its bit depth, and what was decided on the way.

    Density is 0 to 2^bits - 1, larger where denser. A For Processing image linear in exposure goes
    through the inverse logarithm, one in optical density through its scale, both to 12 bits; any
    other keeps its stored scale. Padding becomes the least density of the rest. The record holds
    numbers and words of fixed lists only. `frame` None shows the first of several, with a note.

    InputError, one line that names the file: it is no DICOM, damaged, in colour, signed, of an
    absurd size, or has no such frame.
    """
    path = Path(path)
    with naming(path):
        return _read(path, frame)


def read_spacing(path: Path) -> tuple[tuple[float, float], str] | None:
    """Pixel size (row, column) in um and the header field it is from; None where none says it.

    InputError that names the file: it is damaged, the size is that of no mammogram, or two fields
    contradict each other.
    """
    with naming(path):
        return dicom_spacing.get_spacing(dicom_fields.read_dataset(path))


def describe_header(path: Path, frame: int | None = None) -> dict[str, Any]:
    """What the header alone says: numbers and words of fixed lists. InputError as for reading."""
    with naming(path):
        record = read_attributes(dicom_fields.read_dataset(path), frame, MAX_PIXELS)
    return record | {"notes": [note.text for note in record["notes"]]}


def read_header_attributes(path: Path, frame: int | None = None) -> HeaderAttributes:
    """The facts of a header that a table may state as well. InputError as for reading."""
    with naming(path):
        opened = dicom_fields.read_dataset(path)
        return header_attributes(opened, read_attributes(opened, frame, MAX_PIXELS))


def _read(path: Path, frame: int | None) -> tuple[np.ndarray, int, dict[str, Any]]:
    image = _decoded(path, frame or 0, MAX_PIXELS)
    record, values, depth = image.record, image.values, image.record["bits_stored"]
    table, padding = _density(image, depth)
    counts = np.bincount(values.ravel(), minlength=len(table.table))
    present, padding, more = dicom_padding.fill_padding(table.table, padding, counts)
    stored = StoredImage(
        values, table.bits, padding=(padding.start, padding.stop), stored_bits=depth
    )
    size = record["spacing_um"]  # an ingest notes this of the pixel size that it takes
    square = square_notes((size[0], size[1])) if size else ()
    notes = [*image.notes, *square, *table.notes, *more, *check_values(stored, None)]
    if frame is None and record["frames"] > 1:
        notes.append(Note(FRAME_OPEN, f"{record['frames']} frames"))
    del record["notes"]
    record |= table.decided | {
        "padding": [padding.start, padding.stop - 1] if padding.stop else None,
        "padded_pixels": int(counts[padding].sum()),
        "bits": table.bits,
        "smallest": float(table.table[present].min()),
        "largest": float(table.table[present].max()),
        "notes": [note.text for note in notes],  # last, where they are seen
    }
    return table.table.take(values), table.bits, record


def _decoded(path: Path, frame: int | None, max_pixels: int) -> Image:
    """One frame, of which the bits that are no gray are cleared or moved out."""
    opened = dicom_fields.read_dataset(path, stop_before_pixels=False)
    record = read_attributes(opened, frame, max_pixels)
    number = select_frame(frame, record["frames"])
    said = dicom_bits.HeaderBits(
        record["bits_stored"],
        record["high_bit"],
        overlays=dicom_fields.get_overlay_bits(opened),
        padding=dicom_fields.get_padding_value(opened),
    )
    frames = dicom_frame.decode(opened, number, record["frames"])
    if frames.words.shape != (record["rows"], record["columns"]):
        raise InputError("its pixels do not have the shape that its header says")
    gray = dicom_bits.extract_gray(frames.words, said._replace(stream=frames.stream_bits))
    record |= {"bits_stored": gray.bits, "high_bit": gray.high, "decoder": frames.decoder}
    outside = dicom_padding.outside_notes(opened, gray.bits)
    padding = dicom_padding.get_padding_range(opened, 1 << gray.bits)
    beyond = dicom_lut.clipping_notes(opened, gray.values, padding)
    notes = (*record["notes"], *frames.notes, *gray.notes, *outside, *beyond)
    return Image(opened, record, gray.values, notes)


def _density(image: Image, bits: int) -> tuple[GrayLUT, slice]:
    """What the values are worth at a depth of `bits`, and which of them are padding."""
    stored_bits = image.record["bits_stored"]
    if bits > stored_bits:
        raise InputError(f"bits {bits} was given, but the file holds gray of {stored_bits} bits")
    found = dicom_gray.compute_gray_lut(image.header, image.record, bits)
    if found.decided["polarity_source"] == "RescaleType" and bits == stored_bits:
        found = found._replace(notes=found.notes + check_od(found.table, image.values))
    if bits == stored_bits:
        return found, dicom_padding.get_padding_range(image.header, len(found.table))
    if found.decided["polarity_source"] == "RescaleType":
        raise InputError(
            f"bits {bits} was given, but its gray is optical density: leave bits empty"
        )
    padding = dicom_padding.get_padding_range(image.header, 1 << stored_bits)
    values, top = image.values, (1 << bits) - 1
    if padding.stop > top + 1:
        # Padding may lie above the gray that the table speaks of.
        outside = (values >= padding.start) & (values < padding.stop)
        check_fit(values[~outside], bits)
        more = np.zeros(padding.stop - len(found.table), np.float32)
        return found._replace(table=np.concatenate([found.table, more])), padding
    check_fit(values, bits)
    return found, padding
