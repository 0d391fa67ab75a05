"""Choose how many convolutions to freeze (Samala et al. 2017, 3.2)."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from ml_collections import ConfigDict

from mtl_jax.config import freeze_depth
from mtl_jax.experiments.run_lists import Approach, cross_validation_runs
from mtl_jax.experiments.stage_tables import Condition
from mtl_jax.experiments.stages.base import Choice, Figure, Row, Selection, Stage, round_auc
from mtl_jax.types import Run


class Depth(Stage):
    """The AUC of every freeze depth, on one partition."""

    RULE = (
        "the highest mean AUC over folds and initializations; ties are broken by more frozen "
        "convolutions"
    )
    name = "depth"
    title = "depth"
    single_task = True
    answer = None  # the selection
    figure = Figure("network", "frozen layers", points="initializations")

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        initializations = range(c.depth.initializations)
        return cross_validation_runs(
            approaches, c.depth.networks, (choice.split,), c.folds, c.seed, initializations
        )

    def select(self, rows: Sequence[Row]) -> Selection:
        columns = ("network", "auc", "se", "ci_low", "ci_high")
        table = [{key: row[key] for key in columns if key in row} for row in rows]
        best = max(table, key=lambda row: (round_auc(row["auc"]), freeze_depth(row["network"])))
        return {"network": {"chosen": best["network"], "rule": self.RULE, "table": table}}

    def pairs(
        self, conditions: Sequence[Condition], selection: Mapping[str, Row]
    ) -> list[tuple[Condition, Condition]]:
        """Return all pairs, the chosen first, so that Holm's correction covers the choice."""
        best = selection["network"]["chosen"]
        return list(combinations(sorted(conditions, key=lambda c: c.network != best), 2))

    def question(self, target: str) -> str:
        return f"How many convolutional layers should be frozen for {target}?"

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        return "Freeze depth, single-task (paper, section 3.2)"


STAGE = Depth()
