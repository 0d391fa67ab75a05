"""How much each case moves an area, empirical or fitted."""

import numpy as np

from mtl_jax.roc import categories as lik
from mtl_jax.roc import degenerate, information, proper_model
from mtl_jax.roc.empirical import placement_values
from mtl_jax.roc.fit import Fits
from mtl_jax.roc.search import search
from mtl_jax.roc.truth_runs import TruthRuns, truth_runs_of_scores


def empirical_influence(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, str]:
    """Return the empirical area, the influence (n,) of each case on it (DeLong's components,
    centred and over the number of cases in the class), and the status ok."""
    of_malignant, of_benign = placement_values(truth, scores)
    area = float(of_malignant.mean())
    out = np.empty(len(truth))
    out[truth] = (of_malignant - area) / len(of_malignant)
    out[~truth] = (of_benign - area) / len(of_benign)
    return area, out, "ok"


def proper_influence(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, str]:
    """Return the area of the proper binormal fit, the influence (n,) of each case on it, and the
    status, each as `proper` gives it but for the checks against the empirical AUC and the class
    sizes.

    Where the fit is degenerate the area is that of `proper`, the influence the empirical one.
    """
    runs = truth_runs_of_scores(truth, scores)
    kind = str(degenerate.classify_data(runs)[0])
    if kind == "regular":
        found = search(runs)
        aucs = proper_model.auc_of_curve(found.parameters.d, found.parameters.c)
        if degenerate.at_chance(runs, aucs, found.loglik)[0]:
            return 0.5, empirical_influence(truth, scores)[1], "below_chance"
        area, pull = float(aucs[0]), category_influence(runs, found)
        if np.isfinite(pull).all():
            cell = find_categories(runs, scores)
            status = "boundary" if found.parameters.d[0] <= 1.01 * lik.MIN_D else "ok"
            status = status if found.converged[0] else "not_converged"
            return area, np.where(truth, pull[1][cell], pull[0][cell]), status
        return area, empirical_influence(truth, scores)[1], "sparse"
    return (
        float(degenerate.degenerate_aucs(runs)[0]),
        empirical_influence(truth, scores)[1],
        degenerate.STATUS[kind],
    )


def category_influence(runs: TruthRuns, found: Fits) -> np.ndarray:
    """Return how much one benign and one malignant case (2, cells) of each cell move the fitted
    area.

    The case's score vector, minus its part explained by the cutoffs, times the inverse expected
    information and the gradient of the area (White 1982, Econometrica 50:1).
    """
    solved = information.invert_information(runs, found.parameters)
    part = lik.class_fractions(runs)
    now = lik.category_probabilities(runs, part, found.parameters)
    weight = np.einsum("is,ijs->js", solved.area, solved.inverse)
    weight = np.repeat(weight, runs.sizes, axis=1)
    border, turn = (weight * solved.border).sum(axis=0), (weight * solved.turn).sum(axis=0)
    moved = np.stack([-part.malignant * turn, part.benign * turn]) - border * [now.r, now.s]
    change = moved - np.where(part.first, 0.0, np.roll(moved, 1, axis=1))
    return change / np.maximum([now.p, now.q], lik.MIN_PROBABILITY)


def find_categories(runs: TruthRuns, scores: np.ndarray) -> np.ndarray:
    """Return the cell (n,) that holds each case of one data set."""
    rank = np.empty(len(scores), dtype=int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return np.searchsorted(np.cumsum(runs.benign + runs.malignant), rank, "right")
