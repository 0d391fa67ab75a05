"""Estimate the coverage of 95% intervals of AUCs averaged over initializations by simulation.

    python tools/simulate_initializations.py [--studies 2000] [--markdown FILE]

Scores are simulated, nothing is trained. Each study has 160 patients, two views each, a third of
the patients malignant, and two approaches that start from the same initializations. A score is the
sum of what the patient adds to all scores of both approaches, what a patient adds to one approach,
noise of each view in each initialization and, for malignant views, a separation that differs
between initializations. The spread of the separation sets the share of the variance that is due to
initializations. The true AUC is known in closed form; the true difference is zero.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.io import atomic, command_line, paths

PATIENTS, VIEWS = 160, 2
SEPARATION = 1.4
SHARED, OWN, NOISE = 0.6, 0.5, 0.6  # standard deviations: patient, patient by approach, view
SPREADS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.0)  # of the separation between initializations
INITIALIZATIONS = (3, 10, 50)
ALIKE = 0.5  # correlation of the separations of both approaches in one initialization


class Coverage(NamedTuple):
    """Of one cell: share of the variance of the mean due to initializations, true over simulated
    standard error, and the fraction of studies whose interval holds the truth."""

    initializations: int
    spread: float
    share: float
    share_difference: float
    se_ratio: float
    mean: float
    difference: float
    nested: float
    studies: int


def true_auc(spread: float) -> float:
    """The chance that a malignant view scores above a benign one of another patient."""
    variance = 2 * (SHARED**2 + OWN**2 + NOISE**2) + spread**2
    return float(ndtr(SEPARATION / np.sqrt(variance)))


def simulate(rng: np.random.Generator, count: int, spread: float) -> list[FoldScores]:
    """Return the scores of the three approaches on the same cases."""
    label = np.repeat((np.arange(PATIENTS) % 3 == 0).astype(int), VIEWS)
    patient = np.repeat(np.arange(PATIENTS), VIEWS)
    shared = SHARED * rng.standard_normal(PATIENTS)
    first, other = rng.standard_normal((2, count))
    parts = []
    for common in (first, first, other):
        own = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * rng.standard_normal(count)
        separation = SEPARATION + spread * own
        difficulty = shared + OWN * rng.standard_normal(PATIENTS)
        noise = NOISE * rng.standard_normal((count, PATIENTS * VIEWS))
        parts.append(
            FoldScores(label, patient, difficulty[patient] + separation[:, None] * label + noise)
        )
    return parts


def coverage(count: int, spread: float, studies: int, seed: int = 0) -> Coverage:
    """Simulate `studies` studies of `count` initializations."""
    rng = np.random.default_rng([seed, count, int(1000 * spread)])
    truth = true_auc(spread)
    means, ses, shares, held = [], [], [], []
    for _ in range(studies):
        a, b, c = simulate(rng, count, spread)
        one = mean_auc([a])
        tests = [mean_difference([a], [b]), mean_difference([a], [c], crossed=False)]
        means.append(one["auc"])
        ses.append(one["se"])
        shares.append([(row["var_initializations"], row["se"] ** 2) for row in (one, tests[0])])
        held.append(
            [one["ci_low"] <= truth <= one["ci_high"]]
            + [test["ci_low"] <= 0 <= test["ci_high"] for test in tests]
        )
    between = np.mean(shares, axis=0)
    ratio = float(np.sqrt(np.mean(np.square(ses))) / np.std(means, ddof=1))
    own, difference = (between[:, 0] / between[:, 1]).tolist()
    rates = np.mean(held, axis=0).tolist()
    return Coverage(count, spread, own, difference, ratio, *rates, studies)


def table(rows: list[Coverage]) -> str:
    """Markdown."""
    lines = [
        "| initializations | share, mean | share, difference | SE / SD | mean "
        "| difference, crossed | difference, nested |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.initializations} | {row.share:.2f} | {row.share_difference:.2f} "
        f"| {row.se_ratio:.2f} | {row.mean:.3f} | {row.difference:.3f} | {row.nested:.3f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated in each cell")
    parser.add_argument(
        "--markdown", type=paths.path, metavar="FILE", help="the table is written here"
    )
    flags = parser.parse_args()
    rows = []
    for count in INITIALIZATIONS:
        for spread in SPREADS:
            rows.append(coverage(count, spread, flags.studies))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows), end="")
    if flags.markdown:
        atomic.write_text(flags.markdown, table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main))
