"""What each collection gives: learning without one of them, each in turn (beyond the paper).

    python -m mtl_jax.main --config=configs/leave_one_out.py --workdir=runs/leave_one_out

`without=each` stands for every collection, the target too: learned from the others alone, it shows
what carries over. All are compared on the independent test set.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.approaches = ("mttl", "mttl+without=each", "sttl")
    c.statistics.primary.pair = ("mttl", "sttl")
    return config.at_preset(c, preset)
