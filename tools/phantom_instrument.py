"""Run many phantom studies with known answers, and print what the pipeline finds.

    python tools/phantom_instrument.py --out runs/instrument --figure docs/phantom-instrument.svg
    python tools/phantom_instrument.py --out runs/demo_seeds --first 0 --seeds 10 --shared-only

The second is the demo with ten seeds. Rerun the same command to resume it with the missing studies.
Phantom results: simulated images, not evidence about patients.

A study is `configs/mttl.py:demo` without analyses: a target of about 60 training views and 300 test
lesions, two other collections of about 250 views, single-task and multi-task learning with the same
number of steps. If the labels of the other collections follow the appearance of the masses
(`shared_signal` 1), what is the mean gain of multi-task learning? If they are random (0), what is
the mean difference? Labels without meaning can do harm, so zero or less is expected.

The seed determines images, initial weights and epoch order. Single-task training is the same at 1
and at 0 and is done once. The design was fixed before the seeds 420 to 435 were run; the pilots had
the seeds 1000 and 1001.
"""

import argparse
import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from ml_collections import ConfigDict
from scipy import stats

import mtl_jax
from mtl_jax import config, environment, weights
from mtl_jax.data.sources.phantom import GENERATOR_VERSION
from mtl_jax.experiments.runner import run_study
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.io.read_csv import read_csv
from mtl_jax.training import malloc
from mtl_jax.types import InputError

SEEDS = range(420, 436)
SHARED, UNRELATED = 1.0, 0.0
LABELS = {
    UNRELATED: ("#747d88", "random labels"),
    SHARED: ("#2f9e7b", "labels follow the appearance"),
}


