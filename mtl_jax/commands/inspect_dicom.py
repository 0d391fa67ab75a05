"""Print how images are read (DICOM, PNG, PGM, TIFF, NumPy ...): no data of the patient.

mtl-jax inspect images/*.dcm films/*.png
mtl-jax inspect one.dcm --png one.png --box "1200;800;1500;1150"

For DICOM every decision of the reader is printed, for other images their size, bits and values.

The PNG shows the normalized gray values at 200 um, bright where dense, with the box of the lesion.
Coarser pixels are interpolated.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mtl_jax.imaging.dicom import is_dicom, read_with_record
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.resample import block_size, to_pixel_size
from mtl_jax.imaging.table_vs_header import same_spacing
from mtl_jax.imaging.value_checks import check_pixel_um, check_values
from mtl_jax.io import atomic, paths
from mtl_jax.types import InputError

Box = tuple[float, float, float, float]
SHOWN_UM = 200.0  # pixel size of the PNG
PERCENTILES = (0.1, 1, 50, 99, 99.9)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=paths.path, metavar="FILE")
    parser.add_argument("--frame", type=int, help="number of the frame, from 0")
    parser.add_argument("--png", type=_png, metavar="OUT.png", help="write an image of one FILE")
    parser.add_argument("--box", type=_box, help='"top;left;bottom;right" in stored pixels')
    parser.add_argument("--pixel-um", type=float, help="pixel size if the file states none")
    flags = parser.parse_args(arguments)
    if flags.pixel_um is not None:
        check_pixel_um((flags.pixel_um, flags.pixel_um), "--pixel-um")
    if flags.png and len(flags.files) > 1:
        parser.error("--png takes one FILE")
    if flags.png and flags.png.exists() and flags.png.samefile(flags.files[0]):
        raise InputError(f"--png {flags.png} is the image that is read: give another name")
    failed = False
    for path in flags.files:
        try:
            gray, record, error = _read(path, flags.frame)
            spacing = _pixel_um(record, flags.pixel_um)
            print(f"{path}\n" + "".join(f"  {_line(item)}\n" for item in record.items()))
            if error:
                raise InputError(error)
            if flags.box:
                _check_inside(flags.box, gray.shape, path)
            if flags.png:
                if spacing is None:
                    reason = record.get("spacing_error") or "the file states no pixel size"
                    raise InputError(f"{path}: {reason}; give --pixel-um")
                with atomic.report_write_errors(flags.png):
                    _image(gray, spacing, flags.box).save(flags.png)
        # A damaged file does not prevent the others from being shown.
        except (InputError, OSError) as error:
            named = isinstance(error, OSError) or str(error).startswith(str(path))
            print(error if named else f"{path}: {error}", file=sys.stderr)
            failed = True
    return 2 if failed else 0


def _png(text: str) -> Path:
    path = paths.path(text)
    if path.suffix.lower() != ".png":
        raise InputError(f"--png {text}: expected a name ending in .png")
    return path


def _read(path: Path, frame: int | None) -> tuple[np.ndarray, dict[str, Any], str]:
    """Return the gray (H, W), a record of it, and why an ingest rejects its values, or ''."""
    if is_dicom(path):
        gray, _, record = read_with_record(path, frame)
        notes, error = record.pop("notes"), ""
    else:
        gray, record, notes, error = _read_other(path, frame)
    percentiles = np.percentile(gray, PERCENTILES).tolist()
    record["percentiles"] = [
        f"{percent}%: {value:.6g}" for percent, value in zip(PERCENTILES, percentiles, strict=True)
    ]
    record["one_gray_value"] = "yes" if record["smallest"] == record["largest"] else "no"
    return gray, record | {"notes": notes}, error


def _read_other(path: Path, frame: int | None) -> tuple[np.ndarray, dict[str, Any], list[str], str]:
    """Return the gray, the record, the notes and the error of an image that is not DICOM."""
    stored = read_stored(path, frame)
    notes, error = [], ""
    try:
        notes = [note.text for note in check_values(stored, None)]
    except InputError as rejected:
        error = str(rejected)
    gray = stored.gray()
    record = {
        "format": path.suffix.removeprefix(".").upper(),
        "rows": gray.shape[0],
        "columns": gray.shape[1],
        "type": str(stored.values.dtype),
        "bits": stored.bits,
        "inverted": "yes: white is zero" if stored.transformed else "no",
        "spacing_um": None,
        "smallest": float(gray.min()),
        "largest": float(gray.max()),
    }
    return gray, record, notes, error


def _pixel_um(record: dict[str, Any], option: float | None) -> tuple[float, float] | None:
    """Return the pixel size of the file, or else that of --pixel-um; note a difference."""
    stated = record["spacing_um"]
    if stated is None:
        return None if option is None else (option, option)
    size = (stated[0], stated[1])
    if option is not None and not same_spacing((option, option), size):
        source = f"{record['spacing_source']} is {size[0]:g} x {size[1]:g} um"
        record["notes"].append(f"--pixel-um {option:g} is not used: {source}")
    return size


def _check_inside(box: Box, shape: tuple[int, ...], path: Path) -> None:
    top, left, bottom, right = box
    if top < 0 or left < 0 or bottom > shape[0] or right > shape[1]:
        raise InputError(
            f"{path}: the box {top:g};{left:g};{bottom:g};{right:g} is not inside the image of"
            f" {shape[0]} rows and {shape[1]} columns (top;left;bottom;right)"
        )


def _box(text: str) -> Box:
    """Return the box of --box; commas separate the numbers too."""
    try:
        top, left, bottom, right = (float(number) for number in text.replace(",", ";").split(";"))
    except ValueError:
        top = left = bottom = right = float("nan")
    if not (top < bottom and left < right):
        raise InputError(
            f"--box {text}: expected top;left;bottom;right with bottom > top and right > left"
        )
    return top, left, bottom, right


def _line(item: tuple[str, object]) -> str:
    name, value = item
    shown = "; ".join(str(one) for one in value) if isinstance(value, list) else value
    return f"{name:24}{'-' if shown in (None, '') else shown}"


def _image(gray: np.ndarray, pixel_um: tuple[float, float], box: Box | None) -> Image.Image:
    """Return an 8-bit image at 200 um, windowed to the percentiles 0.5 and 99.5."""
    small = to_pixel_size(gray, (pixel_um[0], pixel_um[1]), SHOWN_UM, upsample=True)
    low, high = np.percentile(small, (0.5, 99.5))
    scaled = (small - low) / max(high - low, 1.0)
    picture = Image.fromarray((255 * np.clip(scaled, 0, 1)).astype(np.uint8)).convert("RGB")
    if box:
        rows, columns = block_size((pixel_um[0], pixel_um[1]), SHOWN_UM, upsample=True)
        top, left, bottom, right = box
        corners = (left / columns, top / rows, right / columns, bottom / rows)
        ImageDraw.Draw(picture).rectangle(corners, outline=(255, 80, 0), width=2)
    return picture
