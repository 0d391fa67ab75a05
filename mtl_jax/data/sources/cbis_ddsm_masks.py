"""Locate a CBIS-DDSM lesion in its film from the files of its mask and its crop.

The tables mix up masks and crops, so files are identified by their content.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.imaging.mask import bounding_box, extent, is_lesion_mask
from mtl_jax.imaging.read_image import read_image, read_raw
from mtl_jax.types import Box

MAX_SIZE_RATIO = 1.3  # between mask and film, either way; up to 1.15 in the collection
MAX_CROP_DIFFERENCE = 2  # pixels between the sizes of a crop and the mask's box
MIN_CORRELATION = 0.9  # of a crop with the film inside the mask's box


class LesionLocation(NamedTuple):
    """`box` in pixels of the film and a `note` on corrections, or no box and the reason."""

    box: Box | None
    note: str


def locate_lesion(film_path: Path, candidates: list[Path]) -> LesionLocation:
    """Return the location of a lesion in its film by the files of its mask and crop, in any order.

    The mask has at most two values and nearly the size of the film. If the sizes differ, each axis
    of its box is rescaled, and the lesion is rejected if the crop does not match the film.
    """
    film = read_image(film_path)[0]
    masks, crops = _read_candidates(candidates, film.shape)
    if not masks:
        return LesionLocation(None, "no mask among its files: two values and about the film's size")
    boxes = [extent(inside) if inside.any() else None for inside in map(_inside, masks)]
    if len(set(boxes)) > 1:
        return LesionLocation(None, "two different masks")
    mask, box = masks[0], boxes[0]
    if box is None:
        return LesionLocation(None, "its mask is empty")
    inside = _inside(mask)
    if not is_lesion_mask(inside):
        return LesionLocation(
            None, "its mask covers most of the film or spans it between two borders"
        )
    # The crop was cut by the box of all components of the mask.
    film_box = _rescale(box, mask.shape, film.shape)
    lesion_box, notes = bounding_box(inside)
    location = _rescale(lesion_box, mask.shape, film.shape)
    corrections = [note.text for note in notes if note.corrected]
    matches = [_crop_matches(film, film_box, box, crop) for crop in crops]
    confirmed, contradicted = True in matches, False in matches and True not in matches
    if mask.shape == film.shape:
        if contradicted:
            corrections.append("crop differs from the film at the mask")
        return LesionLocation(location, "; ".join(corrections))
    sizes = f"{mask.shape[0]}x{mask.shape[1]} to {film.shape[0]}x{film.shape[1]}"
    if contradicted:
        return LesionLocation(
            None, f"mask of another size than the film ({sizes}), and the crop does not match"
        )
    check = "confirmed by the crop" if confirmed else "no crop to confirm it"
    return LesionLocation(location, "; ".join([*corrections, f"mask rescaled, {check} ({sizes})"]))


def _read_candidates(
    paths: list[Path], film_shape: tuple[int, ...]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return masks and crops. A mask is used as stored, a crop as displayed."""
    masks, crops = [], []
    for path in paths:
        pixels = read_raw(path)
        if _is_mask(pixels, film_shape):
            masks.append(pixels)
        else:
            crops.append(read_image(path)[0])
    return masks, crops


def _rescale(box: Box, mask_shape: tuple[int, ...], film_shape: tuple[int, ...]) -> Box:
    """Convert a box from mask to film pixels, each axis by its own factor."""
    scale = np.array(film_shape) / mask_shape
    return tuple(float(edge * scale[axis % 2]) for axis, edge in enumerate(box))


def _is_mask(pixels: np.ndarray, film_shape: tuple[int, ...]) -> bool:
    ratios = np.array(pixels.shape) / film_shape
    if ratios.min() < 1 / MAX_SIZE_RATIO or ratios.max() > MAX_SIZE_RATIO:
        return False
    low, high = pixels.min(), pixels.max()
    return bool(((pixels == low) | (pixels == high)).all())


def _inside(mask: np.ndarray) -> np.ndarray:
    low = mask.min()
    return mask > (low if low < mask.max() else 0)


def _crop_matches(film: np.ndarray, film_box: Box, mask_box: Box, crop: np.ndarray) -> bool | None:
    """Return whether `crop` shows the film inside the box; None if it or its size tells nothing."""
    sizes = [np.subtract(box[2:], box[:2]) for box in (film_box, mask_box)]
    if min(np.abs(size - crop.shape).max() for size in sizes) > MAX_CROP_DIFFERENCE:
        return None
    rows, columns = (
        np.clip(film_box[axis] + (np.arange(n) + 0.5) * sizes[0][axis] / n, 0, film.shape[axis] - 1)
        for axis, n in enumerate(crop.shape)
    )
    expected = film[np.ix_(rows.astype(int), columns.astype(int))]
    if expected.min() == expected.max() or crop.min() == crop.max():
        return None
    return bool(np.corrcoef(expected.ravel(), crop.ravel())[0, 1] >= MIN_CORRELATION)
