"""Compare learning curves, and transfer between collections, of the phantom and of real films.

    OMP_NUM_THREADS=1 python tools/phantom_curve.py --out docs \
      --films manifest:real_films/ddsm299/manifest.csv \
      --films manifest:real_films/dmid/manifest.csv

By logistic regression on frozen activations (tools/activation_proxy.py), with the weights of
`--weights`; one thread is faster, because the fits are small. Without `--films`, the phantom alone.
docs/real_films.md says how to obtain the films; their official test set is left alone. Writes
phantom-curve.svg, phantom_curve.csv and phantom_transfer.csv. The phantom has several independent
collections, whose seeds were not used in its calibration; its intervals are of their mean. Those of
films leave out groups of cases, which are patients, or groups of images where a collection has no
patient ids. Phantom results: simulated images, not evidence about patients.
"""

import argparse
import csv
import itertools
import sys
import tempfile
from collections.abc import Sequence
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
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import InputError, Params

SIZES = (30, 58, 120, 240, 480, 690)
CASES = 640  # of each phantom collection: more than 690 views in two thirds of the cases
SEED = 500
TRANSFER_VIEWS = 100  # the smaller collection of films has 303, 78 of them in two groups
STYLES = {"films": ("#c0504d", "o"), "phantom": ("#2f7f9e", "s")}
TITLES = {"imagenet": "ImageNet"}
BOUNDS = ("auc", "low", "high")
CURVE_HEADER = ("generator", "source", "weights", "training views", *BOUNDS)
TRANSFER_HEADER = ("generator", "source", "weights", "trained on", "tested on", *BOUNDS) + (
    "same - other", "difference low", "difference high")  # fmt: skip

Estimate = tuple[np.ndarray, np.ndarray, np.ndarray]  # value, lower and upper limit


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
    parser.add_argument("--draws", type=int, default=40, help="of the training set (%(default)s)")
    args = parser.parse_args(arguments)
    if args.collections < 2:
        raise InputError(f"--collections={args.collections} is invalid: expected at least 2")
    if args.draws < 1:
        raise InputError(f"--draws={args.draws} is invalid: expected at least 1")
    atomic.make_folder(args.out)
    params = {name: _find(name) for name in args.weights or ("imagenet", "shipped")}
    films = [_films(spec, params) for spec in args.films]
    phantoms = [
        [_phantom(kind, SEED + k, params)[1] for kind in RECEPTORS] for k in range(args.collections)
    ]
    names, draws = list(params), args.draws
    curves = measure_curves(
        names, [data for _, data in films[:1]], [data[0] for data in phantoms], draws
    )
    transfers = measure_transfer(names, films, phantoms, draws)
    _write(args.out / "phantom_curve.csv", CURVE_HEADER, curves)
    _write(args.out / "phantom_transfer.csv", TRANSFER_HEADER, transfers)
    draw(curves, args.out / "phantom-curve.svg")
    return 0


def measure_curves(
    names: Sequence[str], films: Sequence[Features], phantoms: Sequence[Features], draws: int
) -> list[tuple[object, ...]]:
    """Return the rows of CURVE_HEADER: learning curves with each set of weights.

    The values of features are (n, weights, nodes), in the order of `names`. The first weights minus
    each of the others are among the rows, and so is the phantom minus the films.
    """
    columns = [*names, *(f"{names[0]} - {name}" for name in names[1:])]
    rows: list[tuple[object, ...]] = []

    def add(source: str, sizes: Sequence[int], result: Estimate) -> None:
        for i, column in enumerate(columns):
            for j, size in enumerate(sizes):
                values = [part[i, j] for part in result]
                difference = source not in STYLES or i >= len(names)
                rows.append((source, column, size, *_format(values, difference)))

    phantom = proxy.mean_interval([curves(data, SIZES, draws) for data in phantoms])
    add("phantom", SIZES, phantom)
    for data in films:
        sizes = [size for size in SIZES if size <= len(data.label) * 2 / 3]
        of_films = proxy.jackknife(lambda d, s=sizes: curves(d, s, draws), [data])
        add("films", sizes, of_films)
        of_phantom = [part[:, : len(sizes)] for part in phantom]
        add("phantom - films", sizes, proxy.difference(of_phantom, of_films))
    return rows


def curves(data: Features, sizes: Sequence[int], draws: int) -> np.ndarray:
    """Return the learning curve with each set of weights, and the first minus the others."""
    auc = np.stack([proxy.learning_curve(part, sizes, draws) for part in _by_weights(data)])
    return np.concatenate([auc, auc[:1] - auc[1:]])


