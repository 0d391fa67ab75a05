"""Which deal of the cases into four folds represents them (section 3.1).

    python -m mtl_jax.main --config=configs/splits.py --workdir=runs/splits

Ten deals, each by two networks and two initial weights: 160 trainings, as in the paper. The rule of
choice stands in results.json under `selection` and in mtl_jax/study/select.py.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(scale: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "splits"
    c.approaches = ("mttl",)
    c = config.at_scale(c, scale)
    if scale == "demo":
        c.splits.count = 2
        c.splits.networks = ("C1-C3", "C1-C5")
        c.splits.initializations = 1
    return c
