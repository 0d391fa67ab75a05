"""Write the tables of docs/real_films.md from the results in docs/real_films/.

    python tools/real_films_page.py [docs/real_films.md]

A comment in the page, <!-- KIND: STUDY ... -->, is followed by a table of that kind of the named
studies, which this command replaces; KINDS has the kinds.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtl_jax.experiments.auc_statistics import FoldScores, mean_difference
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.types import InputError

Results = Mapping[str, Any]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "real_films.md"
NBSP, EN_DASH = "\N{NO-BREAK SPACE}", "\N{EN DASH}"
BLOCK = re.compile(r"(<!-- (\w+): ([^>]*?) -->\n)((?:\|.*\n)*)")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", nargs="?", type=paths.path, default=PAGE)
    page = parser.parse_args(arguments).page
    atomic.write_text(page, fill(page.read_text(encoding="utf-8"), page.with_suffix("")))
    return 0


def fill(text: str, folder: Path) -> str:
    """Return the text of a page with its tables made anew from the results in `folder`.

    Raises InputError if a comment names no kind of table, or a study without results.
    """

    def table(block: re.Match[str]) -> str:
        if block[2] not in KINDS:
            kinds = ", ".join(KINDS)
            raise InputError(f"{block[1].strip()} is invalid: expected one of the kinds {kinds}")
        heading, rows = KINDS[block[2]]
        lines = [heading, ["---"] * len(heading), *rows(folder, block[3].split())]
        return block[1] + "".join("| " + " | ".join(line) + " |\n" for line in lines)

    return BLOCK.sub(table, text)


def read(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Results]]:
    """Yield the studies of these names, in code type, and their results."""
    for name in names:
        path = existing(folder / f"{name}.json")
        yield f"`{name}`", json.loads(path.read_text(encoding="utf-8"))


def existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; write it with tools/real_films_results.py, or correct the name "
            "of the study in the page"
        )
    return path


def auc_rows(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the AUC of each condition of a study by unit; the partition, if there are several."""
    for name, results in read(folder, names):
        rows = list(filter(is_empirical, results["auc"]))
        several = len({row["split"] for row in rows}) > 1
        for row in rows:
            size, training = row["target_cases"], row["training_auc"]
            yield [
                name,
                row["study"] if size is None else f"{row['study']}, {size} patients",
                f"{row['network']}, partition {row['split']}" if several else row["network"],
                str(len(row["initializations"])),
                row["unit"],
                counts(row),
                f"{row['auc']:.3f} ({unusable(row)})" if unusable(row) else interval(row, "auc"),
                "" if training is None else f"{training:.3f}",
            ]


def unusable(row: Results) -> str:
    """Return why an AUC has no meaningful interval, or ''."""
    failed = row.get("runs_with_equal_scores", 0)
    return f"{failed} of {row['runs']} networks gave most views one score" if failed else ""


def is_empirical(row: Results) -> bool:
    """Return whether a row has empirical AUCs; those of proper binormal fits are not shown."""
    return row["method"] in ("empirical", "obuchowski")


