"""Small images and rows of a manifest whose facts are stated twice, of which one is then altered.

Every sample knows the ROI that its unaltered facts mean, worked out with NumPy alone.
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

ROWS, COLUMNS = 128, 120  # of 100 um, so that two by two of them make a pixel of the ROI
OTHER_SIDE = {"L": "R", "R": "L"}
OTHER_VIEW = {"CC": "MLO", "MLO": "CC"}
CODES = {"CC": "399162004", "MLO": "399368009"}
# Row and column directions of an image hung upright, which is what tells the side of an MLO view.
ORIENTATIONS = {("L", "MLO"): ["A", "F"], ("R", "MLO"): ["P", "F"]}
MAGNIFICATION = "399163009"  # SNOMED CT
TOP = 4095


@dataclass
class Sample:
    """An image of `kind` and its row. `expected` (128, 128) is the ROI in gray levels; `recorded`
    is whether the altered fact contradicts another, so that a note or a rejection is due."""

    kind: str
    stored: np.ndarray
    expected: np.ndarray
    row: dict[str, str]
    tags: dict[str, object] = field(default_factory=dict)
    bits: int = 12
    syntax: str = "ExplicitVRLittleEndian"
    more_rows: list[dict[str, str]] = field(default_factory=list)
    after: Callable[[Path], None] | None = None  # what is done to the file that was written
    alteration: str = "none"
    recorded: bool = False


def roi(density: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    """The (128, 128) ROI of a density at 100 um, its centre in pixels of 200 um."""
    small = density.reshape(ROWS // 2, 2, COLUMNS // 2, 2).mean((1, 3))
    wide = np.pad(small, 128, mode="symmetric")
    top, left = (middle + 128 - 64 for middle in centre)
    return wide[top : top + 128, left : left + 128]


def sample(rng: np.random.Generator, number: int) -> Sample:
    """A sample of a random kind, unaltered: each of its facts stated as often as the kind can."""
    density = _density(rng)
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
    made = KINDS[kind](rng, density)
    made.row = row | made.row
    if "dicom" in made.kind:
        made.tags = _header(rng, side, view) | made.tags
    elif made.row["spacing_source"].endswith("Spacing"):
        made.row["spacing_source"] = ""
    made.expected = roi(made.expected, centre)
    return made


def _density(rng: np.random.Generator) -> np.ndarray:
    """Whole numbers from 0 to 4095, all of the scale used; of no two samples the same."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS] / ROWS
    waves = sum(
        np.cos(6.283 * (rng.uniform(-3, 3) * rows + rng.uniform(-3, 3) * columns) + phase)
        for phase in rng.uniform(0, 6.283, 5)
    )
    noisy = waves + rng.normal(0, 0.1, waves.shape)
    return np.rint((noisy - noisy.min()) * (TOP / np.ptp(noisy))).astype(np.uint16)


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


def _presentation(rng: np.random.Generator, density: np.ndarray) -> Sample:
    tags = {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}
    return Sample("dicom", density, density, {}, tags)


def _inverse(rng: np.random.Generator, density: np.ndarray) -> Sample:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    return Sample("dicom inverse", TOP - density, density, {}, tags)


def _raw(rng: np.random.Generator, density: np.ndarray) -> Sample:
    """Exposure of 14 bits: its density is 4095 - a ln E, by Burgess 2004."""
    exposure = np.maximum(density.astype(np.int64) * 4, 1)
    expected = TOP - TOP * np.log(exposure) / np.log(2**14 - 1)
    return Sample("dicom raw", exposure, expected, {}, for_processing(PixelSpacing=[0.1, 0.1]), 14)


def _compressed(rng: np.random.Generator, density: np.ndarray) -> Sample:
    found = _presentation(rng, density)
    found.kind = "dicom compressed"
    found.syntax = str(rng.choice(["JPEG2000Lossless", "JPEGLosslessSV1", "RLELossless"]))
    return found


def _frames(rng: np.random.Generator, density: np.ndarray) -> Sample:
    found = _presentation(rng, density)
    chosen = int(rng.integers(3))
    others = [np.roll(density, 30 + 10 * n, axis=0)[::-1] for n in range(3)]
    others[chosen] = density
    found.kind, found.stored, found.row = "dicom frames", np.stack(others), {"frame": str(chosen)}
    return found


