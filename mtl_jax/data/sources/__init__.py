"""Registry of the collections that can be read, one module each."""

from collections.abc import Callable

from mtl_jax.data.sources import (
    cbis_ddsm,
    cdd_cesm,
    cmmd,
    ddsm,
    inbreast,
    manifest,
    mini_mias,
    phantom,
    tfds,
    vindr_mammo,
)
from mtl_jax.types import Collection

# Each takes a path and its own keyword options.
SOURCES: dict[str, Callable[..., Collection]] = {
    "cbis_ddsm": cbis_ddsm.read_collection,
    "cdd_cesm": cdd_cesm.read_collection,
    "cmmd": cmmd.read_collection,
    "ddsm": ddsm.read_collection,
    "inbreast": inbreast.read_collection,
    "manifest": manifest.read_collection,
    "mini_mias": mini_mias.read_collection,
    "phantom": phantom.read_collection,
    "tfds": tfds.read_collection,
    "vindr_mammo": vindr_mammo.read_collection,
}