def difference_rows(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the differences between the approaches, or between the conditions, of a study."""
    for name, results in read(folder, names):
        for row in meaningful(results, results["comparisons"]):
            pair = [" ".join(filter(None, (row[k], row.get(f"network_{k}")))) for k in ("a", "b")]
            size = row.get("target_cases")
            text = " − ".join(pair) + ("" if size is None else f", {size} patients")
            yield [name, text, *difference_cells(row), holm(row)]


def meaningful(results: Results, comparisons: Iterable[Results]) -> Iterator[Results]:
    """Yield the comparisons of empirical AUCs, without those of networks that did not learn."""
    unusable_aucs = list(filter(unusable, results["auc"]))
    for row in filter(is_empirical, comparisons):
        if not any(is_side(row, side, auc) for side in "ab" for auc in unusable_aucs):
            yield row


def is_side(comparison: Results, side: str, auc: Results) -> bool:
    """Return whether an AUC is of the condition on this side of a comparison, a or b."""
    condition = {"study": comparison[side]}
    if f"network_{side}" in comparison:
        condition["network"] = comparison[f"network_{side}"]
    if comparison.get("target_cases") is not None:
        condition["target_cases"] = comparison["target_cases"]
    return condition.items() <= auc.items()


def hand_crafted_rows(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the AUC of classifiers of hand-crafted features, and the differences from them."""
    for name, results in read(folder, names):
        for row in filter(is_empirical, results["conventional"]["auc"]):
            yield [name, row["study"], row["unit"], interval(row, "auc"), "", ""]
        for row in meaningful(results, results["conventional"]["comparisons"]):
            yield [name, f"{row['a']} − {row['b']}", *difference_cells(row), holm(row)]


def paired_rows(folder: Path, pairs: Sequence[str]) -> Iterator[list[str]]:
    """Yield the differences between the same approach in two studies, for each FIRST-SECOND.

    Both score the same views out of the same folds with other settings; each has one condition.
    """
    for pair in pairs:
        names = pair.split("-")
        if len(names) != 2:
            raise InputError(f"paired: {pair} is invalid: expected FIRST-SECOND")
        for name, results in read(folder, names):
            if any(map(unusable, results["auc"])):
                raise InputError(f"paired: {pair}: networks of {name} did not learn; leave it out")
        first, second = (
            pd.read_csv(existing(folder / f"{name}.csv.gz"), dtype={"lesion_id": str})
            for name in names
        )
        for unit in ("view", "lesion"):
            cells = difference_cells(paired_difference(first, second, unit))
            yield [" − ".join(f"`{name}`" for name in names), *cells]


def paired_difference(first: pd.DataFrame, second: pd.DataFrame, unit: str) -> dict[str, Any]:
    """Return the difference of the mean AUCs of two tables of predictions of the same ROIs."""
    tables = [units_by_fold(scores, unit) for scores in (first, second)]
    for a, b in zip(*tables, strict=True):
        if not a.index.equals(b.index):
            raise ValueError("the studies score other cases or have other folds")
    folds = [[to_fold_scores(table) for table in tables_of_one] for tables_of_one in tables]
    return mean_difference(*folds) | {"unit": unit}


def units_by_fold(scores: pd.DataFrame, unit: str) -> list[pd.DataFrame]:
    """Return the scores of each fold, a unit in a row and an initialization in a column; a lesion
    has the mean of its views."""
    if len(scores[["stage", "approach", "network", "task"]].drop_duplicates()) > 1:
        raise ValueError("expected one approach, network and collection")
    keys = ["case_id", "lesion_id", *(["roi_id"] if unit == "view" else []), "truth"]
    columns = [*keys, "fold", "initialization"]
    means = scores.groupby(columns, dropna=False)["score"].mean().reset_index()
    return [
        fold.pivot(index=keys, columns="initialization", values="score")
        for _, fold in means.groupby("fold", dropna=False)
    ]


def to_fold_scores(table: pd.DataFrame) -> FoldScores:
    truth, case = (table.index.get_level_values(name) for name in ("truth", "case_id"))
    return FoldScores(truth.to_numpy(), case.to_numpy(), table.to_numpy().T)


def subgroup_rows(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the view-level AUC by subgroup, the approaches of a study one after the other."""
    for name, results in read(folder, names):
        failed = {(auc["study"], auc["network"]) for auc in results["auc"] if unusable(auc)}
        subgroups: dict[tuple[str, str], list[Results]] = {}
        for row in results["subgroups"]:
            subgroups.setdefault((row["variable"], row["value"]), []).append(row)
        for (variable, value), rows in subgroups.items():
            for row in rows:
                if (row["approach"], row["network"]) in failed:
                    continue
                cells = [counts(row), str(row["n_folds"]), interval(row, "auc")]
                yield [name, f"{variable}: {value}", row["approach"], *cells]


def shortcut_rows(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the AUC of the trivial predictors of each collection."""
    for name, results in read(folder, names):
        for row in results["shortcuts"]:
            cells = [row["collection"], row["predictor"], row["unit"], counts(row)]
            yield [name, *cells, interval(row, "auc")]


def counts(row: Results) -> str:
    return f"{row['n_malignant']}, {row['n_benign']}"


def interval(row: Results, field: str, *, sign: bool = False) -> str:
    """Return a value with its 95% interval in one line, with true minus signs."""
    spec, to = ("+.3f", f"{NBSP}to{NBSP}") if sign else (".3f", EN_DASH)
    value, low, high = (f"{row[name]:{spec}}" for name in (field, "ci_low", "ci_high"))
    return f"{value}{NBSP}({low}{to}{high})".replace("-", "−")


def difference_cells(row: Results) -> list[str]:
    return [row["unit"], interval(row, "delta", sign=True), p_value(row["p_value"])]


def holm(row: Results) -> str:
    """Return the p-value adjusted by Holm's method; that of one comparison is not adjusted."""
    return EN_DASH if row["p_holm"] is None else p_value(row["p_holm"])


def p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


AUC, P = "AUC (95% CI)", ("p", "p (Holm)")
DIFFERENCE = ("unit", "AUC difference (95% CI)")
Rows = Callable[[Path, Sequence[str]], Iterator[list[str]]]
KINDS: dict[str, tuple[Sequence[str], Rows]] = {
    "aucs": (
        ("study", "approach", "frozen", "initializations", "unit", "n", AUC, "training AUC"),
        auc_rows,
    ),
    "differences": (("study", "difference", *DIFFERENCE, *P), difference_rows),
    "hand_crafted": (("study", "classifier or difference", "unit", AUC, *P), hand_crafted_rows),
    "paired": (("difference", *DIFFERENCE, "p"), paired_rows),
    "subgroups": (
        ("study", "subgroup", "approach", "n", "folds", f"view-level {AUC}"),
        subgroup_rows,
    ),
    "shortcuts": (("study", "collection", "predictor", "unit", "n", AUC), shortcut_rows),
}


if __name__ == "__main__":
    sys.exit(command_line.run(main))
