"""Probabilities of the categories under a proper curve, and how they move. No search here.

Cutoffs are written as w, the fraction of all cases (both truths, in the proportion of the data)
that the model puts above them. Order and bound of v then hold by themselves, and the information
is nearly free of terms between w and the curve, because w stays close to the fraction observed.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mtl_jax.roc import proper_model
from mtl_jax.roc.truth_runs import TruthRuns

MIN_PROBABILITY = 1e-60  # keeps quotients of vanished probabilities finite
MIN_D = 1e-5  # nearest to d = 0, where the derivative by d^2 is still exact to 1e-10


@dataclass(frozen=True)
class Parameters:
    """A place in the parameter space of each data set: d, c (sets,), and v (cells,), the lower
    cutoff of each cell (that of the last cell, at the lax end, is not a parameter)."""

    d: np.ndarray
    c: np.ndarray
    v: np.ndarray


@dataclass(frozen=True)
class CategoryProbabilities:
    """What the likelihood needs of each cell: its probabilities `p` benign and `q` malignant, and
    at its lower cutoff the slopes `r` of FPF and `s` of TPF by w, and `turn` (2, cells): how
    (d^2, c) move the curve there at fixed w: TPF by the benign share of it, FPF by minus the
    malignant share."""

    p: np.ndarray
    q: np.ndarray
    r: np.ndarray
    s: np.ndarray
    turn: np.ndarray


@dataclass(frozen=True)
class ClassFractions:
    """Per cell: the fraction of its data set's cases that is benign, that is malignant, and the
    masks of first and last cells."""

    benign: np.ndarray
    malignant: np.ndarray
    first: np.ndarray
    last: np.ndarray


def class_fractions(runs: TruthRuns) -> ClassFractions:
    n0, n1 = runs.total(runs.benign), runs.total(runs.malignant)
    benign = np.repeat(n0 / (n0 + n1), runs.sizes)
    first, last = (np.zeros(len(benign), dtype=bool) for _ in range(2))
    first[runs.start[:-1]] = last[runs.start[1:] - 1] = True
    return ClassFractions(benign, 1.0 - benign, first, last)


def observed_fractions(runs: TruthRuns) -> np.ndarray:
    """Return the fraction of all cases at or above each cell (cells,): a good w before any fit."""
    return cumulative_fractions(runs, runs.benign + runs.malignant)


def cumulative_fractions(runs: TruthRuns, mass: np.ndarray) -> np.ndarray:
    """Running sums of positive `mass` (cells,) within each data set, scaled to end at 1."""
    mass = np.maximum(mass, 1e-12 * np.repeat(runs.total(mass), runs.sizes))
    running = np.cumsum(mass)
    before = np.repeat(running[runs.start[:-1]] - mass[runs.start[:-1]], runs.sizes)
    running = running - before
    return running / np.repeat(running[runs.start[1:] - 1], runs.sizes)


def update_fractions(
    runs: TruthRuns, part: ClassFractions, w: np.ndarray, dw: np.ndarray
) -> np.ndarray:
    """w after a step dw (cells,) that multiplies the masses between cutoffs: they stay positive."""
    mass = w - np.where(part.first, 0.0, np.roll(w, 1))
    change = dw - np.where(part.first, 0.0, np.roll(dw, 1))
    change = np.where(part.last, -np.roll(np.where(part.last, 0.0, dw), 1), change)
    return cumulative_fractions(runs, mass * np.exp(np.clip(change / mass, -2.0, 2.0)))


def cutoffs(
    runs: TruthRuns,
    part: ClassFractions,
    d: np.ndarray,
    c: np.ndarray,
    w: np.ndarray,
    v: np.ndarray | None,
) -> np.ndarray:
    """v (cells,) above which the model puts the fraction w, from a guess v where there is one;
    in the last cell of each data set the laxest v."""
    lax = np.repeat(proper_model.v_bounds(d, c)[1], runs.sizes)
    d, c = np.repeat(d, runs.sizes), np.repeat(c, runs.sizes)
    inner = ~part.last
    guess = None if v is None else v[inner]
    out = lax
    out[inner] = proper_model.cutoffs(w[inner], part.benign[inner], d[inner], c[inner], guess)
    return out


def category_probabilities(
    runs: TruthRuns, part: ClassFractions, at: Parameters
) -> CategoryProbabilities:
    """Cell probabilities, each the sum of two positive normal intervals so that nothing cancels,
    and the slopes at the cutoffs."""
    d, c = np.repeat(at.d, runs.sizes), np.repeat(at.c, runs.sizes)
    lower = proper_model.deviates(at.v, d, c)
    top = proper_model.deviates(np.repeat(proper_model.v_bounds(at.d, at.c)[0], runs.sizes), d, c)
    p1, p2, q1, q2 = normal_interval(np.where(part.first, top, np.roll(lower, 1, axis=1)), lower)
    return CategoryProbabilities(p1 + p2, q1 + q2, *cutoff_derivatives(part, at.v, d, c))


def cutoff_derivatives(
    part: ClassFractions, v: np.ndarray, d: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return r, s and turn of `CategoryProbabilities` at cutoffs v, with d and c per cell."""
    f, g, (x1, x2, y1, y2) = proper_model.densities(proper_model.deviates(v, d, c), c)
    q = np.sqrt(1.0 + c * c)
    near, other = q / 2.0, q / (2.0 * c)
    bend, swing = d * c / (2.0 * q), d / (2.0 * q * c * c)
    fpf_d, tpf_d = x2 * other - x1 * near, y1 * near + y2 * other  # at fixed v
    fpf_c = x1 * (v - bend) + x2 * (v - swing)
    tpf_c = y1 * (bend - v) - y2 * (v + swing)
    density = np.where(
        part.last, np.inf, np.maximum(part.benign * f + part.malignant * g, MIN_PROBABILITY)
    )
    turn = np.stack([(f * tpf_d - g * fpf_d) / (2.0 * d), f * tpf_c - g * fpf_c]) / density
    return f / density, g / density, turn


def normal_interval(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normal probability of (a, b), exact in both tails; 0 where b <= a."""
    tail_a, tail_b = ndtr(-np.abs(a)), ndtr(-np.abs(b))
    one_side = np.where(a > 0, tail_a - tail_b, tail_b - tail_a)
    return np.where(b > a, np.where((a <= 0) & (b > 0), 1.0 - tail_a - tail_b, one_side), 0.0)


def log_likelihood(runs: TruthRuns, at: CategoryProbabilities) -> np.ndarray:
    """Log-likelihood (sets,) without the multinomial constant; -inf where a case is impossible."""
    terms = np.zeros(len(at.p))
    for count, chance in ((runs.benign, at.p), (runs.malignant, at.q)):
        held = count > 0
        terms[held] += count[held] * np.log(np.maximum(chance[held], MIN_PROBABILITY))
    return runs.total(terms)
