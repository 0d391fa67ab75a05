"""Runs many small phantom studies of which the answer is known, and tells what the pipeline found.

    python tools/phantom_instrument.py --out runs/instrument --figure docs/phantom-instrument.svg

The design is told in mtl_jax/study/instrument.py. Stopped at any moment, the same command goes on
with the seeds that are missing. Phantom results: simulated images, not evidence about patients.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from mtl_jax import command_line, environment, heap, paths
from mtl_jax.nouns import InputError
from mtl_jax.study import instrument


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    first, count = instrument.SEEDS.start, len(instrument.SEEDS)
    parser.add_argument("--first", type=int, default=first, help="seed (%(default)s)")
    parser.add_argument("--seeds", type=int, default=count, help="how many (%(default)s)")
    parser.add_argument("--out", type=paths.path, required=True, help="folder of the studies")
    parser.add_argument("--figure", type=paths.path, help="an SVG to draw")
    given = parser.parse_args(arguments)
    heap.keep()
    try:
        environment.start_jax()
        if given.seeds < 2:
            raise InputError(f"--seeds is {given.seeds}; give at least 2")
        rows = instrument.measure(given.out, range(given.first, given.first + given.seeds))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    found = instrument.summarize(rows)
    print(f"phantom results, {found.n} seeds, multi-task less single-task, 95 % intervals")
    for name, (middle, low, high) in (
        ("shared_signal 1", found.shared),
        ("shared_signal 0", found.unrelated),
        ("1 less 0, by seed", found.gain),
    ):
        print(f"{name}: mean difference {middle:+.3f} ({low:+.3f} to {high:+.3f})")
    print(
        "shared_signal 0: p-values against uniform, Kolmogorov-Smirnov"
        f" D = {found.ks_statistic:.2f}, p = {found.ks_p_value:.2g}"
    )
    if given.figure:
        draw(rows, given.figure)
    return 0


def draw(rows: list[instrument.Row], path: Path) -> None:
    """The differences at both settings, and the p-values at 0 beside uniform."""
    matplotlib.use("agg")
    plt.rcParams |= {"font.size": 9, "svg.hashsalt": "phantom", "axes.spines.top": False}
    plt.rcParams |= {"axes.spines.right": False, "figure.constrained_layout.use": True}
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8), width_ratios=[1.2, 1])
    for place, signal in enumerate((instrument.UNRELATED, instrument.SHARED)):
        own = sorted((row for row in rows if row.shared_signal == signal), key=lambda r: r.seed)
        x = place + np.linspace(-0.3, 0.3, len(own))
        delta = np.array([row.delta for row in own])
        error = 1.96 * np.array([row.se for row in own])
        left.errorbar(x, delta, error, fmt="o", ms=3.5, lw=0.8, color=("#747d88", "#2f9e7b")[place])
        left.hlines(delta.mean(), place - 0.4, place + 0.4, color="black")
        if signal == instrument.UNRELATED:
            p = np.sort([row.p_value for row in own])
            share = [0, *(np.arange(1, len(p) + 1) / len(p)), 1]
            right.step([0, *p, 1], share, where="post", color="#747d88")
    left.axhline(0, lw=0.6, color="black", ls=":")
    left.set_xticks([0, 1], ["unrelated labels\n(shared_signal 0)", "same cues\n(shared_signal 1)"])
    left.set_ylabel("AUC, multi-task less single-task")
    right.plot([0, 1], [0, 1], "k:", lw=0.8)
    right.set(xlabel="p-value at shared_signal 0", ylabel="share of studies", aspect="equal")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