def _npy(rng: np.random.Generator, density: np.ndarray) -> Sample:
    return Sample("npy", density, density, {"bits": "12"})


def _float(rng: np.random.Generator, density: np.ndarray) -> Sample:
    return Sample("float", density.astype(np.float32), density, {})


def _png(rng: np.random.Generator, density: np.ndarray) -> Sample:
    return Sample("png", density, density, {"bits": "12"})


def _tiff(rng: np.random.Generator, density: np.ndarray) -> Sample:
    return Sample("tiff", density, density, {"bits": "12"})


def _white(rng: np.random.Generator, density: np.ndarray) -> Sample:
    """White is zero in the 12 bits that are used of 16."""
    return Sample("tiff white", TOP - density, density, {"bits": "12"})


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


def write(one: Sample, path: Path) -> Path:
    """Writes the image of a sample beside `path`, with the suffix of its kind."""
    kind = one.kind.split()[0]
    if kind == "dicom":
        path = path.with_suffix(".dcm")
        write_dicom(path, one.stored, bits=one.bits, syntax=one.syntax, **one.tags)
    elif kind in ("npy", "float"):
        path = path.with_suffix(".npy")
        np.save(path, one.stored)
    elif kind == "png":
        path = path.with_suffix(".png")
        exif = Image.Exif()
        if "orientation" in one.tags:
            exif[274] = one.tags["orientation"]
        Image.fromarray(one.stored.astype(np.uint16)).save(path, exif=exif)
    else:
        path = path.with_suffix(".tif")
        photometric = "miniswhite" if one.kind == "tiff white" else "minisblack"
        turned = one.tags.get("orientation")
        extra = [(274, "H", 1, turned, True)] if turned is not None else []
        pixels = one.stored if one.stored.dtype.kind == "f" else one.stored.astype(np.uint16)
        tifffile.imwrite(path, pixels, photometric=photometric, extratags=extra)
    if one.after is not None:
        one.after(path)
    return path


def alter(one: Sample, rng: np.random.Generator) -> Sample:
    """Alters one fact of the sample, whichever can be altered in its kind."""
    fitting = [name for name, (kinds, _) in ALTERATIONS.items() if kinds(one)]
    one.alteration = str(rng.choice(fitting))
    one.recorded = ALTERATIONS[one.alteration][1](one, rng)
    return one


# Each alters one fact and returns whether another fact contradicts it now. One bit more than an
# image needs contradicts nothing: images that use half of their scale are usual.


def _factor(rng: np.random.Generator) -> float:
    """Of a pixel size: a unit, a magnification, a rounding, or anything."""
    return float(rng.choice([0.001, 0.1, 10, 1.1, 0.7, 0.5, 2, 1.004, rng.uniform(0.3, 3)]))


def _table_side(one: Sample, rng: np.random.Generator) -> bool:
    one.row["laterality"] = OTHER_SIDE[one.row["laterality"]]
    return True


def _header_side(one: Sample, rng: np.random.Generator) -> bool:
    other = OTHER_SIDE[one.row["laterality"]]
    where = str(rng.choice(["ImageLaterality", "Laterality", "FrameLaterality"]))
    if where == "FrameLaterality":
        anatomy, shared = Dataset(), Dataset()
        anatomy.FrameLaterality = other
        shared.FrameAnatomySequence = Sequence([anatomy])
        one.tags["SharedFunctionalGroupsSequence"] = Sequence([shared])
    else:
        one.tags[where] = other
    return True


def _orientation(one: Sample, rng: np.random.Generator) -> bool:
    one.tags["PatientOrientation"] = ORIENTATIONS[OTHER_SIDE[one.row["laterality"]], "MLO"]
    return False  # the fields that name the side decide; what they say is used for nothing


def _table_view(one: Sample, rng: np.random.Generator) -> bool:
    one.row["view"] = str(rng.choice([OTHER_VIEW[one.row["view"]], "ML", "XCCL"]))
    return True


def _header_view(one: Sample, rng: np.random.Generator) -> bool:
    one.tags["ViewPosition"] = OTHER_VIEW[one.row["view"]]
    return True


def _table_modality(one: Sample, rng: np.random.Generator) -> bool:
    one.row["modality"] = "SFM"
    return True


