"""Compare multi-task with single-task learning on real mammograms, by cross-validation.

    python tools/real_films.py FOLDER --out real_films
    ln -s MINI_MIAS real_films/mini_mias
    python -m mtl_jax.main --config=configs/real_films.py:demo --workdir=runs/real_films

docs/real_films.md tells how to obtain the collections, and shows the results. The target is DDSM on
films of 299 x 299 pixels; DMID and mini-MIAS are added in multi-task learning. With
`--config.data.target=dmid --config.data.test_fraction=0` it is the other way round, without a test
set of dmid. Training starts from ImageNet's convolutions.
The preset `demo` is for two CPU cores: the convolutions are frozen, their activations are computed
once, and a higher learning rate needs fewer epochs.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.apply_preset(config.default(), preset)
    c.study = "cross_validation"
    c.approaches = ("mttl", "sttl", "sttl+steps=matched", "mttl+labels=permuted")
    c.statistics.primary.pair = ("mttl", "sttl")
    c.weights = config.IMAGENET
    c.data.sources = (
        "manifest:real_films/ddsm299/manifest.csv",
        "manifest:real_films/dmid/manifest.csv",
        "mini_mias:real_films/mini_mias",
    )
    c.data.target = "ddsm299"
    c.data.manifest.conflicts = "leave_out"
    c.data.manifest.outside = True  # the images stay where they are
    c.data.pseudonymise = False  # the ids are published
    c.data.roi.upsample = True  # pixels of 0.2 to 1 mm
    c.splits.count = 2
    c.splits.networks = ("C1-C3", "C1-C5")
    c.depth.networks = ("C1-C3", "C1-C4", "C1-C5")
    c.cross_validation.initializations = 3
    c.test.initializations = 3
    if preset == "demo":
        c.network = "C1-C5"
        c.train.epochs = 8
        c.train.batch_size = 128
        c.train.learning_rate, c.train.final_learning_rate = 0.01, 0.0005
        c.splits.initializations = 1
        c.depth.initializations = 2
    return c
