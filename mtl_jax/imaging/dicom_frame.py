"""One frame of a DICOM file as stored, from any transfer syntax. Gives pixels no meaning.

Each transfer syntax has one decoder, whatever else is installed, so that a file reads the same
everywhere.
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

# pydicom decodes these itself.
PLAIN = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
)
Decoder = Callable[[bytes], np.ndarray]
# The kinds of stream that each other transfer syntax may hold, and what decodes them.
ENCODED: dict[str, tuple[tuple[str, ...], Decoder]] = {
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
NO_SYNTAX = "TransferSyntaxUID is missing: taken as not compressed, as its length says"


class Decoded(NamedTuple):
    """Words (H, W), uint8 or uint16, as stored, of BitsAllocated bits or what a compressed frame
    gives; the bits that this frame states (None: it is not compressed); who decoded it; notes."""

    words: np.ndarray
    stream_bits: int | None
    decoder: str
    notes: tuple[Note, ...] = ()


def decode(header: Dataset, frame: int, frames: int) -> Decoded:
    """The words of one of `frames` frames; no bit is cleared.

    `header` holds the pixel data too; its Rows, Columns and BitsAllocated were checked by the
    caller. InputError, the reason alone: an unknown transfer syntax, pixel data of another kind or
    of more frames than the header says, or a damaged frame.
    """
    if "PixelData" not in header:
        raise InputError("it holds no pixel data")
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax, notes = _syntax(header, frames)
            notes += check_length(header, syntax, frames)
            # pydicom would clear what is above BitsStored; that is not for a decoder to decide.
            header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
            header.NumberOfFrames = frames
            if syntax in PLAIN:
                plugin = "pydicom" if syntax == uid.RLELossless else ""
                words = pixel_array(header, index=frame, decoding_plugin=plugin)
                return Decoded(words, None, "pydicom", notes)
            words, bits = _decode_stream(header, frame, syntax)
            return Decoded(words, bits, "imagecodecs", notes)
    except InputError:
        raise
    # Decoders raise many types, and their messages may repeat the header: neither goes on.
    except Exception as error:
        # Only a known one is named: the file may hold any text there.
        name = syntax.name if syntax in (*PLAIN, *ENCODED) else "unknown transfer syntax"
        raise InputError(
            f"its pixel data cannot be decoded ({name}; {type(error).__name__}): damaged or cut"
            " short; fetch or export it again"
        ) from error


def _syntax(header: Dataset, frames: int) -> tuple[uid.UID, tuple[Note, ...]]:
    """The transfer syntax, also where the file does not name it and its pixel data decides.

    InputError: it is none of still images, or the pixel data is of another kind than it says.
    """
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    compressed = header["PixelData"].is_undefined_length
    if not syntax:
        if compressed or len(header.PixelData) < frame_bytes(header) * frames:
            raise InputError(
                "its TransferSyntaxUID is missing, and its pixel data is compressed or cut short:"
                " export it again"
            )
        implicit, little = header.original_encoding
        words = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        syntax = header.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if implicit else words
        )
        return syntax, (Note(NO_SYNTAX),)
    if syntax not in (*PLAIN, *ENCODED):
        raise InputError("its transfer syntax is none of still images; export it again")
    encapsulated = syntax in ENCODED or syntax == uid.RLELossless
    if compressed != encapsulated:
        kind = "compressed" if compressed else "not compressed"
        raise InputError(
            f"its TransferSyntaxUID says {syntax.name}, but its pixel data is {kind}: export it"
            " again"
        )
    return syntax, ()


def _decode_stream(header: Dataset, frame: int, syntax: uid.UID) -> tuple[np.ndarray, int]:
    data = get_frame(header.PixelData, frame, number_of_frames=header.NumberOfFrames)
    stream = (parse_jpeg2000 if syntax in uid.JPEG2000TransferSyntaxes else parse_jpeg)(data)
    kinds, decoder = ENCODED[syntax]
    if stream.kind not in kinds:
        raise InputError(f"its compressed frame is {stream.kind}, its header says {syntax.name}")
    if (stream.rows, stream.columns) != (header.Rows, header.Columns):
        raise InputError(
            f"its compressed frame is {stream.columns}x{stream.rows} pixels,"
            f" its header says {header.Columns}x{header.Rows}"
        )
    if not 2 <= stream.bits <= header.BitsAllocated:
        raise InputError(f"its compressed frame has {stream.bits} bits a pixel")
    stored = decoder(data)
    if stored.dtype not in (np.uint8, np.uint16):
        raise InputError("its compressed frame does not hold unsigned gray of 2 to 16 bits")
    return stored, stream.bits
