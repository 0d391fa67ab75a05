"""The conventional binormal fit, as ROCKIT's LABROC4 makes it. It is no proper curve: where b is
not 1 it crosses the diagonal, which is why `proper` exists."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from mtl_jax.roc import categories as lik
from mtl_jax.roc import degenerate, information
from mtl_jax.roc.empirical import empirical, logit_interval, newcombe_interval
from mtl_jax.roc.fit import make_positive_definite
from mtl_jax.roc.inputs import check_scores
from mtl_jax.roc.truth_runs import TruthRuns, truth_runs_of_scores

MAX_LOG_B = 4.0  # |ln b| beyond which the curve has an edge
MAX_STEPS = 100


@dataclass(frozen=True)
class Conventional:
    """A fitted curve TPF = Phi(a + b Phi^-1(FPF)); `covariance` (2, 2) is that of (a, b).

    `status` is ok; boundary (b ran to 0 or infinity: the data allow a curve with an edge);
    perfect, edge_only or undetermined as in `Proper`, with the empirical area, a and b NaN
    unless one operating point fixes a for b = 1; not_converged.
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
        """Sensitivity at each false positive fraction in [0, 1]; NaN where a and b are."""
        return ndtr(self.a + self.b * ndtri(np.asarray(fpf, dtype=float)))


def conventional(labels: ArrayLike, scores: ArrayLike) -> Conventional:
    """Maximum-likelihood binormal curve of scores (n,) with labels 0 benign, 1 malignant, on truth
    runs (Dorfman and Alf 1969, J Math Psychol 6:487; Metz, Herman and Shen 1998, Stat Med 17:1033).

    Standard error from the expected information, 95 % interval symmetric on the logit. Raises
    ValueError as `inputs.check` does.
    """
    truth, values = check_scores(labels, scores)
    runs = truth_runs_of_scores(truth, values)
    kind = str(degenerate.classify_data(runs)[0])
    sizes = int(runs.sizes[0]), int(truth.sum()), int((~truth).sum())
    if kind in ("regular", "reversed") and sizes[0] > 2:
        a, log_b, loglik, steps, converged, spread = _maximize(runs)
        b = float(np.exp(log_b))
        status = "ok" if converged else "not_converged"
        status = "boundary" if abs(log_b) >= MAX_LOG_B else status
    else:
        d, variance = (float(x[0]) for x in degenerate.equal_variance_d(runs))
        single = kind in ("single", "reversed")
        a, b, spread = (d, 1.0, np.diag([variance, 0.0])) if single else (np.nan, np.nan, np.nan)
        spread = np.broadcast_to(spread, (2, 2))
        loglik, steps = float(degenerate.saturated_loglik(runs)[0]), 0
        status = degenerate.STATUS[kind] if kind != "reversed" else "undetermined"
    root = np.sqrt(1.0 + b * b)
    bell = np.exp(-((a / root) ** 2) / 2.0) / np.sqrt(2.0 * np.pi)
    gradient = bell / root * np.array([1.0, -a * b / root**2])
    auc, se = float(ndtr(a / root)), float(np.sqrt(gradient @ spread @ gradient))
    if not np.isfinite([auc, se]).all():
        observed = empirical(truth, values)
        auc, se = (auc if np.isfinite(auc) else observed.auc), observed.se
    interval = (
        logit_interval(auc, se) if 0 < auc < 1 and se > 0 else newcombe_interval(auc, *sizes[1:])
    )
    return Conventional(auc, se, *interval, a, b, spread, loglik, *sizes, status, steps)


