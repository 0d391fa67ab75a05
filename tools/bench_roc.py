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

# Variance components of a score, summing to 1: what patient, lesion and view give to both
# readings alike, what a reading gives to a lesion, and noise.
COMPONENTS = {"patient": 0.2, "lesion": 0.25, "view": 0.15, "reading": 0.2, "noise": 0.2}

TESTS = ("delong", "obuchowski", "bootstrap")  # of empirical areas
CELLS = list(itertools.product((100, 400), (0.75, 0.9), (1, 2, 3, 4), (1, 2, 3)))
NULLS = 2000
SAMPLES = 400  # resamples of a bootstrap here
BATCH = 100_000  # views whose fits are climbed together


def study() -> Iterator[dict]:
    """`calibrate` over 100 and 400 lesions, areas 0.75 and 0.9, 1 to 4 views a lesion and 1 to 3
    lesions a patient: one row a method and cell."""
    for cell in CELLS:
        names = dict(zip(("lesions", "auc", "views", "per_patient"), cell, strict=True))
        for method, (rejected, held) in calibrate(*cell).items():
            counts = {"nulls": NULLS, "rejected": rejected, "held": held}
            yield {"what": "calibration", **names, "method": method, **counts}


def speed(seed: int = 0) -> Iterator[dict]:
    """Seconds of a proper fit, median of nine data sets, and of bootstraps of 2,000 areas: by the
    clock (`ours`), and of the processor alone, which other work on the machine disturbs less."""
    rng = np.random.default_rng(seed)
    for n in (200, 2000, 20000):
        sets = [_binormal(rng, n) for _ in range(9)]
        times = [_seconds(lambda one=one: roc.proper(*one)) for one in sets]
        clock, processor = np.median(times, axis=0)
        yield {"what": f"proper fit, n = {n}", "ours": clock, "processor": processor}
    labels, scores = _binormal(rng, 400)
    for method in ("empirical", "proper"):
        clock, processor = _seconds(lambda m=method: roc.bootstrap(labels, scores, method=m))
        yield {
            "what": f"bootstrap of 2,000 {method} areas, n = 400",
            "ours": clock,
            "processor": processor,
        }


