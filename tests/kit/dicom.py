"""Write small DICOM mammograms with every kind of header and transfer syntax."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from kit.jpeg_lossless import encode

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Pixels must not change in any of these.
LOSSLESS = (
    "ImplicitVRLittleEndian",
    "ExplicitVRLittleEndian",
    "ExplicitVRBigEndian",
    "DeflatedExplicitVRLittleEndian",
    "RLELossless",
    "JPEGLossless",  # .57
    "JPEGLosslessSV1",  # .70
    "JPEGLSLossless",
    "JPEG2000Lossless",
    "HTJ2KLossless",
)
# Encoders independent of the decoders under test, except for HTJ2K.
PLUGINS = {
    uid.RLELossless: "pydicom",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
}
STREAMS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    uid.JPEGLossless: lambda gray, bits: encode(gray, bits, predictor=4),
    uid.JPEGLosslessSV1: lambda gray, bits: encode(gray, bits, predictor=1),
    uid.HTJ2KLossless: lambda gray, bits: imagecodecs.htj2k_encode(
        gray.astype(np.uint8 if bits <= 8 else np.uint16), reversible=True
    ),
}


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    bits: int = 12,
    syntax: str = "ExplicitVRLittleEndian",
    **tags: object,
) -> Path:
    """Write stored gray, (H, W) or (frames, H, W), and return `path`.

    `syntax` is a pydicom name of a transfer syntax. `tags` are DICOM keywords, which replace or
    extend those of a MONOCHROME2 MG For Presentation image; None removes one. Images of up to 8
    bits are stored in bytes, others in 16-bit words.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _header(np.asarray(pixels), bits)
    for keyword, value in tags.items():
        if value is None:
            header.pop(keyword, None)
        else:
            setattr(header, keyword, value)
    header.file_meta.MediaStorageSOPClassUID = header.get("SOPClassUID", FOR_PRESENTATION)
    syntax_uid = getattr(uid, syntax)
    if syntax_uid in STREAMS:
        frames = pixels.reshape(-1, *pixels.shape[-2:])
        set_frames(header, [STREAMS[syntax_uid](gray, bits) for gray in frames])
    elif syntax_uid in PLUGINS:
        header.compress(
            syntax_uid, encoding_plugin=PLUGINS[syntax_uid], generate_instance_uid=False
        )
    elif syntax_uid == uid.ExplicitVRBigEndian and header.BitsAllocated == 16:
        header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
    header.file_meta.TransferSyntaxUID = syntax_uid
    pydicom.dcmwrite(path, header, enforce_file_format=True)
    return path


def set_frames(header: Dataset, streams: list[bytes]) -> None:
    """Set the pixel data of a dataset to compressed `streams`, one per frame."""
    header.PixelData = encapsulate(streams)
    header["PixelData"].is_undefined_length = True
    header["PixelData"].VR = "OB"


def for_processing(**tags: object) -> dict[str, object]:
    """Return tags of a raw detector image, linear in exposure and dark where dense."""
    return {
        "SOPClassUID": FOR_PROCESSING,
        "PresentationIntentType": "FOR PROCESSING",
        "PhotometricInterpretation": "MONOCHROME1",
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "ImagerPixelSpacing": [0.1, 0.1],
    } | tags


def digitized_film(**tags: object) -> dict[str, object]:
    """Return tags of a scanned film as Secondary Capture."""
    return {
        "SOPClassUID": SECONDARY_CAPTURE,
        "ConversionType": "DF",
        "PresentationIntentType": None,
        "PixelIntensityRelationship": None,
        "PixelIntensityRelationshipSign": None,
        "NominalScannedPixelSpacing": [0.05, 0.05],
    } | tags


def view_code(value: str, scheme: str, meaning: str) -> Sequence:
    """Return a ViewCodeSequence of one item, such as ('399162004', 'SCT', 'cranio-caudal')."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def lut(table: list[int] | np.ndarray, first: int, bits: int) -> Sequence:
    """Return a VOILUTSequence or ModalityLUTSequence of one table that starts at `first`."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(table) % 65536, first, bits])
    item.add_new("LUTData", "US", [int(value) for value in table])
    return Sequence([item])


def _header(pixels: np.ndarray, bits: int) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    header.SOPClassUID = FOR_PRESENTATION
    header.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    header.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    header.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    header.PatientName, header.PatientID = "Secret^Name", "SECRET-ID"
    header.PatientBirthDate, header.StudyDate = "19500102", "20010203"
    header.InstitutionName, header.Modality = "Secret Hospital", "MG"
    header.PresentationIntentType = "FOR PRESENTATION"
    header.PixelIntensityRelationship = "LOG"
    header.PixelIntensityRelationshipSign = 1
    header.Rows, header.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        header.NumberOfFrames = len(pixels)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    allocated = 8 if bits <= 8 else 16
    header.BitsAllocated, header.BitsStored, header.HighBit = allocated, bits, bits - 1
    header.PixelRepresentation = 0
    words = pixels.astype("u1" if allocated == 8 else "<u2").tobytes()
    header.PixelData = words + b"\0" * (len(words) % 2)
    header["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return header
