"""Finds the data that determine no proper curve and says what is known of them."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc.truth_runs import TruthRuns

MAX_CHANCE_AUC = 0.5 + 1e-5  # an area below it is that of the diagonal

# What `Proper.status` says of each kind of data below.
STATUS = {
    "constant": "undetermined",
    "perfect": "perfect",
    "edge_only": "edge_only",
    "single": "undetermined",
    "reversed": "below_chance",
}


def classify_data(runs: TruthRuns) -> np.ndarray:
    """Of each data set (sets,): 'regular', or why the likelihood has no single maximum.

    'constant': one category. 'perfect': a cutoff separates the truths. 'edge_only': no operating
    point is inside the unit square, so that curves of area 1 fit as well as any. 'single': one
    operating point, inside and above the diagonal, on a whole family of curves. 'reversed': one
    operating point, on or below the diagonal.
    """
    fpf, tpf = operating_points(runs)
    last = np.zeros(len(fpf), dtype=bool)
    last[runs.start[1:] - 1] = True
    on_edge = last | (fpf == 0) | (tpf == 1)
    perfect = np.maximum.reduceat((fpf == 0) & (tpf == 1), runs.start[:-1])
    edge_only = np.minimum.reduceat(on_edge, runs.start[:-1])
    above = tpf[runs.start[:-1]] > fpf[runs.start[:-1]]
    two = runs.sizes == 2
    return np.select(
        [runs.sizes == 1, perfect, edge_only, two & above, two],
        ["constant", "perfect", "edge_only", "single", "reversed"],
        "regular",
    )


def operating_points(runs: TruthRuns) -> tuple[np.ndarray, np.ndarray]:
    """Empirical FPF and TPF at the lower end of each cell (cells,), exactly 0 and 1 at the ends."""
    out = []
    for counts in (runs.benign, runs.malignant):
        running = np.cumsum(counts)  # whole numbers: exact
        before = np.repeat(running[runs.start[:-1]] - counts[runs.start[:-1]], runs.sizes)
        out.append((running - before) / np.repeat(runs.total(counts), runs.sizes))
    return out[0], out[1]


def empirical_aucs(runs: TruthRuns) -> np.ndarray:
    """Return the empirical area of each data set (sets,)."""
    fpf, tpf = operating_points(runs)
    above = tpf - runs.malignant / np.repeat(runs.total(runs.malignant), runs.sizes) / 2.0
    share = runs.benign / np.repeat(runs.total(runs.benign), runs.sizes)
    return runs.total(above * share)


def saturated_loglik(runs: TruthRuns) -> np.ndarray:
    """Return the log-likelihood (sets,) of a model free to fit every category: no curve exceeds
    it."""
    terms = np.zeros(len(runs.benign))
    for counts in (runs.benign, runs.malignant):
        held = counts > 0
        total = np.repeat(runs.total(counts), runs.sizes)
        terms[held] += counts[held] * np.log(counts[held] / total[held])
    return runs.total(terms)


def chance_loglik(runs: TruthRuns) -> np.ndarray:
    """Return the log-likelihood (sets,) of the diagonal."""
    both = runs.benign + runs.malignant
    return runs.total(both * np.log(both / np.repeat(runs.total(both), runs.sizes)))


def at_chance(runs: TruthRuns, auc: np.ndarray, loglik: np.ndarray) -> np.ndarray:
    """Return whether fits of these areas and log-likelihoods (sets,) are no better than the
    diagonal."""
    return (auc < MAX_CHANCE_AUC) | (loglik < chance_loglik(runs))


def equal_variance_d(runs: TruthRuns) -> tuple[np.ndarray, np.ndarray]:
    """d (sets,) of the curve of equal variances (c = 0) through the first operating point, and
    the variance of that d; of use where there is one point, inside the unit square."""
    at = runs.start[:-1]
    d, variance = np.zeros(runs.sets), np.zeros(runs.sets)
    for counts, sign in ((runs.malignant, 1.0), (runs.benign, -1.0)):
        total = runs.total(counts)
        share = np.clip(counts[at] / total, 1e-12, 1.0 - 1e-12)
        z = ndtri(share)
        d += sign * z
        variance += share * (1.0 - share) * 2.0 * np.pi * np.exp(z * z) / total
    return d, variance


def degenerate_aucs(runs: TruthRuns) -> np.ndarray:
    """Return what `proper` says of the area (sets,) where the data are not 'regular'."""
    kind = classify_data(runs)
    d = equal_variance_d(runs)[0]
    return np.select(
        [kind == "single", np.isin(kind, ("constant", "reversed"))],
        [ndtr(d / np.sqrt(2.0)), 0.5],
        empirical_aucs(runs),
    )
