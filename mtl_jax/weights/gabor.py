"""Gabor and center-surround filters as C1, for use without pretrained weights.

They initialize C1 better than random numbers but do not replace ImageNet weights.
"""

from math import pi

import numpy as np

from mtl_jax.weights.metadata import Weights, make_metadata

PHASES = (0.0, pi / 2, pi, 3 * pi / 2)  # all four, because the rectifier keeps only one sign
WAVELENGTHS = (0.25, 0.4, 0.7)  # fractions of the kernel size: 2.8, 4.4 and 7.7 of 11 pixels
BLOB_RADII = (0.1, 0.16)  # SD of the center, fractions of the kernel size


def make_analytic() -> Weights:
    """Return weights with a Gabor bank and zero biases in C1, and no other layer."""
    kernel = make_gabor_bank()
    params = {"C1": {"kernel": kernel, "bias": np.zeros(kernel.shape[-1], np.float32)}}
    metadata = make_metadata(
        params,
        backbone="alexnet",
        name="analytic Gabor bank in C1",
        source="computed, no file",
        note="Not pretrained: Gabor and center-surround filters in C1, all other layers are "
        "random. Expect a lower AUC than with ImageNet weights.",
    )
    return Weights(params, metadata)


def make_gabor_bank(count: int = 64, size: int = 11, channels: int = 3) -> np.ndarray:
    """Return kernels (size, size, channels, count) float32 of zero mean, equal in all channels.

    Four phases times three wavelengths times as many orientations as fit (five for 64 filters); the
    remaining filters are center-surround of alternating sign. The scale is that of He et al. 2015
    (arXiv:1502.01852), eq. 10: for white gray input of unit variance the output has variance 2.
    """
    orientations, blobs = divmod(count, len(PHASES) * len(WAVELENGTHS))
    filters = [
        _gabor(size, pi * k / orientations, wavelength * size, phase)
        for k in range(orientations)
        for wavelength in WAVELENGTHS
        for phase in PHASES
    ]
    for k in range(blobs):  # each radius is used for both signs, then all are widened
        repeat, index = divmod(k // 2, len(BLOB_RADII))
        radius = BLOB_RADII[index] * 1.15**repeat
        filters.append(_center_surround(size, radius * size) * (-1) ** k)
    unit_filters = [image / np.linalg.norm(image) for image in filters]
    bank = np.sqrt(2.0) / channels * np.stack(unit_filters, axis=-1)
    return np.repeat(bank[:, :, None, :], channels, axis=2).astype(np.float32)


def _gabor(size: int, angle: float, wavelength: float, phase: float) -> np.ndarray:
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    envelope = np.exp(-(row**2 + column**2) / (2 * min(wavelength / 2, size / 4.5) ** 2))
    across = column * np.cos(angle) + row * np.sin(angle)
    return _subtract_mean(envelope * np.cos(2 * pi * across / wavelength + phase), envelope)


def _center_surround(size: int, radius: float) -> np.ndarray:
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    square = row**2 + column**2
    surround = np.exp(-square / (2 * (1.6 * radius) ** 2))
    return _subtract_mean(np.exp(-square / (2 * radius**2)), surround)


def _subtract_mean(image: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Return `image` with zero mean; a multiple of `envelope` is subtracted, so the rim stays 0."""
    return image - envelope * (image.sum() / envelope.sum())
