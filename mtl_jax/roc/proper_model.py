"""The proper binormal ROC curve: its shape, area and derivatives.

Metz and Pan 1999 (J Math Psychol 43:1). d >= 0 and |c| < 1 are their d_a and c; v is their
decision variable, which rises with the likelihood ratio. v is bounded by d q / (4 c) from below
where c < 0 and from above where c > 0; q = sqrt(1 + c^2).
"""

import numpy as np
from scipy.special import erf, ndtr, owens_t

TINY_C = 1e-12  # nearer to zero the curve is that of equal variances to the last bit
INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)
MAX_V = 9.0  # standard deviations that hold all mass that matters


def avoid_zero(c: np.ndarray) -> np.ndarray:
    """c, or the smallest c that can be divided by. All functions here expect such a c."""
    return np.where(np.abs(c) < TINY_C, np.where(c > 0, TINY_C, -TINY_C), c)


def deviates(v: np.ndarray, d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the arguments (4, n) of the two normal integrals of FPF(v) and of the two of
    TPF(v)."""
    q = np.sqrt(1.0 + c * c)
    near, other = d * q / 2.0, d * q / (2.0 * c)
    benign, malignant = (c - 1.0) * v, (-1.0 - c) * v
    return np.stack([benign - near, benign + other, malignant + near, malignant + other])


def fractions(at: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FPF and TPF (n,) from the deviates `at` (4, n) of a v inside its bound."""
    sign = np.where(c > 0, -1.0, 1.0)  # where c > 0: Phi(x) - 1, without cancellation
    one, two, three, four = ndtr(np.stack([at[0], sign * at[1], at[2], sign * at[3]]))
    return np.clip(one + sign * two, 0.0, 1.0), np.clip(three + sign * four, 0.0, 1.0)


def densities(at: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Densities -dFPF/dv and -dTPF/dv (n,), and the normal densities (4, n) they are made of."""
    bells = np.exp(-0.5 * at * at) * INV_SQRT_2PI
    return (1.0 - c) * (bells[0] + bells[1]), (1.0 + c) * (bells[2] + bells[3]), bells


def v_bounds(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the strictest and the laxest v: the bound where there is one, else far out."""
    q = np.sqrt(1.0 + c * c)
    bound = d * q / (4.0 * c)
    far = (MAX_V + d * q) / (1.0 - np.abs(c))
    return np.where(c > 0, np.minimum(bound, far), far), np.where(
        c < 0, np.maximum(bound, -far), -far
    )


def cutoffs(
    w: np.ndarray, benign: np.ndarray, d: np.ndarray, c: np.ndarray, v: np.ndarray | None = None
) -> np.ndarray:
    """v where benign * FPF + (1 - benign) * TPF = w, all arrays (n,), 0 < w < 1: Newton steps from
    the guess v, halving the bracket wherever they leave it."""
    high, low = v_bounds(d, c)
    out = (low + high) / 2.0 if v is None else np.clip(v, low, high)
    todo, v = np.arange(len(out)), out
    for _ in range(80):
        at = deviates(v, d, c)
        fpf, tpf = fractions(at, c)
        f, g, _ = densities(at, c)
        over = benign * (fpf - tpf) + tpf - w
        low, high = np.where(over > 0, v, low), np.where(over > 0, high, v)
        step = v + over / np.maximum(benign * (f - g) + g, 1e-60)
        new = np.where((step >= low) & (step <= high), step, (low + high) / 2.0)
        out[todo] = new
        # A Newton step squares this error, so that the cutoffs are right to rounding.
        far = (np.abs(over) > 1e-7 * np.minimum(w, 1.0 - w)) & (high - low > 1e-15 * np.abs(v))
        if not far.any():
            break
        if not far.all():
            todo, low, high = todo[far], low[far], high[far]
            w, benign, d, c = w[far], benign[far], d[far], c[far]
        v = new[far]
    return out


def auc_of_curve(d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Area under the curve, by Owen's T."""
    c = np.abs(c)
    return 1.0 - 2.0 * owens_t(d / np.sqrt(2.0), (1.0 - c * c) / (2.0 * c))


def auc_gradient(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the area by d and by c."""
    x, c2 = d / np.sqrt(2.0), c * c
    rho = -(1.0 - c2) / (1.0 + c2)
    root = 2.0 * np.abs(c) / (1.0 + c2)  # sqrt(1 - rho^2)
    density = np.exp(-x * x / 2.0) / np.sqrt(2.0 * np.pi)
    by_d = density / np.sqrt(2.0) * erf(-rho * x / root / np.sqrt(2.0))
    by_c = np.exp(-x * x / (2.0 * root * root)) / (np.pi * root) * 4.0 * c / (1.0 + c2) ** 2
    return by_d, by_c


def d_of_auc(auc: np.ndarray, c: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """Return the d >= 0 that gives area `auc` with this c, or 0 where c alone gives more: Newton
    steps from `guess`, halving the bracket wherever they leave it."""
    auc, c = np.broadcast_arrays(np.asarray(auc, float), np.asarray(c, float))
    low, high = np.zeros(auc.shape), np.full(auc.shape, 40.0)
    d = np.full(auc.shape, 2.0) if guess is None else np.array(guess, dtype=float)
    for _ in range(60):
        short = auc - auc_of_curve(d, c)
        low, high = np.where(short > 0, d, low), np.where(short > 0, high, d)
        step = d + short / np.maximum(auc_gradient(d, c)[0], 1e-60)
        if np.all((np.abs(short) < 1e-14) | (high - low < 1e-9)):
            break
        d = np.where((step >= low) & (step <= high), step, (low + high) / 2.0)
    return d


def max_c(auc: np.ndarray) -> np.ndarray:
    """Return the |c| that gives area `auc` with d = 0."""
    h = np.tan(np.pi * (1.0 - auc))
    return 1.0 / (np.sqrt(h * h + 1.0) + h)
