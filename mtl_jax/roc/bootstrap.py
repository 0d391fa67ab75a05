"""Resamples patients to see how an area varies."""

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

CHUNK_SIZE = 4_000_000  # weights held at once: 32 MB
FITTED_CHUNK_SIZE = 200_000  # the same where each weight needs the many arrays of a fit


@dataclass(frozen=True)
class Bootstrap:
    """Area of the data, with the standard error of its bootstrap.

    The 95 % interval is symmetric on the logit, with that standard error: in simulations (see
    docs/benchmarks.md) quantiles of the samples held the truth less often than they should.
    `samples` (samples,) are the areas of the resamples. `status` is ok; perfect, below_chance or
    undetermined as in `empirical.Empirical` (samples do not vary; the interval is Newcombe's,
    counting patients); sparse (one patient only holds a class, so that the truth varies less
    than it should).
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
    """Resample whole patients with replacement and takes the area of each resample.

    `clusters` (n,) are patient ids; None: every case is a patient. A resample without both
    classes is drawn again. The same seed gives the same resamples for any scores. Source: Efron
    and Tibshirani 1993, ch. 13; Field and Welsh 2007 (J R Stat Soc B 69:369) for clusters.
    `method` is 'empirical' or 'proper', where all resamples are fitted together, starting from
    the fit of the data. Raises ValueError as `inputs.check` and `inputs.codes` do, or for an
    unknown method.
    """
    if method not in ("empirical", "proper"):
        raise ValueError(f"method must be 'empirical' or 'proper', not {method!r}")
    truth, values = check_scores(labels, scores)
    patient = encode_ids(clusters, len(values))
    if method == "proper":
        fit = proper(truth, values)
        auc, aucs = fit.auc, refitted_aucs(truth, values, patient, fit, samples, seed)
    else:
        auc = float(placement_values(truth, values)[0].mean())
        aucs = resampled_aucs(truth, [values], patient, samples, seed)[0]
    spread = float(aucs.std(ddof=1))
    se = spread if spread > 1e-14 else 0.0  # the rest is rounding
    with_classes = class_patients(truth, patient)
    if se == 0.0 or not 0.0 < auc < 1.0:
        low, high = newcombe_interval(auc, *with_classes)
        return Bootstrap(auc, se, low, high, degenerate_status(auc), aucs)
    low, high = logit_interval(auc, se)
    return Bootstrap(auc, se, low, high, "sparse" if min(with_classes) == 1 else "ok", aucs)


def refitted_aucs(
    truth: np.ndarray,
    scores: np.ndarray,
    patient: np.ndarray,
    fit: Proper,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Areas (samples,) of proper curves fitted to resamples of data whose own fit is `fit`."""
    level, count = score_levels(scores)
    order = np.argsort(level, kind="stable")
    begins = np.searchsorted(level[order], np.arange(count))
    start = (fit.d_a, fit.c) if fit.corner is None else (1.0, 0.0)
    out = []
    for weights in resamples(truth, patient, samples, seed, FITTED_CHUNK_SIZE):
        sorted_ = weights[:, order]
        malignant = np.add.reduceat(sorted_ * truth[order], begins, axis=1)
        benign = np.add.reduceat(sorted_ * ~truth[order], begins, axis=1)
        out.append(aucs_near(merge_truth_runs(benign, malignant), *start))
    return np.concatenate(out)


def resampled_aucs(
    truth: np.ndarray,
    readings: Sequence[np.ndarray],
    patient: np.ndarray,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Empirical areas (k, samples) of k readings over the same resamples of patients."""
    places = []
    for scores in readings:
        ordered = np.sort(scores[~truth])
        ends = [np.searchsorted(ordered, scores[truth], side) for side in ("left", "right")]
        places.append((np.argsort(scores[~truth], kind="stable"), *ends))
    aucs = []
    for weights in resamples(truth, patient, samples, seed):
        malignant, benign = weights[:, truth], weights[:, ~truth]
        pairs = malignant.sum(axis=1) * benign.sum(axis=1)
        chunk = []
        for order, left, right in places:
            below = np.zeros((len(weights), benign.shape[1] + 1))
            np.cumsum(benign[:, order], axis=1, out=below[:, 1:])
            won = np.einsum("bm,bm->b", malignant, below[:, left] + below[:, right])
            chunk.append(won / (2.0 * pairs))
        aucs.append(chunk)
    return np.concatenate(aucs, axis=1)


def resamples(
    truth: np.ndarray,
    patient: np.ndarray,
    samples: int,
    seed: int | Sequence[int],
    chunk: int = CHUNK_SIZE,
) -> Iterator[np.ndarray]:
    """Yield chunks (some, n) of how often each case is in a resample, `samples` rows in all."""
    if samples < 2:
        raise ValueError(f"samples must be at least 2, not {samples}")
    if np.min(seed) < 0:
        raise ValueError(f"seed must be 0 or above, not {seed}")
    rng = np.random.default_rng(seed)
    count = int(patient.max()) + 1
    rows = max(1, chunk // (len(truth) + count))
    done = 0
    while done < samples:
        size = min(rows, samples - done)
        drawn = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        drawn = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        weights = drawn.astype(np.float64)[:, patient]
        both = weights[:, truth].any(axis=1) & weights[:, ~truth].any(axis=1)
        done += int(both.sum())
        if both.any():
            yield weights[both]
