"""What every stage of a study has, with the defaults of a table of conditions."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach
from mtl_jax.experiments.stage_tables import Condition
from mtl_jax.types import Run

Row = Mapping[str, Any]
Selection = dict[str, dict[str, Any]]  # by name, a field of Choice: {chosen, rule, table}
DIGITS = 12


def round_auc(value: float) -> float:
    """Round an AUC so that those that differ only by rounding errors are tied."""
    return round(value, DIGITS)


class Choice(NamedTuple):
    """The partition and freeze depth of later stages; the config gives the initial ones."""

    split: int
    network: str

    def update(self, selection: Mapping[str, Mapping[str, Any]]) -> "Choice":
        """Return the choice after a stage with this selection."""
        return self._replace(**{name: rule["chosen"] for name, rule in selection.items()})


class Figure(NamedTuple):
    """A figure of the table of a stage: each row as its AUC with the 95% interval.

    It is drawn at the unit (view or lesion) of the selection, with the chosen x shaded, if the
    study selects a value of the column x; otherwise at both units.
    """

    x: str  # column of the table on the horizontal axis
    label: str  # of the horizontal axis
    series: str | None = None  # column whose values are drawn in different colours
    points: str | None = None  # AUCs drawn beside the mean: those of all 'folds' and
    #     initializations, or the mean over folds of all 'initializations'
    log: bool = False  # a logarithmic axis of numbers; otherwise categories
    line: bool = False  # connect the AUCs of a series


class Stage(abc.ABC):
    """A stage of a study: its runs, its choice for later stages, and what the report shows of it.

    Its result is a table of the mean AUC of each condition (approach, frozen layers, split, number
    of training cases), or, if it `compares_approaches`, the comparison of the approaches.
    """

    name: ClassVar[str]  # in config.STAGES, config.STAGE_MODULES and results.json
    title: ClassVar[str]  # the name in sentences and headings
    compares_approaches: ClassVar[bool] = False  # with ROC curves, primary test and analyses
    uses_test_set: ClassVar[bool] = False  # scores the test set; otherwise held-out folds
    single_task: ClassVar[bool] = False  # trains on the target alone, not the study's approaches
    figure: ClassVar[Figure | None] = None
    columns: ClassVar[Mapping[str, str]] = {}  # further fields of the table and their headings
    answer: ClassVar[str | None] = "The table below shows the mean AUC of each condition."
    #     the first sentence of the report; None: what was selected

    @abc.abstractmethod
    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        """Return the runs; `approaches` are those that the stage trains."""

    def n_partitions(self, c: ConfigDict) -> int:
        """Return the number of random partitions into folds that the runs need."""
        return 0 if self.uses_test_set else c.split

    def select(self, rows: Sequence[Row]) -> Selection:
        """Return the choice for later stages, from the rows of the table of one unit."""
        return {}

    def pairs(
        self, conditions: Sequence[Condition], selection: Mapping[str, Row]
    ) -> list[tuple[Condition, Condition]]:
        """Return the pairs of conditions that a study ending with this table compares."""
        return []

    def is_optimistic(self, earlier: Mapping[str, Row]) -> bool:
        """Return whether the selections of `earlier` stages make all AUCs of this one optimistic.

        They do if they were made by scores of the same cases: those of the folds, which are never
        those of the test set.
        """
        return bool(earlier) and not self.uses_test_set

    def is_selected(self, row: Row, selection: Mapping[str, Row]) -> bool:
        """Return whether a row is optimistic because this stage selected its condition."""
        return bool(selection) and all(row[k] == v["chosen"] for k, v in selection.items())

    def question(self, target: str) -> str | None:
        """Return the title of the report; None: the question of a comparison of approaches."""
        return None

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        """Return what the figure or the table shows, without a final period."""
        return f"{self.title.capitalize()}: mean AUC on {target}"

    def note(self, rows: Sequence[Row]) -> str:
        """Return sentences for the end of the caption."""
        return ""

    def record(self, target: str, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what the report needs to know, for the entry of the stage in results.json."""
        return {
            "title": self.title,
            "compares_approaches": self.compares_approaches,
            "question": self.question(target),
            "answer": self.answer,
            "figure": self.figure._asdict() if self.figure and rows else None,
            "caption": self.caption(target, rows) if rows else "",
            "note": self.note(rows) if rows else "",
            "columns": dict(self.columns),
        }
