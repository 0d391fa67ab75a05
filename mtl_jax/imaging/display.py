"""Scale gray values for the screen."""

import numpy as np

SAMPLE = 2**14  # about as many values of a larger image are enough for its percentiles


def window(gray: np.ndarray) -> np.ndarray:
    """Return 12-bit `gray` as 0 to 1: its middle 99% of values, or at least one gray level."""
    sample = gray.ravel()[:: max(1, gray.size // SAMPLE)]
    low, high = np.percentile(sample, (0.5, 99.5)).astype(gray.dtype)
    return np.clip((gray - low) / max(high - low, 1), 0, 1)
