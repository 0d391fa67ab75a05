"""ROC analysis of score tables: `python -m mtl_jax.roc SCORES.csv [--compare OTHER.csv]`. It only
reads, prints and draws; every number comes from the room's functions."""

import argparse
import sys
from pathlib import Path

from mtl_jax.io import command_line, paths
from mtl_jax.roc.auc_intervals import METHODS, auc_interval, may_headline
from mtl_jax.roc.bootstrap import bootstrap
from mtl_jax.roc.compare import Comparison, compare
from mtl_jax.roc.conventional import conventional
from mtl_jax.roc.empirical import empirical
from mtl_jax.roc.plot import draw_curves
from mtl_jax.roc.proper import proper
from mtl_jax.roc.read_scores import read_scores
from mtl_jax.roc.score_table import Table, by_lesion, by_task, pair, shared_fields
from mtl_jax.types import InputError

HELP = """CSV with columns label (0 benign, 1 malignant) and score; task, case (patient),
laterality, lesion, view and roi are used where present; which columns are taken for them and
which are ignored is printed"""
MAX_SAMPLES = 1_000_000


def main() -> int:
    """Run the command line; returns the exit status: 2 where the input is invalid."""
    parser = argparse.ArgumentParser(prog="python -m mtl_jax.roc", description=__doc__)
    parser.add_argument("scores", type=paths.path, help=HELP)
    parser.add_argument("--compare", type=paths.path, metavar="OTHER.csv", help="a second reading")
    parser.add_argument("--task", metavar="NAME", help="this task alone; else a table for each")
    parser.add_argument(
        "--unit",
        choices=("lesion", "view"),
        help="lesion: mean score of its rows; view: rows as they are; "
        "lesion where the file has columns case and lesion",
    )
    parser.add_argument("--plot", type=paths.path, metavar="FILE", help="figure, e.g. roc.svg")
    parser.add_argument("--samples", type=_parse_samples, default=2000, help="bootstrap resamples")
    parser.add_argument("--seed", type=_parse_seed, default=0, help="of the bootstrap")
    flags = parser.parse_args()
    try:
        print_report(flags)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parse_samples(text: str) -> int:
    return _parse_integer(text, "--samples", 2, MAX_SAMPLES)


def _parse_seed(text: str) -> int:
    return _parse_integer(text, "--seed", 0, 2**63 - 1)


def _parse_integer(text: str, flag: str, least: int, most: int) -> int:
    # At most 19 digits, since int() itself rejects thousands of them.
    if text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most:
        return int(text)
    raise InputError(f"{flag}={text} is invalid: expected an integer from {least} to {most}")


def print_report(flags: argparse.Namespace) -> None:
    """Print the tables of each task and draws the figure that the flags ask for."""
    files = [flags.scores] if flags.compare is None else [flags.scores, flags.compare]
    curves = []
    read_tables = [read_scores(file) for file in files]
    for table in read_tables:
        for note in table.notes:
            print(f"{table.name}: {note}")
    tasks = by_task(read_tables, flags.task)
    for number, (task, tables) in enumerate(tasks):
        if len(tasks) > 1:
            print(f"{chr(10) * (number > 0)}task {task}")
        try:
            curves += report_task(tables, task if len(tasks) > 1 else "", flags)
        except ValueError as error:
            raise ValueError(f"task {task}: {error}" if len(tasks) > 1 else str(error)) from None
    if flags.plot is not None:
        draw_curves(flags.plot, curves)


def report_task(tables: list[Table], task: str, flags: argparse.Namespace) -> list[tuple]:
    """Print the AUCs of each reading, and their comparison where there are two; returns the
    curves to draw. No collection but that of these tables is in it."""
    unit = flags.unit or ("lesion" if {"case", "lesion"} <= set(tables[0].ids) else "view")
    if unit == "lesion":
        tables = [by_lesion(t) for t in tables]
    first, clusters = tables[0], tables[0].ids.get("case")
    readings = [first.scores]
    for t in tables[1:]:
        readings.append(pair(first, t))
        shared = shared_fields(first, t)
        by = ", ".join(shared) if shared else "their order in the two files, which have no ids"
        print(f"rows paired by {by}")
    curves = []
    for t, scores in zip(tables, readings, strict=True):
        name = f"{Path(t.name).stem}, {task}" if task else Path(t.name).stem
        curves.append((name, *print_aucs(t, first, scores, unit, flags)))
    if len(tables) > 1:
        head = f"{'test':<12}{'difference':>11}{'SE':>9}{'95 % interval':>20}"
        print(f"\n{head}{'z':>8}{'p':>9}  status")
        repeated = clusters is not None and len(set(clusters)) < len(clusters)
        for method in ("obuchowski" if repeated else "delong", "proper", "bootstrap"):
            print_comparison(
                compare(first.labels, *readings, method, clusters,
                        samples=flags.samples, seed=flags.seed)
            )  # fmt: skip
    return curves


def print_aucs(
    table: Table, first: Table, scores: list[float], unit: str, flags: argparse.Namespace
) -> tuple:
    """Print every AUC of one reading, the proper one last where it may be no headline; returns its
    empirical and its proper curve, and the interval of the latter's AUC."""
    clusters = first.ids.get("case")
    try:
        observed, fit = empirical(first.labels, scores), proper(first.labels, scores)
        shown = {m: auc_interval(first.labels, scores, clusters, m) for m in METHODS}
        resampled = bootstrap(
            first.labels, scores, clusters, samples=flags.samples, seed=flags.seed
        )
    except ValueError as error:
        raise ValueError(f"{table.name}: {error}") from None
    patients = f", {len(set(clusters))} patients" if clusters else ""
    print(f"{table.name}: {observed.n_malignant} malignant and {observed.n_benign} benign "
          f"{unit}s{patients}")  # fmt: skip
    print(f"{'AUC of':<12}{'AUC':>11}{'SE':>9}{'95 % interval':>20}  status")
    rows = {
        "proper": shown["proper"] if clusters else fit,
        "empirical": shown["empirical"] if clusters else observed,
        "bootstrap": resampled,
        "binormal": conventional(first.labels, scores),
    }
    if not may_headline(fit.status, observed.auc):
        rows = {name: rows[name] for name in sorted(rows, key=lambda name: name == "proper")}
    for name, result in rows.items():
        interval = f"{result.ci_low:.4f} to {result.ci_high:.4f}"
        print(f"{name:<12}{result.auc:>11.4f}{result.se:>9.4f}{interval:>20}  {result.status}")
    print(f"d_a {fit.d_a:.4f}, c {fit.c:.4f}, log-likelihood {fit.loglik:.4f}, "
          f"{fit.categories} categories")  # fmt: skip
    if clusters:
        print("proper, empirical, bootstrap: clustered by patient; binormal: takes cases as "
              "independent")  # fmt: skip
    return observed, fit, rows["proper"]


def print_comparison(test: Comparison) -> None:
    interval = f"{test.ci_low:.4f} to {test.ci_high:.4f}"
    print(f"{test.method:<12}{test.delta:>11.4f}{test.se:>9.4f}{interval:>20}"
          f"{test.z:>8.3f}{test.p_value:>9.4f}  {test.status}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(command_line.run(main))
