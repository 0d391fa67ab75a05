"""The conventional binormal fit, as in LABROC4.

The curve is not proper: it crosses the diagonal if b is not 1.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from mtl_jax.roc import categories, degenerate, information
from mtl_jax.roc.empirical import empirical, logit_interval, newcombe_interval
from mtl_jax.roc.fit import make_positive_definite
from mtl_jax.roc.inputs import check_scores
from mtl_jax.roc.truth_runs import TruthRuns, truth_runs_of_scores

MAX_LOG_B = 4.0  # at this |ln b| the status is boundary
MAX_STEPS = 100


@dataclass(frozen=True)
class Conventional:
    """A fitted curve TPF = Phi(a + b Phi^-1(FPF)); `covariance` (2, 2) is that of (a, b).

    `status`:

    - ok: a maximum inside the parameter space.
    - boundary: b is at its limit near 0 or infinity.
    - perfect, edge_only or undetermined: as in `Proper`, with the empirical AUC; a and b are NaN
      unless there is one operating point, which determines a for b = 1.
    - not_converged: the optimizer stopped early.
    """

    auc: float
    se: float
    ci_low: float
    ci_high: float
    a: float
    b: float
    covariance: np.ndarray = field(compare=False)
    loglik: float
    categories: int
    n_malignant: int
    n_benign: int
    status: str
    iterations: int

    def tpf(self, fpf: ArrayLike) -> np.ndarray:
        """Return the sensitivity at each false positive fraction in [0, 1], NaN if a and b are."""
        return ndtr(self.a + self.b * ndtri(np.asarray(fpf, dtype=float)))


def conventional(labels: ArrayLike, scores: ArrayLike) -> Conventional:
    """Fit a conventional binormal ROC curve by maximum likelihood on truth runs.

    The standard error is from the expected information, the 95% interval symmetric on the logit
    scale.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant. Only their order matters.

    Raises
    ------
    ValueError
        If labels or scores are invalid (see `inputs.check_scores`).

    References
    ----------
    Dorfman and Alf 1969, J Math Psychol 6:487; Metz, Herman and Shen 1998, Stat Med 17:1033.
    """
    truth, values = check_scores(labels, scores)
    runs = truth_runs_of_scores(truth, values)
    kind = str(degenerate.classify_data(runs)[0])
    n_categories, m, n = int(runs.sizes[0]), int(truth.sum()), int((~truth).sum())
    if kind in ("regular", "reversed") and n_categories > 2:
        a, log_b, loglik, steps, converged, covariance = _maximize(runs)
        b = float(np.exp(log_b))
        status = "ok" if converged else "not_converged"
        status = "boundary" if abs(log_b) >= MAX_LOG_B else status
    else:
        a, b, covariance = np.nan, np.nan, np.full((2, 2), np.nan)
        if kind in ("single", "reversed"):
            a, variance = (float(x[0]) for x in degenerate.equal_variance_d(runs))
            b, covariance = 1.0, np.diag([variance, 0.0])
        loglik, steps = float(degenerate.saturated_loglik(runs)[0]), 0
        status = degenerate.STATUS[kind] if kind != "reversed" else "undetermined"
    root = np.sqrt(1.0 + b * b)
    density = np.exp(-((a / root) ** 2) / 2.0) / np.sqrt(2.0 * np.pi)
    gradient = density / root * np.array([1.0, -a * b / root**2])
    auc, se = float(ndtr(a / root)), float(np.sqrt(gradient @ covariance @ gradient))
    if not np.isfinite([auc, se]).all():
        observed = empirical(truth, values)
        auc, se = (auc if np.isfinite(auc) else observed.auc), observed.se
    if 0 < auc < 1 and se > 0:
        low, high = logit_interval(auc, se)
    else:
        low, high = newcombe_interval(auc, m, n)
    return Conventional(auc, se, low, high, a, b, covariance, loglik, n_categories, m, n,
                        status, steps)  # fmt: skip


def _maximize(runs: TruthRuns) -> tuple[float, float, float, int, bool, np.ndarray]:
    """Return a, ln b, log-likelihood, number of steps, whether converged, and covariance of (a, b).

    Fisher scoring with Levenberg-Marquardt damping.
    """
    fractions = categories.class_fractions(runs)
    a, log_b = float(np.sqrt(2.0) * ndtri(degenerate.empirical_aucs(runs)[0])), 0.0
    w = categories.observed_fractions(runs)
    probabilities = _category_probabilities(fractions, a, log_b, w)
    best = categories.log_likelihood(runs, probabilities)[0]
    step, damping, converged = 0, 1e-3, False
    while step < MAX_STEPS and not converged and damping < 1e10:
        step += 1
        equations, reduced = _expected_equations(runs, fractions, probabilities, damping)
        gradient = reduced.gradient[:, 0]
        (i00,), (i01,), (i11,) = make_positive_definite(reduced.information, equations.scale)
        change = np.array(
            [i11 * gradient[0] - i01 * gradient[1], i00 * gradient[1] - i01 * gradient[0]]
        )
        change /= i00 * i11 - i01 * i01
        predicted_gain = 0.5 * (gradient @ change + equations.cutoff_gradient @ reduced.cutoff_step)
        converged = bool(predicted_gain < 1e-12)
        new_a = a + change[0]
        new_log_b = float(np.clip(log_b + change[1], -MAX_LOG_B, MAX_LOG_B))
        dw = reduced.cutoff_step - change @ reduced.border
        new_w = categories.update_fractions(runs, fractions, w, dw)
        new_probabilities = _category_probabilities(fractions, new_a, new_log_b, new_w)
        loglik = categories.log_likelihood(runs, new_probabilities)[0]
        if loglik > best:
            a, log_b, w, probabilities = new_a, new_log_b, new_w, new_probabilities
            best, damping = loglik, damping / 5
        else:
            damping = max(damping * 5, 1e-4)
    _, reduced = _expected_equations(runs, fractions, probabilities, 0.0)
    (i00, i01), (_, i11) = reduced.information[..., 0]
    determinant = i00 * i11 - i01 * i01
    covariance = np.full((2, 2), np.nan)
    if determinant > 1e-13 * i00 * i11:
        covariance = np.array([[i11, -i01], [-i01, i00]]) / determinant
    jacobian = np.diag([1.0, np.exp(log_b)])
    return float(a), log_b, float(best), step, converged, jacobian @ covariance @ jacobian


def _expected_equations(
    runs: TruthRuns,
    fractions: categories.ClassFractions,
    probabilities: categories.CategoryProbabilities,
    damping: float,
) -> tuple[information.NormalEquations, information.ReducedEquations]:
    equations = information.normal_equations(
        runs, fractions, probabilities, probabilities.derivative, expected=True
    )
    return equations, information.eliminate_cutoffs(runs, equations, np.array([damping]))


def _category_probabilities(
    fractions: categories.ClassFractions, a: float, log_b: float, w: np.ndarray
) -> categories.CategoryProbabilities:
    """Return the category probabilities of the curve (a, b) and their derivatives by a and ln b."""
    b = np.exp(log_b)
    x = _cutoffs(fractions, a, b, w)
    y = b * x - a
    x, y = (np.where(fractions.last, -np.inf, z) for z in (x, y))
    upper_x, upper_y = (np.where(fractions.first, np.inf, np.roll(z, 1)) for z in (x, y))
    f, g = (np.exp(-np.minimum(z * z, 1400.0) / 2.0) / np.sqrt(2.0 * np.pi) for z in (x, y))
    density = fractions.benign * f + fractions.malignant * b * g
    density = np.maximum(density, categories.MIN_PROBABILITY)
    finite_x = np.where(fractions.last, 0.0, x)
    derivative = np.stack([f * g, -f * g * b * finite_x]) / density
    derivative[:, fractions.last] = 0.0
    p, q = categories.normal_interval(x, upper_x), categories.normal_interval(y, upper_y)
    return categories.CategoryProbabilities(p, q, f / density, b * g / density, derivative)


def _cutoffs(fractions: categories.ClassFractions, a: float, b: float, w: np.ndarray) -> np.ndarray:
    """Return the cutoffs x (categories,) above which a fraction w of all cases is, by Newton's
    method with a bisection step where it leaves the bracket."""
    bound = 9.0 + (9.0 + abs(a)) / b
    low, high = np.full(len(w), -bound), np.full(len(w), bound)
    w = np.where(fractions.last, 0.5, w)
    x = np.clip(-ndtri(w), low, high)
    for _ in range(100):
        error = fractions.benign * ndtr(-x) + fractions.malignant * ndtr(a - b * x) - w
        if np.all(np.abs(error) < 1e-13 * np.minimum(w, 1.0 - w)):
            break
        low, high = np.where(error > 0, x, low), np.where(error > 0, high, x)
        f, g = (np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi) for z in (x, a - b * x))
        density = fractions.benign * f + fractions.malignant * b * g
        newton = x + error / np.maximum(density, categories.MIN_PROBABILITY)
        x = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2.0)
    return x
