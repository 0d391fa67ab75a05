"""Multi-task transfer learning for malignant and benign breast masses (Samala et al. 2017), in JAX.

Research only. Rooms are imported by name, for example `mtl_jax.roc`; nothing is imported here
before it is asked for.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl_jax.bundle import Model

__all__ = ["load"]


def load(folder: str | Path) -> "Model":
    """The model in a bundle made by tools/export.py: `load(folder).score(pixels, boxes)`."""
    from mtl_jax import bundle, environment

    environment.reject_settings()
    return bundle.load(folder)
