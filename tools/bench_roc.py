"""Measure `mtl_jax.roc`: speed of its fits, type I error and coverage of its tests."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit, logit, ndtri

from mtl_jax import roc
from mtl_jax.roc import clustered, influence, information, proper_model, search, truth_runs
from mtl_jax.roc.bootstrap import resamples
from mtl_jax.roc.empirical import Z95, logit_interval

# Variance components of a score, which sum to 1: effects of patient, lesion and view, common to
# both readings; the effect of a reading on a lesion; noise.
COMPONENTS = {"patient": 0.2, "lesion": 0.25, "view": 0.15, "reading": 0.2, "noise": 0.2}

TESTS = ("delong", "obuchowski", "bootstrap")  # of empirical AUCs
CELLS = list(itertools.product((100, 400), (0.75, 0.9), (1, 2, 3, 4), (1, 2, 3)))
NULLS = 2000
SAMPLES = 400  # resamples of a bootstrap here
BATCH = 100_000  # views fitted in one batch


def study() -> Iterator[dict]:
    """Yield the counts of `calibrate` for each cell and method."""
    for cell in CELLS:
        names = dict(zip(("lesions", "auc", "views", "per_patient"), cell, strict=True))
        for method, (rejected, covered) in calibrate(*cell).items():
            counts = {"nulls": NULLS, "rejected": rejected, "covered": covered}
            yield {"what": "calibration", **names, "method": method, **counts}


def speed(seed: int = 0) -> Iterator[dict]:
    """Yield wall-clock (`ours`) and CPU seconds of proper fits (median of nine data sets) and of
    bootstraps of 2,000 AUCs. CPU time is less affected by other load."""
    rng = np.random.default_rng(seed)
    for n in (200, 2000, 20000):
        sets = [_binormal(rng, n) for _ in range(9)]
        times = [_seconds(lambda data=data: roc.proper(*data)) for data in sets]
        wall, cpu = np.median(times, axis=0)
        yield {"what": f"proper fit, n = {n}", "ours": wall, "processor": cpu}
    labels, scores = _binormal(rng, 400)
    for method in ("empirical", "proper"):
        wall, cpu = _seconds(lambda m=method: roc.bootstrap(labels, scores, method=m))
        yield {
            "what": f"bootstrap of 2,000 {method} AUCs, n = 400",
            "ours": wall,
            "processor": cpu,
        }


def _binormal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    return labels, rng.normal(size=n) + 1.2 * labels


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and the CPU time of `call`."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def simulate(
    rng: np.random.Generator, lesions: int, auc: float, views: int, per_patient: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth (n,), scores of two readings (2, n) with the true AUC `auc`, and patient (n,) of
    the views of `lesions` lesions. A patient may have malignant and benign lesions."""
    lesion = np.repeat(np.arange(lesions), views)
    patient = lesion // per_patient
    truth = rng.permutation(lesions) % 2 == 1
    size = {"patient": patient.max() + 1, "lesion": lesions, "view": len(lesion)}
    index = {"patient": patient, "lesion": lesion, "view": np.arange(len(lesion))}
    shared = sum(
        np.sqrt(COMPONENTS[k]) * rng.normal(size=size[k])[index[k]]
        for k in ("patient", "lesion", "view")
    )
    reading = np.sqrt(COMPONENTS["reading"]) * rng.normal(size=(2, lesions))[:, lesion]
    noise = np.sqrt(COMPONENTS["noise"]) * rng.normal(size=(2, len(lesion)))
    scores = shared + reading + noise + np.sqrt(2.0) * ndtri(auc) * truth[lesion]
    return truth[lesion], scores, patient


