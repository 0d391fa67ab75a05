"""Compare the approaches on the independent test set (Samala et al. 2017, 3.3)."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach, independent_test_runs
from mtl_jax.experiments.stages.base import Choice, Row, Stage
from mtl_jax.types import Run


class IndependentTest(Stage):
    """The test set is scored once, by networks that were trained on all training cases."""

    name = "test"
    title = "test"
    compares_approaches = True
    uses_test_set = True

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        initializations = range(c.test.initializations)
        return independent_test_runs(approaches, choice.network, c.seed, initializations)

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        return f"AUC on the test set of {target} (paper, section 3.3)"


STAGE = IndependentTest()
