"""Compare multi-task with single-task transfer learning on the independent test set (3.3).

    python -m mtl_jax.main --config=configs/mttl.py --workdir=runs/mttl

trains with the paper's settings. `configs/mttl.py:demo` is a study of few training cases, in
minutes on two CPU cores; `make demo` runs it. Its settings were chosen on seeds 1000 and 1001.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "test"
    c.approaches = ("mttl", "sttl")
    c = config.apply_preset(c, preset)
    if preset == "demo":
        # A small target: about 60 training views, and about 250 of each other collection. Scoring
        # is cheap, and a large test set narrows the interval.
        c.data.phantom.cases, c.data.phantom.target_cases = 150, 335
        c.data.phantom.test_fraction = 0.9
        c.network = "C1-C5"
        c.model.dropout = 0.0  # with it, more epochs are needed to learn the training ROIs
        c.train.match_steps = True
        c.train.epochs, c.train.batch_size = 6, 256
        c.train.learning_rate, c.train.final_learning_rate = 0.01, 0.001
    return c
