"""Read the size of an image without its pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import read_stored


def read_size(path: Path, frame: int | None = None) -> tuple[int, int]:
    """Return the rows and columns of an image. Raises InputError as `read_stored` does."""
    if dicom.is_dicom(path):
        record = dicom.describe_header(path, frame)
        return record["rows"], record["columns"]
    try:
        if path.suffix.lower() == ".npy":
            rows, columns = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return rows, columns
        with Image.open(path) as image:
            return image.height, image.width
    # A format that these do not read, or a damaged file, which the reader describes.
    except (OSError, ValueError, EOFError):
        rows, columns = read_stored(path, frame).values.shape
        return rows, columns
