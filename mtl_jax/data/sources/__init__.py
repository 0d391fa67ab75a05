"""The collections that can be read: one file each, and a dict of them."""

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

# Each takes a path and its own keyword options, and says what the collection holds.
SOURCES: dict[str, Callable[..., Collection]] = {
    "cbis_ddsm": cbis_ddsm.collection,
    "cdd_cesm": cdd_cesm.collection,
    "cmmd": cmmd.collection,
    "ddsm": ddsm.collection,
    "inbreast": inbreast.collection,
    "manifest": manifest.collection,
    "mini_mias": mini_mias.collection,
    "phantom": phantom.collection,
    "tfds": tfds.collection,
    "vindr_mammo": vindr_mammo.collection,
}
