"""The proper binormal fit of one set of scores, with its standard error and interval."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from mtl_jax.roc import degenerate, information, proper_model
from mtl_jax.roc.categories import MIN_D, ClassFractions, cutoff_derivatives
from mtl_jax.roc.empirical import (
    Empirical,
    empirical,
    hanley_variance,
    logit_interval,
    newcombe_interval,
)
from mtl_jax.roc.fit import Fits
from mtl_jax.roc.inputs import check_scores
from mtl_jax.roc.search import search
from mtl_jax.roc.truth_runs import TruthRuns, pool_categories, truth_runs_of_scores

MAX_WALD_SE = 0.29  # the standard deviation of a uniform AUC: a larger SE carries no information


@dataclass(frozen=True)
class Proper:
    """A fitted proper binormal curve.

    `d_a` and `c` are the parameters of Metz and Pan, `covariance` (2, 2) is their covariance;
    `a` and `b` are those of the conventional curve of the same two normal distributions. `loglik`
    is without the multinomial constant, `categories` is the number of truth runs, `corner` the
    TPF at FPF 0 and the FPF at TPF 1 of the piecewise linear curve of a degenerate fit. `status`:

    - ok: a maximum inside the parameter space.
    - boundary: the maximum has d_a = 0; the standard error treats d_a as known.
    - perfect: a cutoff separates the classes; the AUC is 1, the interval is Newcombe's, d_a and c
      are NaN.
    - edge_only: every operating point has FPF 0 or TPF 1, and curves of AUC 1 fit as well as any.
      AUC, standard error and curve are the empirical ones, d_a and c are NaN, `loglik` is the
      limit.
    - undetermined: all scores are equal, or there is one operating point, which a family of curves
      passes through; the equal-variance curve (c = 0) is returned.
    - below_chance: no proper curve is better than the diagonal (AUC 0.5, standard error of
      DeLong), or the 95% interval of the empirical AUC is below 0.5.
    - sparse: one class has one case, or the standard error is undefined or 0.29 or more; it
      is then Hanley and McNeil's.
    - not_converged: the optimizer stopped early; the values are those of its best point.
    """

    auc: float
    se: float
    ci_low: float
    ci_high: float
    d_a: float
    c: float
    a: float
    b: float
    covariance: np.ndarray = field(compare=False)
    loglik: float
    categories: int
    n_malignant: int
    n_benign: int
    status: str
    se_method: str
    iterations: int
    corner: tuple[float, float] | None = field(default=None, repr=False)

    def tpf(self, fpf: ArrayLike) -> np.ndarray:
        """Return the sensitivity at each false positive fraction in [0, 1]."""
        fractions = _check_fractions(fpf, "fpf")
        if self.corner is not None:
            return np.interp(fractions, [0.0, self.corner[1], 1.0], [self.corner[0], 1.0, 1.0])
        return self._points(fractions, benign=1.0)[1]

    def fpf(self, tpf: ArrayLike) -> np.ndarray:
        """Return the false positive fraction at each sensitivity in [0, 1]."""
        fractions = _check_fractions(tpf, "tpf")
        if self.corner is not None:
            left, right = self.corner
            if left == 1.0:
                return 0.0 * fractions
            return np.interp(fractions, [left, 1.0], [0.0, right])
        return self._points(fractions, benign=0.0)[0]

    def partial_auc(self, low: float, high: float) -> float:
        """Return the partial AUC between false positive fractions low < high, not normalized."""
        ends = _check_fractions([low, high], "low and high")
        if not low < high:
            raise ValueError(f"low must be below high, not {low} and {high}")
        if self.corner is not None:
            points = np.unique(np.clip([low, self.corner[1], high], low, high))
            return float(np.trapezoid(self.tpf(points), points))
        z_low, z_high = np.clip(ndtri(ends), -proper_model.MAX_V, proper_model.MAX_V)
        nodes, weights = np.polynomial.legendre.leggauss(400)
        z = (z_low + z_high) / 2.0 + nodes * (z_high - z_low) / 2.0
        density = np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi)
        return float(weights @ (self.tpf(ndtr(z)) * density) * (z_high - z_low) / 2.0)

    def curve(self, n: int = 201) -> tuple[np.ndarray, np.ndarray]:
        """Return FPF and TPF (n,) from (0, 0) to (1, 1).

        Points are evenly spaced in (FPF + TPF) / 2, or in FPF for a piecewise linear curve.
        """
        if n < 2:
            raise ValueError(f"n must be at least 2, not {n}")
        if self.corner is not None:
            fpf = np.concatenate(([0.0], np.linspace(0.0, self.corner[1], n - 2), [1.0]))
            return fpf, np.concatenate(([0.0], self.tpf(fpf[1:])))
        return self._points(np.linspace(0.0, 1.0, n), benign=0.5)

    def sensitivity_at(self, specificity: float) -> tuple[float, float]:
        """Return the sensitivity at a specificity in (0, 1), and its standard error by the delta
        method, NaN if the fit has no covariance."""
        fpf = 1.0 - float(_check_fractions([specificity], "specificity")[0])
        if not 0.0 < fpf < 1.0:
            raise ValueError(f"specificity must be strictly between 0 and 1, not {specificity}")
        sensitivity = float(self.tpf([fpf])[0])
        if self.corner is not None:
            return sensitivity, float("nan")
        d, c = (np.array([x]) for x in self._nonzero_parameters())
        v = proper_model.solve_cutoffs(np.array([fpf]), np.ones(1), d, c)
        false = np.zeros(1, dtype=bool)
        only_benign = ClassFractions(np.ones(1), np.zeros(1), false, false)  # so that w is FPF
        derivative = cutoff_derivatives(only_benign, v, d, c)[2][:, 0]
        gradient = np.array([2.0 * d[0] * derivative[0], derivative[1]])
        return sensitivity, float(np.sqrt(max(gradient @ self.covariance @ gradient, 0.0)))

    def _nonzero_parameters(self) -> tuple[float, float]:
        """Return d and c, or values near 0 for 0, where the formulas divide by zero."""
        return max(self.d_a, MIN_D), float(proper_model.avoid_zero(np.array(self.c)))

    def _points(self, w: np.ndarray, benign: float) -> tuple[np.ndarray, np.ndarray]:
        """Return FPF and TPF where benign * FPF + (1 - benign) * TPF = w."""
        inner = (w > 0.0) & (w < 1.0)
        inner_w = w[inner]
        d, c = (np.full(len(inner_w), x) for x in self._nonzero_parameters())
        v = proper_model.solve_cutoffs(inner_w, np.full(len(inner_w), benign), d, c)
        fpf, tpf = (np.where(w >= 1.0, 1.0, 0.0) for _ in range(2))
        fpf[inner], tpf[inner] = proper_model.fractions(proper_model.deviates(v, d, c), c)
        return fpf, tpf


def proper(labels: ArrayLike, scores: ArrayLike, max_categories: int | None = None) -> Proper:
    """Fit a proper binormal ROC curve by maximum likelihood.

    The standard error is from the expected information, the 95% interval symmetric on the logit
    scale.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant. Only their order matters.
    max_categories : int, optional
        Pool neighboring truth runs to at most this number, at least 2.

    Raises
    ------
    ValueError
        If labels, scores or max_categories are invalid (see `inputs.check_scores`).

    References
    ----------
    Metz and Pan 1999, J Math Psychol 43:1.
    """
    truth, values = check_scores(labels, scores)
    runs = truth_runs_of_scores(truth, values)
    if max_categories is not None:
        if max_categories < 2:
            raise ValueError(f"max_categories must be at least 2, not {max_categories}")
        runs = pool_categories(runs, max_categories)
    kind = str(degenerate.classify_data(runs)[0])
    if kind != "regular":
        return _degenerate_fit(kind, runs, truth, values)
    fits = search(runs)
    auc = proper_model.auc_of_curve(fits.parameters.d, fits.parameters.c)
    if degenerate.at_chance(runs, auc, fits.loglik)[0]:
        return _degenerate_fit("reversed", runs, truth, values)
    return _regular_fit(runs, fits, float(auc[0]), empirical(truth, values))


def _regular_fit(runs: TruthRuns, fits: Fits, auc: float, observed: Empirical) -> Proper:
    """Return the fit of one data set with its standard error and status."""
    d, c = float(fits.parameters.d[0]), float(fits.parameters.c[0])
    m, n = observed.n_malignant, observed.n_benign
    inverse = information.invert_information(runs, fits.parameters)
    status, se_method = "ok", "information"
    if d <= 1.01 * MIN_D:
        d, status, se_method = 0.0, "boundary", "information, d_a = 0"
    se = float(np.sqrt(inverse.auc_variance()[0]))
    if min(m, n) == 1 or not se < MAX_WALD_SE:
        status, se_method = "sparse", "Hanley-McNeil"
        se = float(np.sqrt(hanley_variance(auc, m, n)))
    if not fits.converged[0]:
        status = "not_converged"
    if observed.ci_high < 0.5:
        status = "below_chance"
    return Proper(
        auc,
        se,
        *logit_interval(auc, se),
        d,
        c,
        *conventional_parameters(d, c),
        inverse.covariance()[..., 0],
        float(fits.loglik[0]),
        int(runs.sizes[0]),
        m,
        n,
        status,
        se_method,
        int(fits.iterations[0]),
    )


def _degenerate_fit(kind: str, runs: TruthRuns, truth: np.ndarray, values: np.ndarray) -> Proper:
    """Return the fit of data that determine no curve, by the kind of `degenerate.classify_data`."""
    observed = empirical(truth, values)
    m, n = observed.n_malignant, observed.n_benign
    covariance, corner = np.full((2, 2), np.nan), (0.0, 1.0)
    auc = float(degenerate.degenerate_aucs(runs)[0])
    d, c, se, se_method = 0.0, 0.0, observed.se, "DeLong"
    loglik = float(degenerate.saturated_loglik(runs)[0])
    if kind == "reversed":
        auc = 0.5
        loglik = float(degenerate.chance_loglik(runs)[0])
    elif kind == "single":
        se_method = "information, c = 0"
        d, variance = (float(x[0]) for x in degenerate.equal_variance_d(runs))
        se = float(np.sqrt(variance) * proper_model.auc_gradient(d, proper_model.TINY_C)[0])
        covariance, corner = np.array([[variance, 0.0], [0.0, 0.0]]), None
    elif kind in ("perfect", "edge_only"):
        fpf, tpf = degenerate.operating_points(runs)
        corner = float(tpf[fpf == 0].max(initial=0.0)), float(fpf[tpf == 1].min())
        d, c = float("nan"), float("nan")
    if se > 0 and 0 < auc < 1:
        low, high = logit_interval(auc, se)
    else:
        low, high = newcombe_interval(auc, m, n)
    a, b = conventional_parameters(d, c)
    return Proper(auc, se, low, high, d, c, a, b, covariance, loglik, int(runs.sizes[0]), m, n,
                  degenerate.STATUS[kind], se_method, 0, corner)  # fmt: skip


def conventional_parameters(d: float, c: float) -> tuple[float, float]:
    """Return a and b of the conventional binormal curve of the same two normal distributions."""
    b = (1.0 + c) / (1.0 - c)
    return float(d * np.sqrt((1.0 + b * b) / 2.0)), b


def _check_fractions(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not np.all((array >= 0.0) & (array <= 1.0)):
        raise ValueError(f"{name} must be within 0 and 1, not {values}")
    return array
