"""Compare the approaches by cross-validation (Samala et al. 2017, 2.3 and 3.3)."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach, cross_validation_runs
from mtl_jax.experiments.stages.base import Choice, Row, Stage
from mtl_jax.types import Run


class CrossValidation(Stage):
    """Every training case is scored by networks that were not trained on it."""

    name = "cross_validation"
    title = "cross-validation"
    compares_approaches = True

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        initializations = range(c.cross_validation.initializations)
        return cross_validation_runs(
            approaches, (choice.network,), (choice.split,), c.folds, c.seed, initializations
        )

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        return (
            f"AUC of the held-out folds of {target} with the selected split and network (paper, "
            "sections 2.3 and 3.3)"
        )

    def note(self, rows: Sequence[Row]) -> str:
        n_initializations, n_folds = np.shape(rows[0]["aucs"])
        plural = "s" if n_initializations > 1 else ""
        text = f"Mean over {n_folds} folds and {n_initializations} initialization{plural}."
        if not rows[0]["selected"]:
            return text
        return (
            f"{text} Split and network were selected by single-task learning on the same cases: "
            "these AUCs are optimistic, and the difference is biased in favour of single-task "
            "learning."
        )


STAGE = CrossValidation()
