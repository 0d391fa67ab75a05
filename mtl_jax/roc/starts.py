"""Finds where to start the search for a proper curve. It does not climb."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc import cells as lik
from mtl_jax.roc import model
from mtl_jax.roc.runs import Runs

COARSE = 40  # categories that are enough to see where the maxima are
BENDS = np.array([-1.0, -0.95, -0.8, -0.6, -0.4, -0.2, -0.05, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])


def candidates(auc: float) -> tuple[np.ndarray, np.ndarray]:
    """Curves d, c (areas * bends,) of areas around `auc` over the whole range of c, from d = 0
    with c < 0 over c = 0 to d = 0 with c > 0."""
    z = ndtri(np.clip(auc, 0.5, 0.9999)) + np.array([-0.3, 0.0, 0.3, 0.8])
    areas = np.clip(ndtr(z), 0.505, 0.9999)
    areas, bends = (g.ravel() for g in np.meshgrid(areas, BENDS, indexing="ij"))
    c = bends * model.widest(areas)
    return model.separation(areas, c), c


def scan(runs: Runs, auc: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The `most` best curves d, c of one data set that are no neighbours of a better one, judged
    with the cutoffs at the fractions observed."""
    d, c = candidates(auc)
    many = runs.take(np.zeros(len(d), dtype=int))
    part = lik.shares(many)
    v = lik.cutoffs(many, part, d, c, lik.observed_fractions(many), None)
    score = lik.loglik(many, lik.cells(many, part, lik.Point(d, c, v)))
    grid = score.reshape(-1, len(BENDS))
    best = grid.argmax(axis=0)
    ridge = np.concatenate(([-np.inf], grid.max(axis=0), [-np.inf]))
    peaks = np.flatnonzero((ridge[1:-1] >= ridge[:-2]) & (ridge[1:-1] >= ridge[2:]))
    peaks = peaks[np.argsort(-ridge[1 + peaks])][:most]
    at = best[peaks] * len(BENDS) + peaks
    return d[at], c[at]
