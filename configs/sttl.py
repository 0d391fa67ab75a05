"""Single-task transfer learning on one collection, by cross-validation (section 2.4).

    python -m mtl_jax.main --config=configs/sttl.py --workdir=runs/sttl

For a collection of your own:

    --config.data.sources='("mini_mias:PATH",)' --config.data.target=mini_mias
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "cross_validation"
    c.approaches = ("sttl",)
    c.cross_validation.initializations = 1  # the paper repeats it ten times (2.3)
    c.data.test_fraction = 0.0  # use all cases, unless the source marks a test set
    return config.apply_preset(c, preset)