def calibrate(
    lesions: int, auc: float, views: int, per_patient: int, nulls: int = NULLS, seed: int = 0
) -> dict[str, tuple[int, int | None]]:
    """Return, for each method, the number of nulls that it rejects at 0.05, and the number of 95%
    intervals of the first reading's AUC that contain the truth (None for methods without one)."""
    rng = np.random.default_rng([seed, lesions, int(1000 * auc), views, per_patient])
    totals = {}
    done, size = 0, int(np.clip(BATCH // (lesions * views), 100, 1000))
    while done < nulls:
        count = min(size, nulls - done)
        sets = [simulate(rng, lesions, auc, views, per_patient) for _ in range(count)]
        results = calibrate_empirical(sets, auc) | {"proper": calibrate_proper(sets, auc)}
        for method, (rejected, covered) in results.items():
            before = totals.get(method, (0, 0))
            totals[method] = (
                before[0] + rejected,
                None if covered is None else before[1] + covered,
            )
        done += count
    return totals


def calibrate_empirical(sets: list[tuple], auc: float) -> dict[str, tuple[int, int | None]]:
    """Count as `calibrate` for the tests of empirical AUCs.

    The results equal those of `compare`. It is faster because the tests share the influence of the
    cases, and AUCs of resamples are computed from counts of pairs of patients.
    """
    resample_weights = next(resamples(sets[0][0], sets[0][2], SAMPLES, seed=0))
    rejected, covered = dict.fromkeys(TESTS, 0), dict.fromkeys(("delong", "bootstrap"), 0)
    for truth, readings, patient in sets:
        aucs, influences, _ = zip(
            *(influence.empirical_influence(truth, scores) for scores in readings), strict=True
        )
        first = np.unique(patient, return_index=True)[1]
        weights = resample_weights[:, first].astype(np.float32)
        resampled = np.stack([_aucs(weights, truth, scores, patient) for scores in readings])
        by_case = clustered.covariance(truth, influences, np.arange(len(truth)))
        variances = {
            "delong": by_case[2, 2],
            "obuchowski": clustered.covariance(truth, influences, patient)[2, 2],
            "bootstrap": (resampled[0] - resampled[1]).var(ddof=1),
        }
        for method, variance in variances.items():
            rejected[method] += abs(aucs[0] - aucs[1]) > Z95 * np.sqrt(variance)
        errors = {"delong": np.sqrt(by_case[0, 0]), "bootstrap": resampled[0].std(ddof=1)}
        for method, se in errors.items():
            low, high = logit_interval(aucs[0], se)
            covered[method] += low <= auc <= high
    return {
        method: (int(rejected[method]), int(covered[method]) if method in covered else None)
        for method in TESTS
    }


def _aucs(
    weights: np.ndarray, truth: np.ndarray, scores: np.ndarray, patient: np.ndarray
) -> np.ndarray:
    """Return the empirical AUCs (samples,) of resamples without ties.

    `weights` (samples, patients) counts how often each patient is drawn, in the order of patients.
    All counts are integers that float32 represents exactly.
    """
    wins = scores[truth][:, None] > scores[~truth]
    for axis, kind in enumerate((truth, ~truth)):
        begins = np.flatnonzero(np.diff(patient[kind], prepend=-1))
        wins = np.add.reduceat(wins, begins, axis=axis, dtype=np.float32)
    counts = [np.bincount(patient[kind], minlength=weights.shape[1]) for kind in (truth, ~truth)]
    malignant, benign = (weights[:, count > 0] for count in counts)
    pairs = (weights @ counts[0]) * (weights @ counts[1])
    return np.einsum("bq,bq->b", malignant @ wins, benign) / pairs


def calibrate_proper(sets: list[tuple], auc: float) -> tuple[int, int]:
    """Count as `calibrate` for 'proper', with all fits in one batch; the results equal those of
    `compare`."""
    aucs, influences = [], []
    for reading in (0, 1):
        order = np.stack([np.argsort(-scores[reading]) for _, scores, _ in sets])
        truth = np.stack([s[0][o] for s, o in zip(sets, order, strict=True)])
        batch = truth_runs.merge_truth_runs(~truth, truth)
        fits = search.try_boundary(
            batch, search.search_near(batch, np.sqrt(2.0) * ndtri(auc), -1e-3)
        )
        by_category = influence.category_influence(batch, fits)
        variance = information.invert_information(batch, fits.parameters).auc_variance()
        aucs.append(proper_model.auc_of_curve(fits.parameters.d, fits.parameters.c))
        counts = (batch.benign + batch.malignant).astype(int)
        by_case = np.repeat(by_category, counts, axis=1).reshape(2, len(sets), -1)
        influences.append([np.where(t, m, b)[np.argsort(o)] for t, m, b, o in zip(
            truth, by_case[1], by_case[0], order, strict=True)])  # fmt: skip
        if reading == 0:
            half = Z95 * np.sqrt(variance) / (aucs[0] * (1.0 - aucs[0]))
            low, high = expit(logit(aucs[0]) - half), expit(logit(aucs[0]) + half)
    variances = [clustered.covariance(s[0], (a, b), s[2])[2, 2] for s, a, b in zip(
        sets, *influences, strict=True)]  # fmt: skip
    rejected = np.abs(aucs[0] - aucs[1]) > Z95 * np.sqrt(variances)
    return int(rejected.sum()), int(((low <= auc) & (auc <= high)).sum())
