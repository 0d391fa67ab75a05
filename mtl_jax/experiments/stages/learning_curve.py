"""Measure the AUC by the number of training cases of the target (beyond the paper)."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach, independent_test_runs
from mtl_jax.experiments.stage_tables import Condition
from mtl_jax.experiments.stages.base import Choice, Figure, Row, Stage
from mtl_jax.types import Run


class LearningCurve(Stage):
    """Each initialization trains on its own random subset of the training cases."""

    name = "learning_curve"
    title = "learning curve"
    uses_test_set = True
    figure = Figure(
        "target_cases", "training cases of the target", series="study", log=True, line=True
    )
    answer = "The learning curve below shows the AUC by number of training cases of the target."

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        sizes, subsets = c.learning_curve.target_cases, range(c.learning_curve.subsets)
        return independent_test_runs(approaches, choice.network, c.seed, subsets, sizes)

    def pairs(
        self, conditions: Sequence[Condition], selection: Mapping[str, Row]
    ) -> list[tuple[Condition, Condition]]:
        """Return the pairs of approaches with the same number of training cases."""
        return [(a, b) for a, b in combinations(conditions, 2) if a.target_cases == b.target_cases]

    def question(self, target: str) -> str:
        return f"How does the AUC depend on the number of training cases of {target}?"

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        subsets = len(rows[0]["initializations"])
        return (
            "Test-set AUC by the number of the target\N{RIGHT SINGLE QUOTATION MARK}s training "
            f"cases, mean of {subsets} random subsets"
        )


STAGE = LearningCurve()
