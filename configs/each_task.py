"""Compare multi-task with single-task training on every collection (beyond the paper).

    python -m mtl_jax.main --config=configs/each_task.py --workdir=runs/each_task

Each collection has a test set: its official one, or `data.test_fraction` of its cases. Single-task
training is done for each collection and compared with multi-task training on its test set.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.data.test_each = True
    c.approaches = ("mttl", "sttl", "sttl+of=each")
    c.statistics.primary.pair = ("mttl", "sttl")
    return config.apply_preset(c, preset)
