"""Small images and manifest rows that state each attribute twice, one of them then altered.

Each sample has the expected ROI of its unaltered attributes, computed with NumPy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from kit.dicom import for_processing, set_frames, view_code, write_dicom

ROWS, COLUMNS = 128, 120  # pixels of 100 um: 2x2 of them are one pixel of the ROI
OTHER_SIDE = {"L": "R", "R": "L"}
OTHER_VIEW = {"CC": "MLO", "MLO": "CC"}
CODES = {"CC": "399162004", "MLO": "399368009"}
# PatientOrientation of an upright MLO view: it determines the laterality.
ORIENTATIONS = {("L", "MLO"): ["A", "F"], ("R", "MLO"): ["P", "F"]}
MAGNIFICATION = "399163009"  # SNOMED CT
MAX_GRAY = 4095


@dataclass
class Sample:
    """An image of `kind` and its row. `expected` (128, 128) is the ROI in gray levels; `recorded`
    is whether the altered attribute contradicts another, so that a note or an error is required."""

    kind: str
    stored: np.ndarray
    expected: np.ndarray
    row: dict[str, str]
    tags: dict[str, object] = field(default_factory=dict)
    bits: int = 12
    syntax: str = "ExplicitVRLittleEndian"
    more_rows: list[dict[str, str]] = field(default_factory=list)
    after: Callable[[Path], None] | None = None  # changes the written file
    alteration: str = "none"
    recorded: bool = False


def roi(gray: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    """Return the (128, 128) ROI of gray at 100 um; the centre is in pixels of 200 um."""
    small = gray.reshape(ROWS // 2, 2, COLUMNS // 2, 2).mean((1, 3))
    wide = np.pad(small, 128, mode="symmetric")
    top, left = (middle + 128 - 64 for middle in centre)
    return wide[top : top + 128, left : left + 128]


def make_sample(rng: np.random.Generator, number: int) -> Sample:
    """Return an unaltered sample of a random kind; header and row state the same attributes."""
    gray = _random_gray(rng)
    side, view = str(rng.choice(["L", "R"])), str(rng.choice(["CC", "MLO"]))
    centre = int(rng.integers(24, 40)), int(rng.integers(22, 38))
    top, left = 2 * centre[0] - 8, 2 * centre[1] - 8
    row = {
        "dataset": "fuzz",
        "patient_id": f"P{number}",
        "lesion_id": "1",
        "view": view,
        "laterality": side,
        "modality": "DM",
        "truth": "benign",
        "truth_source": "biopsy",
        "pixel_um": "100",
        "spacing_source": str(rng.choice(["", "", "ImagerPixelSpacing", "service record"])),
        "box": f"{top};{left};{top + 16};{left + 16}",
    }
    kind = str(rng.choice(list(KINDS), p=KIND_SHARES))
    new_sample = KINDS[kind](rng, gray)
    new_sample.row = row | new_sample.row
    if "dicom" in new_sample.kind:
        new_sample.tags = _header(rng, side, view) | new_sample.tags
    elif new_sample.row["spacing_source"].endswith("Spacing"):
        new_sample.row["spacing_source"] = ""
    new_sample.expected = roi(new_sample.expected, centre)
    return new_sample


def _random_gray(rng: np.random.Generator) -> np.ndarray:
    """Return integers over the full range of 0 to 4095, different for each sample."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS] / ROWS
    waves = sum(
        np.cos(6.283 * (rng.uniform(-3, 3) * rows + rng.uniform(-3, 3) * columns) + phase)
        for phase in rng.uniform(0, 6.283, 5)
    )
    noisy = waves + rng.normal(0, 0.1, waves.shape)
    return np.rint((noisy - noisy.min()) * (MAX_GRAY / np.ptp(noisy))).astype(np.uint16)


