"""Multi-task transfer learning for malignant and benign breast masses (Samala et al. 2017), in JAX.

For research only. Import the packages by name, for example `mtl_jax.roc`: this module imports none
of them.
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl_jax.bundle import Model

__all__ = ["__version__", "load"]
__version__ = version("mtl_jax")


def load(folder: str | Path) -> "Model":
    """Return the model of a bundle of `mtl-jax export`: `load(folder).score(pixels, boxes)`."""
    from mtl_jax import bundle, environment

    environment.reject_settings()
    return bundle.load(folder)
