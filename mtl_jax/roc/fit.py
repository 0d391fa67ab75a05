"""Climbs to a maximum of the likelihood, for many data sets at once. It chooses no start."""

from dataclasses import dataclass

import numpy as np

from mtl_jax.roc import categories as lik
from mtl_jax.roc import information as inf
from mtl_jax.roc import proper_model
from mtl_jax.roc.truth_runs import TruthRuns

MAX_STEPS = 100
MIN_GAIN = 1e-13  # stop where the next step promises less log-likelihood than this
GAIN_TOLERANCE = 1e-7  # log-likelihood that may be left where rounding stops a climb
MAX_C = 1.0 - 1e-9


@dataclass(frozen=True)
class Fits:
    """Maxima found, one a data set: `at`, `loglik` (sets,), `converged` (sets,), `iterations`."""

    parameters: lik.Parameters
    loglik: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray


def select_best(found: Fits) -> Fits:
    """Return the fit of highest log-likelihood among fits of one data set from several starts."""
    i = int(np.argmax(found.loglik))
    v = found.parameters.v.reshape(len(found.loglik), -1)[i]
    at = lik.Parameters(found.parameters.d[[i]], found.parameters.c[[i]], v)
    return Fits(at, found.loglik[[i]], found.converged[[i]], found.iterations[[i]])


def select_better(runs: TruthRuns, one: Fits, other: Fits, margin: float = 0.0) -> Fits:
    """Of two fits of each data set the one of higher log-likelihood; the other one where its
    log-likelihood lies no more than `margin` below."""
    second = other.loglik > one.loglik - margin
    cell = np.repeat(second, runs.sizes)
    at = lik.Parameters(
        np.where(second, other.parameters.d, one.parameters.d),
        np.where(second, other.parameters.c, one.parameters.c),
        np.where(cell, other.parameters.v, one.parameters.v),
    )
    return Fits(
        at,
        np.where(second, other.loglik, one.loglik),
        np.where(second, other.converged, one.converged),
        np.where(second, other.iterations, one.iterations),
    )


@dataclass(frozen=True)
class OptimizerState:
    """The data sets still climbing and where they are; `promise` (sets,) is the gain that the
    last step would have promised undamped."""

    runs: TruthRuns
    part: lik.ClassFractions
    at: lik.Parameters
    w: np.ndarray
    cells: lik.CategoryProbabilities
    loglik: np.ndarray
    damping: np.ndarray
    promise: np.ndarray


def maximize(
    runs: TruthRuns, d: np.ndarray, c: np.ndarray, on_edge: bool = False, steps: int = MAX_STEPS
) -> Fits:
    """Levenberg-Marquardt on the curve and w from starts d, c (sets,), all data sets in step.

    Each step solves the tridiagonal system of the cutoffs with its border of two, multiplies the
    masses between cutoffs, so that they stay positive, and finds v again by Newton. With `on_edge`
    d stays 0: next to it the likelihood is so flat along its ridge that a free climb stops short.
    """
    sets = runs.sets
    out = Fits(
        lik.Parameters(np.empty(sets), np.empty(sets), np.empty(len(runs.benign))),
        np.empty(sets),
        np.zeros(sets, dtype=bool),
        np.full(sets, steps),
    )
    d = np.zeros(sets) if on_edge else d
    live, now = (
        np.arange(sets),
        initial_state(runs, np.maximum(d, lik.MIN_D), proper_model.avoid_zero(c)),
    )
    for step in range(steps):
        now, done = take_step(now, on_edge)
        done |= step == steps - 1
        if done.any():
            ids = live[done]
            out.parameters.d[ids], out.parameters.c[ids] = now.at.d[done], now.at.c[done]
            out.parameters.v[runs.cells(ids)] = now.at.v[np.repeat(done, now.runs.sizes)]
            out.loglik[ids], out.iterations[ids] = now.loglik[done], step + 1
            out.converged[ids] = now.promise[done] < GAIN_TOLERANCE
            if done.all():
                break
            live, now = live[~done], select_sets(now, ~done)
    return out


def initial_state(runs: TruthRuns, d: np.ndarray, c: np.ndarray) -> OptimizerState:
    """Return the start of a climb, its cutoffs at the fractions observed."""
    part, w = lik.class_fractions(runs), lik.observed_fractions(runs)
    at = lik.Parameters(d, c, lik.cutoffs(runs, part, d, c, w, None))
    cells = lik.category_probabilities(runs, part, at)
    sets = runs.sets
    return OptimizerState(runs, part, at, w, cells, lik.log_likelihood(runs, cells),
                 np.full(sets, 1e-3), np.full(sets, np.inf))  # fmt: skip


def take_step(now: OptimizerState, on_edge: bool = False) -> tuple[OptimizerState, np.ndarray]:
    """Return one trial step of every data set, kept where it gains; and which are done (sets,)."""
    runs = now.runs
    plain = inf.normal_equations(runs, now.part, now.at, now.cells)
    full = inf.add_curve_curvature(runs, now.part, now.at, now.w, now.cells, plain)
    move, dw, gain, solid = step_direction(runs, full, now.at, now.damping, on_edge)
    if not solid.all():  # the plain information always is
        mixed = inf.select_equations(runs, solid, full, plain)
        move, dw, gain, _ = step_direction(runs, mixed, now.at, now.damping, on_edge)
    at, w = apply_step(runs, now.part, now.at, now.w, move, dw)
    cells = lik.category_probabilities(runs, now.part, at)
    loglik = lik.log_likelihood(runs, cells)
    done = (gain < MIN_GAIN) | (now.damping > 1e10)
    better = ~done & (loglik > now.loglik)
    ratio = (loglik - now.loglik) / np.maximum(gain, MIN_GAIN)
    damping = np.where(ratio > 0.5, 0.1, np.where(ratio > 0.1, 1.0, 6.0)) * now.damping
    damping = np.where(better, damping, np.maximum(now.damping * 6.0, 1e-3))
    cell = np.repeat(better, runs.sizes)
    return OptimizerState(
        runs,
        now.part,
        lik.Parameters(
            np.where(better, at.d, now.at.d),
            np.where(better, at.c, now.at.c),
            np.where(cell, at.v, now.at.v),
        ),
        np.where(cell, w, now.w),
        select_cells(cell, cells, now.cells),
        np.where(better, loglik, now.loglik),
        damping,
        gain * (1.0 + now.damping),
    ), done


