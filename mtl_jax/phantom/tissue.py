"""Simulate breast tissue around a lesion, in mm of fibroglandular tissue along the ray."""

from functools import cache

import numpy as np
from scipy import fft, ndimage

# Mammograms have a power spectrum of 1/f^3 (Burgess, Jacobson & Judy 2001, Med. Phys. 28 419). The
# mass makes the spectrum of an image steeper, so the exponent of the tissue is below 3.
SPECTRUM_EXPONENT = 2.54
SEPTA_SHARE = 0.4  # of the amplitude: the absolute value of a smoother field, similar to septa
SEPTA_EXPONENT = 3.6  # of that field; the absolute value reduces it
MEAN_LIGAMENTS = 14  # mean number of single fibres, straight for a few mm
ISLAND_EXPONENT = 4.0  # islands of dense tissue are smooth, and cover a third of an image
ISLAND_MM = (1.0, 11.0)  # thickness of the islands of an image
COARSE = 4  # pixels of the grid on which they are made


def make_texture(
    rng: np.random.Generator,
    pixels: int,
    pixel_mm: float,
    angle: float = 0.0,
    stretch: float = 1.0,
    exponent: float = SPECTRUM_EXPONENT,
) -> np.ndarray:
    """Return a random field (pixels, pixels) float32 with a power spectrum of 1/f^exponent.

    Its mean is 0, its deviation 1. `stretch` is the ratio of the length of its structures along
    `angle` to that across. It is cropped from a larger grid, because Fourier fields are periodic.
    """
    size, row, column = _frequencies(pixels, pixel_mm)
    along = row * np.float32(np.sin(angle)) + column * np.float32(np.cos(angle))
    across = column * np.float32(np.sin(angle)) - row * np.float32(np.cos(angle))
    square = along**2 * np.float32(stretch) + across**2 / np.float32(stretch)
    square[0, 0] = np.inf
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    spectrum *= square ** np.float32(-exponent / 4)
    field = fft.irfft2(spectrum, (size, size))[:pixels, :pixels]
    return (field - field.mean()) / field.std()


@cache
def _frequencies(pixels: int, pixel_mm: float) -> tuple[int, np.ndarray, np.ndarray]:
    size = fft.next_fast_len(round(1.5 * pixels), real=True)
    row = fft.fftfreq(size, pixel_mm).astype(np.float32)[:, None]
    return size, row, fft.rfftfreq(size, pixel_mm).astype(np.float32)[None, :]


def make_fibres(
    rng: np.random.Generator,
    start: np.ndarray,
    angle: np.ndarray,
    length: np.ndarray,
    wander: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the course of n curved fibres with `start` (n, 2) and `length` (n,) in pixels.

    Returned are positions (n, steps, 2) half a pixel apart, and the fraction of its length (n,
    steps) that each fibre has passed, above 1 beyond its end. `wander` is the standard deviation in
    radians of the change of direction over 10 mm of 0.1 mm pixels.
    """
    steps = max(2, round(2 * float(length.max(initial=1.0))))
    turns = rng.standard_normal((len(angle), steps)) * (wander / np.sqrt(200))
    direction = angle[:, None] + np.cumsum(turns, axis=1)
    path = 0.5 * np.cumsum(np.stack([np.sin(direction), np.cos(direction)], axis=-1), axis=1)
    return start[:, None] + path, np.arange(steps) / (2 * length[:, None])


def render_fibres(
    position: np.ndarray, strength: np.ndarray, width: float, shape: tuple[int, int]
) -> np.ndarray:
    """Return the thickness of fibres, float32 mm of `shape`.

    `strength` (...) is the thickness in mm at each `position` (..., 2), in pixels half a pixel
    apart; `width` is the standard deviation of the cross-section in pixels.
    """
    position, strength = position.reshape(-1, 2), strength.ravel()
    inside = (strength > 0) & np.all((position >= 0) & (position < np.array(shape) - 1), axis=1)
    position, strength = position[inside], strength[inside]
    low = position.astype(int)
    fraction = position - low
    canvas = np.zeros(shape[0] * shape[1])
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (fraction[:, 0] if down else 1 - fraction[:, 0]) * strength
        weight *= fraction[:, 1] if right else 1 - fraction[:, 1]
        index = (low[:, 0] + down) * shape[1] + low[:, 1] + right
        canvas += np.bincount(index, weight, canvas.size)
    # A line of unit weights every half pixel becomes a ridge of height 2 / (sqrt(2 pi) sigma).
    scale = np.sqrt(2 * np.pi) * width / 2
    return ndimage.gaussian_filter(canvas.reshape(shape).astype(np.float32) * scale, width)


def make_tissue(
    rng: np.random.Generator,
    pixels: int,
    pixel_mm: float,
    thickness_mm: float,
    density: float,
    contrast_mm: float,
) -> np.ndarray:
    """Return fibroglandular tissue, (pixels, pixels) float32 mm, of mean fraction `density`.

    A slow gradient and a few ligaments, the same for both classes, are added to the texture, whose
    standard deviation is `contrast_mm`.
    """
    # Tissue is stretched towards the nipple.
    direction, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5)
    texture = make_texture(rng, pixels, pixel_mm, direction, stretch)
    septa = -np.abs(make_texture(rng, pixels, pixel_mm, direction, 1.3 * stretch, SEPTA_EXPONENT))
    septa = (septa - septa.mean()) / septa.std()
    field = (1 - SEPTA_SHARE) * texture + SEPTA_SHARE * septa
    field /= field.std()
    axis = np.linspace(-1, 1, pixels, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.2, 0.8) * (np.cos(angle) * axis[:, None] + np.sin(angle) * axis)
    ligaments = _make_ligaments(rng, pixels, pixel_mm, direction)
    gland = thickness_mm * density + contrast_mm * (field + slope) + ligaments
    # Limit it smoothly to 0 to the thickness.
    knee = 0.06 * thickness_mm
    above = knee * np.logaddexp(0, gland / knee)
    return (thickness_mm - knee * np.logaddexp(0, (thickness_mm - above) / knee)).astype(np.float32)


def make_overlap(rng: np.random.Generator, pixels: int, pixel_mm: float) -> np.ndarray:
    """Return tissue above and below a mass, (pixels, pixels) float32 mm: islands and ligaments.

    It does not depend on the mass.
    """
    field = make_texture(rng, -(-pixels // COARSE), pixel_mm * COARSE, exponent=ISLAND_EXPONENT)
    island = np.clip(field - np.float32(0.5), 0, 1)
    island = ndimage.zoom(island, COARSE, order=1, mode="nearest", grid_mode=True)
    islands = np.float32(rng.uniform(*ISLAND_MM)) * island[:pixels, :pixels]
    return islands + _make_ligaments(rng, pixels, pixel_mm, rng.uniform(0, np.pi))


def _make_ligaments(
    rng: np.random.Generator, pixels: int, pixel_mm: float, direction: float
) -> np.ndarray:
    """Return the thickness in mm of a few ligaments near `direction`, in radians."""
    count = rng.poisson(MEAN_LIGAMENTS)
    position, along = make_fibres(
        rng,
        rng.uniform(-0.1, 1.1, (count, 2)) * pixels,
        direction + 0.5 * rng.standard_normal(count) + np.pi * rng.integers(2, size=count),
        rng.uniform(5, 22, count) / pixel_mm,
        0.8,
    )
    strength = rng.uniform(0.4, 2.0, (count, 1)) * np.sin(np.pi * np.clip(along, 0, 1))
    return render_fibres(position, strength, rng.uniform(0.15, 0.28) / pixel_mm, (pixels, pixels))
