"""Registry of the collections that can be read, one module each, imported when one is read."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mtl_jax.io.import_object import import_object
from mtl_jax.types import Collection

MODULES = {
    "cbis_ddsm": "mtl_jax.data.sources.cbis_ddsm",
    "cdd_cesm": "mtl_jax.data.sources.cdd_cesm",
    "cmmd": "mtl_jax.data.sources.cmmd",
    "ddsm": "mtl_jax.data.sources.ddsm",
    "inbreast": "mtl_jax.data.sources.inbreast",
    "manifest": "mtl_jax.data.sources.manifest",
    "mini_mias": "mtl_jax.data.sources.mini_mias",
    "phantom": "mtl_jax.data.sources.phantom",
    "tfds": "mtl_jax.data.sources.tfds",
    "vindr_mammo": "mtl_jax.data.sources.vindr_mammo",
}


def _read_collection(name: str, path: str, **options: Any) -> Collection:
    reader = import_object(
        MODULES, name, "read_collection", Callable, "mtl_jax.data.sources.MODULES"
    )
    return reader(path, **options)


# Each takes a path and its own keyword options.
SOURCES: dict[str, Callable[..., Collection]] = {
    name: partial(_read_collection, name) for name in MODULES
}