class Row(NamedTuple):
    """One study: lesion-level AUCs on the test set, and multi-task - single-task with its SE.

    `generator` and `config` identify the phantom and the settings of the study.
    """

    generator: int
    config: str
    seed: int
    shared_signal: float
    mttl: float
    sttl: float
    delta: float
    se: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\nA study")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first, count = SEEDS.start, len(SEEDS)
    parser.add_argument("--first", type=int, default=first, help="seed (%(default)s)")
    parser.add_argument("--seeds", type=int, default=count, help="how many (%(default)s)")
    parser.add_argument("--out", type=paths.path, required=True, help="folder of the studies")
    parser.add_argument("--figure", type=paths.path, help="an SVG to draw")
    parser.add_argument(
        "--shared-only", action="store_true", help="without the studies of random labels"
    )
    args = parser.parse_args(arguments)
    malloc.keep_freed_memory()
    environment.start_jax()
    if args.seeds < 2:
        raise InputError(f"--seeds={args.seeds} is invalid: expected an integer >= 2")
    atomic.make_folder(args.out)
    if args.figure:
        atomic.make_folder(args.figure.parent)
    signals = (SHARED,) if args.shared_only else (SHARED, UNRELATED)
    rows = measure(args.out, range(args.first, args.first + args.seeds), signals)
    print("phantom results: lesion-level AUC, multi-task - single-task, by seed")
    for row in rows:
        print(
            f"seed {row.seed}, shared_signal {row.shared_signal:g}: {row.mttl:.3f} - {row.sttl:.3f}"
            f" = {row.delta:+.3f} ({row.delta - 1.96 * row.se:+.3f}"
            f" to {row.delta + 1.96 * row.se:+.3f})"
        )
    print(f"phantom results, {args.seeds} seeds, multi-task - single-task, 95% intervals (t)")
    for name, (mean, low, high) in summarize(rows).items():
        print(f"{name}: mean difference {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    if args.figure:
        draw(rows, args.figure)
    return 0


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the difference of each study with 1.96 standard errors, and their means."""
    matplotlib.use("agg")
    plt.rcParams |= {"font.size": 9, "svg.hashsalt": "phantom", "axes.spines.top": False}
    plt.rcParams |= {"axes.spines.right": False, "figure.constrained_layout.use": True}
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    means = summarize(rows)
    signals = [signal for signal in LABELS if any(row.shared_signal == signal for row in rows)]
    for position, signal in enumerate(signals):
        colour, _ = LABELS[signal]
        studies = sorted(row for row in rows if row.shared_signal == signal)
        x = position + np.linspace(-0.3, 0.3, len(studies))
        delta = np.array([row.delta for row in studies])
        error = 1.96 * np.array([row.se for row in studies])
        axis.errorbar(x, delta, error, fmt="o", ms=3.5, lw=0.8, color=colour)
        mean, low, high = means[f"shared_signal {signal:g}"]
        axis.fill_between([position - 0.4, position + 0.4], low, high, color=colour, alpha=0.25)
        axis.hlines(mean, position - 0.4, position + 0.4, color="black")
    axis.axhline(0, lw=0.6, color="black", ls=":")
    axis.set_xticks(
        range(len(signals)), [f"{LABELS[s][1]}\n(shared_signal {s:g})" for s in signals]
    )
    axis.set_ylabel("AUC, multi-task − single-task")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def study_config(seed: int, shared_signal: float, cache: Path) -> ConfigDict:
    """Return the config of one study."""
    c = mtl_jax.load_config("mttl:demo")
    c.seed = c.split_seed = c.data.phantom.seed = seed
    c.data.cache = str(cache)
    c.data.phantom.shared_signal = shared_signal
    c.statistics.bootstrap = 100
    c.analysis.enabled = False
    config.validate(c)
    return c


def measure(
    folder: Path, seeds: Iterable[int], signals: Sequence[float] = (SHARED, UNRELATED)
) -> list[Row]:
    """Run the studies that `folder`/studies.csv lacks, and return those of `seeds` and `signals`.

    The scores of each seed are kept in `folder`/seed-N; images and networks are deleted.
    """
    path, wanted = folder / "studies.csv", list(itertools.product(seeds, signals))
    if any((row.generator, row.config) != identity() for row in read(path)):
        raise InputError(
            f"{path} has studies of another phantom or other settings: choose another --out"
        )
    for seed, group in itertools.groupby(wanted, key=lambda study: study[0]):
        done = read(path)
        keys = {(row.seed, row.shared_signal) for row in done}
        missing = [signal for _, signal in group if (seed, signal) not in keys]
        if missing:
            atomic.write_text(path, _text([*done, *_studies(folder, seed, missing)]))
    return [row for row in read(path) if (row.seed, row.shared_signal) in wanted]


def read(path: Path) -> list[Row]:
    """Return the studies of a table, none if it does not exist."""
    if not path.exists():
        return []
    table = read_csv(path)
    if tuple(table.columns) != Row._fields:
        raise InputError(f"{path}: the columns are not those of this version; choose another --out")
    kinds = {"generator": int, "config": str, "seed": int}
    return [
        Row(**{k: kinds.get(k, float)(v) for k, v in line.items()})
        for line in table.to_dict("records")
    ]


def identity() -> tuple[int, str]:
    """Return the version of the phantom, and a digest of the settings that all studies share."""
    c = study_config(0, SHARED, Path())
    facts = c.to_dict() | {"arrays": weights.find(c.weights).metadata["arrays_sha256"]}
    text = json.dumps(facts, sort_keys=True, default=list)
    return GENERATOR_VERSION, hashlib.sha256(text.encode()).hexdigest()[:12]


def summarize(rows: Sequence[Row]) -> dict[str, tuple[float, float, float]]:
    """Return the mean difference with its 95% interval (t) at each shared signal, and of 1 - 0."""
    ordered = sorted(rows, key=lambda row: row.seed)
    delta = {
        signal: np.array([row.delta for row in ordered if row.shared_signal == signal])
        for signal in sorted({row.shared_signal for row in rows}, reverse=True)
    }
    means = {f"shared_signal {signal:g}": _mean(values) for signal, values in delta.items()}
    if len(delta) == 2:
        means["1 - 0, by seed"] = _mean(delta[SHARED] - delta[UNRELATED])
    return means


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    mean = float(values.mean())
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, mean - float(half), mean + float(half)


def _studies(folder: Path, seed: int, signals: Sequence[float]) -> list[Row]:
    """Run the studies of one seed."""
    home, cache = folder / f"seed-{seed}", folder / f"cache-{seed}"
    rows = []
    for signal in signals:
        work = home / f"shared-{signal:g}"
        if signal == UNRELATED:
            _copy_single_task_run(home / f"shared-{SHARED:g}", work)
        results = run_study(study_config(seed, signal, cache), work)
        for checkpoint in work.glob("runs/*/checkpoint"):
            shutil.rmtree(checkpoint)
        rows.append(_row(seed, signal, results))
        print(f"instrument: {rows[-1]}", file=sys.stderr, flush=True)
    shutil.rmtree(cache)
    return rows


def _copy_single_task_run(done: Path, work: Path) -> None:
    """Copy the single-task run to the other study: the images of the target are the same."""
    for run in done.glob("runs/sttl-*"):
        for name in ("run.json", "timing.json", "history.jsonl", "scores.csv"):
            (work / "runs" / run.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / name, work / "runs" / run.name / name)


def _row(seed: int, signal: float, results: dict[str, Any]) -> Row:
    (comparison,) = (
        line
        for line in results["comparisons"]
        if (line["task"], line["unit"], line["method"])
        == (results["target"], "lesion", "obuchowski")
    )
    # Positive if multi-task training is better, whatever the order of the two.
    sign = 1 if comparison["a"] == "mttl" else -1
    aucs = {comparison["a"]: comparison["auc_a"], comparison["b"]: comparison["auc_b"]}
    delta = sign * comparison["delta"]
    return Row(*identity(), seed, signal, aucs["mttl"], aucs["sttl"], delta, comparison["se"])


def _text(rows: Sequence[Row]) -> str:
    cells = [[x if isinstance(x, str) else f"{x:.9g}" for x in row] for row in rows]
    lines = [",".join(Row._fields), *(",".join(row) for row in cells)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(command_line.run(main))
