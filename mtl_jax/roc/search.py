"""Searches all proper curves for the most likely one. The climbing itself is done in fit."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc import cells as lik
from mtl_jax.roc import model
from mtl_jax.roc.degenerate import empirical_areas
from mtl_jax.roc.fit import Fits, best_of, climb
from mtl_jax.roc.runs import Runs, coarsen

PEAKS = 4
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


def search(runs: Runs) -> Fits:
    """The best maximum of one data set: climbs from every peak of the scan with the categories
    pooled, then from the best two with all of them, and tries d = 0 where that is near."""
    coarse = coarsen(runs, COARSE)
    d, c = scan(coarse, float(empirical_areas(runs)[0]), PEAKS)
    if coarse is not runs:
        found = climb(coarse.take(np.zeros(len(d), dtype=int)), d, c)
        top = np.argsort(-found.loglik)
        areas = model.area(found.at.d, found.at.c)[top]
        top = top[np.concatenate(([0], np.flatnonzero(np.abs(areas - areas[0]) > 1e-4)[:1]))]
        d, c = found.at.d[top], found.at.c[top]
    found = climb(runs.take(np.zeros(len(d), dtype=int)), d, c)
    best = best_of(found)
    area = model.area(best.at.d, best.at.c)
    if lik.EDGE_D < best.at.d[0] < 0.3:
        edge = climb(runs, np.zeros(1), np.sign(best.at.c) * model.widest(area), on_edge=True)
        if edge.loglik[0] > best.loglik[0] - 1e-9:
            return edge
    return best
