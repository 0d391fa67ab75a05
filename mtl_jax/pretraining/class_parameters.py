"""Parameters of the synthetic classes, evenly distributed over their ranges and constant."""

import numpy as np
from scipy.stats import qmc


def sobol_points(count: int, *ranges: tuple[float, float]) -> np.ndarray:
    """Return the first `count` points, a power of 2, of a Sobol sequence, scaled to `ranges`.

    The result is (count, len(ranges)) float32.
    """
    low, high = np.array(ranges).T
    points = qmc.Sobol(len(ranges), scramble=False).random(count)
    return (low + points * (high - low)).astype(np.float32)
