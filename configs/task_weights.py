"""Compare weights of the target in the loss of multi-task training (beyond the paper).

    python -m mtl_jax.main --config=configs/task_weights.py --workdir=runs/task_weights

The target's ROIs have 1, 2 and 4 times the weight of the others'. For collections of your own:
--config.approaches='("mttl", "mttl+weight.NAME=2")', where NAME is the target, and
--config.statistics.primary.pair='()', which compares the first two.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.approaches = ("mttl", "mttl+weight.sfm=2", "mttl+weight.sfm=4", "sttl")
    c.statistics.primary.pair = ("mttl", "mttl+weight.sfm=2")
    return config.apply_preset(c, preset)
