"""The paper's study as one command: splits (3.1), depth (3.2), cross-validation, test set (3.3).

    python -m mtl_jax.main --config=configs/paper.py --workdir=runs/paper

Splits and depth are single-task, on the target alone. With the chosen split and network, both
approaches are cross-validated with ten initializations, then retrained on all training cases and
evaluated once on the independent test set. A training needed by two stages is done once: 426 of the
160 + 240 + 80 + 2 trainings differ. `--dry_run` prints their cost, and `--config.executor=ray`
distributes them over a cluster. Training starts from ImageNet's convolutions
(checkpoints/README.md). `configs/paper.py:demo` is the same study in half an hour on two CPU cores;
it uses the shipped weights.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "paper"
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.folds = 2
        c.splits.count = 2
        c.splits.networks = ("C1-C3", "C1-C5")
        c.splits.initializations = 1
        c.depth.initializations = 1
        c.network = "C1"  # used by no stage
        c.model.dropout = 0.0  # with it, more epochs are needed to learn the training ROIs
        c.train.epochs, c.train.batch_size = 3, 32
        c.train.learning_rate, c.train.final_learning_rate = 0.008, 0.0008
        c.train.match_steps = True
        # docs/results.md has the results of these settings.
        c.data.phantom.cases, c.data.phantom.target_cases = 70, 200
        c.data.phantom.test_fraction = 0.5
    return c
