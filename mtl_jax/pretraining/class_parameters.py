"""Parameters of classes, spread evenly over their ranges. They are the same in every training."""

import numpy as np
from scipy.stats import qmc


def spread(count: int, *ranges: tuple[float, float]) -> np.ndarray:
    """Return (count, len(ranges)) float32: the first points of Sobol's sequence, `count` a power
    of 2."""
    low, high = np.array(ranges).T
    points = qmc.Sobol(len(ranges), scramble=False).random(count)
    return (low + points * (high - low)).astype(np.float32)
