"""Where a CBIS-DDSM lesion is in its film: mask or crop by content, sizes reconciled.

The tables mix up mask and crop, so neither their columns nor file names are believed.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.imaging.mask import bounding_box, is_lesion_mask
from mtl_jax.imaging.read_image import read_image, read_raw

NEAR = 1.3  # most that mask and film differ in size, either way; the collection has 1.15
SLACK = 2  # pixels that a crop may differ from the mask's box in size and still be compared
ALIKE = 0.9  # correlation of a crop with the film at the mask's box

Box = tuple[float, float, float, float]


class LesionPlace(NamedTuple):
    """`box` in pixels of the film and `note` on repairs, or no box and the reason in `note`."""

    box: Box | None
    note: str


def locate_lesion(film: Path, candidates: list[Path]) -> LesionPlace:
    """Return the lesion's place in the image `film`, from the files of its mask and crop in any
    order.

    The mask is the one with at most two values and nearly the size of the film. Of another size,
    its box is rescaled on each axis by itself, and the place is taken only if the crop, where it
    can be compared, shows what the film shows there. InputError: a file cannot be read.
    """
    gray = read_image(film)[0]
    masks: list[np.ndarray] = []
    crops: list[np.ndarray] = []
    for file in candidates:
        # A mask is what is stored, a crop what is shown.
        pixels = read_raw(file)
        if _is_mask(pixels, gray.shape):
            masks.append(pixels)
        else:
            crops.append(read_image(file)[0])
    if not masks:
        return LesionPlace(None, "no mask among its files: two values and about the film's size")
    if len({_box(mask) for mask in masks}) > 1:
        return LesionPlace(None, "two different masks")
    mask, box = masks[0], _box(masks[0])
    if box is None:
        return LesionPlace(None, "its mask is empty")
    inside = _inside(mask)
    if not is_lesion_mask(inside):
        return LesionPlace(
            None, "its mask covers most of the film, or reaches from border to border"
        )
    # The crop was cut by the box of the whole mask, specks included.
    scaled = _scaled(box, mask.shape, gray.shape)
    lesion, notes = bounding_box(inside)
    place, repairs = _scaled(lesion, mask.shape, gray.shape), [n.text for n in notes if n.corrected]
    alike = [same for crop in crops if (same := _alike(gray, scaled, box, crop)) is not None]
    if mask.shape == gray.shape:
        if alike and not any(alike):
            repairs.append("crop differs from the film at the mask")
        return LesionPlace(place, "; ".join(repairs))
    sizes = f"{mask.shape[0]}x{mask.shape[1]} to {gray.shape[0]}x{gray.shape[1]}"
    if alike and not any(alike):
        return LesionPlace(
            None, f"mask of another size ({sizes}) and its crop is not there in the film"
        )
    checked = "confirmed by the crop" if alike else "no crop to confirm it"
    return LesionPlace(place, "; ".join([*repairs, f"mask rescaled, {checked} ({sizes})"]))


def _scaled(box: Box, mask: tuple[int, ...], film: tuple[int, ...]) -> Box:
    """Return a box in pixels of the mask in those of the film, on each axis by itself."""
    scale = np.array(film) / mask
    return tuple(float(edge * scale[axis % 2]) for axis, edge in enumerate(box))


def _is_mask(pixels: np.ndarray, film: tuple[int, ...]) -> bool:
    ratios = np.array(pixels.shape) / film
    if ratios.min() < 1 / NEAR or ratios.max() > NEAR:
        return False
    low, high = pixels.min(), pixels.max()
    return bool(((pixels == low) | (pixels == high)).all())


def _inside(mask: np.ndarray) -> np.ndarray:
    low = mask.min()
    return mask > (low if low < mask.max() else 0)


def _box(mask: np.ndarray) -> Box | None:
    inside = _inside(mask)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def _alike(gray: np.ndarray, scaled: Box, box: Box, crop: np.ndarray) -> bool | None:
    """Return whether `crop` shows the film inside the box; None where its size is not that of the
    box, neither in pixels of the film (`scaled`) nor of the mask (`box`), or nothing varies."""
    sizes = [np.subtract(one[2:], one[:2]) for one in (scaled, box)]
    if min(np.abs(size - crop.shape).max() for size in sizes) > SLACK:
        return None
    places = [
        np.clip(scaled[axis] + (np.arange(n) + 0.5) * sizes[0][axis] / n, 0, gray.shape[axis] - 1)
        for axis, n in enumerate(crop.shape)
    ]
    shown = gray[np.ix_(*(place.astype(int) for place in places))]
    if shown.min() == shown.max() or crop.min() == crop.max():
        return None
    return bool(np.corrcoef(shown.ravel(), crop.ravel())[0, 1] >= ALIKE)
