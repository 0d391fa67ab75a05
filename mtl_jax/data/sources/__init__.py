"""The collections that can be read: one file each, and a dict of them. Reads nothing itself."""

from collections.abc import Callable

from mtl_jax.data.sources import manifest, mini_mias, phantom
from mtl_jax.nouns import Collection

# Each takes a path and its own keyword options, and says what the collection holds.
SOURCES: dict[str, Callable[..., Collection]] = {
    "manifest": manifest.collection,
    "mini_mias": mini_mias.collection,
    "phantom": phantom.collection,
}
