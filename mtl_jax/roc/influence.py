"""Influence values of the cases on an AUC, empirical or fitted."""

import numpy as np

from mtl_jax.roc import categories, degenerate, information, proper_model
from mtl_jax.roc.empirical import placement_values
from mtl_jax.roc.fit import Fits
from mtl_jax.roc.search import search
from mtl_jax.roc.truth_runs import TruthRuns, truth_runs_of_scores


def empirical_influence(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, str]:
    """Return the empirical AUC, the influence value (n,) of each case on it (DeLong's components,
    centered and divided by the number of cases in the class), and the status ok."""
    malignant, benign = placement_values(truth, scores)
    auc = float(malignant.mean())
    values = np.empty(len(truth))
    values[truth] = (malignant - auc) / len(malignant)
    values[~truth] = (benign - auc) / len(benign)
    return auc, values, "ok"


def proper_influence(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, str]:
    """Return the AUC of the proper binormal fit, the influence value (n,) of each case on it, and
    the status.

    AUC and status are those of `proper`, but the status without its checks of the empirical AUC
    and the class sizes. If the fit is degenerate the influence values are the empirical ones.
    """
    runs = truth_runs_of_scores(truth, scores)
    kind = str(degenerate.classify_data(runs)[0])
    if kind != "regular":
        auc, status = float(degenerate.degenerate_aucs(runs)[0]), degenerate.STATUS[kind]
        return auc, empirical_influence(truth, scores)[1], status
    fits = search(runs)
    d = fits.parameters.d
    aucs = proper_model.auc_of_curve(d, fits.parameters.c)
    if degenerate.at_chance(runs, aucs, fits.loglik)[0]:
        return 0.5, empirical_influence(truth, scores)[1], "below_chance"
    values = category_influence(runs, fits)
    if not np.isfinite(values).all():
        return float(aucs[0]), empirical_influence(truth, scores)[1], "sparse"
    category = find_categories(runs, scores)
    status = "boundary" if d[0] <= 1.01 * categories.MIN_D else "ok"
    status = status if fits.converged[0] else "not_converged"
    return float(aucs[0]), np.where(truth, values[1][category], values[0][category]), status


def category_influence(runs: TruthRuns, fits: Fits) -> np.ndarray:
    """Return the influence value of a benign and of a malignant case (2, categories) of each
    category on the fitted AUC.

    The efficient score of the case (cutoffs eliminated) times the inverse expected information
    times the gradient of the AUC (White 1982, Econometrica 50:1).
    """
    inverse = information.invert_information(runs, fits.parameters)
    fractions = categories.class_fractions(runs)
    probabilities = categories.category_probabilities(runs, fractions, fits.parameters)
    weight = runs.repeat(np.einsum("is,ijs->js", inverse.auc_gradient, inverse.inverse))
    by_cutoffs = (weight * inverse.border).sum(axis=0)
    by_curve = (weight * inverse.derivative).sum(axis=0)
    change = np.stack([-fractions.malignant * by_curve, fractions.benign * by_curve])
    change -= by_cutoffs * [probabilities.fpf_by_w, probabilities.tpf_by_w]
    change = change - np.where(fractions.first, 0.0, np.roll(change, 1, axis=1))
    return change / np.maximum([probabilities.p, probabilities.q], categories.MIN_PROBABILITY)


def find_categories(runs: TruthRuns, scores: np.ndarray) -> np.ndarray:
    """Return the category (n,) of each case of one data set."""
    rank = np.empty(len(scores), dtype=int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return np.searchsorted(np.cumsum(runs.benign + runs.malignant), rank, "right")
