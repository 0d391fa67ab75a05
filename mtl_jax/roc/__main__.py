"""Print the AUCs of a table of scores with 95% confidence intervals, and compare two tables."""

import argparse
import sys
from pathlib import Path

from mtl_jax.io import command_line, paths
from mtl_jax.roc.auc_intervals import METHODS, auc_interval, may_headline
from mtl_jax.roc.bootstrap import bootstrap
from mtl_jax.roc.class_names import parse_classes
from mtl_jax.roc.compare import Comparison, compare
from mtl_jax.roc.conventional import conventional
from mtl_jax.roc.empirical import empirical
from mtl_jax.roc.plot import check_figure, draw_curves
from mtl_jax.roc.proper import proper
from mtl_jax.roc.read_scores import read_scores
from mtl_jax.roc.row_filter import join_conditions, parse_condition
from mtl_jax.roc.score_table import Table, by_lesion, by_task, pair, shared_fields
from mtl_jax.types import InputError

HELP = """CSV file with the columns label (0 benign, 1 malignant; or truth, y_true) and score (or
y_score), such as lesions.csv of tools/score.py. The columns task, case (patient), laterality,
lesion, view and roi are optional; the command prints the columns that it reads under another name
and those that it ignores"""
MAX_SAMPLES = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 2 if the input is invalid."""
    parser = argparse.ArgumentParser(
        prog=command_line.program("python -m mtl_jax.roc"), description=__doc__
    )
    parser.add_argument("scores", type=paths.path, help=HELP)
    parser.add_argument(
        "--compare",
        type=paths.path,
        metavar="OTHER.csv",
        help="scores of the same cases by another model or reader",
    )
    parser.add_argument(
        "--classes",
        type=parse_classes,
        metavar="NEGATIVE,POSITIVE",
        help="the words of the column label, negative class first (default: 0 and 1, benign and "
        "malignant, negative and positive, or false and true)",
    )
    parser.add_argument(
        "--where",
        type=parse_condition,
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="use only the rows with this value, as of one approach or seed; repeatable",
    )
    parser.add_argument(
        "--compare-where",
        type=parse_condition,
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="of OTHER.csv use the rows with this value, in place of --where for the column",
    )
    parser.add_argument("--task", metavar="NAME", help="analyze this task only (default: each)")
    parser.add_argument(
        "--unit",
        choices=("lesion", "view"),
        help="lesion: the mean score over the rows of each lesion; view: each row (default: lesion "
        "if the file has the columns case and lesion)",
    )
    parser.add_argument(
        "--plot", type=paths.path, metavar="FILE", help="write a figure, such as roc.svg"
    )
    parser.add_argument(
        "--samples",
        type=_parse_samples,
        default=2000,
        help="number of bootstrap resamples (default: 2000)",
    )
    parser.add_argument(
        "--seed", type=_parse_seed, default=0, help="seed of the bootstrap (default: 0)"
    )
    flags = parser.parse_args(arguments)
    try:
        print_report(flags)
    except (InputError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parse_samples(text: str) -> int:
    return _parse_integer(text, "--samples", 2, MAX_SAMPLES)


def _parse_seed(text: str) -> int:
    return _parse_integer(text, "--seed", 0, 2**63 - 1)


def _parse_integer(text: str, flag: str, minimum: int, maximum: int) -> int:
    # At most 19 digits, because int() raises an error of its own for thousands of them.
    if text.isascii() and text.isdigit() and len(text) <= 19 and minimum <= int(text) <= maximum:
        return int(text)
    raise InputError(f"{flag}={text} is invalid: expected an integer from {minimum} to {maximum}")


def print_report(flags: argparse.Namespace) -> None:
    """Print the tables of each task and draw the figure of `--plot`."""
    if flags.plot is not None:
        check_figure(flags.plot)
    where = join_conditions(flags.where, "--where")
    if flags.compare_where and flags.compare is None:
        raise InputError("--compare-where needs --compare OTHER.csv")
    files = [(flags.scores, where)]
    if flags.compare is not None:
        other_where = join_conditions(flags.compare_where, "--compare-where")
        files.append((flags.compare, where | other_where))
    curves = []
    read_tables = [read_scores(file, conditions, flags.classes) for file, conditions in files]
    for table in read_tables:
        for note in table.notes:
            print(f"{table.name}: {note}")
    tasks = by_task(read_tables, flags.task)
    for number, (task, tables) in enumerate(tasks):
        if len(tasks) > 1:
            print(f"\ntask {task}" if number else f"task {task}")
        try:
            curves += report_task(tables, task if len(tasks) > 1 else "", flags)
        except ValueError as error:
            raise ValueError(f"task {task}: {error}" if len(tasks) > 1 else str(error)) from None
    if flags.plot is not None:
        draw_curves(flags.plot, curves)


def report_task(tables: list[Table], task: str, flags: argparse.Namespace) -> list[tuple]:
    """Print the AUCs of each table of one task and, of two tables, their comparison.

    Returns the curves to draw.
    """
    unit = flags.unit or ("lesion" if {"case", "lesion"} <= set(tables[0].ids) else "view")
    if unit == "lesion":
        tables = [by_lesion(table) for table in tables]
    first, clusters = tables[0], tables[0].ids.get("case")
    paired_scores = [first.scores]
    for table in tables[1:]:
        paired_scores.append(pair(first, table))
        shared = shared_fields(first, table)
        fields = ", ".join(shared) if shared else "their order, because the files have no ids"
        print(f"rows paired by {fields}")
    curves = []
    for table, scores in zip(tables, paired_scores, strict=True):
        file = Path(table.name).name.replace(".csv", "", 1)
        name = f"{file}, {task}" if task else file
        curves.append((name, *print_aucs(table.name, first, scores, unit, flags)))
    if len(tables) > 1:
        header = f"{'test':<12}{'difference':>11}{'SE':>9}{'95% CI':>20}"
        print(f"\n{header}{'z':>8}{'p':>9}  status")
        repeated = clusters is not None and len(set(clusters)) < len(clusters)
        for method in ("obuchowski" if repeated else "delong", "proper", "bootstrap"):
            print_comparison(
                compare(first.labels, *paired_scores, method, clusters,
                        samples=flags.samples, seed=flags.seed)
            )  # fmt: skip
    return curves


def print_aucs(
    name: str, cases: Table, scores: list[float], unit: str, flags: argparse.Namespace
) -> tuple:
    """Print the AUCs of the scores of these cases by each method.

    The proper AUC is the first row, or the last if `may_headline` is false. Returns the empirical
    curve, the proper curve, and the proper AUC with its interval.
    """
    clusters = cases.ids.get("case")
    try:
        observed, fit = empirical(cases.labels, scores), proper(cases.labels, scores)
        clustered = {m: auc_interval(cases.labels, scores, clusters, m) for m in METHODS}
        resampled = bootstrap(
            cases.labels, scores, clusters, samples=flags.samples, seed=flags.seed
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    patients = f", {len(set(clusters))} patients" if clusters else ""
    print(f"{name}: {observed.n_malignant} malignant and {observed.n_benign} benign "
          f"{unit}s{patients}")  # fmt: skip
    print(f"{'method':<12}{'AUC':>11}{'SE':>9}{'95% CI':>20}  status")
    rows = {
        "proper": clustered["proper"] if clusters else fit,
        "empirical": clustered["empirical"] if clusters else observed,
        "bootstrap": resampled,
        "binormal": conventional(cases.labels, scores),
    }
    if not may_headline(fit.status, observed.auc):
        rows["proper"] = rows.pop("proper")
    for method, result in rows.items():
        interval = f"{result.ci_low:.4f} to {result.ci_high:.4f}"
        print(f"{method:<12}{result.auc:>11.4f}{result.se:>9.4f}{interval:>20}  {result.status}")
    print(f"proper fit: d_a {fit.d_a:.4f}, c {fit.c:.4f}, log-likelihood {fit.loglik:.4f}, "
          f"{fit.categories} categories")  # fmt: skip
    if clusters:
        print("SEs are clustered by case; that of binormal assumes independent cases")
    return observed, fit, rows["proper"]


def print_comparison(test: Comparison) -> None:
    interval = f"{test.ci_low:.4f} to {test.ci_high:.4f}"
    print(f"{test.method:<12}{test.delta:>11.4f}{test.se:>9.4f}{interval:>20}"
          f"{test.z:>8.3f}{test.p_value:>9.4f}  {test.status}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(command_line.run(main))