def _binormal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    return labels, rng.normal(size=n) + 1.2 * labels


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def simulate(
    rng: np.random.Generator, lesions: int, auc: float, views: int, per_patient: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (n,), two readings (2, n) of equal area `auc`, and patient (n,) of the views of
    `lesions` lesions; truth belongs to the lesion, so that a patient may have both."""
    lesion = np.repeat(np.arange(lesions), views)
    patient = lesion // per_patient
    truth = rng.permutation(lesions) % 2 == 1
    size = {"patient": patient.max() + 1, "lesion": lesions, "view": len(lesion)}
    at = {"patient": patient, "lesion": lesion, "view": np.arange(len(lesion))}
    shared = sum(
        np.sqrt(COMPONENTS[k]) * rng.normal(size=size[k])[at[k]]
        for k in ("patient", "lesion", "view")
    )
    own = np.sqrt(COMPONENTS["reading"]) * rng.normal(size=(2, lesions))[:, lesion]
    noise = np.sqrt(COMPONENTS["noise"]) * rng.normal(size=(2, len(lesion)))
    scores = shared + own + noise + np.sqrt(2.0) * ndtri(auc) * truth[lesion]
    return truth[lesion], scores, patient


def calibrate(
    lesions: int, auc: float, views: int, per_patient: int, nulls: int = NULLS, seed: int = 0
) -> dict[str, tuple[int, int | None]]:
    """Per method: how many nulls it rejects at 0.05, and how many 95 % intervals of the first
    reading's area hold the truth (None where the method gives none)."""
    rng = np.random.default_rng([seed, lesions, int(1000 * auc), views, per_patient])
    out = {}
    done, size = 0, int(np.clip(BATCH // (lesions * views), 100, 1000))
    while done < nulls:
        count = min(size, nulls - done)
        sets = [simulate(rng, lesions, auc, views, per_patient) for _ in range(count)]
        results = calibrate_empirical(sets, auc) | {"proper": calibrate_proper(sets, auc)}
        for method, (rejected, held) in results.items():
            before = out.get(method, (0, 0))
            out[method] = (before[0] + rejected, None if held is None else before[1] + held)
        done += count
    return out


def calibrate_empirical(sets: list[tuple], auc: float) -> dict[str, tuple[int, int | None]]:
    """As `calibrate` for the tests of empirical areas, which share the influence of the cases,
    and with the areas of resamples from counts of pairs of patients: what `compare` does with
    its own seed, only faster."""
    drawn = next(resamples(sets[0][0], sets[0][2], SAMPLES, seed=0))
    rejected, held = dict.fromkeys(TESTS, 0), dict.fromkeys(("delong", "bootstrap"), 0)
    for truth, readings, patient in sets:
        aucs, moves, _ = zip(
            *(influence.empirical_influence(truth, scores) for scores in readings), strict=True
        )
        first = np.unique(patient, return_index=True)[1]
        weights = drawn[:, first].astype(np.float32)
        again = np.stack([_aucs(weights, truth, scores, patient) for scores in readings])
        of_case = clustered.covariance(truth, moves, np.arange(len(truth)))
        spread = {
            "delong": of_case[2, 2],
            "obuchowski": clustered.covariance(truth, moves, patient)[2, 2],
            "bootstrap": (again[0] - again[1]).var(ddof=1),
        }
        for method, variance in spread.items():
            rejected[method] += abs(aucs[0] - aucs[1]) > Z95 * np.sqrt(variance)
        own = {"delong": np.sqrt(of_case[0, 0]), "bootstrap": again[0].std(ddof=1)}
        for method, se in own.items():
            low, high = logit_interval(aucs[0], se)
            held[method] += low <= auc <= high
    return {
        method: (int(rejected[method]), int(held[method]) if method in held else None)
        for method in TESTS
    }


def _aucs(
    weights: np.ndarray, truth: np.ndarray, scores: np.ndarray, patient: np.ndarray
) -> np.ndarray:
    """Empirical areas (samples,) without ties, `weights` (samples, patients) being how often each
    patient is drawn; patients in order. All counts are whole numbers that float32 holds exactly."""
    won = scores[truth][:, None] > scores[~truth]
    for axis, kind in enumerate((truth, ~truth)):
        begins = np.flatnonzero(np.diff(patient[kind], prepend=-1))
        won = np.add.reduceat(won, begins, axis=axis, dtype=np.float32)
    held = [np.bincount(patient[kind], minlength=weights.shape[1]) for kind in (truth, ~truth)]
    malignant, benign = (weights[:, h > 0] for h in held)
    pairs = (weights @ held[0]) * (weights @ held[1])
    return np.einsum("bq,bq->b", malignant @ won, benign) / pairs


def calibrate_proper(sets: list[tuple], auc: float) -> tuple[int, int]:
    """As `calibrate` for 'proper', all fits in one batch: what `compare` does, only faster."""
    aucs, moves = [], []
    for reading in (0, 1):
        order = np.stack([np.argsort(-scores[reading]) for _, scores, _ in sets])
        truth = np.stack([s[0][o] for s, o in zip(sets, order, strict=True)])
        batch = truth_runs.merge_truth_runs(~truth, truth)
        found = search.try_boundary(
            batch, search.search_near(batch, np.sqrt(2.0) * ndtri(auc), -1e-3)
        )
        pull = influence.category_influence(batch, found)
        variance = information.invert_information(batch, found.parameters).auc_variance()
        aucs.append(proper_model.auc_of_curve(found.parameters.d, found.parameters.c))
        held_count = (batch.benign + batch.malignant).astype(int)
        by_case = np.repeat(pull, held_count, axis=1).reshape(2, len(sets), -1)
        moves.append([np.where(t, m, b)[np.argsort(o)] for t, m, b, o in zip(
            truth, by_case[1], by_case[0], order, strict=True)])  # fmt: skip
        if reading == 0:
            half = Z95 * np.sqrt(variance) / (aucs[0] * (1.0 - aucs[0]))
            low, high = expit(logit(aucs[0]) - half), expit(logit(aucs[0]) + half)
    spread = [clustered.covariance(s[0], (a, b), s[2])[2, 2] for s, a, b in zip(
        sets, *moves, strict=True)]  # fmt: skip
    rejected = np.abs(aucs[0] - aucs[1]) > Z95 * np.sqrt(spread)
    return int(rejected.sum()), int(((low <= auc) & (auc <= high)).sum())
