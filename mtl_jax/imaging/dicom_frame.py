"""One frame of a DICOM file as stored, from any transfer syntax. Gives pixels no meaning.

Each transfer syntax has one decoder, whatever else is installed, so that a file reads the same
everywhere.
"""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import gdcm
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array

from mtl_jax.imaging.codestream import parse_jpeg, parse_jpeg2000
from mtl_jax.imaging.dicom_header import whole
from mtl_jax.nouns import InputError

PLAIN = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
DECODERS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pylibjpeg",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
KINDS = {
    uid.JPEGBaseline8Bit: ("baseline",),
    uid.JPEGExtended12Bit: ("baseline", "extended"),
    uid.JPEGLossless: ("lossless",),
    uid.JPEGLosslessSV1: ("lossless",),
    uid.JPEGLSLossless: ("JPEG-LS",),
    uid.JPEGLSNearLossless: ("JPEG-LS",),
}
DAMAGE = re.compile("Corrupt JPEG data|Premature end of JPEG")

# GDCM's own messages go to stderr; what matters of them comes back as an error.
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()
gdcm.Trace.DebugOff()


def decode(header: Dataset, frame: int) -> tuple[np.ndarray, str]:
    """Stored values (H, W), uint8 or uint16, bits above BitsStored cleared, and the decoder's name.

    `header` holds the pixel data too, its Rows, Columns and bits checked by the caller. InputError:
    an unknown transfer syntax, a damaged frame, or a decoder that is not installed.
    """
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax not in (*PLAIN, *DECODERS):
        raise InputError("its transfer syntax is none of still images; export it again")
    if "PixelData" not in header:
        raise InputError("it holds no pixel data")
    plugin = DECODERS.get(syntax, "")
    if syntax in (*KINDS, *uid.JPEG2000TransferSyntaxes):
        header, bits = _checked(header, frame, syntax)
        frame = 0
        if syntax == uid.JPEGExtended12Bit and bits == 8:
            plugin = "pillow"
        elif syntax == uid.JPEGExtended12Bit and find_spec("libjpeg") is None:
            raise InputError(
                "12-bit JPEG Extended needs a decoder under the GPL, so it is an extra:"
                " pip install 'mtl_jax[dicom-gpl]'"
            )
    try:
        with warnings.catch_warnings(), _no_damage(plugin == "gdcm"):
            warnings.simplefilter("ignore")
            return pixel_array(header, index=frame, decoding_plugin=plugin), plugin or "pydicom"
    except InputError:
        raise
    # Decoders raise many types, and their messages may repeat the header: neither goes on.
    except Exception as error:
        raise InputError(
            f"its pixel data cannot be decoded ({syntax.name}; {type(error).__name__}): damaged or"
            " cut short; fetch or export it again"
        ) from error


def _checked(header: Dataset, frame: int, syntax: uid.UID) -> tuple[Dataset, int]:
    """A header of that frame alone, its stream as large as the header says, and its precision."""
    try:
        frames = whole(header, "NumberOfFrames", absent=1)
        data = get_frame(header.PixelData, frame, number_of_frames=frames)
    except InputError:
        raise
    except Exception as error:
        raise InputError("its compressed frames are damaged or cut short") from error
    stream = (parse_jpeg if syntax in KINDS else parse_jpeg2000)(data)
    if syntax in KINDS and stream.kind not in KINDS[syntax]:
        raise InputError(f"its frame is JPEG {stream.kind}, its header says {syntax.name}")
    if (stream.rows, stream.columns) != (header.Rows, header.Columns):
        raise InputError(
            f"its compressed frame is {stream.columns}x{stream.rows} pixels,"
            f" its header says {header.Columns}x{header.Rows}"
        )
    if not 2 <= stream.bits <= header.BitsAllocated:
        raise InputError(f"its compressed frame has {stream.bits} bits a pixel")
    alone = Dataset()
    alone.file_meta = header.file_meta
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(alone, keyword, whole(header, keyword))
    alone.SamplesPerPixel, alone.PixelRepresentation = 1, 0
    alone.PhotometricInterpretation = "MONOCHROME2"
    alone.PixelData = encapsulate([stream.data])
    alone["PixelData"].is_undefined_length = True
    return alone, stream.bits


@contextmanager
def _no_damage(listen: bool) -> Iterator[None]:
    """InputError if the decoder in C wrote of damage to stderr, its only way to say so.

    It fills in what is missing and reports success: without this, a file cut short would be read
    as an image that turns flat half-way.
    """
    if not listen:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard:
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            said = heard.read().decode(errors="replace")
    if DAMAGE.search(said):
        raise InputError("its pixel data are damaged or cut short; fetch or export it again")
