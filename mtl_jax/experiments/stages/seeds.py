"""Measure the spread of the test-set AUC over initializations."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach, independent_test_runs
from mtl_jax.experiments.stages.base import Choice, Figure, Row, Stage
from mtl_jax.types import Run


class Seeds(Stage):
    """Each approach is trained on all training cases, and tested, with each initialization."""

    name = "seeds"
    title = "seeds"
    uses_test_set = True
    figure = Figure("study", "approach", points="initializations")
    columns = {"sd_initializations": "SD over initializations"}
    answer = "The table below shows the mean AUC and its SD over random initializations."

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        initializations = range(c.seeds.initializations)
        return independent_test_runs(approaches, choice.network, c.seed, initializations)

    def question(self, target: str) -> str:
        return f"How much does the AUC on {target} vary between random initializations?"

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        return f"Test-set AUC of {target} with {len(rows[0]['initializations'])} initializations"


STAGE = Seeds()
