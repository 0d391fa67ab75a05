"""Draw the filters of the first layer before and after pretraining: docs/filters.png.

python tools/make_filters_figure.py --weights checkpoints/formulas --output docs/filters.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from mtl_jax import weights
from mtl_jax.io import atomic, command_line, paths

ROWS = 8  # of the square of 64 filters


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=paths.expand_user, default="shipped", help="as config.weights"
    )
    parser.add_argument("--output", type=paths.path, required=True, help="the PNG to write")
    args = parser.parse_args(arguments)
    after = weights.find(args.weights)
    with atomic.report_write_errors(args.output):
        draw(weights.make_analytic(), after, args.output)
    return 0


def draw(before: weights.Weights, after: weights.Weights, path: Path) -> None:
    """Draw the kernels of C1 of both side by side, summed over channels, each scaled by its
    maximum."""
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.3), layout="constrained")
    titles = "before: Gabor filters", f"after: {after.metadata['name']}"
    for axis, title, filters in zip(axes, titles, (before, after), strict=True):
        axis.imshow(mosaic(filters.params["C1"]["kernel"]), cmap="gray", vmin=-1, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """Return the filters (size, size, channels, n) as one image in [-1, 1], separated by lines."""
    gray = kernel.sum(2).transpose(2, 0, 1)
    gray = gray / np.abs(gray).max((1, 2), keepdims=True)
    framed = np.pad(gray, ((0, 0), (1, 0), (1, 0)), constant_values=1.0)
    rows = framed.reshape(ROWS, -1, *framed.shape[1:])
    return rows.transpose(0, 2, 1, 3).reshape(ROWS * framed.shape[1], -1)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
