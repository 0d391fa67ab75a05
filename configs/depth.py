"""Choose how many convolutions to freeze (3.2): six networks, ten initializations, four folds.

    python -m mtl_jax.main --config=configs/depth.py --workdir=runs/depth --config.split=3

where 3 is the partition into folds chosen by configs/splits.py: 240 trainings, as in the paper.
Training is single-task, on the target alone, from ImageNet's convolutions (checkpoints/README.md).
`configs/depth.py:demo` is short and uses the shipped weights.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "depth"
    c.approaches = ("sttl",)
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.folds = 2
        c.depth.initializations = 1
        c.train.epochs = 4
    return c
