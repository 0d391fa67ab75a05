"""Choose a representative partition of the training cases into folds (Samala et al. 2017, 3.1)."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mtl_jax.experiments.run_lists import Approach, cross_validation_runs
from mtl_jax.experiments.stages.base import Choice, Figure, Row, Selection, Stage, round_auc
from mtl_jax.types import Run


class Splits(Stage):
    """The AUC of every random partition.

    The paper chooses by eye a split with a small spread over folds and a high mean; RULE is the
    reproducible equivalent.
    """

    RULE = (
        "the highest mean AUC minus its standard deviation over folds, averaged over networks; "
        "ties are broken by the smaller standard deviation, then by the lower number"
    )
    name = "splits"
    title = "splits"
    single_task = True
    answer = None  # the selection
    figure = Figure("split", "split", series="network", points="folds")

    def runs(self, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
        splits, initializations = range(1, c.splits.count + 1), range(c.splits.initializations)
        return cross_validation_runs(
            approaches, c.splits.networks, splits, c.folds, c.seed, initializations
        )

    def n_partitions(self, c: ConfigDict) -> int:
        return c.splits.count

    def select(self, rows: Sequence[Row]) -> Selection:
        table = []
        for split in sorted({row["split"] for row in rows}):
            split_rows = [row for row in rows if row["split"] == split]
            auc = sum(row["auc"] for row in split_rows) / len(split_rows)
            sd = sum(row["sd_folds"] for row in split_rows) / len(split_rows)
            table.append({"split": split, "auc": auc, "sd_folds": sd, "merit": auc - sd})
        best = max(
            table,
            key=lambda row: (round_auc(row["merit"]), -round_auc(row["sd_folds"]), -row["split"]),
        )
        return {"split": {"chosen": best["split"], "rule": self.RULE, "table": table}}

    def question(self, target: str) -> str:
        return f"Which random split into folds is representative of the cases of {target}?"

    def caption(self, target: str, rows: Sequence[Row]) -> str:
        splits, folds = {row["split"] for row in rows}, len(rows[0]["aucs"][0])
        return (
            f"{len(splits)} random partitions of the training cases of {target} into {folds} "
            "folds, single-task (paper, section 3.1)"
        )


STAGE = Splits()