def _maximize(runs: TruthRuns) -> tuple[float, float, float, int, bool, np.ndarray]:
    """a, ln b, log-likelihood, steps, whether converged, and covariance of (a, b)."""
    part = lik.class_fractions(runs)
    a, log_b, w = float(np.sqrt(2.0) * ndtri(degenerate.empirical_aucs(runs)[0])), 0.0, None
    w = lik.observed_fractions(runs)
    now = _cell_probabilities(part, a, log_b, w)
    best, damping, converged = lik.log_likelihood(runs, now)[0], 1e-3, False
    step = 0
    while step < MAX_STEPS and not converged and damping < 1e10:
        step += 1
        state = information.assemble_equations(runs, part, now, now.turn, expected=True)
        theta, square, own, border, _ = information.eliminate_cutoffs(
            runs, state, np.array([damping])
        )
        (first,), (cross,), (second,) = make_positive_definite(square, state.size)
        move = np.array([second * theta[0, 0] - cross * theta[1, 0],
                         first * theta[1, 0] - cross * theta[0, 0]])  # fmt: skip
        move /= first * second - cross * cross
        gain = 0.5 * (theta[:, 0] @ move + state.w @ own)
        converged = bool(gain < 1e-12)
        trial_a, trial_b = a + move[0], float(np.clip(log_b + move[1], -MAX_LOG_B, MAX_LOG_B))
        trial_w = lik.update_fractions(runs, part, w, own - move @ border)
        trial = _cell_probabilities(part, trial_a, trial_b, trial_w)
        loglik = lik.log_likelihood(runs, trial)[0]
        if loglik > best:
            a, log_b, w, now, best, damping = trial_a, trial_b, trial_w, trial, loglik, damping / 5
        else:
            damping = max(damping * 5, 1e-4)
    state = information.assemble_equations(runs, part, now, now.turn, expected=True)
    _, square, _, _, _ = information.eliminate_cutoffs(runs, state, np.zeros(1))
    (first, cross), (_, second) = square[..., 0]
    determinant = first * second - cross * cross
    spread = np.full((2, 2), np.nan)
    if determinant > 1e-13 * first * second:
        spread = np.array([[second, -cross], [-cross, first]]) / determinant
    by_b = np.diag([1.0, np.exp(log_b)])
    return float(a), log_b, float(best), step, converged, by_b @ spread @ by_b


def _cell_probabilities(
    part: lik.ClassFractions, a: float, log_b: float, w: np.ndarray
) -> lik.CategoryProbabilities:
    """Cell probabilities and slopes of the curve (a, b) with cutoffs at the fractions w."""
    b = np.exp(log_b)
    x = _cutoffs(part, a, b, w)
    y = b * x - a
    x, y = (np.where(part.last, -np.inf, z) for z in (x, y))
    high_x, high_y = (np.where(part.first, np.inf, np.roll(z, 1)) for z in (x, y))
    f, g = (np.exp(-np.minimum(z * z, 1400.0) / 2.0) / np.sqrt(2.0 * np.pi) for z in (x, y))
    density = np.maximum(part.benign * f + part.malignant * b * g, lik.MIN_PROBABILITY)
    safe = np.where(part.last, 0.0, x)
    turn = np.stack([f * g, -f * g * b * safe]) / density
    turn[:, part.last] = 0.0
    p, q = lik.normal_interval(x, high_x), lik.normal_interval(y, high_y)
    return lik.CategoryProbabilities(p, q, f / density, b * g / density, turn)


def _cutoffs(part: lik.ClassFractions, a: float, b: float, w: np.ndarray) -> np.ndarray:
    """x (cells,) above which the fraction w of all cases lies, by Newton within a bracket."""
    far = 9.0 + (9.0 + abs(a)) / b
    low, high = np.full(len(w), -far), np.full(len(w), far)
    wanted = np.where(part.last, 0.5, w)
    x = np.clip(-ndtri(wanted), low, high)
    for _ in range(100):
        above = part.benign * ndtr(-x) + part.malignant * ndtr(a - b * x) - wanted
        if np.all(np.abs(above) < 1e-13 * np.minimum(wanted, 1.0 - wanted)):
            break
        low, high = np.where(above > 0, x, low), np.where(above > 0, high, x)
        bells = (np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi) for z in (x, a - b * x))
        f, g = bells
        step = x + above / np.maximum(part.benign * f + part.malignant * b * g, lik.MIN_PROBABILITY)
        x = np.where((step >= low) & (step <= high), step, (low + high) / 2.0)
    return x
