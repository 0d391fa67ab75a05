"""Compare multi-task with single-task transfer learning on the independent test set (3.3).

    python -m mtl_jax.main --config=configs/mttl.py --workdir=runs/mttl

trains with the paper's settings. `configs/mttl.py:demo` is the same study in minutes on two CPU
cores; `make demo` runs it.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "test"
    c.approaches = ("mttl", "sttl")
    return config.apply_preset(c, preset)
