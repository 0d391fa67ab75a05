"""Covariance of AUCs when cases share a patient."""

import numpy as np


def covariance(
    truth: np.ndarray, influences: tuple[np.ndarray, np.ndarray], patient: np.ndarray
) -> np.ndarray:
    """Return the covariance (3, 3) of two AUCs and their difference, from influence values (n,)."""
    a, b = influences
    # The difference has a row of its own, because subtracting covariances loses precision.
    return covariances(truth, np.stack([a, b, a - b]), patient)


def covariances(truth: np.ndarray, influences: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Return the covariance (k, k) over patients of k AUCs, from influence values (k, n).

    Influence values are summed by patient within each class (Obuchowski 1997, Biometrics 53:567).
    If every case is from a different patient, the covariance of empirical AUCs is DeLong's.
    Each class needs two patients.
    """
    count = patient.max() + 1
    sums = []
    for in_class in (truth, ~truth):
        centered = influences[:, in_class] - influences[:, in_class].mean(axis=1, keepdims=True)
        sums.append(np.stack([np.bincount(patient[in_class], row, count) for row in centered]))
    x, y = sums
    n_x, n_y = class_patients(truth, patient)
    within = n_x / (n_x - 1) * (x @ x.T) + n_y / (n_y - 1) * (y @ y.T)
    between = count / (count - 1) * (x @ y.T + y @ x.T)
    out = within + between
    scale = np.sqrt(np.diag(within))
    out[np.abs(out) <= 1e-13 * np.outer(scale, scale)] = 0.0  # rounding errors
    return out


def class_patients(truth: np.ndarray, patient: np.ndarray) -> tuple[int, int]:
    """Return the numbers of patients with a malignant case and with a benign case."""
    return len(np.unique(patient[truth])), len(np.unique(patient[~truth]))
