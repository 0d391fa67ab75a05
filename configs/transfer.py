"""Compare sets of weights at the start: random, Gabor filters in C1, the shipped weights.

    python -m mtl_jax.main --config=configs/transfer.py --workdir=runs/transfer

trains on the target alone with C1 to C3 frozen, five seeds for each set of weights, and prints the
mean AUCs on the test set. With ImageNet's weights and a collection of mammograms:

    --config.transfer.weights='("random", "analytic", "shipped", "checkpoints/alexnet_imagenet")'
    --config.data.sources='("mini_mias:PATH",)' --config.data.target=mini_mias
    --config.transfer.study=cross_validation --config.data.test_fraction=0.0

`configs/transfer.py:demo` is for two CPU cores; docs/transfer.md has its results.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "transfer"
    c.approaches = ("sttl",)
    c.network = "C1-C3"
    return config.apply_preset(c, preset)
