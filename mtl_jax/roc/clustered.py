"""Covariance of AUCs when cases share a patient."""

import numpy as np


def covariance(
    truth: np.ndarray, influences: tuple[np.ndarray, np.ndarray], patient: np.ndarray
) -> np.ndarray:
    """Return the covariance (3, 3) of two AUCs and of their difference, from the influence values
    (n,) of the cases on each AUC."""
    a, b = influences
    # The difference has its own row: taken from the covariance it would drown in rounding.
    return covariances(truth, np.stack([a, b, a - b]), patient)


def covariances(truth: np.ndarray, influences: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Return the covariance (k, k) over patients of k AUCs, from the influence values (k, n) of the
    cases on each.

    Obuchowski 1997 (Biometrics 53:567): influence values are summed by patient, each class apart.
    With every case its own patient and empirical influence values this is DeLong's covariance.
    Needs two patients in each class.
    """
    count = patient.max() + 1
    sums = []
    for kind in (truth, ~truth):
        centered = influences[:, kind] - influences[:, kind].mean(axis=1, keepdims=True)
        sums.append(np.stack([np.bincount(patient[kind], row, count) for row in centered]))
    x, y = sums
    with_x, with_y = class_patients(truth, patient)
    apart = with_x / (with_x - 1) * (x @ x.T) + with_y / (with_y - 1) * (y @ y.T)
    across = count / (count - 1) * (x @ y.T + y @ x.T)
    out = apart + across
    size = np.sqrt(np.diag(apart))
    out[np.abs(out) <= 1e-13 * np.outer(size, size)] = 0.0  # what rounding left
    return out


def class_patients(truth: np.ndarray, patient: np.ndarray) -> tuple[int, int]:
    """Return how many patients have a malignant case, and how many a benign one."""
    return len(np.unique(patient[truth])), len(np.unique(patient[~truth]))
