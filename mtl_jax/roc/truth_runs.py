"""Group scores into the ordered categories of the likelihood."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TruthRuns:
    """Category counts of one or more data sets, concatenated, each from its highest score down.

    `benign`, `malignant` (categories,) count the cases of each category; `start` (sets + 1,) is
    the index of the first category of each data set. Flat arrays let one vectorized pass serve
    all resamples of a bootstrap.
    """

    benign: np.ndarray
    malignant: np.ndarray
    start: np.ndarray

    @property
    def n_sets(self) -> int:
        return len(self.start) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Number of categories of each data set (sets,)."""
        return np.diff(self.start)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum `values` (categories,) over each data set (sets,)."""
        return np.add.reduceat(values, self.start[:-1])

    def cumsum(self, values: np.ndarray) -> np.ndarray:
        """Return the cumulative sums of `values` (categories,) within each data set."""
        cumulative, first = np.cumsum(values), self.start[:-1]
        return cumulative - self.repeat(cumulative[first] - values[first])

    def repeat(self, values: np.ndarray) -> np.ndarray:
        """Repeat `values` (..., sets) for each category (..., categories)."""
        return np.repeat(values, self.sizes, axis=-1)

    def take(self, sets: np.ndarray) -> "TruthRuns":
        """Return the data sets with the indices `sets`, in that order, repeats allowed."""
        categories = self.categories_of(sets)
        start = np.concatenate(([0], np.cumsum(self.sizes[sets])))
        return TruthRuns(self.benign[categories], self.malignant[categories], start)

    def categories_of(self, sets: np.ndarray) -> np.ndarray:
        """Return the indices of the categories of the data sets `sets`, in that order."""
        sizes = self.sizes[sets]
        ends = np.cumsum(sizes)
        return np.arange(ends[-1]) + np.repeat(self.start[sets] - (ends - sizes), sizes)


def merge_truth_runs(benign: np.ndarray, malignant: np.ndarray) -> TruthRuns:
    """Merge neighboring score levels that hold cases of the same single class.

    `benign`, `malignant` (sets, levels) count the cases at each distinct score, highest first;
    empty levels are skipped. Merging does not change the maximum-likelihood curve (LABROC4; Metz,
    Herman and Shen 1998, Stat Med 17:1033).
    """
    nonempty = (benign + malignant) > 0
    row = np.nonzero(nonempty)[0]
    n_benign, n_malignant = benign[nonempty].astype(float), malignant[nonempty].astype(float)
    classes = (n_benign > 0) + 2 * (n_malignant > 0)
    is_first = np.ones(len(row), dtype=bool)
    is_first[1:] = (row[1:] != row[:-1]) | (classes[1:] != classes[:-1]) | (classes[1:] == 3)
    first = np.flatnonzero(is_first)
    start = np.searchsorted(row[first], np.arange(len(benign) + 1))
    return TruthRuns(np.add.reduceat(n_benign, first), np.add.reduceat(n_malignant, first), start)


def score_levels(scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the rank (n,) of each score among the distinct scores, 0 the highest, and their
    number."""
    distinct, level = np.unique(scores, return_inverse=True)
    return len(distinct) - 1 - level, len(distinct)


def truth_runs_of_scores(truth: np.ndarray, scores: np.ndarray) -> TruthRuns:
    """Return the truth runs of one data set."""
    level, n_levels = score_levels(scores)
    benign, malignant = (np.bincount(level[k], minlength=n_levels)[None] for k in (~truth, truth))
    return merge_truth_runs(benign, malignant)


def pool_categories(runs: TruthRuns, max_categories: int) -> TruthRuns:
    """Pool neighboring categories of each data set to at most `max_categories` of about equal
    numbers of cases."""
    cases = runs.benign + runs.malignant
    midpoint = (runs.cumsum(cases) - cases / 2.0) / runs.repeat(runs.sum(cases))
    pooled = (midpoint * max_categories).astype(int)
    is_first = runs.repeat(runs.sizes <= max_categories)
    is_first[1:] |= pooled[1:] != pooled[:-1]
    is_first[runs.start[:-1]] = True
    first = np.flatnonzero(is_first)
    start = np.searchsorted(first, runs.start)
    return TruthRuns(
        np.add.reduceat(runs.benign, first), np.add.reduceat(runs.malignant, first), start
    )
