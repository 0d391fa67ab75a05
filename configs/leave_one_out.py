"""Multi-task training without one of the collections, each in turn (beyond the paper).

    python -m mtl_jax.main --config=configs/leave_one_out.py --workdir=runs/leave_one_out

`without=each` is every collection, the target included: without it, the AUC shows what transfers
from the other collections. All are compared on the independent test set.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.approaches = ("mttl", "mttl+without=each", "sttl")
    c.statistics.primary.pair = ("mttl", "sttl")
    return config.apply_preset(c, preset)