def _table_spacing(one: Sample, rng: np.random.Generator) -> bool:
    factor = _factor(rng)
    one.row["pixel_um"] = f"{100 * factor:.6g}"
    return abs(factor - 1) > 0.012


def _table_columns(one: Sample, rng: np.random.Generator) -> bool:
    factor = _factor(rng)
    if not one.kind.startswith("dicom") and abs(factor - 1) < 0.012:
        factor = 1.1  # no header contradicts 100;100.4
    one.row["pixel_um"] = f"100;{100 * factor:.6g}"
    return abs(factor - 1) > 0.012


def _header_spacing(one: Sample, rng: np.random.Generator) -> bool:
    """Of one of two fields; the row says the pixel size, or leaves it to the header."""
    one.row["pixel_um"] = str(rng.choice(["100", ""]))
    if not one.row["pixel_um"]:
        one.row["spacing_source"] = ""
    factor = _factor(rng)
    which = str(rng.choice(["ImagerPixelSpacing", "PixelSpacing"]))
    rows = 1 if rng.random() < 0.2 else factor
    one.tags[which] = [0.1 * rows, 0.1 * factor]
    return which == "ImagerPixelSpacing" and abs(factor - 1) > 0.012


def _magnification(one: Sample, rng: np.random.Generator) -> bool:
    factor = float(rng.choice([0.5, 1.05, 1.1, 1.5, 1.8, 0, rng.uniform(0.8, 2.2)]))
    one.tags["EstimatedRadiographicMagnificationFactor"] = f"{factor:.4g}"
    return factor > 1.25


def _modifier(one: Sample, rng: np.random.Generator) -> bool:
    item = view_code(CODES[one.row["view"]], "SCT", "view")
    item[0].ViewModifierCodeSequence = view_code(MAGNIFICATION, "SCT", "magnified")
    one.tags["ViewCodeSequence"] = item
    return True


def _distances(one: Sample, rng: np.random.Generator) -> bool:
    distance = float(rng.choice([0, 330, 440, 630, 700, rng.uniform(200, 655)]))
    one.tags["DistanceSourceToPatient"] = f"{distance:.5g}"
    return 0 < distance < 520


def _high_bit(one: Sample, rng: np.random.Generator) -> bool:
    high = int(rng.integers(0, 16))
    one.tags["HighBit"] = high
    return high != one.bits - 1


def _bits_stored(one: Sample, rng: np.random.Generator) -> bool:
    stored = int(rng.choice([bits for bits in range(8, 17) if bits != one.bits + 1]))
    one.tags["BitsStored"] = stored
    one.tags["HighBit"] = stored - 1 if rng.random() < 0.5 else one.bits - 1
    return stored != one.bits


def _table_bits(one: Sample, rng: np.random.Generator) -> bool:
    bits = int(rng.choice([bits for bits in range(8, 17) if bits != one.bits + 1]))
    one.row["bits"] = str(bits)
    return bits != one.bits


def _polarity(one: Sample, rng: np.random.Generator) -> bool:
    one.row["polarity"] = "dark_dense"
    return True


def _photometric(one: Sample, rng: np.random.Generator) -> bool:
    other = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    one.tags["PhotometricInterpretation"] = other[str(one.tags["PhotometricInterpretation"])]
    return True


def _lut_shape(one: Sample, rng: np.random.Generator) -> bool:
    other = {"IDENTITY": "INVERSE", "INVERSE": "IDENTITY"}
    one.tags["PresentationLUTShape"] = other[str(one.tags["PresentationLUTShape"])]
    return True


def _intent(one: Sample, rng: np.random.Generator) -> bool:
    raw = one.kind == "dicom raw"
    one.tags["PresentationIntentType"] = "FOR PRESENTATION" if raw else "FOR PROCESSING"
    return True


def _sign(one: Sample, rng: np.random.Generator) -> bool:
    one.tags["PixelIntensityRelationshipSign"] = -1
    return True


def _frame_count(one: Sample, rng: np.random.Generator) -> bool:
    count = int(rng.choice([0, 1, 2, 3, 4, 7]))
    one.tags["NumberOfFrames"] = count
    return count != (1 if one.stored.ndim == 2 else 3)


