"""Choose a representative partition of the cases into four folds (section 3.1).

    python -m mtl_jax.main --config=configs/splits.py --workdir=runs/splits

Ten random partitions, two networks and two initializations each: 160 trainings, as in the paper.
Training is single-task, on the target alone, from ImageNet's convolutions (checkpoints/README.md).
`configs/splits.py:demo` is short and uses the shipped weights. The rule of choice is in
results.json under `selection`, and in mtl_jax/experiments/stages/splits.py.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "splits"
    c.approaches = ("sttl",)
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.splits.count = 2
        c.splits.networks = ("C1-C3", "C1-C5")
        c.splits.initializations = 1
    return c
