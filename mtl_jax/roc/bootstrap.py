"""Bootstrap AUCs over patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.clustered import class_patients
from mtl_jax.roc.empirical import (
    degenerate_status,
    logit_interval,
    newcombe_interval,
    placement_values,
)
from mtl_jax.roc.inputs import check_scores, encode_ids
from mtl_jax.roc.proper import Proper, proper
from mtl_jax.roc.search import aucs_near
from mtl_jax.roc.truth_runs import merge_truth_runs, score_levels

CHUNK_SIZE = 4_000_000  # weights in memory at once: 32 MB
FITTED_CHUNK_SIZE = 200_000  # for fits, which need many arrays of this size


@dataclass(frozen=True)
class Bootstrap:
    """An AUC with its bootstrap standard error and 95% confidence interval.

    The interval is symmetric on the logit scale, because the percentile interval had too low a
    coverage in simulations (docs/benchmarks.md). `samples` (samples,) are the AUCs of the
    resamples. `status` is ok; perfect, below_chance or undetermined if all samples are equal (the
    interval is then Newcombe's with the numbers of patients); sparse if only one patient has cases
    of a class, so that the variance is underestimated.
    """

    auc: float
    se: float
    ci_low: float
    ci_high: float
    status: str
    samples: np.ndarray = field(repr=False, compare=False)


def bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike | None = None,
    method: str = "empirical",
    samples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Return the AUC with the standard error of a bootstrap over patients.

    All cases of a patient are resampled together. Resamples without cases of both classes are
    replaced. The same seed gives the same resamples for any scores.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant.
    clusters : array-like of shape (n,), optional
        Patient ids. Without them each case is its own patient.
    method : {'empirical', 'proper'}
        The AUC of each resample: empirical, or that of a proper binormal fit, which starts at the
        fit of the data.
    samples : int
        Number of resamples, at least 2.
    seed : int
        Seed of the resamples, at least 0.

    Returns
    -------
    Bootstrap
        The AUC with its standard error, interval and status, and the AUCs of the resamples.

    Raises
    ------
    ValueError
        If labels, scores, ids, method, `samples` or `seed` are invalid.

    References
    ----------
    Efron and Tibshirani 1993, chapter 13; for clusters Field and Welsh 2007, J R Stat Soc B 69:369.
    """
    if method not in ("empirical", "proper"):
        raise ValueError(f"method={method!r} is invalid: expected one of empirical, proper")
    truth, values = check_scores(labels, scores)
    patient = encode_ids(clusters, len(values))
    if method == "proper":
        fit = proper(truth, values)
        auc, aucs = fit.auc, refitted_aucs(truth, values, patient, fit, samples, seed)
    else:
        auc = float(placement_values(truth, values)[0].mean())
        aucs = resampled_aucs(truth, [values], patient, samples, seed)[0]
    sd = float(aucs.std(ddof=1))
    se = sd if sd > 1e-14 else 0.0  # a smaller one is a rounding error
    n_patients = class_patients(truth, patient)
    if se == 0.0 or not 0.0 < auc < 1.0:
        low, high = newcombe_interval(auc, *n_patients)
        return Bootstrap(auc, se, low, high, degenerate_status(auc), aucs)
    low, high = logit_interval(auc, se)
    return Bootstrap(auc, se, low, high, "sparse" if min(n_patients) == 1 else "ok", aucs)


def refitted_aucs(
    truth: np.ndarray,
    scores: np.ndarray,
    patient: np.ndarray,
    fit: Proper,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Return the AUCs (samples,) of proper fits of resamples, which start at `fit` of the data."""
    level, count = score_levels(scores)
    order = np.argsort(level, kind="stable")
    level_starts = np.searchsorted(level[order], np.arange(count))
    start = (fit.d_a, fit.c) if fit.corner is None else (1.0, 0.0)
    aucs = []
    for weights in resamples(truth, patient, samples, seed, FITTED_CHUNK_SIZE):
        sorted_weights = weights[:, order]
        malignant = np.add.reduceat(sorted_weights * truth[order], level_starts, axis=1)
        benign = np.add.reduceat(sorted_weights * ~truth[order], level_starts, axis=1)
        aucs.append(aucs_near(merge_truth_runs(benign, malignant), *start))
    return np.concatenate(aucs)


def resampled_aucs(
    truth: np.ndarray,
    score_sets: Sequence[np.ndarray],
    patient: np.ndarray,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Return the empirical AUCs (k, samples) of k sets of scores for the same resamples."""
    positions = []
    for scores in score_sets:
        benign_scores = np.sort(scores[~truth])
        ranks = [np.searchsorted(benign_scores, scores[truth], side) for side in ("left", "right")]
        positions.append((np.argsort(scores[~truth], kind="stable"), *ranks))
    aucs = []
    for weights in resamples(truth, patient, samples, seed):
        malignant, benign = weights[:, truth], weights[:, ~truth]
        n_pairs = malignant.sum(axis=1) * benign.sum(axis=1)
        chunk = []
        for order, left, right in positions:
            n_below = np.zeros((len(weights), benign.shape[1] + 1))
            np.cumsum(benign[:, order], axis=1, out=n_below[:, 1:])
            twice_wins = np.einsum("bm,bm->b", malignant, n_below[:, left] + n_below[:, right])
            chunk.append(twice_wins / (2.0 * n_pairs))
        aucs.append(chunk)
    return np.concatenate(aucs, axis=1)


def resamples(
    truth: np.ndarray,
    patient: np.ndarray,
    samples: int,
    seed: int | Sequence[int],
    chunk_size: int = CHUNK_SIZE,
) -> Iterator[np.ndarray]:
    """Yield chunks (rows, n) with the count of each case in each of `samples` resamples."""
    if samples < 2:
        raise ValueError(f"samples={samples} is invalid: expected an integer >= 2")
    if np.min(seed) < 0:
        raise ValueError(f"seed={seed} is invalid: expected an integer >= 0")
    rng = np.random.default_rng(seed)
    n_patients = int(patient.max()) + 1
    max_rows = max(1, chunk_size // (len(truth) + n_patients))
    n_done = 0
    while n_done < samples:
        rows = min(max_rows, samples - n_done)
        indices = rng.integers(0, n_patients, size=(rows, n_patients))
        indices += n_patients * np.arange(rows)[:, None]
        counts = np.bincount(indices.ravel(), minlength=rows * n_patients)
        weights = counts.reshape(rows, n_patients).astype(np.float64)[:, patient]
        has_both = weights[:, truth].any(axis=1) & weights[:, ~truth].any(axis=1)
        n_done += int(has_both.sum())
        if has_both.any():
            yield weights[has_both]
