"""Category probabilities of a proper binormal curve, their derivatives and the log-likelihood.

Cutoffs are parametrized by w, the fraction of all cases (of both classes, weighted by their
frequency in the data) that the model puts above the cutoff. The order and the bound of v then
hold automatically, and w is nearly orthogonal to the parameters of the curve, because the fitted
w stays close to the observed fraction.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mtl_jax.roc import proper_model
from mtl_jax.roc.truth_runs import TruthRuns

MIN_PROBABILITY = 1e-60  # avoids division by zero where a probability underflows
MIN_D = 1e-5  # represents d = 0; the derivative by d^2 is still exact to 1e-10 here


@dataclass(frozen=True)
class Parameters:
    """Parameters of each data set: d, c (sets,), and v (categories,), the lower cutoff of each
    category (that of the last category is fixed at the lax end)."""

    d: np.ndarray
    c: np.ndarray
    v: np.ndarray


@dataclass(frozen=True)
class CategoryProbabilities:
    """Probability of each category and derivatives at its lower cutoff.

    `p` and `q` (categories,) are the probabilities given benign and malignant; `fpf_by_w` and
    `tpf_by_w` (categories,) are dFPF/dw and dTPF/dw. At fixed w a change of the two curve
    parameters (d^2, c) changes TPF by the fraction of benign cases times `derivative`
    (2, categories), and FPF by minus the fraction of malignant cases times it.
    """

    p: np.ndarray
    q: np.ndarray
    fpf_by_w: np.ndarray
    tpf_by_w: np.ndarray
    derivative: np.ndarray


@dataclass(frozen=True)
class ClassFractions:
    """Fractions of benign and malignant cases of a category's data set, and the masks of the first
    and last categories; all (categories,)."""

    benign: np.ndarray
    malignant: np.ndarray
    first: np.ndarray
    last: np.ndarray


def class_fractions(runs: TruthRuns) -> ClassFractions:
    n_benign, n_malignant = runs.sum(runs.benign), runs.sum(runs.malignant)
    benign = runs.repeat(n_benign / (n_benign + n_malignant))
    first, last = (np.zeros(len(benign), dtype=bool) for _ in range(2))
    first[runs.start[:-1]] = last[runs.start[1:] - 1] = True
    return ClassFractions(benign, 1.0 - benign, first, last)


def observed_fractions(runs: TruthRuns) -> np.ndarray:
    """Return the fraction of cases at or above each category: the start value of w."""
    return cumulative_fractions(runs, runs.benign + runs.malignant)


def cumulative_fractions(runs: TruthRuns, mass: np.ndarray) -> np.ndarray:
    """Return the cumulative sums of positive `mass` (categories,), normalized to end at 1."""
    mass = np.maximum(mass, 1e-12 * runs.repeat(runs.sum(mass)))
    cumulative = runs.cumsum(mass)
    return cumulative / runs.repeat(cumulative[runs.start[1:] - 1])


def update_fractions(
    runs: TruthRuns, fractions: ClassFractions, w: np.ndarray, dw: np.ndarray
) -> np.ndarray:
    """Return w after a step dw, taken on the log of the mass of each category, which keeps the
    masses positive."""
    mass = w - np.where(fractions.first, 0.0, np.roll(w, 1))
    change = dw - np.where(fractions.first, 0.0, np.roll(dw, 1))
    change = np.where(fractions.last, -np.roll(np.where(fractions.last, 0.0, dw), 1), change)
    return cumulative_fractions(runs, mass * np.exp(np.clip(change / mass, -2.0, 2.0)))


def cutoffs(
    runs: TruthRuns,
    fractions: ClassFractions,
    d: np.ndarray,
    c: np.ndarray,
    w: np.ndarray,
    guess: np.ndarray | None,
) -> np.ndarray:
    """Return the cutoffs v (categories,) of w; the last of each data set is the laxest v."""
    v = runs.repeat(proper_model.v_bounds(d, c)[1])
    d, c = runs.repeat(d), runs.repeat(c)
    inner = ~fractions.last
    guess = None if guess is None else guess[inner]
    v[inner] = proper_model.solve_cutoffs(
        w[inner], fractions.benign[inner], d[inner], c[inner], guess
    )
    return v


def category_probabilities(
    runs: TruthRuns, fractions: ClassFractions, parameters: Parameters
) -> CategoryProbabilities:
    """Return the category probabilities, each the sum of two positive normal probabilities, which
    avoids cancellation, and the derivatives at the cutoffs."""
    d, c = runs.repeat(parameters.d), runs.repeat(parameters.c)
    lower = proper_model.deviates(parameters.v, d, c)
    strictest = runs.repeat(proper_model.v_bounds(parameters.d, parameters.c)[0])
    top = proper_model.deviates(strictest, d, c)
    upper = np.where(fractions.first, top, np.roll(lower, 1, axis=1))
    p1, p2, q1, q2 = normal_interval(upper, lower)
    derivatives = cutoff_derivatives(fractions, parameters.v, d, c)
    return CategoryProbabilities(p1 + p2, q1 + q2, *derivatives)


def cutoff_derivatives(
    fractions: ClassFractions, v: np.ndarray, d: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `fpf_by_w`, `tpf_by_w` and `derivative` of `CategoryProbabilities` at cutoffs v; all
    arguments (categories,)."""
    f, g, (x1, x2, y1, y2) = proper_model.densities(proper_model.deviates(v, d, c), c)
    q = np.sqrt(1.0 + c * c)
    # Derivatives of the shifts d q/2 and d q/(2c) by d and c, the last one with its sign reversed;
    # then those of FPF and TPF at fixed v.
    shift1_d, shift2_d = q / 2.0, q / (2.0 * c)
    shift1_c, shift2_c = d * c / (2.0 * q), d / (2.0 * q * c * c)
    fpf_d, tpf_d = x2 * shift2_d - x1 * shift1_d, y1 * shift1_d + y2 * shift2_d
    fpf_c = x1 * (v - shift1_c) + x2 * (v - shift2_c)
    tpf_c = y1 * (shift1_c - v) - y2 * (v + shift2_c)
    density = np.maximum(fractions.benign * f + fractions.malignant * g, MIN_PROBABILITY)
    density = np.where(fractions.last, np.inf, density)
    derivative = np.stack([(f * tpf_d - g * fpf_d) / (2.0 * d), f * tpf_c - g * fpf_c]) / density
    return f / density, g / density, derivative


def normal_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the normal probability of (low, high), exact in both tails; 0 if high <= low."""
    tail_low, tail_high = ndtr(-np.abs(low)), ndtr(-np.abs(high))
    same_side = np.where(low > 0, tail_low - tail_high, tail_high - tail_low)
    across = 1.0 - tail_low - tail_high
    return np.where(high > low, np.where((low <= 0) & (high > 0), across, same_side), 0.0)


def log_likelihood(runs: TruthRuns, probabilities: CategoryProbabilities) -> np.ndarray:
    """Return the log-likelihood (sets,) without the multinomial constant."""
    terms = np.zeros(len(probabilities.p))
    for counts, p in ((runs.benign, probabilities.p), (runs.malignant, probabilities.q)):
        nonempty = counts > 0
        terms[nonempty] += counts[nonempty] * np.log(np.maximum(p[nonempty], MIN_PROBABILITY))
    return runs.sum(terms)
