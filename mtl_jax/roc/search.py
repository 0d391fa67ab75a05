"""Search for the global maximum of the likelihood of proper binormal curves from many starts."""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc import categories, proper_model
from mtl_jax.roc.degenerate import at_chance, classify_data, degenerate_aucs, empirical_aucs
from mtl_jax.roc.fit import Fits, maximize, put_sets, take_sets, where_sets
from mtl_jax.roc.truth_runs import TruthRuns, pool_categories

MAX_STARTS = 3  # starts that are fitted to convergence
FIRST_STEPS = 6
COARSE_CATEGORIES = 40  # enough categories to locate the maxima
# c as a fraction of the largest |c| with the same AUC
C_GRID = np.array([-0.98, -0.9, -0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])


def candidate_curves(auc: float) -> tuple[np.ndarray, np.ndarray]:
    """Return d, c (AUCs * c values,) of curves with AUCs near `auc` over the whole range of c."""
    z = ndtri(np.clip(auc, 0.5, 0.9999)) + np.array([-0.3, 0.0, 0.3, 0.8])
    aucs = np.clip(ndtr(z), 0.505, 0.9999)
    aucs, relative_c = (g.ravel() for g in np.meshgrid(aucs, C_GRID, indexing="ij"))
    c = proper_model.avoid_zero(relative_c * proper_model.max_c(aucs))
    return np.maximum(proper_model.d_of_auc(aucs, c), categories.MIN_D), c


def scan_starts(runs: TruthRuns, auc: float) -> tuple[np.ndarray, np.ndarray]:
    """Return d, c of the most likely candidates for one data set: for every second c of the grid,
    and the best of all. The cutoffs are at the observed fractions."""
    d, c = candidate_curves(auc)
    copies = copy_set(runs, len(d))
    fractions, w = categories.class_fractions(copies), categories.observed_fractions(copies)
    v = categories.cutoffs(copies, fractions, d, c, w, None)
    parameters = categories.Parameters(d, c, v)
    probabilities = categories.category_probabilities(copies, fractions, parameters)
    loglik = categories.log_likelihood(copies, probabilities).reshape(-1, len(C_GRID))
    best = loglik.argmax(axis=0) * len(C_GRID) + np.arange(len(C_GRID))
    best = np.unique(np.append(best[::2], loglik.argmax()))
    return d[best], c[best]


def copy_set(runs: TruthRuns, n: int) -> TruthRuns:
    """Return n copies of one data set."""
    return runs.take(np.zeros(n, dtype=int))


def distinct_fits(fits: Fits) -> np.ndarray:
    """Return the indices of the fits of one data set to continue, best first: no two of nearly the
    same AUC, and none much less likely than the best."""
    aucs, kept = proper_model.auc_of_curve(fits.parameters.d, fits.parameters.c), []
    for i in np.argsort(-fits.loglik):
        likely = fits.loglik[i] > fits.loglik.max() - 10.0
        if likely and all(abs(aucs[i] - aucs[j]) > 1e-3 for j in kept):
            kept.append(i)
    return np.array(kept[:MAX_STARTS])


def search(runs: TruthRuns) -> Fits:
    """Return the global maximum of one data set.

    A few steps from all starts with pooled categories, then a fit from the best of them with all
    categories, and one with d = 0.
    """
    coarse = pool_categories(runs, COARSE_CATEGORIES)
    d, c = scan_starts(coarse, float(empirical_aucs(runs)[0]))
    fits = maximize(copy_set(coarse, len(d)), d, c, steps=FIRST_STEPS)
    best = distinct_fits(fits)
    copies = copy_set(runs, len(best))
    fits = maximize(copies, fits.parameters.d[best], fits.parameters.c[best])
    return try_boundary(runs, take_sets(copies, np.array([fits.loglik.argmax()]), fits))


def search_near(runs: TruthRuns, d: float, c: float) -> Fits:
    """Return the maxima of data sets that are resamples of one with the maximum (d, c).

    Fits of pooled categories start there and at the curve of the same AUC with a small c of the
    other sign; the better of the two starts the fit with all categories.
    """
    auc = proper_model.auc_of_curve(np.array([d]), proper_model.avoid_zero(np.array([c])))
    other_c = (-0.2 if c > 0 else 0.2) * proper_model.max_c(auc)
    starts = (
        (np.array([max(d, 0.3)]), np.array([c])),
        (proper_model.d_of_auc(auc, other_c), other_c),
    )
    coarse = pool_categories(runs, COARSE_CATEGORIES)
    first, second = (
        maximize(coarse, *(np.repeat(x, runs.n_sets) for x in start)) for start in starts
    )
    best = where_sets(coarse, second.loglik > first.loglik, second, first).parameters
    return maximize(runs, np.maximum(best.d, 0.3), best.c)


def try_boundary(runs: TruthRuns, fits: Fits) -> Fits:
    """Replace fits near the boundary d = 0 by the fit with d = 0 if that is as likely."""
    d, c = fits.parameters.d, fits.parameters.c
    near = np.flatnonzero((d > categories.MIN_D) & (d < 0.3))
    if not len(near):
        return fits
    start_c = np.sign(c[near]) * proper_model.max_c(proper_model.auc_of_curve(d[near], c[near]))
    boundary = maximize(runs.take(near), np.zeros(len(near)), start_c, on_boundary=True)
    no_fits = replace(fits, loglik=np.full(runs.n_sets, -np.inf))
    boundary = put_sets(runs, near, no_fits, boundary)
    return where_sets(runs, boundary.loglik > fits.loglik - 1e-9, boundary, fits)


def aucs_near(runs: TruthRuns, d: float, c: float) -> np.ndarray:
    """Return the AUCs (sets,) that `proper` gives for resamples of data with the fit (d, c)."""
    aucs = degenerate_aucs(runs)
    regular = np.flatnonzero(classify_data(runs) == "regular")
    if len(regular):
        regular_runs = runs.take(regular)
        fits = search_near(regular_runs, d, c)
        fitted = proper_model.auc_of_curve(fits.parameters.d, fits.parameters.c)
        aucs[regular] = np.where(at_chance(regular_runs, fitted, fits.loglik), 0.5, fitted)
    return aucs
