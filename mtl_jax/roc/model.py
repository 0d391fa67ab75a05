"""The proper binormal ROC curve: its shape, area and derivatives. It sees no data.

Metz and Pan 1999 (J Math Psychol 43:1). d >= 0 and |c| < 1 are their d_a and c; v is their
decision variable, which rises with the likelihood ratio. v is bounded by d q / (4 c) from below
where c < 0 and from above where c > 0; q = sqrt(1 + c^2).
"""

import numpy as np
from scipy.special import erf, ndtr, owens_t

TINY_C = 1e-12  # nearer to zero the curve is that of equal variances to the last bit
FAR = 9.0  # standard deviations that hold all mass that matters


def away_from_zero(c: np.ndarray) -> np.ndarray:
    """c, or the smallest c that can be divided by."""
    return np.where(np.abs(c) < TINY_C, np.where(c > 0, TINY_C, -TINY_C), c)


def deviates(v: np.ndarray, d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arguments x1, x2 of the two normal integrals of FPF(v), and y1, y2 of TPF(v)."""
    c = away_from_zero(c)
    q = np.sqrt(1.0 + c * c)
    near, other = d * q / 2.0, d * q / (2.0 * c)
    benign, malignant = -(1.0 - c) * v, -(1.0 + c) * v
    return benign - near, benign + other, malignant + near, malignant + other


def fractions(v: np.ndarray, d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FPF and TPF at v, inside its bound."""
    x1, x2, y1, y2 = deviates(v, d, c)
    sign = np.where(c > 0, 1.0, -1.0)  # Phi(x) - 1 for c > 0, written without cancellation
    fpf, tpf = ndtr(x1) - sign * ndtr(-sign * x2), ndtr(y1) - sign * ndtr(-sign * y2)
    return np.clip(fpf, 0.0, 1.0), np.clip(tpf, 0.0, 1.0)


def slopes(arguments: tuple[np.ndarray, ...], c: np.ndarray) -> tuple[np.ndarray, ...]:
    """Densities -dFPF/dv and -dTPF/dv, and the four normal densities they are made of."""
    bells = [np.exp(-np.minimum(x * x, 1400.0) / 2.0) / np.sqrt(2.0 * np.pi) for x in arguments]
    f, g = (1.0 - c) * (bells[0] + bells[1]), (1.0 + c) * (bells[2] + bells[3])
    return f, g, *bells


def ends(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strictest and the laxest v: the bound where there is one, else far out."""
    c = away_from_zero(c)
    q = np.sqrt(1.0 + c * c)
    bound = d * q / (4.0 * c)
    far = (FAR + d * q) / (1.0 - np.abs(c))
    return np.where(c > 0, np.minimum(bound, far), far), np.where(
        c < 0, np.maximum(bound, -far), -far
    )


def cutoffs(
    w: np.ndarray, benign: np.ndarray, d: np.ndarray, c: np.ndarray, v: np.ndarray | None = None
) -> np.ndarray:
    """v where benign * FPF + (1 - benign) * TPF = w, all arrays (n,), 0 < w < 1: Newton steps from
    the guess v, halving the bracket wherever they leave it."""
    high, low = ends(d, c)
    v = (low + high) / 2.0 if v is None else np.clip(v, low, high)
    todo = np.arange(len(v))
    for _ in range(80):
        at, mix, dt, ct = v[todo], benign[todo], d[todo], c[todo]
        fpf, tpf = fractions(at, dt, ct)
        f, g = slopes(deviates(at, dt, ct), ct)[:2]
        over = mix * fpf + (1.0 - mix) * tpf - w[todo]
        low[todo] = np.where(over > 0, at, low[todo])
        high[todo] = np.where(over > 0, high[todo], at)
        step = at + over / np.maximum(mix * f + (1.0 - mix) * g, 1e-60)
        inside = (step >= low[todo]) & (step <= high[todo])
        v[todo] = np.where(inside, step, (low[todo] + high[todo]) / 2.0)
        far = np.abs(over) > 1e-12 * np.minimum(w[todo], 1.0 - w[todo])
        todo = todo[far & (high[todo] - low[todo] > 1e-15 * np.abs(at))]
        if not len(todo):
            break
    return v


def area(d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Area under the curve, by Owen's T."""
    c = np.abs(away_from_zero(c))
    return 1.0 - 2.0 * owens_t(d / np.sqrt(2.0), (1.0 - c * c) / (2.0 * c))


def area_gradient(d: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the area by d and by c."""
    x, c2 = d / np.sqrt(2.0), c * c
    rho = -(1.0 - c2) / (1.0 + c2)
    root = 2.0 * np.abs(away_from_zero(c)) / (1.0 + c2)  # sqrt(1 - rho^2)
    density = np.exp(-x * x / 2.0) / np.sqrt(2.0 * np.pi)
    by_d = density / np.sqrt(2.0) * erf(-rho * x / root / np.sqrt(2.0))
    by_c = np.exp(-x * x / (2.0 * root * root)) / (np.pi * root) * 4.0 * c / (1.0 + c2) ** 2
    return by_d, by_c


def separation(auc: np.ndarray, c: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """The d >= 0 that gives area `auc` with this c, or 0 where c alone gives more: Newton steps
    from `guess`, halving the bracket wherever they leave it."""
    auc, c = np.broadcast_arrays(np.asarray(auc, float), np.asarray(c, float))
    low, high = np.zeros(auc.shape), np.full(auc.shape, 40.0)
    d = np.full(auc.shape, 2.0) if guess is None else np.array(guess, dtype=float)
    for _ in range(60):
        short = auc - area(d, c)
        low, high = np.where(short > 0, d, low), np.where(short > 0, high, d)
        step = d + short / np.maximum(area_gradient(d, c)[0], 1e-60)
        if np.all(np.abs(short) < 1e-14) or np.all(high - low < 1e-9):
            break
        d = np.where((step >= low) & (step <= high), step, (low + high) / 2.0)
    return d


def widest(auc: np.ndarray) -> np.ndarray:
    """The |c| that gives area `auc` with d = 0."""
    h = np.tan(np.pi * (1.0 - auc))
    return 1.0 / (np.sqrt(h * h + 1.0) + h)
