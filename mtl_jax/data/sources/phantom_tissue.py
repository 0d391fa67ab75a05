"""Simulated breast tissue around a lesion, in mm of dense tissue along the ray.

It knows no masses, no labels and no detectors.
"""

import numpy as np
from scipy import fft, ndimage

SPECTRUM_EXPONENT = 3.0  # Burgess, Jacobson & Judy 2001, Med. Phys. 28 419: 1/f^3
RIDGE_SHARE = 0.45  # of the amplitude: folds of the same field, which look like septa


def texture(rng: np.random.Generator, pixels: int, pixel_mm: float) -> np.ndarray:
    """(pixels, pixels) float32 field of zero mean and unit standard deviation, spectrum 1/f^3.

    Made on a grid larger than asked for and cut, since a Fourier field meets itself at its edges.
    """
    size = fft.next_fast_len(round(1.4 * pixels), real=True)
    row, column = np.meshgrid(
        fft.fftfreq(size, pixel_mm), fft.rfftfreq(size, pixel_mm), indexing="ij"
    )
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.8)  # tissue runs to the nipple
    along = row * np.cos(angle) + column * np.sin(angle)
    across = column * np.cos(angle) - row * np.sin(angle)
    frequency = np.hypot(along * np.sqrt(stretch), across / np.sqrt(stretch))
    frequency[0, 0] = np.inf
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    field = fft.irfft2(spectrum * frequency ** (-SPECTRUM_EXPONENT / 2), (size, size))
    field = field[:pixels, :pixels]
    return ((field - field.mean()) / field.std()).astype(np.float32)


def strands(
    paths: list[np.ndarray], strengths: list[np.ndarray], width: float, shape: tuple[int, int]
) -> np.ndarray:
    """Draw thin curved fibres: the thickness in mm that they add, float32 of `shape`.

    `paths` holds (n, 2) positions in pixels, half a pixel apart; `strengths` the thickness in mm at
    each; `width` is the standard deviation of the cross-section in pixels.
    """
    canvas = np.zeros(shape, np.float32)
    if paths:
        position = np.concatenate(paths)
        weight = np.concatenate(strengths)
        low = np.floor(position).astype(int)
        part = position - low
        for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = np.prod(np.where(step, part, 1 - part), axis=1) * weight
            at = low + step
            inside = np.all((at >= 0) & (at < shape), axis=1)
            index = np.ravel_multi_index(tuple(at[inside].T), shape)
            canvas += np.bincount(index, share[inside], canvas.size).reshape(shape)
    # A line of unit weight every half pixel blurs to a ridge 2 / (sqrt(2 pi) sigma) high.
    return ndimage.gaussian_filter(canvas, width) * (np.sqrt(2 * np.pi) * width / 2)


def fibre(
    rng: np.random.Generator, start: np.ndarray, angle: float, length: float, wander: float
) -> np.ndarray:
    """(n, 2) positions half a pixel apart of a fibre `length` pixels long that bends at random.

    `wander` is the standard deviation in radians by which its direction drifts over its length.
    """
    steps = max(2, round(2 * length))
    bend = rng.standard_normal(steps) * (wander / np.sqrt(steps))
    heading = angle + np.cumsum(bend)
    return start + 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)


def tissue(
    rng: np.random.Generator, pixels: int, pixel_mm: float, density: float, contrast_mm: float
) -> np.ndarray:
    """(pixels, pixels) float32 mm of dense tissue in a compressed breast 50 mm thick.

    `density` is the mean dense share (0 to 1) and `contrast_mm` the standard deviation of the
    texture; on it lie a slow gradient and a few ligaments, which belong to neither class.
    """
    cloud = texture(rng, pixels, pixel_mm)
    folds = -np.abs(texture(rng, pixels, pixel_mm))
    field = (1 - RIDGE_SHARE) * cloud + RIDGE_SHARE * (folds - folds.mean()) / folds.std()
    row, column = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.2, 0.9) * contrast_mm * (np.cos(angle) * row + np.sin(angle) * column)
    paths, strengths = [], []
    toward = rng.uniform(0, np.pi)
    for _ in range(rng.poisson(7)):
        path = fibre(
            rng,
            rng.uniform(-0.1, 1.1, 2) * pixels,
            toward + 0.6 * rng.standard_normal() + np.pi * rng.integers(2),
            rng.uniform(6, 25) / pixel_mm,
            0.8,
        )
        paths.append(path)
        strengths.append(rng.uniform(0.3, 1.3) * np.hanning(len(path)))
    ligaments = strands(paths, strengths, rng.uniform(0.18, 0.3) / pixel_mm, (pixels, pixels))
    return np.maximum(50 * density + contrast_mm * field + slope + ligaments, 0)
