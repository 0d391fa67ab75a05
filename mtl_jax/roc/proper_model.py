"""The proper binormal ROC curve: operating points, AUC and their derivatives.

Metz and Pan 1999 (J Math Psychol 43:1). d >= 0 and |c| < 1 are their d_a and c; v is their
decision variable, a monotonic function of the likelihood ratio. With q = sqrt(1 + c^2), d q/(4 c)
is a lower bound of v for c < 0 and an upper bound for c > 0.
"""

import numpy as np
from scipy.special import erf, ndtr, owens_t

TINY_C = 1e-12  # for |c| below it the curve equals that of equal variances (c = 0) to rounding
INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)
MAX_V = 9.0  # standard deviations; the probability beyond them is negligible


def avoid_zero(c: np.ndarray) -> np.ndarray:
    """Return c with |c| >= TINY_C, which all functions of this module expect."""
    return np.where(np.abs(c) < TINY_C, np.where(c > 0, TINY_C, -TINY_C), c)


def deviates(v: np.ndarray, d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the normal deviates (4, n): the two terms of FPF(v), then the two of TPF(v)."""
    q = np.sqrt(1.0 + c * c)
    shift1, shift2 = d * q / 2.0, d * q / (2.0 * c)
    benign, malignant = (c - 1.0) * v, (-1.0 - c) * v
    return np.stack([benign - shift1, benign + shift2, malignant + shift1, malignant + shift2])


def fractions(z: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return FPF and TPF (n,) from the deviates z (4, n) of a v within its bound."""
    sign = np.where(c > 0, -1.0, 1.0)  # for c > 0: Phi(z) - 1, without cancellation
    fpf1, fpf2, tpf1, tpf2 = ndtr(np.stack([z[0], sign * z[1], z[2], sign * z[3]]))
    return np.clip(fpf1 + sign * fpf2, 0.0, 1.0), np.clip(tpf1 + sign * tpf2, 0.0, 1.0)


def densities(z: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return -dFPF/dv and -dTPF/dv (n,), and the normal densities phi(z) (4, n)."""
    phi = np.exp(-0.5 * z * z) * INV_SQRT_2PI
    return (1.0 - c) * (phi[0] + phi[1]), (1.0 + c) * (phi[2] + phi[3]), phi


def v_bounds(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the strictest and the laxest v, finite also on the side without a bound."""
    q = np.sqrt(1.0 + c * c)
    bound = d * q / (4.0 * c)
    far = (MAX_V + d * q) / (1.0 - np.abs(c))
    return np.where(c > 0, np.minimum(bound, far), far), np.where(
        c < 0, np.maximum(bound, -far), -far
    )


def solve_cutoffs(
    w: np.ndarray, benign: np.ndarray, d: np.ndarray, c: np.ndarray, v: np.ndarray | None = None
) -> np.ndarray:
    """Solve benign * FPF(v) + (1 - benign) * TPF(v) = w for v, all arrays (n,), 0 < w < 1.

    Newton's method from the guess v, with a bisection step where Newton leaves the bracket.
    """
    high, low = v_bounds(d, c)
    solution = (low + high) / 2.0 if v is None else np.clip(v, low, high)
    active, v = np.arange(len(solution)), solution
    for _ in range(80):
        z = deviates(v, d, c)
        fpf, tpf = fractions(z, c)
        f, g, _ = densities(z, c)
        error = benign * (fpf - tpf) + tpf - w
        low, high = np.where(error > 0, v, low), np.where(error > 0, high, v)
        newton = v + error / np.maximum(benign * (f - g) + g, 1e-60)
        new = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2.0)
        solution[active] = new
        # A Newton step squares this error, so that the cutoffs are exact to rounding.
        unsolved = (np.abs(error) > 1e-7 * np.minimum(w, 1.0 - w)) & (
            high - low > 1e-15 * np.abs(v)
        )
        if not unsolved.any():
            break
        if not unsolved.all():
            active, low, high = active[unsolved], low[unsolved], high[unsolved]
            w, benign, d, c = w[unsolved], benign[unsolved], d[unsolved], c[unsolved]
        v = new[unsolved]
    return solution


def auc_of_curve(d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the AUC, by Owen's T function."""
    c = np.abs(c)
    return 1.0 - 2.0 * owens_t(d / np.sqrt(2.0), (1.0 - c * c) / (2.0 * c))


def auc_gradient(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dAUC/dd and dAUC/dc."""
    x, c2 = d / np.sqrt(2.0), c * c
    rho = -(1.0 - c2) / (1.0 + c2)
    root = 2.0 * np.abs(c) / (1.0 + c2)  # sqrt(1 - rho^2)
    density = np.exp(-x * x / 2.0) / np.sqrt(2.0 * np.pi)
    by_d = density / np.sqrt(2.0) * erf(-rho * x / root / np.sqrt(2.0))
    by_c = np.exp(-x * x / (2.0 * root * root)) / (np.pi * root) * 4.0 * c / (1.0 + c2) ** 2
    return by_d, by_c


def d_of_auc(auc: np.ndarray, c: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """Return the d >= 0 with this AUC at c, or 0 if the AUC at d = 0 is higher.

    Newton's method from `guess`, with a bisection step where Newton leaves the bracket.
    """
    auc, c = np.broadcast_arrays(np.asarray(auc, float), np.asarray(c, float))
    low, high = np.zeros(auc.shape), np.full(auc.shape, 40.0)
    d = np.full(auc.shape, 2.0) if guess is None else np.array(guess, dtype=float)
    for _ in range(60):
        error = auc - auc_of_curve(d, c)
        low, high = np.where(error > 0, d, low), np.where(error > 0, high, d)
        newton = d + error / np.maximum(auc_gradient(d, c)[0], 1e-60)
        if np.all((np.abs(error) < 1e-14) | (high - low < 1e-9)):
            break
        d = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2.0)
    return d


def max_c(auc: np.ndarray) -> np.ndarray:
    """Return the |c| with this AUC at d = 0: the largest |c| of all curves with this AUC."""
    h = np.tan(np.pi * (1.0 - auc))
    return 1.0 / (np.sqrt(h * h + 1.0) + h)
