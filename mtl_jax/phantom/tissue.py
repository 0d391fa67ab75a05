"""Simulated breast tissue around a lesion, in mm of fibroglandular tissue along the ray."""

from functools import cache

import numpy as np
from scipy import fft, ndimage

# Burgess, Jacobson & Judy 2001, Med. Phys. 28 419: mammograms have power as 1/f^3. With the mass in
# it an image falls a little steeper than its tissue, so that a little less than 3 makes 3.
SPECTRUM_EXPONENT = 2.54
SEPTA_SHARE = 0.4  # of the amplitude: folds of a smoother field, which look like septa
SEPTA_EXPONENT = 3.6  # of that field: folding it makes it shallower
LIGAMENTS = 14  # mean number of single strands, straight for a few mm


def make_texture(
    rng: np.random.Generator,
    pixels: int,
    pixel_mm: float,
    angle: float = 0.0,
    stretch: float = 1.0,
    exponent: float = SPECTRUM_EXPONENT,
) -> np.ndarray:
    """Return (pixels, pixels) float32 field of mean 0 and standard deviation 1, power as
    1/f^exponent.

    It is `stretch` times longer along `angle` than across. Made on a grid larger than asked for and
    cut, since a Fourier field meets itself at its edges.
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


def make_fibers(
    rng: np.random.Generator,
    start: np.ndarray,
    angle: np.ndarray,
    length: np.ndarray,
    wander: float,
) -> tuple[np.ndarray, np.ndarray]:
    """n fibres that bend at random: positions (n, steps, 2) half a pixel apart, and how far along
    its own length each is, (n, steps), beyond 1 after its end.

    `start` (n, 2) and `length` (n,) are in pixels; `wander` is the standard deviation in radians by
    which a direction drifts over 10 mm of 0.1 mm pixels.
    """
    steps = max(2, round(2 * float(length.max(initial=1.0))))
    bend = rng.standard_normal((len(angle), steps)) * (wander / np.sqrt(200))
    heading = angle[:, None] + np.cumsum(bend, axis=1)
    path = 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=-1), axis=1)
    return start[:, None] + path, np.arange(steps) / (2 * length[:, None])


def render_fibers(
    position: np.ndarray, strength: np.ndarray, width: float, shape: tuple[int, int]
) -> np.ndarray:
    """Thin curved fibres drawn: the thickness in mm that they add, float32 of `shape`.

    `position` (..., 2) is in pixels, half a pixel apart; `strength` (...) the thickness in mm at
    each; `width` the standard deviation of the cross-section in pixels.
    """
    position, strength = position.reshape(-1, 2), strength.ravel()
    inside = (strength > 0) & np.all((position >= 0) & (position < np.array(shape) - 1), axis=1)
    position, strength = position[inside], strength[inside]
    low = position.astype(int)
    part = position - low
    canvas = np.zeros(shape[0] * shape[1])
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (part[:, 0] if down else 1 - part[:, 0]) * strength
        share *= part[:, 1] if right else 1 - part[:, 1]
        index = (low[:, 0] + down) * shape[1] + low[:, 1] + right
        canvas += np.bincount(index, share, canvas.size)
    # A line of unit weight every half pixel blurs to a ridge 2 / (sqrt(2 pi) sigma) high.
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
    """Return (pixels, pixels) float32 mm of fibroglandular tissue in a breast `thickness_mm`
    compressed.

    `density` is the mean fibroglandular share (0 to 1) and `contrast_mm` the standard deviation of
    the texture; on it lie a slow gradient and a few ligaments, which belong to neither class.
    """
    toward, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5)  # tissue runs to the nipple
    cloud = make_texture(rng, pixels, pixel_mm, toward, stretch)
    septa = -np.abs(make_texture(rng, pixels, pixel_mm, toward, 1.3 * stretch, SEPTA_EXPONENT))
    septa = (septa - septa.mean()) / septa.std()
    field = (1 - SEPTA_SHARE) * cloud + SEPTA_SHARE * septa
    field /= field.std()
    axis = np.linspace(-1, 1, pixels, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.2, 0.8) * (np.cos(angle) * axis[:, None] + np.sin(angle) * axis)
    count = rng.poisson(LIGAMENTS)
    position, along = make_fibers(
        rng,
        rng.uniform(-0.1, 1.1, (count, 2)) * pixels,
        toward + 0.5 * rng.standard_normal(count) + np.pi * rng.integers(2, size=count),
        rng.uniform(5, 22, count) / pixel_mm,
        0.8,
    )
    strength = rng.uniform(0.4, 2.0, (count, 1)) * np.sin(np.pi * np.clip(along, 0, 1))
    ligaments = render_fibers(
        position, strength, rng.uniform(0.15, 0.28) / pixel_mm, (pixels, pixels)
    )
    gland = thickness_mm * density + contrast_mm * (field + np.float32(1) * slope) + ligaments
    return limit_smoothly(gland, thickness_mm)


def limit_smoothly(gland: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Return `gland` kept between nothing and all of the breast, without an edge where it meets
    them."""
    knee = 0.06 * thickness_mm
    above = knee * np.logaddexp(0, gland / knee)
    return (thickness_mm - knee * np.logaddexp(0, (thickness_mm - above) / knee)).astype(np.float32)
