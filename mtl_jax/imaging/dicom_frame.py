"""One frame of a DICOM file as stored, from any transfer syntax. Gives pixels no meaning.

Each transfer syntax has one decoder, whatever else is installed, so that a file reads the same
everywhere. Only who looks at a refused frame by eye may ask for libjpeg's opinion.
"""

import importlib
import warnings
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array

from mtl_jax.imaging.codestream import parse_jpeg, parse_jpeg2000
from mtl_jax.imaging.dicom_header import whole
from mtl_jax.nouns import InputError

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
# libjpeg is under the GPL, so that it comes with the extra alone. It knows no JPEG 2000.
SECOND = tuple(syntax for syntax, (kinds, _) in ENCODED.items() if kinds != ("JPEG 2000",))
SECOND_DECODER = "libjpeg (GPL)"
EXTRA = (
    "install mtl_jax[dicom-gpl], and tools/inspect_dicom.py shows what another decoder, under the"
    " GPL, makes of it"
)


def decode(header: Dataset, frame: int, second_opinion: bool = False) -> tuple[np.ndarray, str]:
    """Stored values (H, W), uint8 or uint16, and who decoded them.

    `second_opinion` asks libjpeg where the usual decoder refuses a JPEG or JPEG-LS frame. It fills
    in what is damaged without a word, so nothing that it gives may go on unseen.
    `header` holds the pixel data too; its Rows, Columns, bits and number of frames were checked by
    the caller. Bits above BitsStored are cleared where the words are stored as they are.
    InputError, the reason alone: an unknown transfer syntax, or a damaged frame.
    """
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax not in (*PLAIN, *ENCODED):
        raise InputError("its transfer syntax is none of still images; export it again")
    if "PixelData" not in header:
        raise InputError("it holds no pixel data")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if syntax in PLAIN:
                plugin = "pydicom" if syntax == uid.RLELossless else ""
                return pixel_array(header, index=frame, decoding_plugin=plugin), "pydicom"
            return _decode_stream(header, frame, syntax, second_opinion)
    except InputError:
        raise
    # Decoders raise many types, and their messages may repeat the header: neither goes on.
    except Exception as error:
        hint = f"; {EXTRA}" if syntax in SECOND and not second_opinion else ""
        raise InputError(_damaged(syntax, error) + hint) from error


def _damaged(syntax: uid.UID, error: Exception) -> str:
    return (
        f"its pixel data cannot be decoded ({syntax.name}; {type(error).__name__}): damaged or cut"
        " short; fetch or export it again"
    )


def _decode_stream(
    header: Dataset, frame: int, syntax: uid.UID, second_opinion: bool
) -> tuple[np.ndarray, str]:
    frames = whole(header, "NumberOfFrames", absent=1)
    data = get_frame(header.PixelData, frame, number_of_frames=frames)
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
    try:
        stored, who = decoder(data), "imagecodecs"
    except Exception as error:  # of many types
        if not second_opinion or syntax not in SECOND:
            raise
        stored, who = _second_opinion(data, syntax, error), SECOND_DECODER
    if stored.dtype not in (np.uint8, np.uint16):
        raise InputError("its compressed frame does not hold unsigned gray of 2 to 16 bits")
    return stored, who


def _second_opinion(data: bytes, syntax: uid.UID, error: Exception) -> np.ndarray:
    """What libjpeg makes of a frame that was refused with `error`, raised again where it cannot."""
    try:
        libjpeg = importlib.import_module("libjpeg")
    except ImportError:
        raise InputError(f"{_damaged(syntax, error)}; {EXTRA}") from error
    try:
        return libjpeg.decode(data)
    except Exception as other:  # of many types
        raise error from other
