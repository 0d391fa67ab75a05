"""Compare learning curves, and transfer between collections, of the phantom and of real films.

    python tools/phantom_curve.py --out docs \
      --films manifest:real_films/ddsm299/manifest.csv \
      --films manifest:real_films/dmid/manifest.csv

By logistic regression on frozen activations (tools/activation_proxy.py), with the weights of
`--weights`. Without `--films`, the phantom alone. docs/real_films.md says how to obtain the films;
their official test set is left alone. Writes phantom-curve.svg, phantom_curve.csv and
phantom_transfer.csv. The phantom has several independent collections, whose seeds were not used in
its calibration; its intervals are of their mean. Those of films leave out groups of patients.
Phantom results: simulated images, not evidence about patients.
"""

import argparse
import csv
import itertools
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import activation_proxy as proxy
import matplotlib
import numpy as np
from activation_proxy import Features
from matplotlib import pyplot as plt

import mtl_jax
from mtl_jax import weights
from mtl_jax.data import ingest
from mtl_jax.data.sources.phantom import GENERATOR_VERSION
from mtl_jax.io import command_line, paths
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import InputError, Params

SIZES = (30, 58, 120, 240, 480, 690)
CASES = 640  # of each phantom collection: more than 690 views in two thirds of the cases
SEED = 500
TRANSFER_VIEWS = 200  # two thirds of the smaller collection of films
STYLES = {"films": ("#c0504d", "o"), "phantom": ("#2f7f9e", "s")}

