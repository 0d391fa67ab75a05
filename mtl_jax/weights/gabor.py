"""An analytic first layer, for when there are no pretrained weights: Gabor and centre-surround.

It is no substitute for ImageNet weights, only a better start than noise; it draws nothing at random
and reads no file.
"""

from math import pi

import numpy as np

from mtl_jax.weights.metadata import UNNORMALIZED_INPUT, Weights, make_metadata

PHASES = (0.0, pi / 2, pi, 3 * pi / 2)  # all four: the rectifier keeps only one sign
WAVELENGTHS = (0.25, 0.4, 0.7)  # of the kernel's size: 2.8, 4.4 and 7.7 pixels of 11
BLOB_RADII = (0.1, 0.16)  # of the kernel's size: the sd of the centre


def make_analytic() -> Weights:
    """C1 as a Gabor bank with zero bias, and its card; the other layers are left to the caller."""
    kernel = make_gabor_bank()
    params = {"C1": {"kernel": kernel, "bias": np.zeros(kernel.shape[-1], np.float32)}}
    card = make_metadata(
        params,
        backbone="alexnet",
        name="analytic Gabor bank in C1",
        source="computed, no file",
        sha256="",
        file_format="none",
        input_stats=UNNORMALIZED_INPUT,
        lrn=False,
        note="Not pretrained: Gabor and centre-surround filters in C1, every other layer random. "
        "Accuracy is below that of ImageNet weights.",
    )
    return Weights(params, card)


def make_gabor_bank(count: int = 64, size: int = 11, channels: int = 3) -> np.ndarray:
    """Return kernels (size, size, channels, count) float32, each with zero mean, equal in all
    channels.

    Four phases times three wavelengths times as many orientations as fit (five of 64); the rest
    are centre-surround filters of alternating sign. Filter f is orientation f // 12.

    Scale as He et al. 2015 (arXiv:1502.01852), eq. 10: for white input of unit variance, gray
    repeated in the channels, the output has variance 2, so 1 is its second moment behind the
    rectifier.
    """
    orientations, blobs = divmod(count, len(PHASES) * len(WAVELENGTHS))
    planes = [
        _gabor(size, pi * k / orientations, wavelength * size, phase)
        for k in range(orientations)
        for wavelength in WAVELENGTHS
        for phase in PHASES
    ]
    planes += [_blob(size, _radius(k) * size) * (-1) ** k for k in range(blobs)]
    unit = [plane / np.linalg.norm(plane) for plane in planes]
    bank = np.sqrt(2.0) / channels * np.stack(unit, axis=-1)
    return np.repeat(bank[:, :, None, :], channels, axis=2).astype(np.float32)


def _radius(k: int) -> float:
    """Return the radii in turn, each for a bright and a dark centre; a little wider each time
    round."""
    turn, place = divmod(k // 2, len(BLOB_RADII))
    return BLOB_RADII[place] * 1.15**turn


def _gabor(size: int, angle: float, wavelength: float, phase: float) -> np.ndarray:
    row, column = _grid(size)
    envelope = np.exp(-(row**2 + column**2) / (2 * min(wavelength / 2, size / 4.5) ** 2))
    across = column * np.cos(angle) + row * np.sin(angle)
    return _without_mean(envelope * np.cos(2 * pi * across / wavelength + phase), envelope)


def _blob(size: int, radius: float) -> np.ndarray:
    row, column = _grid(size)
    square = row**2 + column**2
    surround = np.exp(-square / (2 * (1.6 * radius) ** 2))
    return _without_mean(np.exp(-square / (2 * radius**2)), surround)


def _without_mean(plane: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Zero mean by taking away a share of the envelope, so that the rim stays near zero."""
    return plane - envelope * (plane.sum() / envelope.sum())


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    return row, column
