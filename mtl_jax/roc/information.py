"""Gradient and information of the log-likelihood, with the cutoffs eliminated.

The curve is parametrized by its AUC and c: along the ridges of the likelihood the AUC hardly
changes, so that a step along c follows the ridge. Near d = 0 it is parametrized by d^2 and c.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.lapack import dptsv

from mtl_jax.roc import proper_model
from mtl_jax.roc.categories import (
    MIN_D,
    MIN_PROBABILITY,
    CategoryProbabilities,
    ClassFractions,
    Parameters,
    category_probabilities,
    class_fractions,
    cutoff_derivatives,
    cutoffs,
)
from mtl_jax.roc.truth_runs import TruthRuns

D_SQUARED_BELOW = 0.5  # below this d the curve is parametrized by d^2


def uses_d_squared(d: np.ndarray) -> np.ndarray:
    """Return whether the curve is parametrized by d^2 and c, which suits the boundary d = 0."""
    return d < D_SQUARED_BELOW


def reparametrization(
    d: np.ndarray, c: np.ndarray, by_d_squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return d(d^2)/dA at fixed c and d(d^2)/dc at fixed A (sets,), where A is the first parameter.

    It is the AUC, or d^2 itself where `by_d_squared`, with the derivatives 1 and 0.
    """
    auc_by_d, auc_by_c = proper_model.auc_gradient(d, c)
    d2_by_auc = np.where(by_d_squared, 1.0, 2.0 * d / np.maximum(auc_by_d, MIN_PROBABILITY))
    return d2_by_auc, np.where(by_d_squared, 0.0, -auc_by_c * d2_by_auc)


