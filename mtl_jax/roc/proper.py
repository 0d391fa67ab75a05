"""The proper binormal fit of one set of scores, with its uncertainty."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from mtl_jax.roc import degenerate, information, proper_model
from mtl_jax.roc.categories import MIN_D, ClassFractions, cutoff_derivatives
from mtl_jax.roc.empirical import (
    empirical,
    hanley_variance,
    logit_interval,
    newcombe_interval,
)
from mtl_jax.roc.inputs import check_scores
from mtl_jax.roc.search import search
from mtl_jax.roc.truth_runs import TruthRuns, pool_categories, truth_runs_of_scores

MAX_WALD_SE = 0.29  # the standard deviation of a uniform area: an se above it says nothing


@dataclass(frozen=True)
class Proper:
    """A fitted proper binormal curve.

    `d_a`, `c` are the parameters of Metz and Pan, `a`, `b` those of the conventional curve with
    the same normals, `covariance` (2, 2) that of (d_a, c). `loglik` is without the multinomial
    constant, `categories` the number of truth runs. `status`:

    - ok: a maximum inside the parameter space.
    - boundary: the maximum has d_a = 0; the standard error takes d_a as known.
    - perfect: a cutoff separates the truths; area 1, interval of Newcombe.
    - edge_only: every operating point has FPF 0 or TPF 1, and curves of area 1 fit as well as
      any. Area, standard error and curve are the empirical ones, d_a and c are NaN, `loglik` is
      the limit.
    - undetermined: all scores equal, or one operating point, on which a family of curves lies; the
      one of equal variances (c = 0) is given.
    - below_chance: no proper curve is better than the diagonal, area 0.5, standard error of
      DeLong; or the empirical area is below 0.5 by more than 1.96 standard errors.
    - sparse: one case in a class, or information that does not bound the area; the standard error
      is Hanley and McNeil's.
    - not_converged: the search stopped early; the numbers are those of its best point.
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
        """Sensitivity at each false positive fraction in [0, 1]."""
        wanted = _check_fractions(fpf, "fpf")
        if self.corner is not None:
            return np.interp(wanted, [0.0, self.corner[1], 1.0], [self.corner[0], 1.0, 1.0])
        return self._at(wanted, benign=1.0)[1]

    def fpf(self, tpf: ArrayLike) -> np.ndarray:
        """False positive fraction at each sensitivity in [0, 1]."""
        wanted = _check_fractions(tpf, "tpf")
        if self.corner is not None:
            left, right = self.corner
            return np.interp(wanted, [left, 1.0], [0.0, right]) if left < 1.0 else 0.0 * wanted
        return self._at(wanted, benign=0.0)[0]

    def partial_auc(self, low: float, high: float) -> float:
        """Area under the curve between the false positive fractions low < high, not scaled."""
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
        """FPF and TPF (n,) from (0, 0) to (1, 1), evenly spaced in their mean."""
        if n < 2:
            raise ValueError(f"n must be at least 2, not {n}")
        if self.corner is not None:
            left, right = self.corner
            fpf = np.concatenate(([0.0], np.linspace(0.0, right, n - 2), [1.0]))
            return fpf, np.concatenate(([0.0], self.tpf(fpf[1:])))
        return self._at(np.linspace(0.0, 1.0, n), benign=0.5)

    def sensitivity_at(self, specificity: float) -> tuple[float, float]:
        """Sensitivity at a specificity strictly between 0 and 1, and its standard error by the
        delta method: NaN where the status leaves the curve without a covariance."""
        fpf = 1.0 - float(_check_fractions([specificity], "specificity")[0])
        if not 0.0 < fpf < 1.0:
            raise ValueError(f"specificity must be strictly between 0 and 1, not {specificity}")
        sensitivity = float(self.tpf([fpf])[0])
        if self.corner is not None:
            return sensitivity, float("nan")
        d, c = (np.array([x]) for x in self._safe())
        v = proper_model.cutoffs(np.array([fpf]), np.ones(1), d, c)
        none = np.zeros(1, dtype=bool)
        turn = cutoff_derivatives(ClassFractions(np.ones(1), np.zeros(1), none, none), v, d, c)[2][
            :, 0
        ]
        by = np.array([2.0 * d[0] * turn[0], turn[1]])
        return sensitivity, float(np.sqrt(max(by @ self.covariance @ by, 0.0)))

    def _safe(self) -> tuple[float, float]:
        """d and c moved off the places where the formulas divide by zero."""
        return max(self.d_a, MIN_D), float(proper_model.avoid_zero(np.array(self.c)))

    def _at(self, w: np.ndarray, benign: float) -> tuple[np.ndarray, np.ndarray]:
        """FPF and TPF where benign * FPF + (1 - benign) * TPF = w."""
        inner = (w > 0.0) & (w < 1.0)
        flat = w[inner]
        d, c = (np.full(len(flat), x) for x in self._safe())
        v = proper_model.cutoffs(flat, np.full(len(flat), benign), d, c)
        found = proper_model.fractions(proper_model.deviates(v, d, c), c)
        fpf, tpf = (np.where(w >= 1.0, 1.0, 0.0) for _ in range(2))
        fpf[inner], tpf[inner] = found
        return fpf, tpf


