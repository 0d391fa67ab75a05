"""Maximize the likelihood of many data sets at once by Levenberg-Marquardt from given starts."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

import numpy as np

from mtl_jax.roc import categories, information, proper_model
from mtl_jax.roc.truth_runs import TruthRuns

MAX_STEPS = 100
MIN_GAIN = 1e-13  # stop if the predicted gain of log-likelihood is below it
GAIN_TOLERANCE = 1e-7  # converged if the predicted gain was below it when the steps ended
MAX_C = 1.0 - 1e-9

T = TypeVar("T")  # an array (..., sets) or (..., categories), or a dataclass of such arrays


@dataclass(frozen=True)
class Fits:
    """Maxima of data sets: `loglik`, `converged` and `iterations` are (sets,)."""

    parameters: categories.Parameters
    loglik: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray


@dataclass(frozen=True)
class OptimizerState:
    """Current point of data sets; `predicted_gain` (sets,) is the gain of log-likelihood that the
    last step would have without damping."""

    fractions: categories.ClassFractions
    parameters: categories.Parameters
    w: np.ndarray
    probabilities: categories.CategoryProbabilities
    loglik: np.ndarray
    damping: np.ndarray
    predicted_gain: np.ndarray


def map_arrays(function: Callable[..., np.ndarray], *values: T) -> T:
    """Apply `function` to arrays, or to each array of dataclasses."""
    if not is_dataclass(values[0]):
        return function(*values)
    names = [field.name for field in fields(values[0])]
    return type(values[0])(*(map_arrays(function, *(getattr(v, n) for v in values)) for n in names))


def where_sets(runs: TruthRuns, mask: np.ndarray, first: T, second: T) -> T:
    """Return `first` for the data sets in `mask` (sets,), `second` for the others."""
    masks = {len(mask): mask, len(runs.benign): runs.repeat(mask)}
    return map_arrays(lambda x, y: np.where(masks[x.shape[-1]], x, y), first, second)


def take_sets(runs: TruthRuns, sets: np.ndarray, values: T) -> T:
    """Return `values` of the data sets with the indices `sets`."""
    indices = {runs.n_sets: sets, len(runs.benign): runs.categories_of(sets)}
    return map_arrays(lambda x: x[..., indices[x.shape[-1]]], values)


def put_sets(runs: TruthRuns, sets: np.ndarray, target: T, values: T) -> T:
    """Return a copy of `target` with `values` for the data sets with the indices `sets`."""
    indices = {runs.n_sets: sets, len(runs.benign): runs.categories_of(sets)}

    def put(target: np.ndarray, values: np.ndarray) -> np.ndarray:
        target = target.copy()
        target[..., indices[target.shape[-1]]] = values
        return target

    return map_arrays(put, target, values)


def maximize(
    runs: TruthRuns, d: np.ndarray, c: np.ndarray, on_boundary: bool = False, steps: int = MAX_STEPS
) -> Fits:
    """Maximize the likelihood over the curve and the cutoffs w from starts d, c (sets,).

    A Levenberg-Marquardt step solves the bordered tridiagonal system of each data set, updates
    the log masses between cutoffs and solves for v by Newton's method. With `on_boundary` d stays
    0: near it the ridge of the likelihood is so flat that a fit of d and c stops early.
    """
    d = np.zeros(runs.n_sets) if on_boundary else d
    active, active_runs = np.arange(runs.n_sets), runs
    state = initial_state(runs, np.maximum(d, categories.MIN_D), proper_model.avoid_zero(c))
    converged, iterations = np.zeros(runs.n_sets, dtype=bool), np.full(runs.n_sets, steps)
    fits = Fits(state.parameters, state.loglik, converged, iterations)
    for step in range(1, steps + 1):
        state, done = take_step(active_runs, state, on_boundary)
        done |= step == steps
        if done.any():
            final = take_sets(active_runs, np.flatnonzero(done), state)
            converged = final.predicted_gain < GAIN_TOLERANCE
            iterations = np.full(len(converged), step)
            final_fits = Fits(final.parameters, final.loglik, converged, iterations)
            fits = put_sets(runs, active[done], fits, final_fits)
            if done.all():
                break
            state = take_sets(active_runs, np.flatnonzero(~done), state)
            active, active_runs = active[~done], active_runs.take(np.flatnonzero(~done))
    return fits


def initial_state(runs: TruthRuns, d: np.ndarray, c: np.ndarray) -> OptimizerState:
    """Return the state at the curve d, c with the cutoffs at the observed fractions."""
    fractions, w = categories.class_fractions(runs), categories.observed_fractions(runs)
    v = categories.cutoffs(runs, fractions, d, c, w, None)
    parameters = categories.Parameters(d, c, v)
    probabilities = categories.category_probabilities(runs, fractions, parameters)
    return OptimizerState(
        fractions,
        parameters,
        w,
        probabilities,
        loglik=categories.log_likelihood(runs, probabilities),
        damping=np.full(runs.n_sets, 1e-3),
        predicted_gain=np.full(runs.n_sets, np.inf),
    )


def take_step(
    runs: TruthRuns, state: OptimizerState, on_boundary: bool
) -> tuple[OptimizerState, np.ndarray]:
    """Try one step of each data set and keep it if the likelihood increases; also return which
    data sets are done (sets,)."""
    simple, full = information.observed_equations(
        runs, state.fractions, state.parameters, state.w, state.probabilities
    )
    step, dw, gain, valid = step_direction(runs, full, state, on_boundary)
    if not valid.all():  # that without second derivatives is always positive definite
        mixed = where_sets(runs, valid, full, simple)
        step, dw, gain, _ = step_direction(runs, mixed, state, on_boundary)
    parameters, w = apply_step(runs, state, step, dw)
    probabilities = categories.category_probabilities(runs, state.fractions, parameters)
    loglik = categories.log_likelihood(runs, probabilities)
    done = (gain < MIN_GAIN) | (state.damping > 1e10)
    better = ~done & (loglik > state.loglik)
    ratio = (loglik - state.loglik) / np.maximum(gain, MIN_GAIN)
    damping = np.where(ratio > 0.5, 0.1, np.where(ratio > 0.1, 1.0, 6.0)) * state.damping
    damping = np.where(better, damping, np.maximum(state.damping * 6.0, 1e-3))
    predicted_gain = gain * (1.0 + state.damping)
    trial = replace(state, parameters=parameters, w=w, probabilities=probabilities, loglik=loglik)
    new = where_sets(runs, better, trial, state)
    return replace(new, damping=damping, predicted_gain=predicted_gain), done


def step_direction(
    runs: TruthRuns,
    equations: information.NormalEquations,
    state: OptimizerState,
    on_boundary: bool,
) -> tuple[np.ndarray, ...]:
    """Return the step of the curve (2, sets) and of w (categories,), its predicted gain (sets,),
    and whether the cutoff block was positive definite (sets,), otherwise the step is invalid."""
    reduced = information.eliminate_cutoffs(runs, equations, state.damping)
    gradient, d = reduced.gradient, state.parameters.d
    i00, i01, i11 = make_positive_definite(reduced.information, equations.scale)
    first = (i11 * gradient[0] - i01 * gradient[1]) / (i00 * i11 - i01 * i01)
    min_first = np.where(information.uses_d_squared(d), categories.MIN_D**2 - d**2, -np.inf)
    first = np.zeros(runs.n_sets) if on_boundary else np.maximum(first, min_first)
    step = np.stack([first, (gradient[1] - i01 * first) / i11])
    curvature = i00 * first**2 + 2.0 * i01 * first * step[1] + i11 * step[1] ** 2
    predicted_gain = (
        (gradient * step).sum(axis=0)
        - 0.5 * curvature
        + 0.5 * runs.sum(equations.cutoff_gradient * reduced.cutoff_step)
    )
    dw = reduced.cutoff_step - (reduced.border * runs.repeat(step)).sum(axis=0)
    return step, dw, predicted_gain, reduced.positive_definite


def make_positive_definite(
    matrix: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries (0, 0), (0, 1), (1, 1) of symmetric `matrix` (2, 2, sets) with its
    eigenvalues, in units of `scale` (2, sets), replaced by their absolute values, not too small.
    The likelihood then increases along the step at a saddle point, too."""
    s, t = np.sqrt(np.maximum(scale, categories.MIN_PROBABILITY))
    a, b, e = matrix[0, 0] / s**2, matrix[0, 1] / (s * t), matrix[1, 1] / t**2
    middle, half = (a + e) / 2.0, np.hypot((a - e) / 2.0, b)
    low, high = np.abs(middle - half), np.abs(middle + half)
    minimum = np.maximum(1e-7 * np.maximum(low, high), 1e-12)
    low, high = np.maximum(low, minimum), np.maximum(high, minimum)
    # The matrix with the same eigenvectors is slope * matrix + shift * identity.
    slope = np.where(half > 0, (high - low) / np.where(half > 0, 2.0 * half, 1.0), 0.0)
    shift = (high + low) / 2.0 - slope * middle
    return (slope * a + shift) * s**2, slope * b * s * t, (slope * e + shift) * t**2


def apply_step(
    runs: TruthRuns, state: OptimizerState, step: np.ndarray, dw: np.ndarray
) -> tuple[categories.Parameters, np.ndarray]:
    """Return the parameters after a step, kept within d >= 0 and |c| < 1, and their w."""
    old_d, old_c = state.parameters.d, state.parameters.c
    c = old_c + step[1]
    c = np.clip(np.where(np.abs(c) < 1.0, c, (old_c + np.sign(c)) / 2.0), -MAX_C, MAX_C)
    c = proper_model.avoid_zero(c)
    auc = proper_model.auc_of_curve(old_d, old_c)
    new_auc = np.clip(auc + step[0], (auc + 0.5) / 2.0, (auc + 1.0) / 2.0)
    d_by_square = np.sqrt(np.maximum(old_d**2 + step[0], categories.MIN_D**2))
    d_by_auc = proper_model.d_of_auc(new_auc, c, old_d)
    d = np.where(information.uses_d_squared(old_d), d_by_square, d_by_auc)
    d = np.maximum(d, categories.MIN_D)
    w = categories.update_fractions(runs, state.fractions, state.w, dw)
    v = categories.cutoffs(runs, state.fractions, d, c, w, state.parameters.v)
    return categories.Parameters(d, c, v), w