Row = tuple[str, str, object, float, float, float]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=paths.path, required=True, help="folder of the results")
    parser.add_argument(
        "--films",
        action="append",
        default=[],
        help="an entry of config.data.sources; the curve is that of the first",
    )
    parser.add_argument(
        "--weights", action="append", help="as config.weights (default: imagenet and shipped)"
    )
    parser.add_argument("--collections", type=int, default=5, help="of each phantom (%(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="of the training set (%(default)s)")
    args = parser.parse_args(arguments)
    try:
        if args.collections < 2:
            raise InputError(f"--collections={args.collections} is invalid: expected at least 2")
        if args.draws < 1:
            raise InputError(f"--draws={args.draws} is invalid: expected at least 1")
        params = {
            name: weights.find(name).params for name in args.weights or ("imagenet", "shipped")
        }
        films, film_names = [], []
        for spec in args.films:
            film_name, features = _films(spec, params)
            film_names.append(film_name)
            films.append(features)
        phantoms = [
            {kind: _phantom(kind, SEED + k, params) for kind in RECEPTORS}
            for k in range(args.collections)
        ]
        curves, transfers = [], []
        for name in params:
            of_films = [data[name] for data in films]
            of_phantoms = [{kind: p[kind][name] for kind in RECEPTORS} for p in phantoms]
            curves += measure_curves(
                name, of_films[:1], [p["sfm"] for p in of_phantoms], args.draws
            )
            transfers += measure_transfer(name, of_films, film_names, of_phantoms, args.draws)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    _write(args.out / "phantom_curve.csv", "training views", curves)
    _write(args.out / "phantom_transfer.csv", "trained on / tested on", transfers)
    draw(curves, args.out / "phantom-curve.svg")
    return 0


def measure_curves(
    name: str, films: Sequence[Features], phantoms: Sequence[Features], draws: int
) -> list[Row]:
    """Return the learning curves with the weights `name`, and the phantom's minus the films'."""
    curve = proxy.mean_interval([proxy.learning_curve(p, SIZES, draws) for p in phantoms])
    rows = _curve_rows("phantom", name, SIZES, curve)
    for data in films:
        sizes = [size for size in SIZES if size <= len(data.label) * 2 / 3]
        of_films = proxy.jackknife(lambda d, s=sizes: proxy.learning_curve(d, s, draws), [data])
        rows += _curve_rows("films", name, sizes, of_films)
        difference = proxy.difference([part[: len(sizes)] for part in curve], of_films)
        rows += _curve_rows("phantom - films", name, sizes, difference)
    return rows


def measure_transfer(
    name: str,
    films: Sequence[Features],
    film_names: Sequence[str],
    phantoms: Sequence[dict[str, Features]],
    draws: int,
) -> list[Row]:
    """Return the AUC on each collection after training on each, with the weights `name`.

    The loss is the AUC after training on the collection itself minus that after training on the
    other, on the same held-out cases.
    """
    rows: list[Row] = []

    def measure(train: Features, test: Features) -> np.ndarray:
        own = proxy.transfer(test, test, TRANSFER_VIEWS, draws)
        other = proxy.transfer(train, test, TRANSFER_VIEWS, draws)
        return np.array([own, other, own - other])

    def add(source: str, train: str, test: str, result: tuple[np.ndarray, ...]) -> None:
        for quantity, *values in zip(("own", "other", "loss"), *result, strict=True):
            rows.append((source, name, f"{quantity}: {train} / {test}", *map(float, values)))

    for i, j in itertools.permutations(range(len(films)), 2):
        add("films", film_names[i], film_names[j], proxy.jackknife(measure, [films[i], films[j]]))
    for train, test in itertools.permutations(RECEPTORS, 2):
        results = [measure(p[train], p[test]) for p in phantoms]
        add("phantom", train, test, proxy.mean_interval(results))
    return rows


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the learning curves, one panel for each set of weights."""
    matplotlib.use("agg")
    plt.rcParams |= {"font.size": 9, "svg.hashsalt": "phantom", "axes.spines.top": False}
    plt.rcParams |= {"axes.spines.right": False, "figure.constrained_layout.use": True}
    names = list(dict.fromkeys(row[1] for row in rows))
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.7 * len(names), 3.0), sharey=True, squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        for source, (colour, marker) in STYLES.items():
            points = [row for row in rows if row[:2] == (source, name)]
            if not points:
                continue
            size, auc, low, high = np.array([row[2:] for row in points], float).T
            axis.errorbar(
                size,
                auc,
                [auc - low, high - auc],
                marker=marker,
                ms=4,
                lw=1,
                color=colour,
                capsize=2,
                label="phantom sfm" if source == "phantom" else "films",
            )
        axis.set_xscale("log")
        axis.set_xticks(SIZES, [str(size) for size in SIZES])
        axis.minorticks_off()
        axis.axhline(0.5, lw=0.6, ls=":", color="black")
        axis.set(xlabel="training views", title=f"{name} weights")
    axes[0, 0].set_ylabel("AUC per view")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _phantom(kind: str, seed: int, params: dict[str, Params]) -> dict[str, Features]:
    c = mtl_jax.load_config("sttl")
    c.data.phantom.cases, c.data.phantom.seed = CASES, seed
    c.data.phantom.test_fraction, c.data.phantom.malignant_fraction = 0.0, 0.5
    return _load(f"phantom:{kind}", c.data.to_dict(), params)[1]


def _films(spec: str, params: dict[str, Params]) -> tuple[str, dict[str, Features]]:
    return _load(spec, mtl_jax.load_config("real_films").data.to_dict(), params)


def _load(
    spec: str, data: dict[str, object], params: dict[str, Params]
) -> tuple[str, dict[str, Features]]:
    """Return the collection's name, and its features with each set of weights.

    Images and shards are deleted.
    """
    with tempfile.TemporaryDirectory() as folder:
        rois = ingest.load(spec, Path(folder), *ingest.read_settings(data, Path(folder)))
        features = {name: proxy.compute_features(rois, values) for name, values in params.items()}
        return rois.name, features


def _curve_rows(
    source: str, name: str, sizes: Iterable[int], curve: tuple[np.ndarray, ...]
) -> list[Row]:
    points = zip(sizes, *curve, strict=True)
    return [(source, name, size, *map(float, values)) for size, *values in points]


def _write(path: Path, column: str, rows: Sequence[Row]) -> None:
    """Write a table and print it."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("generator", "source", "weights", column, "auc", "low", "high"))
        for *key, value, low, high in rows:
            bounds = (value, low, high)
            if not key[0].startswith("phantom -") and not str(key[2]).startswith("loss"):
                bounds = np.clip(bounds, 0, 1)  # of an AUC
            writer.writerow((GENERATOR_VERSION, *key, *(f"{bound:.3f}" for bound in bounds)))
    print(path.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
