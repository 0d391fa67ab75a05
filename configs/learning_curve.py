"""Compare multi-task with single-task training by the number of cases (beyond the paper).

    python -m mtl_jax.main --config=configs/learning_curve.py --workdir=runs/learning_curve

Both approaches are trained on random subsets of 10, 20, 40 and 80 training cases of the target,
five of each size, with the same number of steps. Multi-task training adds the other collections in
their entirety. The test set is the same throughout.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "learning_curve"
    c.train.match_steps = True
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.network = "C1-C5"
        c.learning_curve.target_cases = (10, 40)
        c.learning_curve.subsets = 2
    return c