def _header(rng: np.random.Generator, side: str, view: str) -> dict[str, object]:
    tags: dict[str, object] = {
        "ImageLaterality": side,
        "ViewPosition": view,
        "ViewCodeSequence": view_code(CODES[view], "SCT", view),
        "ImagerPixelSpacing": [0.1, 0.1],
        "PixelSpacing": [0.1, 0.1],
        "EstimatedRadiographicMagnificationFactor": "1.0",
        "DistanceSourceToDetector": "660",
        "DistanceSourceToPatient": "655",
    }
    if (side, view) in ORIENTATIONS and rng.random() < 0.5:
        tags["PatientOrientation"] = ORIENTATIONS[side, view]
    return tags


def _presentation(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    tags = {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}
    return Sample("dicom", gray, gray, {}, tags)


def _inverse(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    return Sample("dicom inverse", MAX_GRAY - gray, gray, {}, tags)


def _raw(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    """Return an exposure of 14 bits, whose gray is 4095 - a ln E (Burgess 2004)."""
    exposure = np.maximum(gray.astype(np.int64) * 4, 1)
    expected = MAX_GRAY - MAX_GRAY * np.log(exposure) / np.log(2**14 - 1)
    return Sample("dicom raw", exposure, expected, {}, for_processing(PixelSpacing=[0.1, 0.1]), 14)


def _compressed(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    new_sample = _presentation(rng, gray)
    new_sample.kind = "dicom compressed"
    new_sample.syntax = str(rng.choice(["JPEG2000Lossless", "JPEGLosslessSV1", "RLELossless"]))
    return new_sample


def _frames(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    new_sample = _presentation(rng, gray)
    frame = int(rng.integers(3))
    frames = [np.roll(gray, 30 + 10 * n, axis=0)[::-1] for n in range(3)]
    frames[frame] = gray
    new_sample.kind, new_sample.stored, new_sample.row = (
        "dicom frames",
        np.stack(frames),
        {"frame": str(frame)},
    )
    return new_sample


def _npy(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    return Sample("npy", gray, gray, {"bits": "12"})


def _float(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    return Sample("float", gray.astype(np.float32), gray, {})


def _png(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    return Sample("png", gray, gray, {"bits": "12"})


def _tiff(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    return Sample("tiff", gray, gray, {"bits": "12"})


def _white(rng: np.random.Generator, gray: np.ndarray) -> Sample:
    """Return a white-is-zero TIFF that uses 12 of 16 bits."""
    return Sample("tiff white", MAX_GRAY - gray, gray, {"bits": "12"})


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], Sample]] = {
    "presentation": _presentation,
    "inverse": _inverse,
    "raw": _raw,
    "compressed": _compressed,
    "frames": _frames,
    "npy": _npy,
    "float": _float,
    "png": _png,
    "tiff": _tiff,
    "white": _white,
}
KIND_SHARES = (0.3, 0.1, 0.12, 0.1, 0.1, 0.06, 0.06, 0.06, 0.06, 0.04)


def write(sample: Sample, path: Path) -> Path:
    """Write the image of a sample to `path` with the suffix of its kind; return that path."""
    kind = sample.kind.split()[0]
    if kind == "dicom":
        path = path.with_suffix(".dcm")
        write_dicom(path, sample.stored, bits=sample.bits, syntax=sample.syntax, **sample.tags)
    elif kind in ("npy", "float"):
        path = path.with_suffix(".npy")
        np.save(path, sample.stored)
    elif kind == "png":
        path = path.with_suffix(".png")
        exif = Image.Exif()
        if "orientation" in sample.tags:
            exif[274] = sample.tags["orientation"]
        Image.fromarray(sample.stored.astype(np.uint16)).save(path, exif=exif)
    else:
        path = path.with_suffix(".tif")
        photometric = "miniswhite" if sample.kind == "tiff white" else "minisblack"
        orientation = sample.tags.get("orientation")
        extra = [(274, "H", 1, orientation, True)] if orientation is not None else []
        pixels = (
            sample.stored if sample.stored.dtype.kind == "f" else sample.stored.astype(np.uint16)
        )
        tifffile.imwrite(path, pixels, photometric=photometric, extratags=extra)
    if sample.after is not None:
        sample.after(path)
    return path


def alter(sample: Sample, rng: np.random.Generator) -> Sample:
    """Alter one attribute of the sample that its kind has."""
    applicable = [name for name, (kinds, _) in ALTERATIONS.items() if kinds(sample)]
    sample.alteration = str(rng.choice(applicable))
    sample.recorded = ALTERATIONS[sample.alteration][1](sample, rng)
    return sample


# Each function alters one attribute and returns whether another attribute now contradicts it. One
# bit more than an image needs is no contradiction: many images use half of their scale.


def _factor(rng: np.random.Generator) -> float:
    """Return a factor of a pixel size: a unit error, a magnification, a rounding, or random."""
    return float(rng.choice([0.001, 0.1, 10, 1.1, 0.7, 0.5, 2, 1.004, rng.uniform(0.3, 3)]))


def _table_side(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["laterality"] = OTHER_SIDE[sample.row["laterality"]]
    return True


def _header_side(sample: Sample, rng: np.random.Generator) -> bool:
    other = OTHER_SIDE[sample.row["laterality"]]
    where = str(rng.choice(["ImageLaterality", "Laterality", "FrameLaterality"]))
    if where == "FrameLaterality":
        anatomy, shared = Dataset(), Dataset()
        anatomy.FrameLaterality = other
        shared.FrameAnatomySequence = Sequence([anatomy])
        sample.tags["SharedFunctionalGroupsSequence"] = Sequence([shared])
    else:
        sample.tags[where] = other
    return True


def _orientation(sample: Sample, rng: np.random.Generator) -> bool:
    sample.tags["PatientOrientation"] = ORIENTATIONS[OTHER_SIDE[sample.row["laterality"]], "MLO"]
    return False  # the laterality attributes take precedence


def _table_view(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["view"] = str(rng.choice([OTHER_VIEW[sample.row["view"]], "ML", "XCCL"]))
    return True


def _header_view(sample: Sample, rng: np.random.Generator) -> bool:
    sample.tags["ViewPosition"] = OTHER_VIEW[sample.row["view"]]
    return True


def _table_modality(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["modality"] = "SFM"
    return True


def _table_spacing(sample: Sample, rng: np.random.Generator) -> bool:
    factor = _factor(rng)
    sample.row["pixel_um"] = f"{100 * factor:.6g}"
    return abs(factor - 1) > 0.012


def _table_columns(sample: Sample, rng: np.random.Generator) -> bool:
    factor = _factor(rng)
    if not sample.kind.startswith("dicom") and abs(factor - 1) < 0.012:
        factor = 1.1  # no header contradicts 100;100.4
    sample.row["pixel_um"] = f"100;{100 * factor:.6g}"
    return abs(factor - 1) > 0.012


def _header_spacing(sample: Sample, rng: np.random.Generator) -> bool:
    """Alter one of two spacings; the row states the pixel size or leaves it to the header."""
    sample.row["pixel_um"] = str(rng.choice(["100", ""]))
    if not sample.row["pixel_um"]:
        sample.row["spacing_source"] = ""
    factor = _factor(rng)
    keyword = str(rng.choice(["ImagerPixelSpacing", "PixelSpacing"]))
    rows = 1 if rng.random() < 0.2 else factor
    sample.tags[keyword] = [0.1 * rows, 0.1 * factor]
    return keyword == "ImagerPixelSpacing" and abs(factor - 1) > 0.012


def _magnification(sample: Sample, rng: np.random.Generator) -> bool:
    factor = float(rng.choice([0.5, 1.05, 1.1, 1.5, 1.8, 0, rng.uniform(0.8, 2.2)]))
    sample.tags["EstimatedRadiographicMagnificationFactor"] = f"{factor:.4g}"
    return factor > 1.25


def _modifier(sample: Sample, rng: np.random.Generator) -> bool:
    item = view_code(CODES[sample.row["view"]], "SCT", "view")
    item[0].ViewModifierCodeSequence = view_code(MAGNIFICATION, "SCT", "magnified")
    sample.tags["ViewCodeSequence"] = item
    return True


def _distances(sample: Sample, rng: np.random.Generator) -> bool:
    distance = float(rng.choice([0, 330, 440, 630, 700, rng.uniform(200, 655)]))
    sample.tags["DistanceSourceToPatient"] = f"{distance:.5g}"
    return 0 < distance < 520


def _high_bit(sample: Sample, rng: np.random.Generator) -> bool:
    high = int(rng.integers(0, 16))
    sample.tags["HighBit"] = high
    return high != sample.bits - 1


def _bits_stored(sample: Sample, rng: np.random.Generator) -> bool:
    stored = int(rng.choice([bits for bits in range(8, 17) if bits != sample.bits + 1]))
    sample.tags["BitsStored"] = stored
    sample.tags["HighBit"] = stored - 1 if rng.random() < 0.5 else sample.bits - 1
    return stored != sample.bits


def _table_bits(sample: Sample, rng: np.random.Generator) -> bool:
    bits = int(rng.choice([bits for bits in range(8, 17) if bits != sample.bits + 1]))
    sample.row["bits"] = str(bits)
    return bits != sample.bits


def _polarity(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["polarity"] = "dark_dense"
    return True


def _photometric(sample: Sample, rng: np.random.Generator) -> bool:
    other = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    sample.tags["PhotometricInterpretation"] = other[str(sample.tags["PhotometricInterpretation"])]
    return True


def _lut_shape(sample: Sample, rng: np.random.Generator) -> bool:
    other = {"IDENTITY": "INVERSE", "INVERSE": "IDENTITY"}
    sample.tags["PresentationLUTShape"] = other[str(sample.tags["PresentationLUTShape"])]
    return True


def _intent(sample: Sample, rng: np.random.Generator) -> bool:
    raw = sample.kind == "dicom raw"
    sample.tags["PresentationIntentType"] = "FOR PRESENTATION" if raw else "FOR PROCESSING"
    return True


def _sign(sample: Sample, rng: np.random.Generator) -> bool:
    sample.tags["PixelIntensityRelationshipSign"] = -1
    return True


def _frame_count(sample: Sample, rng: np.random.Generator) -> bool:
    count = int(rng.choice([0, 1, 2, 3, 4, 7]))
    sample.tags["NumberOfFrames"] = count
    return count != (1 if sample.stored.ndim == 2 else 3)


def _no_frame(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["frame"] = ""
    return True


def _frame(sample: Sample, rng: np.random.Generator) -> bool:
    sample.row["frame"] = str(int(rng.integers(1, 4)) + (2 if sample.stored.ndim == 3 else 0))
    return True


def _turned(sample: Sample, rng: np.random.Generator) -> bool:
    tag = int(rng.integers(0, 9))
    sample.tags["orientation"] = tag
    return tag > 1


def _unit_scale(sample: Sample, rng: np.random.Generator) -> bool:
    top = float(
        rng.choice([MAX_GRAY, MAX_GRAY * 255 / 256, 2 * MAX_GRAY, MAX_GRAY / 255, MAX_GRAY * 2])
    )
    sample.stored = (sample.stored.astype(np.float64) / top).astype(np.float32)
    return True


def _precision(sample: Sample, rng: np.random.Generator) -> bool:
    """Alter the precision of a JPEG 2000 stream against BitsStored."""
    bits = int(rng.choice([12, 14, 16]))
    stream = bytes(
        imagecodecs.jpeg2k_encode(
            sample.stored, level=0, codecformat="j2k", bitspersample=bits, reversible=True
        )
    )

    def replace(path: Path) -> None:
        header = pydicom.dcmread(path)
        set_frames(header, [stream])
        header.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        pydicom.dcmwrite(path, header, enforce_file_format=True)

    sample.syntax, sample.after = "ExplicitVRLittleEndian", replace
    return False  # the values and the ROI stay the same


def _length(sample: Sample, rng: np.random.Generator) -> bool:
    """Alter Rows or Columns against the length of the pixel data."""
    keyword = str(rng.choice(["Rows", "Columns"]))
    size = {"Rows": ROWS, "Columns": COLUMNS}[keyword]
    sample.tags[keyword] = int(rng.choice([size // 2, size - 2, size + 2, 2 * size]))
    return True


def _syntax(sample: Sample, rng: np.random.Generator) -> bool:
    """Set a compressed transfer syntax for uncompressed words."""
    name = str(rng.choice(["JPEGLosslessSV1", "JPEG2000Lossless", "RLELossless"]))

    def rename(path: Path) -> None:
        header = pydicom.dcmread(path)
        words = header.PixelData
        set_frames(header, [words])
        header.file_meta.TransferSyntaxUID = getattr(uid, name)
        pydicom.dcmwrite(path, header, enforce_file_format=True)

    sample.after = rename
    return True


def _second_row(sample: Sample, rng: np.random.Generator) -> bool:
    """Add a lesion of the same image, whose row states one attribute differently."""
    column, value = (
        ("pixel_um", "50"),
        ("bits", "13"),
        ("polarity", "dark_dense"),
        ("laterality", OTHER_SIDE[sample.row["laterality"]]),
        ("view", OTHER_VIEW[sample.row["view"]]),
        ("modality", "SFM"),
    )[rng.integers(6)]
    sample.more_rows.append(sample.row | {"lesion_id": "2", column: value})
    return True


def _is(*kinds: str) -> Callable[[Sample], bool]:
    return lambda sample: sample.kind in kinds


def _dicom(sample: Sample) -> bool:
    return sample.kind.startswith("dicom")


def _any(sample: Sample) -> bool:
    return True


def _image_with_tag(sample: Sample) -> bool:
    return sample.kind in ("png", "tiff", "tiff white")


def _plain(sample: Sample) -> bool:
    return sample.kind in ("dicom", "dicom inverse", "dicom raw")


ALTERATIONS: dict[
    str, tuple[Callable[[Sample], bool], Callable[[Sample, np.random.Generator], bool]]
] = {
    "side of the table": (_dicom, _table_side),
    "side of the header": (_dicom, _header_side),
    "orientation": (lambda sample: _dicom(sample) and sample.row["view"] == "MLO", _orientation),
    "view of the table": (_dicom, _table_view),
    "view of the header": (_dicom, _header_view),
    "modality of the table": (_dicom, _table_modality),
    "pixel size of the table": (_dicom, _table_spacing),
    "row against column": (_any, _table_columns),
    "pixel size of the header": (_dicom, _header_spacing),
    "magnification factor": (_dicom, _magnification),
    "magnification modifier": (_dicom, _modifier),
    "distances": (_dicom, _distances),
    "HighBit": (_plain, _high_bit),
    "BitsStored": (_plain, _bits_stored),
    "bits of the table": (_any, _table_bits),
    "polarity of the table": (_is("dicom inverse", "dicom raw", "tiff white"), _polarity),
    "photometric interpretation": (_is("dicom", "dicom inverse"), _photometric),
    "presentation LUT shape": (_is("dicom", "dicom inverse"), _lut_shape),
    "intent": (_dicom, _intent),
    "intensity sign": (_is("dicom raw"), _sign),
    "number of frames": (lambda sample: _dicom(sample) and "comp" not in sample.kind, _frame_count),
    "no frame": (_is("dicom frames"), _no_frame),
    "frame": (_any, _frame),
    "orientation tag": (_image_with_tag, _turned),
    "scale of floats": (_is("float"), _unit_scale),
    "precision of the stream": (_is("dicom compressed"), _precision),
    "rows and columns": (_plain, _length),
    "transfer syntax": (_plain, _syntax),
    "second row": (_any, _second_row),
}
