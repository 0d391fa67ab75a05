"""Choose the split and the network from the AUCs of a stage.

Samala et al. (2017) choose by eye a split with a small spread over folds and a high mean (3.1) and
the best network (3.2). The rules here are their reproducible equivalents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.config import freeze_depth

Row = Mapping[str, Any]

SPLIT_RULE = (
    "the highest mean AUC minus its standard deviation over folds, averaged over networks; ties "
    "are broken by the smaller standard deviation, then by the lower number"
)
NETWORK_RULE = (
    "the highest mean AUC over folds and initializations; ties are broken by more frozen "
    "convolutions"
)
DIGITS = 12  # AUCs that are equal after rounding to these digits are tied


def choose_split(rows: Sequence[Row]) -> dict[str, Any]:
    """Return {chosen, rule, table} from rows {split, network, auc, sd_folds} of one unit."""
    table = []
    for split in sorted({row["split"] for row in rows}):
        split_rows = [row for row in rows if row["split"] == split]
        auc = sum(row["auc"] for row in split_rows) / len(split_rows)
        sd = sum(row["sd_folds"] for row in split_rows) / len(split_rows)
        table.append({"split": split, "auc": auc, "sd_folds": sd, "merit": auc - sd})
    best = max(
        table,
        key=lambda row: (
            round(row["merit"], DIGITS),
            -round(row["sd_folds"], DIGITS),
            -row["split"],
        ),
    )
    return {"chosen": best["split"], "rule": SPLIT_RULE, "table": table}


def choose_network(rows: Sequence[Row]) -> dict[str, Any]:
    """Return {chosen, rule, table} from rows {network, auc, ...} of one unit."""
    columns = ("network", "auc", "se", "ci_low", "ci_high")
    table = [{key: row[key] for key in columns if key in row} for row in rows]
    best = max(table, key=lambda row: (round(row["auc"], DIGITS), freeze_depth(row["network"])))
    return {"chosen": best["network"], "rule": NETWORK_RULE, "table": table}
