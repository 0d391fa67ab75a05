"""Measure the spread of the AUC over random initializations (beyond the paper).

    python -m mtl_jax.main --config=configs/seeds.py --workdir=runs/seeds

Each approach is trained on all training cases with ten initializations and tested on the
independent test set. The report has the mean AUC with its SD over initializations and its interval.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "seeds"
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.network = "C1-C5"
        c.seeds.initializations = 3
    return c
