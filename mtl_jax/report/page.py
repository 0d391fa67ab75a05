"""Puts a finished work folder into report.html. Words no sentence and draws no curve itself."""

import os
import re
from pathlib import Path
from typing import Any

import jinja2

from mtl_jax.report import curves, figures, tables, words
from mtl_jax.report import folder as folders

TEMPLATE = Path(__file__).with_name("report.html")
UNITS = ("lesion", "view")


def write(folder: Path) -> Path:
    """Writes `folder`/report.html, one self-contained file, whole or not at all; returns its path.

    The same results give the same bytes. InputError where the job has not finished.
    """
    page = render(folders.read(folder))
    path = folder / "report.html"
    part = path.with_name(path.name + ".part")
    part.write_text(page, encoding="utf-8", newline="\n")
    os.replace(part, path)
    return path


def render(work: folders.Work) -> str:
    """The page as text. Everything that comes from the folder is escaped by the template."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": words.number,
        "signed": lambda value: _typeset(words.signed(value)),
        "typeset": _typeset,
        "p": words.p_value,
        "method": words.method,
        "listed": words.listed,
        "duration": tables.duration,
        "percent": lambda share: f"{100 * share:.1f}%",
    }
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    found = {unit: curves.curves(work, unit) for unit in UNITS}
    return template.render(
        work=work,
        results=work.results,
        words=words,
        tables=tables,
        units=UNITS,
        curves=found,
        roc_figures={unit: figures.roc_figure(found[unit], unit) for unit in UNITS if found[unit]},
        trainings=[_training(work, approach) for approach in work.approaches],
        key=figures.key,
        samples=curves.SAMPLES,
        scale=_scale(work),
        methods=len({area["method"] for area in work.results["auc"]}),
        collections=len({area["task"] for area in work.results["auc"]}),
    )


def _typeset(text: str) -> str:
    """Minus signs for hyphens, and spaces that do not break within a number's expression."""
    text = re.sub(r"(?<![^ (])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"\b(p) ([=<]) (?=\d)", "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", text)


def _training(work: folders.Work, approach: str) -> dict[str, Any]:
    runs = [run for run in work.runs if run["approach"] == approach]
    histories = [work.histories[run["id"]] for run in runs]
    return {
        "approach": approach,
        "runs": runs,
        "tasks": runs[0]["tasks"],
        "figures": [
            figures.history_figure(approach, histories, runs[0]["tasks"], quantity)
            for quantity in ("loss", "accuracy")
        ],
    }


def _scale(work: folders.Work) -> float:
    """Where the scale of the intervals drawn in the table of areas begins; it ends at 1."""
    lowest = min((area["ci_low"] for area in work.results["auc"]), default=0.4)
    return min(0.4, int(lowest * 10) / 10)