def reparametrize(
    runs: TruthRuns, derivative: np.ndarray, d2_by: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the derivatives (2, categories) with respect to the two parameters of the curve from
    those with respect to (d^2, c); `d2_by` is from `reparametrization`."""
    d2_by_first, d2_by_c = (runs.repeat(x) for x in d2_by)
    return np.stack([derivative[0] * d2_by_first, derivative[1] + derivative[0] * d2_by_c])


@dataclass(frozen=True)
class NormalEquations:
    """Gradient and information of each data set, a bordered tridiagonal system.

    `gradient` (2, sets) and `curve_information` (2, 2, sets) are by the two parameters of the
    curve, `cutoff_gradient` (categories,) by the cutoffs w. `border` (2, categories) is the
    information between curve and cutoffs, `diagonal` and `off_diagonal` (categories,) that of the
    cutoffs, where off_diagonal[k] belongs to cutoffs k and k + 1. `scale` (2, sets) is a positive
    scale of the diagonal of `curve_information`.
    """

    gradient: np.ndarray
    cutoff_gradient: np.ndarray
    curve_information: np.ndarray
    scale: np.ndarray
    border: np.ndarray
    diagonal: np.ndarray
    off_diagonal: np.ndarray


def normal_equations(
    runs: TruthRuns,
    fractions: ClassFractions,
    probabilities: CategoryProbabilities,
    derivative: np.ndarray,
    expected: bool = False,
) -> NormalEquations:
    """Return the gradient, and the information from expected or observed counts, without second
    derivatives of the curve; `derivative` is from `reparametrize`."""
    p = np.maximum(probabilities.p, MIN_PROBABILITY)
    q = np.maximum(probabilities.q, MIN_PROBABILITY)
    score_p, score_q = runs.benign / p, runs.malignant / q  # derivatives of the log-likelihood
    if expected:
        information_p = runs.repeat(runs.sum(runs.benign)) / p
        information_q = runs.repeat(runs.sum(runs.malignant)) / q
    else:
        information_p, information_q = score_p / p, score_q / q
    change = derivative - np.where(fractions.first, 0.0, np.roll(derivative, 1, axis=1))
    next_score_p, next_score_q, next_information_p, next_information_q = (
        next_category(x, fractions) for x in (score_p, score_q, information_p, information_q)
    )
    fpf_by_w, tpf_by_w = probabilities.fpf_by_w, probabilities.tpf_by_w
    cutoff_gradient = fpf_by_w * (score_p - next_score_p) + tpf_by_w * (score_q - next_score_q)
    score = fractions.benign * score_q - fractions.malignant * score_p
    gradient = np.stack([runs.sum(score * x) for x in change])
    weight = fractions.malignant**2 * information_p + fractions.benign**2 * information_q
    curve_information = np.stack([[runs.sum(weight * x * y) for y in change] for x in change])
    diagonal = fpf_by_w**2 * (information_p + next_information_p) + tpf_by_w**2 * (
        information_q + next_information_q
    )
    off_diagonal = -(
        fpf_by_w * next_category(fpf_by_w, fractions) * next_information_p
        + tpf_by_w * next_category(tpf_by_w, fractions) * next_information_q
    )
    cross_p = -fractions.malignant * information_p * change
    cross_q = fractions.benign * information_q * change
    border = fpf_by_w * (cross_p - next_category(cross_p, fractions)) + tpf_by_w * (
        cross_q - next_category(cross_q, fractions)
    )
    last = fractions.last
    return NormalEquations(
        gradient,
        np.where(last, 0.0, cutoff_gradient),
        curve_information,
        np.stack([curve_information[0, 0], curve_information[1, 1]]),
        np.where(last, 0.0, border),
        np.where(last, 1.0, diagonal),
        np.where(last | np.roll(last, -1), 0.0, off_diagonal),
    )


def next_category(values: np.ndarray, fractions: ClassFractions) -> np.ndarray:
    """Return the value of the next laxer category, 0 after the last."""
    return np.where(fractions.last, 0.0, np.roll(values, -1, axis=-1))


@dataclass(frozen=True)
class ReducedEquations:
    """Equations of the curve after elimination of the cutoffs: `information` (2, 2, sets) is the
    Schur complement, `gradient` is (2, sets). `cutoff_step` (categories,) and `border`
    (2, categories) are the inverse of the cutoff block times the cutoff gradient and times the
    border. The equations are valid where that block is `positive_definite` (sets,)."""

    gradient: np.ndarray
    information: np.ndarray
    cutoff_step: np.ndarray
    border: np.ndarray
    positive_definite: np.ndarray


def eliminate_cutoffs(
    runs: TruthRuns, equations: NormalEquations, damping: np.ndarray
) -> ReducedEquations:
    """Eliminate the cutoffs, with `damping` (sets,) times the diagonal added to the information.

    All data sets are solved as one tridiagonal system, whose blocks are uncoupled.
    """
    diagonal = equations.diagonal * (1.0 + runs.repeat(damping) + 1e-13)
    off_diagonal = equations.off_diagonal
    right_sides = np.column_stack([equations.cutoff_gradient, *equations.border])
    positive_definite = np.ones(runs.n_sets, dtype=bool)
    while True:
        _, _, solution, failed = dptsv(diagonal, off_diagonal[:-1], right_sides)
        if not failed:
            break
        positive_definite[np.searchsorted(runs.start, failed - 1, "right") - 1] = False
        valid = runs.repeat(positive_definite)
        diagonal, off_diagonal = np.where(valid, diagonal, 1.0), np.where(valid, off_diagonal, 0.0)
    step, border = solution[:, 0], solution[:, 1:].T
    gradient = equations.gradient - np.stack([runs.sum(b * step) for b in equations.border])
    information = equations.curve_information - np.stack(
        [[runs.sum(b * s) for s in border] for b in equations.border]
    )
    for i in range(2):
        information[i, i] += equations.scale[i] * damping
    return ReducedEquations(gradient, information, step, border, positive_definite)


def observed_equations(
    runs: TruthRuns,
    fractions: ClassFractions,
    parameters: Parameters,
    w: np.ndarray,
    probabilities: CategoryProbabilities,
) -> tuple[NormalEquations, NormalEquations]:
    """Return the equations from observed counts, first without and then with the second
    derivatives of the curve, which are finite differences at fixed w."""
    by_d_squared = uses_d_squared(parameters.d)
    d2_by_first, d2_by_c = reparametrization(parameters.d, parameters.c, by_d_squared)
    derivative = reparametrize(runs, probabilities.derivative, (d2_by_first, d2_by_c))
    equations = normal_equations(runs, fractions, probabilities, derivative)
    benign, malignant, last = fractions.benign, fractions.malignant, fractions.last
    score_p = runs.benign / np.maximum(probabilities.p, MIN_PROBABILITY)
    score_q = runs.malignant / np.maximum(probabilities.q, MIN_PROBABILITY)
    score_p, score_q = (x - next_category(x, fractions) for x in (score_p, score_q))
    score = np.where(last, 0.0, score_p - benign / malignant * score_q)  # by FPF at fixed w
    diagonal, border = equations.diagonal.copy(), equations.border.copy()
    information = equations.curve_information.copy()

    d, c = runs.repeat(parameters.d), runs.repeat(parameters.c)
    f, g, _ = proper_model.densities(proper_model.deviates(parameters.v, d, c), c)
    density = np.maximum(benign * f + malignant * g, MIN_PROBABILITY)
    dw = 1e-6 * np.minimum(w, 1.0 - w)
    fpf_by_w = cutoff_derivatives(fractions, parameters.v + dw / density, d, c)[0]
    diagonal += score * (fpf_by_w - probabilities.fpf_by_w) / np.where(last, 1.0, dw)

    step_first = 1e-5 * np.maximum(parameters.d**2, 0.1) / d2_by_first
    step_c = 1e-6 * np.minimum(np.maximum(np.abs(parameters.c), 1e-3), 1.0 - np.abs(parameters.c))
    step_c = np.where(d2_by_c < 0, -step_c, step_c)  # towards a larger d
    points = (
        (step_first, parameters.d**2 + step_first * d2_by_first, parameters.c),
        (step_c, parameters.d**2 + step_c * d2_by_c, parameters.c + step_c),
    )
    for i, (step, d_squared, c) in enumerate(points):
        d = np.sqrt(d_squared)
        v = cutoffs(runs, fractions, d, c, w, parameters.v)
        fpf_by_w, _, new = cutoff_derivatives(fractions, v, runs.repeat(d), runs.repeat(c))
        new = reparametrize(runs, new, reparametrization(d, c, by_d_squared))
        border[i] -= score * (fpf_by_w - probabilities.fpf_by_w) / runs.repeat(step)
        for j in range(2):
            information[j, i] += runs.sum(malignant * score * (new[j] - derivative[j])) / step
    information = (information + information.transpose(1, 0, 2)) / 2.0
    return equations, replace(
        equations, curve_information=information, border=border, diagonal=diagonal
    )


@dataclass(frozen=True)
class InverseInformation:
    """Inverse of the expected information of each data set.

    `inverse` (2, 2, sets) is the covariance of the two parameters of the curve, NaN if the
    information is singular; for d = 0 the first parameter is fixed and has zeros. `jacobian`
    (2, 2, sets) is the derivative of (d, c) by these parameters, `auc_gradient` (2, sets) that of
    the AUC, `derivative` (2, categories) is from `reparametrize`. `border` (2, categories)
    is that of `ReducedEquations`.
    """

    inverse: np.ndarray
    jacobian: np.ndarray
    auc_gradient: np.ndarray
    border: np.ndarray
    derivative: np.ndarray

    def auc_variance(self) -> np.ndarray:
        """Return the variance of each AUC (sets,), by the delta method."""
        return np.einsum("is,ijs,js->s", self.auc_gradient, self.inverse, self.auc_gradient)

    def covariance(self) -> np.ndarray:
        """Return the covariance (2, 2, sets) of (d, c)."""
        return np.einsum("ijs,jks,lks->ils", self.jacobian, self.inverse, self.jacobian)


def invert_information(runs: TruthRuns, parameters: Parameters) -> InverseInformation:
    """Invert the expected information of each data set at its maximum."""
    d, c = parameters.d, parameters.c
    fractions = class_fractions(runs)
    probabilities = category_probabilities(runs, fractions, parameters)
    d2_by_first, d2_by_c = reparametrization(d, c, uses_d_squared(d))
    derivative = reparametrize(runs, probabilities.derivative, (d2_by_first, d2_by_c))
    equations = normal_equations(runs, fractions, probabilities, derivative, expected=True)
    reduced = eliminate_cutoffs(runs, equations, np.zeros(runs.n_sets))
    (i00, i01), (_, i11) = reduced.information
    auc_by_d, auc_by_c = proper_model.auc_gradient(d, c)
    d_by_first, d_by_c = d2_by_first / (2.0 * d), d2_by_c / (2.0 * d)
    auc_gradient = np.stack([auc_by_d * d_by_first, auc_by_c + auc_by_d * d_by_c])
    zeros, ones = np.zeros(runs.n_sets), np.ones(runs.n_sets)
    jacobian = np.stack([np.stack([d_by_first, d_by_c]), np.stack([zeros, ones])])
    boundary, determinant = d <= 1.01 * MIN_D, i00 * i11 - i01 * i01
    regular = boundary | (determinant > 1e-13 * i00 * i11)
    regular &= reduced.positive_definite & (i11 > 0)
    determinant = np.where(regular & ~boundary, determinant, 1.0)
    inverse = np.stack([np.stack([i11, -i01]), np.stack([-i01, i00])]) / determinant
    only_c = np.stack([zeros, 1.0 / np.where(regular, i11, 1.0)])
    inverse = np.where(boundary, np.stack([np.stack([zeros, zeros]), only_c]), inverse)
    inverse = np.where(regular, inverse, np.nan)
    return InverseInformation(inverse, jacobian, auc_gradient, reduced.border, derivative)
