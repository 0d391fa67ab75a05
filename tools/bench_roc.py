"""Measures `mtl_jax.roc`: speed of its fits, type I error and coverage of its tests. It fits and
tests through the package; only the simulation is its own."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit, logit, ndtri

from mtl_jax import roc
from mtl_jax.roc import clustered, influence, information, model, runs, search
from mtl_jax.roc.empirical import Z95

# Variance components of a score, summing to 1: what patient, lesion and view give to both
# readings alike, what a reading gives to a lesion, and noise.
COMPONENTS = {"patient": 0.2, "lesion": 0.25, "view": 0.15, "reading": 0.2, "noise": 0.2}

BATCH = 200  # nulls whose fits are climbed together
NULLS = {"delong": 2000, "obuchowski": 2000, "bootstrap": 1000, "proper": 1000}


def study(nulls: dict[str, int] = NULLS) -> Iterator[dict]:
    """`calibrate` over 100 and 400 lesions, areas 0.75 and 0.9, 1 to 4 views a lesion and 1 to 3
    lesions a patient: one row a method and cell."""
    for cell in itertools.product((100, 400), (0.75, 0.9), (1, 2, 3, 4), (1, 2, 3)):
        names = dict(zip(("lesions", "auc", "views", "per_patient"), cell, strict=True))
        for method, (rejected, held, count) in calibrate(*cell, nulls).items():
            yield {
                "what": "calibration",
                **names,
                "method": method,
                "type_1_error": rejected,
                "coverage": None if np.isnan(held) else held,
                "nulls": count,
            }


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
    lesions: int,
    auc: float,
    views: int,
    per_patient: int,
    nulls: dict[str, int],
    seed: int = 0,
) -> dict[str, tuple[float, float, int]]:
    """Per method: the share of nulls rejected at 0.05, the share of 95 % intervals of the first
    reading's area that hold the truth (NaN where the method gives none), and how many nulls."""
    rng = np.random.default_rng([seed, lesions, int(1000 * auc), views, per_patient])
    sets = [simulate(rng, lesions, auc, views, per_patient) for _ in range(max(nulls.values()))]
    out = {}
    for method in ("delong", "obuchowski", "bootstrap"):
        rejected = []
        for truth, (a, b), patient in sets[: nulls[method]]:
            test = roc.compare(truth, a, b, method, patient, allow_repeats=True, samples=400)
            rejected.append(test.p_value < 0.05)
        out[method] = (float(np.mean(rejected)), float("nan"), len(rejected))
    for method, one in (
        ("delong", lambda s: roc.empirical(s[0], s[1][0])),
        ("bootstrap", lambda s: roc.bootstrap(s[0], s[1][0], s[2], samples=400)),
    ):
        fits = [one(s) for s in sets[: nulls[method]]]
        held = np.mean([fit.ci_low <= auc <= fit.ci_high for fit in fits])
        out[method] = (out[method][0], float(held), len(fits))
    parts = [
        calibrate_proper(sets[i : min(i + BATCH, nulls["proper"])], auc)
        for i in range(0, nulls["proper"], BATCH)
    ]
    rejected, held, count = np.array(parts).T
    shares = (float((x * count).sum() / count.sum()) for x in (rejected, held))
    out["proper"] = (*shares, int(count.sum()))
    return out


def calibrate_proper(sets: list[tuple], auc: float) -> tuple[float, float, int]:
    """As `calibrate` for 'proper', all fits in one batch: what `compare` does, only faster."""
    areas, moves = [], []
    for reading in (0, 1):
        order = np.stack([np.argsort(-scores[reading]) for _, scores, _ in sets])
        truth = np.stack([s[0][o] for s, o in zip(sets, order, strict=True)])
        batch = runs.truth_runs(~truth, truth)
        found = search.try_edge(batch, search.search_near(batch, np.sqrt(2.0) * ndtri(auc), -1e-3))
        pull = influence.of_cells(batch, found)
        variance = information.solve(batch, found.at).area_variance()
        areas.append(model.area(found.at.d, found.at.c))
        held_count = (batch.benign + batch.malignant).astype(int)
        by_case = np.repeat(pull, held_count, axis=1).reshape(2, len(sets), -1)
        moves.append([np.where(t, m, b)[np.argsort(o)] for t, m, b, o in zip(
            truth, by_case[1], by_case[0], order, strict=True)])  # fmt: skip
        if reading == 0:
            half = Z95 * np.sqrt(variance) / (areas[0] * (1.0 - areas[0]))
            low, high = expit(logit(areas[0]) - half), expit(logit(areas[0]) + half)
    spread = [clustered.covariance(s[0], (a, b), s[2])[2, 2] for s, a, b in zip(
        sets, *moves, strict=True)]  # fmt: skip
    rejected = np.abs(areas[0] - areas[1]) > Z95 * np.sqrt(spread)
    return float(rejected.mean()), float(((low <= auc) & (auc <= high)).mean()), len(sets)