def _no_frame(one: Sample, rng: np.random.Generator) -> bool:
    one.row["frame"] = ""
    return True


def _frame(one: Sample, rng: np.random.Generator) -> bool:
    one.row["frame"] = str(int(rng.integers(1, 4)) + (2 if one.stored.ndim == 3 else 0))
    return True


def _turned(one: Sample, rng: np.random.Generator) -> bool:
    tag = int(rng.integers(0, 9))
    one.tags["orientation"] = tag
    return tag > 1


def _unit_scale(one: Sample, rng: np.random.Generator) -> bool:
    top = float(rng.choice([TOP, TOP * 255 / 256, 2 * TOP, TOP / 255, TOP * 2]))
    one.stored = (one.stored.astype(np.float64) / top).astype(np.float32)
    return True


def _precision(one: Sample, rng: np.random.Generator) -> bool:
    """Of a JPEG 2000 stream against BitsStored."""
    bits = int(rng.choice([12, 14, 16]))
    stream = bytes(
        imagecodecs.jpeg2k_encode(
            one.stored, level=0, codecformat="j2k", bitspersample=bits, reversible=True
        )
    )

    def replace(path: Path) -> None:
        header = pydicom.dcmread(path)
        set_frames(header, [stream])
        header.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        pydicom.dcmwrite(path, header, enforce_file_format=True)

    one.syntax, one.after = "ExplicitVRLittleEndian", replace
    return False  # the values are the same, and so is the ROI


def _length(one: Sample, rng: np.random.Generator) -> bool:
    """Rows or columns against the length of the pixel data."""
    which = str(rng.choice(["Rows", "Columns"]))
    size = {"Rows": ROWS, "Columns": COLUMNS}[which]
    one.tags[which] = int(rng.choice([size // 2, size - 2, size + 2, 2 * size]))
    return True


def _syntax(one: Sample, rng: np.random.Generator) -> bool:
    """Plain words under the name of a compression, or of another byte order."""
    name = str(rng.choice(["JPEGLosslessSV1", "JPEG2000Lossless", "RLELossless"]))

    def rename(path: Path) -> None:
        header = pydicom.dcmread(path)
        words = header.PixelData
        set_frames(header, [words])
        header.file_meta.TransferSyntaxUID = getattr(uid, name)
        pydicom.dcmwrite(path, header, enforce_file_format=True)

    one.after = rename
    return True


def _second_row(one: Sample, rng: np.random.Generator) -> bool:
    """Another lesion of the same image, whose row states one fact otherwise."""
    column, value = (
        ("pixel_um", "50"),
        ("bits", "13"),
        ("polarity", "dark_dense"),
        ("laterality", OTHER_SIDE[one.row["laterality"]]),
        ("view", OTHER_VIEW[one.row["view"]]),
        ("modality", "SFM"),
    )[rng.integers(6)]
    one.more_rows.append(one.row | {"lesion_id": "2", column: value})
    return True


def _is(*kinds: str) -> Callable[[Sample], bool]:
    return lambda one: one.kind in kinds


def _dicom(one: Sample) -> bool:
    return one.kind.startswith("dicom")


def _any(one: Sample) -> bool:
    return True


def _image_with_tag(one: Sample) -> bool:
    return one.kind in ("png", "tiff", "tiff white")


def _plain(one: Sample) -> bool:
    return one.kind in ("dicom", "dicom inverse", "dicom raw")


ALTERATIONS: dict[
    str, tuple[Callable[[Sample], bool], Callable[[Sample, np.random.Generator], bool]]
] = {
    "side of the table": (_dicom, _table_side),
    "side of the header": (_dicom, _header_side),
    "orientation": (lambda one: _dicom(one) and one.row["view"] == "MLO", _orientation),
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
    "number of frames": (lambda one: _dicom(one) and "comp" not in one.kind, _frame_count),
    "no frame": (_is("dicom frames"), _no_frame),
    "frame": (_any, _frame),
    "orientation tag": (_image_with_tag, _turned),
    "scale of floats": (_is("float"), _unit_scale),
    "precision of the stream": (_is("dicom compressed"), _precision),
    "rows and columns": (_plain, _length),
    "transfer syntax": (_plain, _syntax),
    "second row": (_any, _second_row),
}
