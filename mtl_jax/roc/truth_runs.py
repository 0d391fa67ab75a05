"""Groups scores into the ordered categories of the likelihood."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TruthRuns:
    """Categories of one or many data sets, laid end to end, each from its highest score down.

    `benign`, `malignant` (cells,) count the cases of each category; `start` (sets + 1,) is where
    each data set begins. Flat arrays let one pass over the cells serve a whole bootstrap.
    """

    benign: np.ndarray
    malignant: np.ndarray
    start: np.ndarray

    @property
    def sets(self) -> int:
        return len(self.start) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Categories of each data set (sets,)."""
        return np.diff(self.start)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums `values` (cells,) over each data set (sets,)."""
        return np.add.reduceat(values, self.start[:-1])

    def take(self, which: np.ndarray) -> "TruthRuns":
        """Return the data sets numbered `which`, in that order, repeats allowed."""
        cells = self.cells(which)
        start = np.concatenate(([0], np.cumsum(self.sizes[which])))
        return TruthRuns(self.benign[cells], self.malignant[cells], start)

    def cells(self, which: np.ndarray) -> np.ndarray:
        """Indices of the cells of the data sets `which`, in that order."""
        sizes = self.sizes[which]
        ends = np.cumsum(sizes)
        return np.arange(ends[-1]) + np.repeat(self.start[which] - (ends - sizes), sizes)


def merge_truth_runs(benign: np.ndarray, malignant: np.ndarray) -> TruthRuns:
    """Merge neighbouring levels of one same truth; a level with both truths stays alone.

    `benign`, `malignant` (sets, levels) count the cases at each distinct score, highest first;
    empty levels are skipped. Scores inside such a run do not change the maximum of the likelihood
    (LABROC4; Metz, Herman and Shen 1998, Stat Med 17:1033).
    """
    held = (benign + malignant) > 0
    row = np.nonzero(held)[0]
    n0, n1 = benign[held].astype(float), malignant[held].astype(float)
    kind = (n0 > 0) + 2 * (n1 > 0)
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = (row[1:] != row[:-1]) | (kind[1:] != kind[:-1]) | (kind[1:] == 3)
    at = np.flatnonzero(begins)
    start = np.searchsorted(row[at], np.arange(len(benign) + 1))
    return TruthRuns(np.add.reduceat(n0, at), np.add.reduceat(n1, at), start)


def score_levels(scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the level (n,) of each case among the distinct scores, 0 the highest, and their
    number."""
    distinct, level = np.unique(scores, return_inverse=True)
    return len(distinct) - 1 - level, len(distinct)


def truth_runs_of_scores(truth: np.ndarray, scores: np.ndarray) -> TruthRuns:
    """Return the truth runs of one data set."""
    level, count = score_levels(scores)
    benign, malignant = (np.bincount(level[k], minlength=count)[None] for k in (~truth, truth))
    return merge_truth_runs(benign, malignant)


def pool_categories(runs: TruthRuns, most: int) -> TruthRuns:
    """Pools neighbouring categories of each data set that has more than `most`, until at most so
    many are left, each with about the same number of cases."""
    both = runs.benign + runs.malignant
    running = np.cumsum(both)
    before = np.repeat(running[runs.start[:-1]] - both[runs.start[:-1]], runs.sizes)
    middle = (running - before - both / 2.0) / np.repeat(runs.total(both), runs.sizes)
    bin_ = (middle * most).astype(int)
    begins = np.repeat(runs.sizes <= most, runs.sizes)
    begins[1:] |= bin_[1:] != bin_[:-1]
    begins[runs.start[:-1]] = True
    at = np.flatnonzero(begins)
    start = np.searchsorted(at, runs.start)
    return TruthRuns(np.add.reduceat(runs.benign, at), np.add.reduceat(runs.malignant, at), start)
