"""How many convolutions to freeze (section 3.2): six networks, ten initial weights, four folds.

    python -m mtl_jax.main --config=configs/depth.py --workdir=runs/depth --config.split=3

where 3 is the deal into folds that configs/splits.py chose: 240 trainings, as in the paper.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(scale: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "depth"
    c.approaches = ("mttl",)
    c = config.at_scale(c, scale)
    if scale == "demo":
        c.folds = 2
        c.depth.initializations = 1
        c.train.epochs = 4
    return c
