"""How much each case moves an area, empirical or fitted. It sums nothing over patients."""

import numpy as np

from mtl_jax.roc import cells as lik
from mtl_jax.roc import degenerate, information, model
from mtl_jax.roc.empirical import placements
from mtl_jax.roc.runs import from_scores
from mtl_jax.roc.search import search


def of_empirical_area(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """The empirical area and the influence (n,) of each case on it: DeLong's components, centred
    and over the number of cases in the class."""
    of_malignant, of_benign = placements(truth, scores)
    area = float(of_malignant.mean())
    out = np.empty(len(truth))
    out[truth] = (of_malignant - area) / len(of_malignant)
    out[~truth] = (of_benign - area) / len(of_benign)
    return area, out


def of_proper_area(truth: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, str]:
    """The area of the proper binormal fit, the influence (n,) of each case on it, and the status.

    The influence is the case's score vector, less its part explained by the cutoffs, times the
    inverse information and the gradient of the area (White 1982, Econometrica 50:1). Where the
    fit is degenerate the area and influence are the empirical ones.
    """
    runs = from_scores(truth, scores)
    kind = str(degenerate.classify(runs)[0])
    if kind != "regular":
        return *of_empirical_area(truth, scores), degenerate.STATUS[kind]
    found = search(runs)
    solved = information.solve(runs, found.at, expected=False)
    part = lik.shares(runs)
    now = lik.cells(runs, part, found.at)
    weight = solved.area @ solved.inverse  # of the score vector
    border = weight @ solved.border
    turn = weight @ solved.turn
    pull = []
    for sign, chance, slope in (
        (-part.malignant, now.p, now.r),
        (part.benign, now.q, now.s),
    ):
        moved = sign * turn - border * slope
        pull.append((moved - np.where(part.first, 0.0, np.roll(moved, 1))) / chance)
    rank = np.empty(len(scores), dtype=int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    cell = np.searchsorted(np.cumsum(runs.benign + runs.malignant), rank, "right")
    influence = np.where(truth, pull[1][cell], pull[0][cell])
    status = "ok" if found.converged[0] else "not_converged"
    return float(model.area(found.at.d, found.at.c)[0]), influence, status
