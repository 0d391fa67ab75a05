"""Compute empirical and fitted ROC curves of the evaluation set, with confidence bands."""

from typing import NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.report.read_workdir import ScoreTable, WorkFolder

N_BOOTSTRAP = 1000  # samples of the patients for a confidence band
SEED = 0
GRID = np.linspace(0.0, 1.0, 201)  # false positive fractions of a band


class Curve(NamedTuple):
    """ROC curves of one approach."""

    approach: str
    auc: float  # empirical
    n_malignant: int
    n_benign: int
    fpf: np.ndarray  # empirical curve
    tpf: np.ndarray
    low: np.ndarray  # confidence band of the empirical curve: true positive fractions on GRID
    high: np.ndarray
    headline: roc.AucInterval  # clustered by patient; empirical if not `fitted`
    fitted: bool  # whether the proper binormal fit may be the headline
    fit_fpf: np.ndarray  # proper binormal curve
    fit_tpf: np.ndarray


def curves(work: WorkFolder, unit: str) -> list[Curve]:
    """Return the curves of each approach on the target; `unit` is 'view' or 'lesion'.

    Approaches without scores of both classes are left out.
    """
    curve_list, target = [], work.results["target"]
    for approach, scored in work.scores.items():
        if len(set(scored.label[scored.task == target].tolist())) == 2:
            labels, scores, cases = _by_unit(scored, target, unit)
            empirical = roc.empirical(labels, scores)
            low, high = band(labels, scores, cases)
            sizes = (empirical.n_malignant, empirical.n_benign)
            fit = roc.auc_interval(labels, scores, cases, "proper")
            fitted = roc.may_headline(fit.status, empirical.auc)
            headline = fit if fitted else roc.auc_interval(labels, scores, cases)
            fit_curve = roc.proper(labels, scores).curve(201)
            points = (empirical.fpf, empirical.tpf, low, high, headline, fitted, *fit_curve)
            curve_list.append(Curve(approach, empirical.auc, *sizes, *points))
    return curve_list


def band(
    labels: np.ndarray,
    scores: np.ndarray,
    cases: np.ndarray,
    samples: int = N_BOOTSTRAP,
    seed: int = SEED,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the pointwise 95% confidence band of the true positive fraction on GRID.

    It consists of percentiles over bootstrap samples of patients; samples without both classes are
    discarded (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13).
    """
    order = np.argsort(-scores, kind="stable")
    patient = np.unique(cases, return_inverse=True)[1][order]
    malignant, score = labels[order] == 1, scores[order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # last index of each tie
    rng, count, rows = np.random.default_rng(seed), int(patient.max()) + 1, []
    while len(rows) < samples:
        weight = np.bincount(rng.integers(0, count, count), minlength=count)[patient]
        tp, fp = np.cumsum(weight * malignant)[ends], np.cumsum(weight * ~malignant)[ends]
        if tp[-1] and fp[-1]:
            rows.append(_interpolate(np.append(0, fp) / fp[-1], np.append(0, tp) / tp[-1]))
    low, high = np.percentile(rows, (2.5, 97.5), axis=0)
    return low, high


def _interpolate(fpf: np.ndarray, tpf: np.ndarray) -> np.ndarray:
    """Return the curve on GRID; the upper end of a vertical segment."""
    left = np.searchsorted(fpf, GRID, side="right") - 1
    right = np.minimum(left + 1, len(fpf) - 1)
    run = fpf[right] - fpf[left]
    share = np.divide(GRID - fpf[left], run, out=np.zeros(len(GRID)), where=run > 0)
    return tpf[left] + share * (tpf[right] - tpf[left])


def _by_unit(scored: ScoreTable, task: str, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and case ids (n,) of the views or lesions of one collection."""
    rows = scored.task == task
    label, score, case = scored.label[rows], scored.score[rows], scored.case_id[rows]
    if unit == "view":
        return label, score, case
    lesions = roc.view_to_lesion(label, score, case, scored.lesion_id[rows])
    return lesions.labels, lesions.scores, lesions.cases
