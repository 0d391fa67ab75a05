"""Detect data that do not determine a proper curve, and return what is known of them."""

import numpy as np
from scipy.special import ndtr, ndtri

from mtl_jax.roc.truth_runs import TruthRuns

MAX_CHANCE_AUC = 0.5 + 1e-5  # a smaller fitted AUC is that of the diagonal

# `Proper.status` of each kind of degenerate data.
STATUS = {
    "constant": "undetermined",
    "perfect": "perfect",
    "edge_only": "edge_only",
    "single": "undetermined",
    "reversed": "below_chance",
}


def classify_data(runs: TruthRuns) -> np.ndarray:
    """Return for each data set (sets,) 'regular', or why the likelihood has no unique maximum.

    - constant: one category.
    - perfect: a cutoff separates the classes.
    - edge_only: all operating points have FPF 0 or TPF 1; curves of AUC 1 fit as well as any.
    - single: one operating point, above the diagonal, which a family of curves passes through.
    - reversed: one operating point, on or below the diagonal.
    """
    fpf, tpf = operating_points(runs)
    last = np.zeros(len(fpf), dtype=bool)
    last[runs.start[1:] - 1] = True
    on_edge = last | (fpf == 0) | (tpf == 1)
    perfect = np.maximum.reduceat((fpf == 0) & (tpf == 1), runs.start[:-1])
    edge_only = np.minimum.reduceat(on_edge, runs.start[:-1])
    above = tpf[runs.start[:-1]] > fpf[runs.start[:-1]]
    one_point = runs.sizes == 2
    return np.select(
        [runs.sizes == 1, perfect, edge_only, one_point & above, one_point],
        ["constant", "perfect", "edge_only", "single", "reversed"],
        "regular",
    )


def operating_points(runs: TruthRuns) -> tuple[np.ndarray, np.ndarray]:
    """Return the empirical FPF and TPF at the lower end of each category, exactly 1 at the last."""
    fpf, tpf = (  # sums of integers are exact
        runs.cumsum(counts) / runs.repeat(runs.sum(counts))
        for counts in (runs.benign, runs.malignant)
    )
    return fpf, tpf


def empirical_aucs(runs: TruthRuns) -> np.ndarray:
    """Return the empirical AUC of each data set (sets,)."""
    tpf = operating_points(runs)[1]
    tpf = tpf - runs.malignant / runs.repeat(runs.sum(runs.malignant)) / 2.0  # ties count half
    return runs.sum(tpf * (runs.benign / runs.repeat(runs.sum(runs.benign))))


def saturated_loglik(runs: TruthRuns) -> np.ndarray:
    """Return the log-likelihood (sets,) of the observed category fractions, an upper bound."""
    terms = np.zeros(len(runs.benign))
    for counts in (runs.benign, runs.malignant):
        nonempty = counts > 0
        total = runs.repeat(runs.sum(counts))
        terms[nonempty] += counts[nonempty] * np.log(counts[nonempty] / total[nonempty])
    return runs.sum(terms)


def chance_loglik(runs: TruthRuns) -> np.ndarray:
    """Return the log-likelihood (sets,) of the diagonal."""
    cases = runs.benign + runs.malignant
    return runs.sum(cases * np.log(cases / runs.repeat(runs.sum(cases))))


def at_chance(runs: TruthRuns, auc: np.ndarray, loglik: np.ndarray) -> np.ndarray:
    """Return whether fits with these AUCs and log-likelihoods (sets,) are no better than the
    diagonal."""
    return (auc < MAX_CHANCE_AUC) | (loglik < chance_loglik(runs))


def equal_variance_d(runs: TruthRuns) -> tuple[np.ndarray, np.ndarray]:
    """Return the d (sets,) of the equal-variance curve (c = 0) through the first operating point,
    and the variance of d; meaningful for the kind 'single'."""
    d, variance = np.zeros(runs.n_sets), np.zeros(runs.n_sets)
    for counts, sign in ((runs.malignant, 1.0), (runs.benign, -1.0)):
        total = runs.sum(counts)
        fraction = np.clip(counts[runs.start[:-1]] / total, 1e-12, 1.0 - 1e-12)
        z = ndtri(fraction)
        d += sign * z
        variance += fraction * (1.0 - fraction) * 2.0 * np.pi * np.exp(z * z) / total
    return d, variance


def degenerate_aucs(runs: TruthRuns) -> np.ndarray:
    """Return the AUC (sets,) that `proper` gives for data that are not 'regular'."""
    kind = classify_data(runs)
    d = equal_variance_d(runs)[0]
    return np.select(
        [kind == "single", np.isin(kind, ("constant", "reversed"))],
        [ndtr(d / np.sqrt(2.0)), 0.5],
        empirical_aucs(runs),
    )
