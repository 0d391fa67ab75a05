"""Decode one frame of a DICOM file from any transfer syntax of still images.

Each transfer syntax has exactly one decoder, whatever else is installed, so that a file decodes to
the same values on every machine.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array

from mtl_jax.imaging.codestream import parse_jpeg, parse_jpeg2000
from mtl_jax.imaging.dicom_length import check_length, frame_bytes
from mtl_jax.types import InputError, Note

# pydicom decodes these without a plugin.
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
)
Decoder = Callable[[bytes], np.ndarray]
# The kinds of codestream that each other transfer syntax may hold, and their decoder.
ENCAPSULATED: dict[str, tuple[tuple[str, ...], Decoder]] = {
    uid.JPEGBaseline8Bit: (("baseline",), imagecodecs.jpeg_decode),
    uid.JPEGExtended12Bit: (("baseline", "extended"), imagecodecs.jpeg_decode),
    uid.JPEGLossless: (("lossless",), imagecodecs.jpeg_decode),
    uid.JPEGLosslessSV1: (("lossless",), imagecodecs.jpeg_decode),
    uid.JPEGLSLossless: (("JPEG-LS",), imagecodecs.jpegls_decode),
    uid.JPEGLSNearLossless: (("JPEG-LS",), imagecodecs.jpegls_decode),
    uid.JPEG2000Lossless: (("JPEG 2000",), imagecodecs.jpeg2k_decode),
    uid.JPEG2000: (("JPEG 2000",), imagecodecs.jpeg2k_decode),
    uid.HTJ2KLossless: (("JPEG 2000",), imagecodecs.jpeg2k_decode),
    uid.HTJ2KLosslessRPCL: (("JPEG 2000",), imagecodecs.jpeg2k_decode),
    uid.HTJ2K: (("JPEG 2000",), imagecodecs.jpeg2k_decode),
}
ALWAYS_LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
NO_SYNTAX = "TransferSyntaxUID is missing: read as not compressed, according to its length"


class DecodedFrame(NamedTuple):
    """Stored words (H, W), uint8 or uint16; the bits that a compressed frame states (None if it is
    not compressed); the package that decoded it; notes."""

    words: np.ndarray
    stream_bits: int | None
    decoder: str
    notes: tuple[Note, ...] = ()


def decode(header: Dataset, frame: int, frames: int) -> DecodedFrame:
    """Return the words of frame number `frame` (from 0) of `frames`, without clearing any bit.

    The caller has checked Rows, Columns and BitsAllocated. Raises InputError, which does not name
    the file, if the transfer syntax is unknown or contradicts the pixel data, the pixel data holds
    more frames than the header states, or the frame is damaged.
    """
    if "PixelData" not in header:
        raise InputError("the file contains no PixelData; export it again")
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax, notes = _syntax(header, frames)
            notes += check_length(header, syntax, frames)
            # pydicom would clear the bits above BitsStored, which dicom_bits has to see.
            header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
            header.NumberOfFrames = frames
            if syntax in NATIVE:
                plugin = "pydicom" if syntax == uid.RLELossless else ""
                words = pixel_array(header, index=frame, decoding_plugin=plugin)
                return DecodedFrame(words, None, "pydicom", notes)
            words, bits = _decode_stream(header, frame, syntax)
            return DecodedFrame(words, bits, "imagecodecs", notes)
    except InputError:
        raise
    # Decoders raise exceptions of many types, whose messages may quote the header: drop both.
    except Exception as error:
        # Name only a known syntax: the file may hold any text there.
        name = syntax.name if syntax in (*NATIVE, *ENCAPSULATED) else "unknown transfer syntax"
        raise InputError(
            f"its pixel data cannot be decoded ({name}; {type(error).__name__}): damaged or cut"
            " short; fetch or export it again"
        ) from error


def _syntax(header: Dataset, frames: int) -> tuple[uid.UID, tuple[Note, ...]]:
    """Return the transfer syntax; if the file does not state it, infer it from the pixel data."""
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    compressed = header["PixelData"].is_undefined_length
    if not syntax:
        if compressed or len(header.PixelData) < frame_bytes(header) * frames:
            raise InputError(
                "its TransferSyntaxUID is missing, and its pixel data is compressed or cut short:"
                " export it again"
            )
        implicit, little = header.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        syntax = header.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if implicit else explicit
        )
        return syntax, (Note(NO_SYNTAX),)
    if syntax not in (*NATIVE, *ENCAPSULATED):
        raise InputError("its transfer syntax is of video or not supported; export it again")
    encapsulated = syntax in ENCAPSULATED or syntax == uid.RLELossless
    if compressed != encapsulated:
        kind = "compressed" if compressed else "not compressed"
        raise InputError(
            f"its TransferSyntaxUID states {syntax.name}, but its pixel data is {kind}: export it"
            " again"
        )
    return syntax, ()


def _decode_stream(header: Dataset, frame: int, syntax: uid.UID) -> tuple[np.ndarray, int]:
    """Return the words of one compressed frame and the bits that it states."""
    data = get_frame(header.PixelData, frame, number_of_frames=header.NumberOfFrames)
    stream = (parse_jpeg2000 if syntax in uid.JPEG2000TransferSyntaxes else parse_jpeg)(data)
    kinds, decoder = ENCAPSULATED[syntax]
    if stream.kind not in kinds:
        raise InputError(
            f"its compressed frame is {stream.kind}, its header states {syntax.name};"
            " export it again"
        )
    if (stream.rows, stream.columns) != (header.Rows, header.Columns):
        raise InputError(
            f"its compressed frame is {stream.columns}x{stream.rows} pixels,"
            f" its header states {header.Columns}x{header.Rows}; export it again"
        )
    if not 2 <= stream.bits <= header.BitsAllocated:
        raise InputError(
            f"its compressed frame has {stream.bits} bits per pixel: expected 2 to"
            f" {header.BitsAllocated} (BitsAllocated); export it again"
        )
    words = decoder(data)
    if words.dtype not in (np.uint8, np.uint16):
        raise InputError(
            "its compressed frame is not unsigned gray of 2 to 16 bits; export it again"
        )
    return words, stream.bits
