"""ROC curves of the scored ROIs, empirical and fitted, with a band. Draws nothing."""

from typing import NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.report.read_workdir import ScoreTable, WorkFolder

SAMPLES = 1000  # resamples of the patients behind a band
SEED = 0
GRID = np.linspace(0.0, 1.0, 201)  # false positive fractions at which a band is taken


class Curve(NamedTuple):
    """The curves of one approach: empirical, `fpf` and `tpf` (points,); proper binormal, `fit_fpf`
    and `fit_tpf`; and the band of the empirical one: `low` and `high` (len(GRID),) true positive
    fractions at the false positive fractions of GRID. `shown` is the AUC of the fit with its
    interval, clustered by patient; where the fit may be no headline (`fitted` False), the
    empirical one."""

    approach: str
    auc: float
    n_malignant: int
    n_benign: int
    fpf: np.ndarray
    tpf: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shown: roc.AucInterval
    fitted: bool
    fit_fpf: np.ndarray
    fit_tpf: np.ndarray


def curves(work: WorkFolder, unit: str) -> list[Curve]:
    """A curve for each approach on the target's scored ROIs; none where there are none, or they
    are of one class.

    `unit` is view or lesion, whose score is the mean over its views.
    """
    found, target = [], work.results["target"]
    for approach, scored in work.scores.items():
        if len(set(scored.label[scored.task == target].tolist())) == 2:
            labels, scores, cases = _by_unit(scored, target, unit)
            own = roc.empirical(labels, scores)
            low, high = band(labels, scores, cases)
            sizes = (own.n_malignant, own.n_benign)
            fit = roc.auc_interval(labels, scores, cases, "proper")
            fitted = roc.may_headline(fit.status, own.auc)
            shown = fit if fitted else roc.auc_interval(labels, scores, cases)
            line = roc.proper(labels, scores).curve(201)
            drawn = (own.fpf, own.tpf, low, high, shown, fitted, *line)
            found.append(Curve(approach, own.auc, *sizes, *drawn))
    return found


def band(
    labels: np.ndarray,
    scores: np.ndarray,
    cases: np.ndarray,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise 95 % band of the true positive fraction at each false positive fraction of GRID.

    Percentiles over resamples of whole patients with replacement (Efron and Tibshirani 1993, ch.
    13); a resample without both classes is drawn again. `labels` (n,) 0 or 1 with both present.
    """
    order = np.argsort(-scores, kind="stable")
    patient = np.unique(cases, return_inverse=True)[1][order]
    malignant, score = labels[order] == 1, scores[order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each run of ties
    rng, count, rows = np.random.default_rng(seed), int(patient.max()) + 1, []
    while len(rows) < samples:
        weight = np.bincount(rng.integers(0, count, count), minlength=count)[patient]
        tp, fp = np.cumsum(weight * malignant)[ends], np.cumsum(weight * ~malignant)[ends]
        if tp[-1] and fp[-1]:
            rows.append(_read_off(np.append(0, fp) / fp[-1], np.append(0, tp) / tp[-1]))
    low, high = np.percentile(rows, (2.5, 97.5), axis=0)
    return low, high


def _read_off(fpf: np.ndarray, tpf: np.ndarray) -> np.ndarray:
    """The curve's height over GRID; the upper end where it rises straight up."""
    left = np.searchsorted(fpf, GRID, side="right") - 1
    right = np.minimum(left + 1, len(fpf) - 1)
    run = fpf[right] - fpf[left]
    share = np.divide(GRID - fpf[left], run, out=np.zeros(len(GRID)), where=run > 0)
    return tpf[left] + share * (tpf[right] - tpf[left])


def _by_unit(scored: ScoreTable, task: str, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and case ids (n,) of one collection, one a view or one a lesion."""
    own = scored.task == task
    label, score, case = scored.label[own], scored.score[own], scored.case_id[own]
    if unit == "view":
        return label, score, case
    lesions = roc.view_to_lesion(label, score, case, scored.lesion_id[own])
    return lesions.labels, lesions.scores, lesions.cases
