"""Gradient and information of the log-likelihood, with the cutoffs eliminated. No search here.

The curve is written by its area A and by c: along the ridges of the likelihood A hardly changes,
so that a step along c stays on the ridge. Near d = 0 it is written by d^2 and c instead.
"""

from dataclasses import dataclass

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

MAX_D_OF_SQUARE = 0.5  # below it the curve is written by d^2


def uses_d_squared(d: np.ndarray) -> np.ndarray:
    """Return whether the curve is written by d^2 and c, which suits the edge d = 0."""
    return d < MAX_D_OF_SQUARE


def reparametrization(
    d: np.ndarray, c: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """d(d^2)/dA at fixed c and d(d^2)/dc at fixed A (sets,); where `edge`, the first coordinate
    is d^2 itself: 1 and 0."""
    by_d, by_c = proper_model.auc_gradient(d, c)
    stretch = np.where(edge, 1.0, 2.0 * d / np.maximum(by_d, MIN_PROBABILITY))
    return stretch, np.where(edge, 0.0, -by_c * stretch)


def reparametrize(
    runs: TruthRuns, turn: np.ndarray, by: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return `turn` (2, cells) by (d^2, c), in the coordinates of the chart."""
    stretch, shear = (np.repeat(x, runs.sizes) for x in by)
    return np.stack([turn[0] * stretch, turn[1] + turn[0] * shear])


@dataclass(frozen=True)
class NormalEquations:
    """Gradient and information of each data set: `theta` (2, sets) by the two coordinates of the
    curve, `w` (cells,); `square` (2, 2, sets), `size` (2, sets) a positive scale of its diagonal,
    `border` (2, cells), and the tridiagonal block of the cutoffs, `main` and `off` (cells,), where
    off[k] joins cutoffs k and k + 1."""

    theta: np.ndarray
    w: np.ndarray
    square: np.ndarray
    size: np.ndarray
    border: np.ndarray
    main: np.ndarray
    off: np.ndarray


def normal_equations(
    runs: TruthRuns,
    part: ClassFractions,
    at: Parameters,
    now: CategoryProbabilities,
    expected: bool = False,
) -> NormalEquations:
    """Gradient and information of a proper curve at `at`."""
    by = reparametrization(at.d, at.c, uses_d_squared(at.d))
    return assemble_equations(runs, part, now, reparametrize(runs, now.turn, by), expected)


def assemble_equations(
    runs: TruthRuns,
    part: ClassFractions,
    now: CategoryProbabilities,
    moved: np.ndarray,
    expected: bool = False,
) -> NormalEquations:
    """Gradient, and the information: expected, or with the counts that were observed. `moved`
    (2, cells) is how the two parameters of the curve move it, as `Cells.turn`."""
    p, q = np.maximum(now.p, MIN_PROBABILITY), np.maximum(now.q, MIN_PROBABILITY)
    pull0, pull1 = runs.benign / p, runs.malignant / q
    if expected:
        weight0 = np.repeat(runs.total(runs.benign), runs.sizes) / p
        weight1 = np.repeat(runs.total(runs.malignant), runs.sizes) / q
    else:
        weight0, weight1 = pull0 / p, pull1 / q
    turn = moved - np.where(part.first, 0.0, np.roll(moved, 1, axis=1))
    below = [next_cell(x, part) for x in (pull0, pull1, weight0, weight1)]
    w = now.r * (pull0 - below[0]) + now.s * (pull1 - below[1])
    theta = np.stack([runs.total((part.benign * pull1 - part.malignant * pull0) * t) for t in turn])
    both = part.malignant**2 * weight0 + part.benign**2 * weight1
    square = np.stack([[runs.total(both * t * u) for u in turn] for t in turn])
    main = now.r**2 * (weight0 + below[2]) + now.s**2 * (weight1 + below[3])
    off = -(now.r * next_cell(now.r, part) * below[2] + now.s * next_cell(now.s, part) * below[3])
    lean0, lean1 = -part.malignant * weight0 * turn, part.benign * weight1 * turn
    border = now.r * (lean0 - next_cell(lean0, part)) + now.s * (lean1 - next_cell(lean1, part))
    w, border = np.where(part.last, 0.0, w), np.where(part.last, 0.0, border)
    main = np.where(part.last, 1.0, main)
    off = np.where(part.last | np.roll(part.last, -1), 0.0, off)
    return NormalEquations(
        theta, w, square, np.stack([square[0, 0], square[1, 1]]), border, main, off
    )


def next_cell(values: np.ndarray, part: ClassFractions) -> np.ndarray:
    """Return the value of the next laxer cell, 0 after the last."""
    return np.where(part.last, 0.0, np.roll(values, -1, axis=-1))


def eliminate_cutoffs(
    runs: TruthRuns, at: NormalEquations, damping: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Solves the cutoffs out of the system, with its diagonal raised by 1 + damping (sets,).

    Returns the gradient (2, sets) and information (2, 2, sets) that are left for the curve, and
    the solutions (cells,) for the gradient and (2, cells) for the border, and whether the block
    of the cutoffs was positive definite (sets,). All data sets are one tridiagonal system, because
    nothing joins the last cutoff of one to the first of the next.
    """
    main = at.main * (1.0 + np.repeat(damping, runs.sizes) + 1e-13)
    off = at.off
    sides = np.column_stack([at.w, *at.border])
    solid = np.ones(runs.sets, dtype=bool)
    while True:
        _, _, solved, failed = dptsv(main, off[:-1], sides)
        if not failed:
            break
        solid[np.searchsorted(runs.start, failed - 1, "right") - 1] = False
        cell = np.repeat(solid, runs.sizes)
        main, off = np.where(cell, main, 1.0), np.where(cell, off, 0.0)
    own, border = solved[:, 0], solved[:, 1:].T
    theta = at.theta - np.stack([runs.total(b * own) for b in at.border])
    square = at.square - np.stack([[runs.total(b * s) for s in border] for b in at.border])
    for i in range(2):
        square[i, i] += at.size[i] * damping
    return theta, square, own, border, solid


def select_equations(
    runs: TruthRuns, which: np.ndarray, full: NormalEquations, plain: NormalEquations
) -> NormalEquations:
    """Return the full information of the data sets `which` (sets,), the plain one of the others."""
    cell = np.repeat(which, runs.sizes)
    return NormalEquations(
        plain.theta,
        plain.w,
        np.where(which, full.square, plain.square),
        plain.size,
        np.where(cell, full.border, plain.border),
        np.where(cell, full.main, plain.main),
        plain.off,
    )


def add_curve_curvature(
    runs: TruthRuns,
    part: ClassFractions,
    at: Parameters,
    w: np.ndarray,
    now: CategoryProbabilities,
    plain: NormalEquations,
) -> NormalEquations:
    """Return the observed information in full: `plain`, of observed counts, minus the curvature of
    the curve at fixed w, which is taken from differences of its first derivatives."""
    pull0 = runs.benign / np.maximum(now.p, MIN_PROBABILITY)
    pull1 = runs.malignant / np.maximum(now.q, MIN_PROBABILITY)
    pull0, pull1 = pull0 - next_cell(pull0, part), pull1 - next_cell(pull1, part)
    pull = np.where(part.last, 0.0, pull0 - part.benign / part.malignant * pull1)
    edge = uses_d_squared(at.d)
    stretch, shear = reparametrization(at.d, at.c, edge)
    moved = reparametrize(runs, now.turn, (stretch, shear))
    main, border, square = plain.main.copy(), plain.border.copy(), plain.square.copy()

    cell_d, cell_c = np.repeat(at.d, runs.sizes), np.repeat(at.c, runs.sizes)
    f, g, _ = proper_model.densities(proper_model.deviates(at.v, cell_d, cell_c), cell_c)
    density = np.maximum(part.benign * f + part.malignant * g, MIN_PROBABILITY)
    aside = 1e-6 * np.minimum(w, 1.0 - w)
    r = cutoff_derivatives(part, at.v + aside / density, cell_d, cell_c)[0]
    main += pull * (r - now.r) / np.where(part.last, 1.0, aside)

    by_area = 1e-5 * np.maximum(at.d**2, 0.1) / stretch
    by_c = 1e-6 * np.minimum(np.maximum(np.abs(at.c), 1e-3), 1.0 - np.abs(at.c))
    by_c = np.where(shear < 0, -by_c, by_c)  # towards larger d
    for i, (step, d2, c) in enumerate(
        (
            (by_area, at.d**2 + by_area * stretch, at.c),
            (by_c, at.d**2 + by_c * shear, at.c + by_c),
        )
    ):
        d = np.sqrt(d2)
        v = cutoffs(runs, part, d, c, w, at.v)
        r, _, turn = cutoff_derivatives(part, v, np.repeat(d, runs.sizes), np.repeat(c, runs.sizes))
        turn = reparametrize(runs, turn, reparametrization(d, c, edge))
        border[i] -= pull * (r - now.r) / np.repeat(step, runs.sizes)
        for j in range(2):
            square[j, i] += runs.total(part.malignant * pull * (turn[j] - moved[j])) / step
    return NormalEquations(
        plain.theta,
        plain.w,
        (square + square.transpose(1, 0, 2)) / 2.0,
        plain.size,
        border,
        main,
        plain.off,
    )


@dataclass(frozen=True)
class InverseInformation:
    """The information of each data set, inverted: `inverse` (2, 2, sets) is the covariance of the
    chart's coordinates, `to_d_c` (2, 2, sets) turns their changes into those of (d, c), `area`
    (2, sets) into that of the area; `border` (2, cells) is the border solved for the cutoffs, and
    `turn` (2, cells) that of `CategoryProbabilities` in these coordinates. Where d = 0 the first
    coordinate is known and has zeros; where the information is singular `inverse` is NaN."""

    inverse: np.ndarray
    to_d_c: np.ndarray
    area: np.ndarray
    border: np.ndarray
    turn: np.ndarray

    def auc_variance(self) -> np.ndarray:
        """Variance of each area (sets,), by the delta method."""
        return np.einsum("is,ijs,js->s", self.area, self.inverse, self.area)

    def covariance(self) -> np.ndarray:
        """Covariance (2, 2, sets) of (d, c)."""
        return np.einsum("ijs,jks,lks->ils", self.to_d_c, self.inverse, self.to_d_c)


def invert_information(runs: TruthRuns, at: Parameters) -> InverseInformation:
    """Inverts the expected information of data sets at their maxima."""
    part = class_fractions(runs)
    now = category_probabilities(runs, part, at)
    state = normal_equations(runs, part, at, now, expected=True)
    _, ((a, b), (_, e)), _, border, solid = eliminate_cutoffs(runs, state, np.zeros(runs.sets))
    stretch, shear = reparametrization(at.d, at.c, uses_d_squared(at.d))
    by_d, by_c = proper_model.auc_gradient(at.d, at.c)
    by_first, by_second = stretch / (2.0 * at.d), shear / (2.0 * at.d)
    area = np.stack([by_d * by_first, by_c + by_d * by_second])
    none, one = np.zeros(runs.sets), np.ones(runs.sets)
    to_d_c = np.stack([np.stack([by_first, by_second]), np.stack([none, one])])
    edge, determinant = at.d <= 1.01 * MIN_D, a * e - b * b
    known = solid & (e > 0) & (edge | (determinant > 1e-13 * a * e))
    determinant = np.where(known & ~edge, determinant, 1.0)
    inverse = np.stack([np.stack([e, -b]), np.stack([-b, a])]) / determinant
    on_edge = np.stack([np.stack([none, none]), np.stack([none, 1.0 / np.where(known, e, 1.0)])])
    inverse = np.where(known, np.where(edge, on_edge, inverse), np.nan)
    return InverseInformation(
        inverse, to_d_c, area, border, reparametrize(runs, now.turn, (stretch, shear))
    )
