"""Compare initial weights: the shipped ones, random ones, Gabor filters in C1.

    python -m mtl_jax.main --config=configs/transfer.py --workdir=runs/transfer

trains on the target alone with C1 to C3 frozen, five initializations with each set of weights, and
compares the mean AUCs on the test set. With ImageNet's weights and a collection of mammograms:

    --config.approaches='("sttl+weights=imagenet", "sttl+weights=shipped", "sttl+weights=random")'
    --config.data.sources='("mini_mias:PATH",)' --config.data.target=mini_mias
    --config.study=cross_validation --config.cross_validation.initializations=5
    --config.data.test_fraction=0.0

`configs/transfer.py:demo` is for two CPU cores; docs/transfer.md has results.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "test"
    c.approaches = ("sttl+weights=shipped", "sttl+weights=random", "sttl+weights=analytic")
    c.network = "C1-C3"
    c.test.initializations = 5
    return config.apply_preset(c, preset)
