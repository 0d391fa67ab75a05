"""Multi-task transfer learning for malignant and benign breast masses (Samala et al. 2017), in JAX.

For research only. Run a study with `load_config` and `run_study`, read the results of a finished
one with `open_study`, and score images with `load`. Import the packages by name, for example
`mtl_jax.roc`: this module imports none of them.
"""

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_jax.bundle import Model
    from mtl_jax.study import Study, load_config, open_study, run_study

__all__ = ["Study", "__version__", "load", "load_config", "open_study", "run_study"]
__version__ = version("mtl_jax")


def load(folder: str | Path) -> "Model":
    """Return the model of a bundle of `mtl-jax export`: `load(folder).score(pixels, boxes)`."""
    from mtl_jax import bundle, environment

    environment.reject_settings()
    return bundle.load(folder)


def __getattr__(name: str) -> Any:
    """Import the functions of `mtl_jax.study` when they are used."""
    if name in __all__:
        return getattr(importlib.import_module("mtl_jax.study"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
