"""Fold batch normalization with fixed statistics into the convolution before it."""

from collections.abc import Mapping

import numpy as np

# Arrays of a normalization, one value a map.
PARTS = ("weight", "bias", "running_mean", "running_var")


def fold(
    arrays: Mapping[str, np.ndarray], output_axis: int, epsilon: float
) -> dict[str, np.ndarray]:
    """Return the kernel and bias of a convolution that includes the normalization after it.

    `arrays` has 'kernel', optionally 'bias', and 'norm weight' ... 'norm running_var' (n,);
    `output_axis` of the kernel has the n outputs; `epsilon` is added to the variance. Computed in
    float64 and rounded once to float32 (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2).
    """
    weight, bias, mean, variance = (np.float64(arrays[f"norm {part}"]) for part in PARTS)
    scale = weight / np.sqrt(variance + epsilon)
    kernel = arrays["kernel"]
    shape = [1] * kernel.ndim
    shape[output_axis] = -1
    conv_bias = np.float64(arrays["bias"]) if "bias" in arrays else 0.0
    with np.errstate(over="ignore"):  # the caller rejects infinite values
        return {
            "kernel": np.float32(kernel * scale.reshape(shape)),
            "bias": np.float32(bias + (conv_bias - mean) * scale),
        }
