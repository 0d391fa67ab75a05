"""Write the tables of docs/real_films.md from the results in docs/real_films/.

    python tools/real_films_page.py [docs/real_films.md]

A comment in the page, <!-- KIND: STUDY ... -->, is followed by a table of that kind of the named
studies, which this command replaces. KINDS has the kinds. A study that is not finished has no rows.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mtl_jax.experiments.auc_statistics import FoldScores, mean_difference
from mtl_jax.io import atomic, command_line, paths

Results = Mapping[str, Any]


class Study(NamedTuple):
    name: str
    results: Results
    scores: Path  # predictions.csv, compressed


PAGE = Path(__file__).resolve().parents[1] / "docs" / "real_films.md"
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
    """Return the text of a page with its tables made anew from the results in `folder`."""

    def table(block: re.Match[str]) -> str:
        heading, rows = KINDS[block[2]]
        lines = [heading, ["---"] * len(heading), *rows(read_studies(folder, block[3].split()))]
        return block[1] + "".join("| " + " | ".join(line) + " |\n" for line in lines)

    return BLOCK.sub(table, text)


def read_studies(folder: Path, names: Sequence[str]) -> list[Study]:
    """Return the finished studies of these names."""
    return [
        Study(name, json.loads(path.read_text(encoding="utf-8")), folder / f"{name}.csv.gz")
        for name in names
        if (path := folder / f"{name}.json").exists()
    ]


def auc_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the AUC per view and per lesion of each condition of a study."""
    for name, results, _ in studies:
        conditions: dict[tuple[Any, ...], dict[str, Results]] = {}
        for row in stage_rows(results):
            key = tuple(row.get(field) for field in ("study", "network", "split", "target_cases"))
            conditions.setdefault(key, {})[row["unit"]] = row
        for (approach, network, split, size), units in conditions.items():
            network = network or results["settings"]["network"]
            view, lesion = units["view"], units["lesion"]
            training = results["training_auc"].get(f"{approach} {network}")
            yield [
                f"`{name}`",
                approach + (f", {size} patients" if size else ""),
                f"{network}, split {split}" if split else network,
                f"{view['n_malignant']}, {view['n_benign']}",
                interval(view, "auc"),
                f"{lesion['n_malignant']}, {lesion['n_benign']}",
                interval(lesion, "auc"),
                "" if training is None or size else f"{training:.3f}",
            ]


def stage_rows(results: Results) -> list[Results]:
    """Return the empirical AUCs of the target of the last stage of a study."""
    rows = results["auc"] or results.get("splits") or results.get("depth") or []
    rows = rows or results.get("learning_curve", [])
    return list(filter(is_main, rows))


def is_main(row: Results) -> bool:
    """Return whether a row has empirical AUCs that are not pooled over folds."""
    empirical = row["method"] in ("empirical", "obuchowski")
    return empirical and row["estimator"].startswith(("mean", "test"))


def difference_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the differences between the approaches of a study."""
    for name, results, _ in studies:
        for row in filter(is_main, results["comparisons"]):
            names = (row["a"], row["b"])
            if "network_a" in row:
                names = tuple(f"{row[side]} {row[f'network_{side}']}" for side in ("a", "b"))
            yield [f"`{name}`", " − ".join(names), *difference_cells(row)]


def hand_crafted_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the AUC of classifiers of hand-crafted features, and the differences from them."""
    for name, results, _ in studies:
        rows, comparisons = (results["conventional"][key] for key in ("auc", "comparisons"))
        for row in filter(is_main, rows):
            yield [f"`{name}`", row["study"], row["unit"], interval(row, "auc"), ""]
        for row in filter(is_main, comparisons):
            yield [f"`{name}`", f"{row['a']} − {row['b']}", *difference_cells(row)]


def subgroup_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the view-level AUC of each approach by subgroup."""
    for name, results, _ in studies:
        for row in results["subgroups"]:
            yield [
                f"`{name}`",
                f"{row['variable']}: {row['value']}",
                row["study"],
                f"{row['n_malignant']}, {row['n_benign']}",
                interval(row, "auc"),
            ]


def paired_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the difference of single-task learning between each study and the next.

    Both score the same views out of the same folds, with other settings.
    """
    for first, second in pairwise(studies):
        tables = [read_scores(study) for study in (first, second)]
        for unit in ("view", "lesion"):
            row = mean_difference(*(folds_of(table, unit) for table in tables)) | {"unit": unit}
            yield [f"`{first.name}` − `{second.name}`", *difference_cells(row)]


def read_scores(study: Study) -> pd.DataFrame:
    scores = pd.read_csv(study.scores, dtype={"lesion_id": str})
    chosen = (scores.task == study.results["target"]) & (scores.approach == "sttl")
    return scores[chosen].sort_values("roi_id")


def folds_of(scores: pd.DataFrame, unit: str) -> list[FoldScores]:
    """Return the scores of each fold by initialization; a lesion has the mean of its views."""
    keys = ["case_id", "lesion_id"] + (["roi_id"] if unit == "view" else [])
    folds = []
    for _, fold in scores.groupby("fold"):
        table = fold.pivot_table("score", [*keys, "truth"], "initialization")
        truth, case = (table.index.get_level_values(name) for name in ("truth", "case_id"))
        folds.append(FoldScores(truth.to_numpy(), case.to_numpy(), table.to_numpy().T))
    return folds


def shortcut_rows(studies: Sequence[Study]) -> Iterator[list[str]]:
    """Yield the AUC of the trivial predictors of each collection, per view."""
    for study in studies:
        for row in study.results["shortcuts"]:
            if row["unit"] == "view":
                count = f"{row['n_malignant']}, {row['n_benign']}"
                yield [row["collection"], row["predictor"], count, interval(row, "auc")]


def interval(row: Results, field: str, *, sign: bool = False) -> str:
    """Return a value with its 95% interval, with a true minus sign."""
    spec = "+.3f" if sign else ".3f"
    if row["ci_low"] is None:
        return f"{row[field]:{spec}}".replace("-", "−")
    low, high = f"{row['ci_low']:{spec}}", f"{row['ci_high']:{spec}}"
    return f"{row[field]:{spec}} ({low} to {high})".replace("-", "−")


def difference_cells(row: Results) -> list[str]:
    p = row["p_value"]
    text = "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return [row["unit"], interval(row, "delta", sign=True), text]


COUNT = "malignant, benign"
Rows = Callable[[Sequence[Study]], Iterator[list[str]]]
KINDS: dict[str, tuple[Sequence[str], Rows]] = {
    "aucs": (
        ["study", "approach", "frozen", f"views: {COUNT}", "view-level AUC (95% CI)"]
        + [f"lesions: {COUNT}", "lesion-level AUC (95% CI)", "training AUC"],
        auc_rows,
    ),
    "differences": (
        ["study", "difference", "unit", "AUC difference (95% CI)", "p"],
        difference_rows,
    ),
    "hand_crafted": (
        ["study", "classifier or difference", "unit", "AUC (95% CI)", "p"],
        hand_crafted_rows,
    ),
    "paired": (["difference", "unit", "AUC difference (95% CI)", "p"], paired_rows),
    "subgroups": (
        ["study", "subgroup", "approach", f"views: {COUNT}", "view-level AUC (95% CI)"],
        subgroup_rows,
    ),
    "shortcuts": (
        ["collection", "predictor", f"views: {COUNT}", "view-level AUC (95% CI)"],
        shortcut_rows,
    ),
}


if __name__ == "__main__":
    sys.exit(command_line.run(main))