def select_cells(
    cell: np.ndarray, new: lik.CategoryProbabilities, old: lik.CategoryProbabilities
) -> lik.CategoryProbabilities:
    """Return the new cells where `cell` (cells,) is true, else the old."""
    return lik.CategoryProbabilities(
        np.where(cell, new.p, old.p),
        np.where(cell, new.q, old.q),
        np.where(cell, new.r, old.r),
        np.where(cell, new.s, old.s),
        np.where(cell, new.turn, old.turn),
    )


def select_sets(now: OptimizerState, which: np.ndarray) -> OptimizerState:
    """Only the data sets in the mask `which` (sets,)."""
    cell = np.repeat(which, now.runs.sizes)
    runs = now.runs.take(np.flatnonzero(which))
    cells = lik.CategoryProbabilities(
        now.cells.p[cell],
        now.cells.q[cell],
        now.cells.r[cell],
        now.cells.s[cell],
        now.cells.turn[:, cell],
    )
    at = lik.Parameters(now.at.d[which], now.at.c[which], now.at.v[cell])
    return OptimizerState(runs, lik.class_fractions(runs), at, now.w[cell], cells,
                 now.loglik[which], now.damping[which], now.promise[which])  # fmt: skip


def step_direction(
    runs: TruthRuns,
    state: inf.NormalEquations,
    at: lik.Parameters,
    damping: np.ndarray,
    on_edge: bool,
) -> tuple[np.ndarray, ...]:
    """Step of the curve (2, sets) and of w (cells,), the gain (sets,) that it promises, and
    whether the block of the cutoffs was positive definite (sets,), else the step is void."""
    theta, square, own, border, solid = inf.eliminate_cutoffs(runs, state, damping)
    a, b, e = make_positive_definite(square, state.size)
    first = (e * theta[0] - b * theta[1]) / (a * e - b * b)
    room = np.where(inf.uses_d_squared(at.d), lik.MIN_D**2 - at.d**2, -np.inf)  # to d = 0
    first = np.zeros(runs.sets) if on_edge else np.maximum(first, room)
    move = np.stack([first, (theta[1] - b * first) / e])
    bent = a * first**2 + 2.0 * b * first * move[1] + e * move[1] ** 2
    gain = (theta * move).sum(axis=0) - 0.5 * bent + 0.5 * runs.total(state.w * own)
    dw = own - (border * np.repeat(move, runs.sizes, axis=1)).sum(axis=0)
    return move, dw, gain, solid


def make_positive_definite(
    square: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries (0, 0), (0, 1), (1, 1) of `square` (2, 2, sets) with its eigenvalues, in the scale
    `size` (2, sets), made positive and not too small: on a saddle the step then still climbs."""
    s, t = np.sqrt(np.maximum(size, lik.MIN_PROBABILITY))
    a, b, e = square[0, 0] / s**2, square[0, 1] / (s * t), square[1, 1] / t**2
    middle, half = (a + e) / 2.0, np.hypot((a - e) / 2.0, b)
    low, high = np.abs(middle - half), np.abs(middle + half)
    least = np.maximum(1e-7 * np.maximum(low, high), 1e-12)
    low, high = np.maximum(low, least), np.maximum(high, least)
    # The matrix with the same eigenvectors is a multiple of the old plus a multiple of 1.
    slope = np.where(half > 0, (high - low) / np.where(half > 0, 2.0 * half, 1.0), 0.0)
    shift = (high + low) / 2.0 - slope * middle
    return (slope * a + shift) * s**2, slope * b * s * t, (slope * e + shift) * t**2


def apply_step(
    runs: TruthRuns,
    part: lik.ClassFractions,
    at: lik.Parameters,
    w: np.ndarray,
    move: np.ndarray,
    dw: np.ndarray,
) -> tuple[lik.Parameters, np.ndarray]:
    """Return the point after a step, kept inside d >= 0 and |c| < 1, and its w."""
    c = at.c + move[1]
    c = np.clip(np.where(np.abs(c) < 1.0, c, (at.c + np.sign(c)) / 2.0), -MAX_C, MAX_C)
    c = proper_model.avoid_zero(c)
    area = proper_model.auc_of_curve(at.d, at.c)
    wanted = np.clip(area + move[0], (area + 0.5) / 2.0, (area + 1.0) / 2.0)
    near = np.sqrt(np.maximum(at.d**2 + move[0], lik.MIN_D**2))
    d = np.where(inf.uses_d_squared(at.d), near, proper_model.d_of_auc(wanted, c, at.d))
    d = np.maximum(d, lik.MIN_D)
    w = lik.update_fractions(runs, part, w, dw)
    return lik.Parameters(d, c, lik.cutoffs(runs, part, d, c, w, at.v)), w
