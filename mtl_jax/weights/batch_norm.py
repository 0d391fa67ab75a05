"""Batch normalization at fixed statistics, folded into the convolution before it."""

from collections.abc import Mapping

import numpy as np

EPSILON = 1e-5  # PyTorch's, added to the variance
PARTS = ("weight", "bias", "running_mean", "running_var")  # of a normalization, a number a map


def folded(arrays: Mapping[str, np.ndarray], axis: int) -> dict[str, np.ndarray]:
    """Return the kernel and bias that give what convolution and normalization give together.

    `arrays` hold the kernel, whose outputs are on `axis`, a bias where the convolution has one, and
    of the normalization 'norm weight' and so on (n,). Computed in float64, rounded to float32 once
    (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2).
    """
    weight, bias, mean, variance = (np.float64(arrays[f"norm {part}"]) for part in PARTS)
    scale = weight / np.sqrt(variance + EPSILON)
    kernel = arrays["kernel"]
    shape = [1] * kernel.ndim
    shape[axis] = -1
    own = np.float64(arrays["bias"]) if "bias" in arrays else 0.0
    with np.errstate(over="ignore"):  # infinite then, which the caller looks for
        return {
            "kernel": np.float32(kernel * scale.reshape(shape)),
            "bias": np.float32(bias + (own - mean) * scale),
        }
