"""Does learning together help every collection, or the target alone (beyond the paper)?

    python -m mtl_jax.main --config=configs/each_task.py --workdir=runs/each_task

Each collection keeps a test set (its own, else `data.test_fraction` of its cases); single-task
learning is done for each, and compared with multi-task learning on it.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.data.test_each = True
    c.approaches = ("mttl", "sttl", "sttl+of=each")
    c.statistics.primary.pair = ("mttl", "sttl")
    return config.at_preset(c, preset)
