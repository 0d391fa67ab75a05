"""The paper as one command: splits (3.1), depth (3.2), then the independent test set (3.3).

    python -m mtl_jax.main --config=configs/paper.py --workdir=runs/paper

Each stage goes by what the one before it chose; a training that two of them ask for is done once.
402 trainings at the paper's scale: `--dry_run` shows what they cost before any starts, and
`--config.executor=ray` spreads them over a cluster. `configs/paper.py:demo` is the same study
made small enough for two processor cores and half an hour.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(scale: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "paper"
    c = config.at_scale(c, scale)
    if scale == "demo":
        c.folds = 2
        c.splits.count = 2
        c.splits.networks = ("C1-C3", "C1-C5")
        c.splits.initializations = 1
        c.depth.initializations = 1
        c.train.epochs = 3
        c.train.match_steps = True
        c.data.phantom.cases = 100
    return c
