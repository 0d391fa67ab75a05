"""Compare one output layer for all collections with one for each (beyond the paper).

    python -m mtl_jax.main --config=configs/heads.py --workdir=runs/heads

The paper's network has one output layer for all tasks. It is compared with a network with one
output layer per task and with single-task training, on the independent test set.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.approaches = ("mttl", "mttl+heads=per_task", "sttl")
    c.statistics.primary.pair = ("mttl", "mttl+heads=per_task")
    return config.apply_preset(c, preset)
