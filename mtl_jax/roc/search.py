"""Searches all proper curves for the most likely one. The climbing itself is done in fit."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc import categories as lik
from mtl_jax.roc import proper_model
from mtl_jax.roc.degenerate import at_chance, classify_data, degenerate_aucs, empirical_aucs
from mtl_jax.roc.fit import Fits, maximize, select_best, select_better
from mtl_jax.roc.truth_runs import TruthRuns, pool_categories

MAX_STARTS = 3  # starts to climb to the end
FIRST_STEPS = 6
COARSE_CATEGORIES = 40  # categories that are enough to see where the maxima are
C_GRID = np.array([-0.98, -0.9, -0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])


def candidate_curves(auc: float) -> tuple[np.ndarray, np.ndarray]:
    """Curves d, c (areas * bends,) of areas around `auc` over the whole range of c, from d = 0
    with c < 0 over c = 0 to d = 0 with c > 0."""
    z = ndtri(np.clip(auc, 0.5, 0.9999)) + np.array([-0.3, 0.0, 0.3, 0.8])
    aucs = np.clip(ndtr(z), 0.505, 0.9999)
    aucs, bends = (g.ravel() for g in np.meshgrid(aucs, C_GRID, indexing="ij"))
    c = proper_model.avoid_zero(bends * proper_model.max_c(aucs))
    return np.maximum(proper_model.d_of_auc(aucs, c), lik.MIN_D), c


def scan_starts(runs: TruthRuns, auc: float) -> tuple[np.ndarray, np.ndarray]:
    """For every second bend the curve d, c of the most likely area, and the most likely of all,
    judged on one data set with the cutoffs at the fractions observed."""
    d, c = candidate_curves(auc)
    many = runs.take(np.zeros(len(d), dtype=int))
    part = lik.class_fractions(many)
    v = lik.cutoffs(many, part, d, c, lik.observed_fractions(many), None)
    score = lik.log_likelihood(
        many, lik.category_probabilities(many, part, lik.Parameters(d, c, v))
    ).reshape(-1, len(C_GRID))
    at = score.argmax(axis=0) * len(C_GRID) + np.arange(len(C_GRID))
    at = np.unique(np.append(at[::2], score.argmax()))
    return d[at], c[at]


def distinct_fits(found: Fits) -> np.ndarray:
    """Return the fits of one data set worth climbing on from, best first: no two of about one
    area, and none far below the best."""
    aucs, kept = proper_model.auc_of_curve(found.parameters.d, found.parameters.c), []
    for i in np.argsort(-found.loglik):
        hope = found.loglik[i] > found.loglik.max() - 10.0
        if hope and all(abs(aucs[i] - aucs[j]) > 1e-3 for j in kept):
            kept.append(i)
    return np.array(kept[:MAX_STARTS])


def search(runs: TruthRuns) -> Fits:
    """Return the best maximum of one data set: a few steps from all starts of the scan with the
    categories pooled, then a climb from the best of them with all categories, and one along d =
    0."""
    coarse = pool_categories(runs, COARSE_CATEGORIES)
    d, c = scan_starts(coarse, float(empirical_aucs(runs)[0]))
    found = maximize(coarse.take(np.zeros(len(d), dtype=int)), d, c, steps=FIRST_STEPS)
    top = distinct_fits(found)
    found = maximize(
        runs.take(np.zeros(len(top), dtype=int)), found.parameters.d[top], found.parameters.c[top]
    )
    return try_boundary(runs, select_best(found))


def search_near(runs: TruthRuns, d: float, c: float) -> Fits:
    """Return the best maxima of many data sets that resemble one whose maximum is (d, c): with the
    categories pooled from there, and from the curve of the same area with a slight bend to the
    other side; then from the better of the two with all categories."""
    area = proper_model.auc_of_curve(np.array([d]), proper_model.avoid_zero(np.array([c])))
    other = (-0.2 if c > 0 else 0.2) * proper_model.max_c(area)
    starts = (
        (np.array([max(d, 0.3)]), np.array([c])),
        (proper_model.d_of_auc(area, other), other),
    )
    coarse = pool_categories(runs, COARSE_CATEGORIES)
    found = [maximize(coarse, *(np.repeat(x, runs.sets) for x in start)) for start in starts]
    best = select_better(coarse, *found).parameters
    return maximize(runs, np.maximum(best.d, 0.3), best.c)


def try_boundary(runs: TruthRuns, found: Fits) -> Fits:
    """Return the fit with d = 0 of those data sets whose fit is near it and no better."""
    near = np.flatnonzero((found.parameters.d > lik.MIN_D) & (found.parameters.d < 0.3))
    if not len(near):
        return found
    cell = runs.cells(near)
    c = found.parameters.c[near]
    c = np.sign(c) * proper_model.max_c(proper_model.auc_of_curve(found.parameters.d[near], c))
    edge = maximize(runs.take(near), np.zeros(len(near)), c, on_edge=True)
    all_edge = Fits(
        lik.Parameters(
            found.parameters.d.copy(), found.parameters.c.copy(), found.parameters.v.copy()
        ),
        np.full(runs.sets, -np.inf),
        found.converged.copy(),
        found.iterations.copy(),
    )
    all_edge.parameters.d[near], all_edge.parameters.c[near], all_edge.parameters.v[cell] = (
        edge.parameters.d,
        edge.parameters.c,
        edge.parameters.v,
    )
    all_edge.loglik[near], all_edge.converged[near] = edge.loglik, edge.converged
    all_edge.iterations[near] = edge.iterations
    return select_better(runs, found, all_edge, margin=1e-9)


def aucs_near(runs: TruthRuns, d: float, c: float) -> np.ndarray:
    """Return the areas (sets,) that `proper` gives for data sets resembling one fitted by (d,
    c)."""
    out = degenerate_aucs(runs)
    regular = np.flatnonzero(classify_data(runs) == "regular")
    if len(regular):
        some = runs.take(regular)
        found = search_near(some, d, c)
        fitted = proper_model.auc_of_curve(found.parameters.d, found.parameters.c)
        out[regular] = np.where(at_chance(some, fitted, found.loglik), 0.5, fitted)
    return out