def proper(labels: ArrayLike, scores: ArrayLike, max_categories: int | None = None) -> Proper:
    """Maximum-likelihood proper binormal curve of scores (n,) with labels 0 benign, 1 malignant.

    Metz and Pan 1999 (J Math Psychol 43:1) on the truth runs of the scores; `max_categories` pools
    neighbouring runs down to that many. The standard error is from the expected information, the
    95 % interval symmetric on the logit. Raises ValueError as `inputs.check` does.
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
    found = search(runs)
    d, c = float(found.parameters.d[0]), float(found.parameters.c[0])
    area = proper_model.auc_of_curve(found.parameters.d, found.parameters.c)
    if degenerate.at_chance(runs, area, found.loglik)[0]:
        return _degenerate_fit("reversed", runs, truth, values)
    auc = float(area[0])
    solved = information.invert_information(runs, found.parameters)
    m, n = int(truth.sum()), int((~truth).sum())
    edge = d <= 1.01 * MIN_D
    status, se_method = ("boundary", "information, d_a = 0") if edge else ("ok", "information")
    se = float(np.sqrt(solved.auc_variance()[0]))
    if min(m, n) == 1 or not se < MAX_WALD_SE:
        status, se_method = "sparse", "Hanley-McNeil"
        se = float(np.sqrt(hanley_variance(auc, m, n)))
    if not found.converged[0]:
        status = "not_converged"
    observed = empirical(labels, scores)
    if observed.ci_high < 0.5:
        status = "below_chance"
    return Proper(
        auc,
        se,
        *logit_interval(auc, se),
        0.0 if edge else d,
        c,
        *conventional_parameters(0.0 if edge else d, c),
        solved.covariance()[..., 0],
        float(found.loglik[0]),
        int(runs.sizes[0]),
        m,
        n,
        status,
        se_method,
        int(found.iterations[0]),
    )


def _degenerate_fit(kind: str, runs: TruthRuns, truth: np.ndarray, values: np.ndarray) -> Proper:
    """Return what is said where the likelihood determines no curve (see `Proper`)."""
    observed = empirical(truth, values)
    m, n = observed.n_malignant, observed.n_benign
    unknown, corner = np.full((2, 2), np.nan), (0.0, 1.0)
    auc = float(degenerate.degenerate_aucs(runs)[0])
    d, c, se, se_method = 0.0, 0.0, observed.se, "DeLong"
    loglik = float(degenerate.saturated_loglik(runs)[0])
    status = degenerate.STATUS[kind]
    if kind == "reversed":
        auc = 0.5
        loglik = float(degenerate.chance_loglik(runs)[0])
    elif kind == "single":
        se_method = "information, c = 0"
        d, variance = (float(x[0]) for x in degenerate.equal_variance_d(runs))
        se = float(np.sqrt(variance) * proper_model.auc_gradient(d, proper_model.TINY_C)[0])
        unknown, corner = np.array([[variance, 0.0], [0.0, 0.0]]), None
    elif kind in ("perfect", "edge_only"):
        fpf, tpf = degenerate.operating_points(runs)
        corner = float(tpf[fpf == 0].max(initial=0.0)), float(fpf[tpf == 1].min())
        d, c = float("nan"), float("nan")
    if se > 0 and 0 < auc < 1:
        low, high = logit_interval(auc, se)
    else:
        low, high = newcombe_interval(auc, m, n)
    a, b = conventional_parameters(d, c)
    return Proper(auc, se, low, high, d, c, a, b, unknown, loglik, int(runs.sizes[0]), m, n,
                  status, se_method, 0, corner)  # fmt: skip


def conventional_parameters(d: float, c: float) -> tuple[float, float]:
    """a and b of the conventional binormal curve with the same two normals."""
    b = (1.0 + c) / (1.0 - c)
    return float(d * np.sqrt((1.0 + b * b) / 2.0)), b


def _check_fractions(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not np.all((array >= 0.0) & (array <= 1.0)):
        raise ValueError(f"{name} must be within 0 and 1, not {values}")
    return array