def measure_transfer(
    names: Sequence[str],
    films: Sequence[tuple[str, Features]],
    phantoms: Sequence[Sequence[Features]],
    draws: int,
) -> list[tuple[object, ...]]:
    """Return the rows of TRANSFER_HEADER: the AUC on each collection after training on each.

    The difference is the AUC after training on the tested collection itself, on other cases, minus
    that after training on the other; both are on the same held-out cases.
    """
    rows: list[tuple[object, ...]] = []

    def add(source: str, name: str, collections: Sequence[str], result: Estimate) -> None:
        for i, j in itertools.product(range(len(collections)), repeat=2):
            auc, difference = ([part[kind, i, j] for part in result] for kind in (0, 1))
            shown = ("", "", "") if i == j else _format(difference, True)
            pair = collections[i], collections[j]
            rows.append((source, name, *pair, *_format(auc, False), *shown))

    for k, name in enumerate(names):
        sets = [_by_weights(data)[k] for _, data in films]
        if sets:
            result = proxy.jackknife(lambda *s: transfer(s, draws), sets)
            add("films", name, [collection for collection, _ in films], result)
        results = [transfer([_by_weights(data)[k] for data in p], draws) for p in phantoms]
        add("phantom", name, list(RECEPTORS), proxy.mean_interval(results))
    return rows


def transfer(sets: Sequence[Features], draws: int) -> np.ndarray:
    """Return (2, trained on, tested on): the AUC, and that of the same collection minus it."""
    auc = np.array(
        [[proxy.transfer(train, test, TRANSFER_VIEWS, draws) for test in sets] for train in sets]
    )
    return np.stack([auc, np.diag(auc) - auc])


def _by_weights(data: Features) -> list[Features]:
    return [data._replace(values=data.values[:, k]) for k in range(data.values.shape[1])]


def draw(rows: Sequence[tuple[object, ...]], path: Path) -> None:
    """Draw the learning curves, one panel for each set of weights."""
    matplotlib.use("agg")
    plt.rcParams |= {"font.size": 9, "svg.hashsalt": "phantom", "axes.spines.top": False}
    plt.rcParams |= {"axes.spines.right": False, "figure.constrained_layout.use": True}
    names = list(dict.fromkeys(row[1] for row in rows if " - " not in row[1]))
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
        axis.set(xlabel="training views", title=f"{TITLES.get(name, name)} weights")
    axes[0, 0].set_ylabel("AUC per view")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _find(name: str) -> Params:
    params = weights.find(name).params
    if not all("kernel" in params.get(f"C{number}", {}) for number in range(1, 6)):
        raise InputError(f"--weights={name} is invalid: expected AlexNet weights of C1 to C5")
    return params


def _phantom(kind: str, seed: int, params: dict[str, Params]) -> tuple[str, Features]:
    c = mtl_jax.load_config("sttl")
    c.data.phantom.cases, c.data.phantom.seed = CASES, seed
    c.data.phantom.test_fraction, c.data.phantom.malignant_fraction = 0.0, 0.5
    name, data = _load(f"phantom:{kind}", c.data.to_dict(), params)
    # Collections whose cases have the same names would be divided in the same way.
    return name, data._replace(case=np.char.add(f"{seed} ", data.case.astype(str)))


def _films(spec: str, params: dict[str, Params]) -> tuple[str, Features]:
    name, data = _load(spec, mtl_jax.load_config("real_films").data.to_dict(), params)
    if len(data.label) < 2 * TRANSFER_VIEWS:
        raise InputError(
            f"--films={spec}: {len(data.label)} views outside the official test set are too few:"
            f" expected at least {2 * TRANSFER_VIEWS}"
        )
    return name, data


def _load(spec: str, data: dict[str, object], params: dict[str, Params]) -> tuple[str, Features]:
    """Return the collection's name, and its features, (n, weights, nodes).

    Images and shards are deleted.
    """
    with tempfile.TemporaryDirectory() as folder:
        rois = ingest.load(spec, Path(folder), *ingest.read_settings(data, Path(folder)))
        features = [proxy.compute_features(rois, values) for values in params.values()]
    return rois.name, features[0]._replace(values=np.stack([f.values for f in features], 1))


def _format(values: Sequence[float], difference: bool) -> list[str]:
    """Return value and limits as text; those of an AUC are from 0 to 1."""
    bounds = values if difference else np.clip(values, 0, 1)
    return [f"{round(float(bound), 3) + 0.0:{'+' if difference else ''}.3f}" for bound in bounds]


def _write(path: Path, header: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Write a table and print it."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(("" if row[0] == "films" else GENERATOR_VERSION, *row))
    print(path.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
