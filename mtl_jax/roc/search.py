"""Searches all proper curves for the most likely one. The climbing itself is done in fit."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc import cells as lik
from mtl_jax.roc import model
from mtl_jax.roc.degenerate import empirical_areas
from mtl_jax.roc.fit import Fits, best_of, climb
from mtl_jax.roc.runs import Runs, coarsen

MOST = 3  # starts to climb to the end
FIRST_STEPS = 10
COARSE = 40  # categories that are enough to see where the maxima are
BENDS = np.array([-0.98, -0.9, -0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])


def candidates(auc: float) -> tuple[np.ndarray, np.ndarray]:
    """Curves d, c (areas * bends,) of areas around `auc` over the whole range of c, from d = 0
    with c < 0 over c = 0 to d = 0 with c > 0."""
    z = ndtri(np.clip(auc, 0.5, 0.9999)) + np.array([-0.3, 0.0, 0.3, 0.8])
    areas = np.clip(ndtr(z), 0.505, 0.9999)
    areas, bends = (g.ravel() for g in np.meshgrid(areas, BENDS, indexing="ij"))
    c = model.away_from_zero(bends * model.widest(areas))
    return np.maximum(model.separation(areas, c), lik.EDGE_D), c


def scan(runs: Runs, auc: float) -> tuple[np.ndarray, np.ndarray]:
    """For every second bend the curve d, c of the most likely area, and the most likely of all,
    judged on one data set with the cutoffs at the fractions observed."""
    d, c = candidates(auc)
    many = runs.take(np.zeros(len(d), dtype=int))
    part = lik.shares(many)
    v = lik.cutoffs(many, part, d, c, lik.observed_fractions(many), None)
    score = lik.loglik(many, lik.cells(many, part, lik.Point(d, c, v))).reshape(-1, len(BENDS))
    at = score.argmax(axis=0) * len(BENDS) + np.arange(len(BENDS))
    at = np.unique(np.append(at[::2], score.argmax()))
    return d[at], c[at]


def distinct(found: Fits) -> np.ndarray:
    """The fits of one data set worth climbing on from, best first: no two of about one area."""
    areas, kept = model.area(found.at.d, found.at.c), []
    for i in np.argsort(-found.loglik):
        if all(abs(areas[i] - areas[j]) > 1e-3 for j in kept):
            kept.append(i)
    return np.array(kept[:MOST])


def search(runs: Runs) -> Fits:
    """The best maximum of one data set: a few steps from all starts of the scan with the categories
    pooled, then a climb from the best of them with all categories, and one along d = 0."""
    coarse = coarsen(runs, COARSE)
    d, c = scan(coarse, float(empirical_areas(runs)[0]))
    found = climb(coarse.take(np.zeros(len(d), dtype=int)), d, c, steps=FIRST_STEPS)
    top = distinct(found)
    found = climb(runs.take(np.zeros(len(top), dtype=int)), found.at.d[top], found.at.c[top])
    best = best_of(found)
    area = model.area(best.at.d, best.at.c)
    if lik.EDGE_D < best.at.d[0] < 0.3:
        edge = climb(runs, np.zeros(1), np.sign(best.at.c) * model.widest(area), on_edge=True)
        if edge.loglik[0] > best.loglik[0] - 1e-9:
            return edge
    return best
