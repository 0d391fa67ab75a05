"""Variance of empirical areas when cases share a patient. It tests no difference."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc import empirical as emp
from mtl_jax.roc.inputs import check, codes

CHUNK = 4_000_000  # weights held at once by the bootstrap: 32 MB


@dataclass(frozen=True)
class Bootstrap:
    """Area of the data, with the standard error and 95 % percentile interval of its bootstrap.

    `samples` (samples,) are the resampled areas. `status` is ok; perfect, below_chance or
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


def area_covariance(
    truth: np.ndarray, readings: Sequence[np.ndarray], patient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Areas (2,) of two readings of the same cases, and the covariance (3, 3) of the first area,
    the second and their difference.

    Obuchowski 1997 (Biometrics 53:567), equations for clustered data; with every case its own
    patient this is DeLong's covariance. Needs two patients in each class.
    """
    count = patient.max() + 1
    placed = [emp.placements(truth, scores) for scores in readings]
    areas = np.array([of_malignant.mean() for of_malignant, _ in placed])
    sums = []
    for kind, side in ((truth, 0), (~truth, 1)):
        a, b = ((v[side] - area) / kind.sum() for v, area in zip(placed, areas, strict=True))
        # The difference has its own row: taken from the covariance it would drown in rounding.
        sums.append(np.stack([np.bincount(patient[kind], d, count) for d in (a, b, a - b)]))
    x, y = sums
    with_x, with_y = class_patients(truth, patient)
    apart = with_x / (with_x - 1) * (x @ x.T) + with_y / (with_y - 1) * (y @ y.T)
    across = count / (count - 1) * (x @ y.T + y @ x.T)
    covariance = apart + across
    size = np.sqrt(np.diag(apart))
    covariance[np.abs(covariance) <= 1e-13 * np.outer(size, size)] = 0.0  # what rounding left
    return areas, covariance


def class_patients(truth: np.ndarray, patient: np.ndarray) -> tuple[int, int]:
    """How many patients have a malignant case, and how many a benign one."""
    return len(np.unique(patient[truth])), len(np.unique(patient[~truth]))


def bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike | None = None,
    method: str = "empirical",
    samples: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> Bootstrap:
    """Resamples whole patients with replacement and takes the area of each resample.

    `clusters` (n,) are patient ids; None: every case is a patient. A resample without both
    classes is drawn again. The same seed gives the same resamples for any scores. Source: Efron
    and Tibshirani 1993, ch. 13; Field and Welsh 2007 (J R Stat Soc B 69:369) for clusters.
    Raises ValueError as `inputs.check` and `inputs.codes` do, or for an unknown method.
    """
    if method not in ("empirical",):
        raise ValueError(f"method must be 'empirical', not {method!r}")
    truth, values = check(labels, scores)
    patient = codes(clusters, len(values))
    areas = resampled_areas(truth, [values], patient, samples, seed, progress)[0]
    auc = float(emp.placements(truth, values)[0].mean())
    se = float(areas.std(ddof=1))
    with_classes = class_patients(truth, patient)
    if se < 1e-14:
        low, high = emp.newcombe_interval(auc, *with_classes)
        return Bootstrap(auc, 0.0, low, high, emp.degenerate_status(auc), areas)
    low, high = (float(q) for q in np.quantile(areas, (0.025, 0.975)))
    return Bootstrap(auc, se, low, high, "sparse" if min(with_classes) == 1 else "ok", areas)


def resampled_areas(
    truth: np.ndarray,
    readings: Sequence[np.ndarray],
    patient: np.ndarray,
    samples: int,
    seed: int,
    progress: bool = False,
) -> np.ndarray:
    """Empirical areas (k, samples) of k readings over the same resamples of patients."""
    places = []
    for scores in readings:
        ordered = np.sort(scores[~truth])
        ends = [np.searchsorted(ordered, scores[truth], side) for side in ("left", "right")]
        places.append((np.argsort(scores[~truth], kind="stable"), *ends))
    areas = []
    for weights in resamples(truth, patient, samples, seed, progress):
        malignant, benign = weights[:, truth], weights[:, ~truth]
        pairs = malignant.sum(axis=1) * benign.sum(axis=1)
        chunk = []
        for order, left, right in places:
            below = np.zeros((len(weights), benign.shape[1] + 1))
            np.cumsum(benign[:, order], axis=1, out=below[:, 1:])
            won = np.einsum("bm,bm->b", malignant, below[:, left] + below[:, right])
            chunk.append(won / (2.0 * pairs))
        areas.append(chunk)
    return np.concatenate(areas, axis=1)


def resamples(
    truth: np.ndarray, patient: np.ndarray, samples: int, seed: int, progress: bool = False
) -> Iterator[np.ndarray]:
    """Yields chunks (some, n) of how often each case is in a resample, `samples` rows in all."""
    if samples < 2:
        raise ValueError(f"samples must be at least 2, not {samples}")
    rng = np.random.default_rng(seed)
    count = int(patient.max()) + 1
    rows = max(1, CHUNK // (len(truth) + count))
    done = 0
    while done < samples:
        size = min(rows, samples - done)
        drawn = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        drawn = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        weights = drawn.astype(np.float64)[:, patient]
        both = weights[:, truth].any(axis=1) & weights[:, ~truth].any(axis=1)
        done += int(both.sum())
        if progress:
            sys.stderr.write(f"\rbootstrap {done}/{samples}" + "\n" * (done == samples))
            sys.stderr.flush()
        if both.any():
            yield weights[both]
