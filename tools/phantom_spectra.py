"""Power spectra of square images, by which the figures and tests of the phantom are measured."""

import numpy as np


def power(image: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Power spectrum (N, N) of an image (N, N), in its unit squared times mm^2, Hann windowed.

    White noise of variance v has the power v pixel_mm^2 at every frequency.
    """
    size = image.shape[0]
    window = np.outer(np.hanning(size), np.hanning(size))
    values = (image - np.average(image, weights=window)) * window
    return np.abs(np.fft.fft2(values)) ** 2 * pixel_mm**2 / np.sum(window**2)


def radial(
    spectrum: np.ndarray, pixel_mm: float, limits: tuple[float, float], bands: int = 14
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (bands,) in 1/mm and the mean power (bands,) in rings between the `limits`."""
    axis = np.fft.fftfreq(spectrum.shape[0], pixel_mm)
    frequency = np.hypot(axis[:, None], axis)
    edges = np.geomspace(*limits, bands + 1)
    ring = np.digitize(frequency, edges).ravel()
    count = np.bincount(ring, minlength=bands + 2)[1:-1]
    total = np.bincount(ring, spectrum.ravel(), bands + 2)[1:-1]
    return np.sqrt(edges[1:] * edges[:-1]), total / count
