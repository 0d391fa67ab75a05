"""Estimate the coverage of 95% intervals of AUCs averaged over initializations by simulation.

    python tools/simulate_initializations.py [--studies 2000] [--markdown FILE]

Scores are simulated. Each study has 160 patients, two views each, a third of
the patients malignant, and two approaches that start from the same initializations. A score is the
sum of an effect of the patient on both approaches, an effect of the patient on one approach,
noise of each view in each initialization and, for malignant views, a separation that varies
between initializations. The spread of the separation sets the share of the variance that is due to
initializations. The true AUC has a closed form; the true difference is zero.
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
COMMON, SPECIFIC, NOISE = 0.6, 0.5, 0.6  # standard deviations: patient, patient by approach, view
SPREADS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.0)  # of the separation between initializations
INITIALIZATIONS = (3, 10, 50)
CORRELATION = 0.5  # correlation of the separations of both approaches in one initialization


class Coverage(NamedTuple):
    """Results of one cell: share of the variance of the mean due to initializations, estimated over
    true standard error, and the fraction of studies whose interval contains the true value."""

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
    """Return the probability that a malignant view has a higher score than a benign one."""
    variance = 2 * (COMMON**2 + SPECIFIC**2 + NOISE**2) + spread**2
    return float(ndtr(SEPARATION / np.sqrt(variance)))


def simulate(rng: np.random.Generator, count: int, spread: float) -> list[FoldScores]:
    """Return scores of three approaches on the same cases; the first two are crossed."""
    label = np.repeat((np.arange(PATIENTS) % 3 == 0).astype(int), VIEWS)
    patient = np.repeat(np.arange(PATIENTS), VIEWS)
    common_effect = COMMON * rng.standard_normal(PATIENTS)
    first, other = rng.standard_normal((2, count))
    scores = []
    for common in (first, first, other):
        deviation = np.sqrt(CORRELATION) * common
        deviation += np.sqrt(1 - CORRELATION) * rng.standard_normal(count)
        separation = SEPARATION + spread * deviation
        patient_effect = common_effect + SPECIFIC * rng.standard_normal(PATIENTS)
        noise = NOISE * rng.standard_normal((count, PATIENTS * VIEWS))
        signal = patient_effect[patient] + separation[:, None] * label
        scores.append(FoldScores(label, patient, signal + noise))
    return scores


def coverage(count: int, spread: float, studies: int, seed: int = 0) -> Coverage:
    """Simulate `studies` studies of `count` initializations."""
    rng = np.random.default_rng([seed, count, int(1000 * spread)])
    truth = true_auc(spread)
    means, ses, variances, covered = [], [], [], []
    for _ in range(studies):
        a, b, c = simulate(rng, count, spread)
        mean = mean_auc([a])
        tests = [mean_difference([a], [b]), mean_difference([a], [c], crossed=False)]
        means.append(mean["auc"])
        ses.append(mean["se"])
        variances.append([(row["var_initializations"], row["se"] ** 2) for row in (mean, tests[0])])
        covered.append(
            [mean["ci_low"] <= truth <= mean["ci_high"]]
            + [test["ci_low"] <= 0 <= test["ci_high"] for test in tests]
        )
    variance = np.mean(variances, axis=0)
    ratio = float(np.sqrt(np.mean(np.square(ses))) / np.std(means, ddof=1))
    share, share_difference = (variance[:, 0] / variance[:, 1]).tolist()
    rates = np.mean(covered, axis=0).tolist()
    return Coverage(count, spread, share, share_difference, ratio, *rates, studies)


def markdown_table(rows: list[Coverage]) -> str:
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
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per cell")
    parser.add_argument(
        "--markdown", type=paths.path, metavar="FILE", help="also write the table to this file"
    )
    flags = parser.parse_args()
    rows = []
    for count in INITIALIZATIONS:
        for spread in SPREADS:
            rows.append(coverage(count, spread, flags.studies))
            print(rows[-1], file=sys.stderr, flush=True)
    print(markdown_table(rows), end="")
    if flags.markdown:
        atomic.write_text(flags.markdown, markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main))
