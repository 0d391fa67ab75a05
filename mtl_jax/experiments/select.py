"""The rules that choose the representative split and the network.

Samala et al. 2017 choose by eye (3.1: a split of small spread over folds and high mean; 3.2: the
best network); these rules say the same in numbers, so that anybody's choice can be repeated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.config import NETWORKS

Row = Mapping[str, Any]

SPLIT_RULE = (
    "the highest mean AUC minus its standard deviation over folds, averaged over networks; ties "
    "are broken by the smaller standard deviation, then by the lower number"
)
NETWORK_RULE = (
    "the highest mean AUC over folds and initializations; ties are broken by more frozen "
    "convolutions"
)
DIGITS = 12  # smaller differences are rounding: ties


def choose_split(rows: Sequence[Row]) -> dict[str, Any]:
    """From rows {split, network, auc, sd_folds} of one unit: {chosen, rule, table}."""
    table = []
    for split in sorted({row["split"] for row in rows}):
        own = [row for row in rows if row["split"] == split]
        mean = sum(row["auc"] for row in own) / len(own)
        spread = sum(row["sd_folds"] for row in own) / len(own)
        table.append({"split": split, "auc": mean, "sd_folds": spread, "merit": mean - spread})
    best = max(
        table,
        key=lambda e: (round(e["merit"], DIGITS), -round(e["sd_folds"], DIGITS), -e["split"]),
    )
    return {"chosen": best["split"], "rule": SPLIT_RULE, "table": table}


def choose_network(rows: Sequence[Row]) -> dict[str, Any]:
    """From rows {network, auc, ...} of one unit: {chosen, rule, table}."""
    kept = ("network", "auc", "se", "ci_low", "ci_high")
    table = [{key: row[key] for key in kept if key in row} for row in rows]
    best = max(table, key=lambda e: (round(e["auc"], DIGITS), NETWORKS.index(e["network"])))
    return {"chosen": best["network"], "rule": NETWORK_RULE, "table": table}
