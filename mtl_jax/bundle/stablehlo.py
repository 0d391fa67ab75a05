"""A bundle's network for others to run: StableHLO, by `jax.export`. It scores nothing itself.

The exported function takes ROIs (n, 128, 128) float32 in counts of 1/8 gray level, background
corrected as bundle.json says, n free, and returns scores (n,) float32: standardization, the eight
orientations and the mean over them are inside.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export

from mtl_jax.bundle.model import Model
from mtl_jax.training import orientations
from mtl_jax.training.steps import malignancy

PLATFORMS = ("cpu", "cuda")


def to_stablehlo(model: Model, task: str | None = None) -> bytes:
    """The scores as `task` (the tested collection), serialized for CPU and CUDA; weights inside.

    `jax.export.deserialize(data).call(rois)` runs it. Made on a CPU; the CUDA form has not been
    run on a GPU by its makers.
    """
    (free,) = export.symbolic_shape("n")
    rois = jax.ShapeDtypeStruct((free, 128, 128), jnp.float32)
    exported = export.export(jax.jit(score_function(model, task)), platforms=PLATFORMS)(rois)
    return bytes(exported.serialize())


def score_function(model: Model, task: str | None = None) -> Callable[[jax.Array], jax.Array]:
    """The function itself: ROIs (n, 128, 128) float32 -> scores (n,)."""
    name = model.task(task)
    index = model.tasks.index(name)
    mean, std = (model.about["run"][f"input_{what}"][name] for what in ("mean", "std"))
    network = model.network
    params = jax.tree.map(jnp.asarray, model.params)

    def scores(rois: jax.Array) -> jax.Array:
        count = rois.shape[0]
        gray = (rois - jnp.float32(mean)) / jnp.float32(std)
        # One after the other along the batch: no index depends on n, which is not known yet.
        turned = jnp.concatenate(
            [orientations.orient(gray, jnp.full(count, k)) for k in range(orientations.COUNT)]
        )
        logits = network.apply({"params": params}, jnp.repeat(turned[..., None], 3, axis=-1))
        found = malignancy(logits, jnp.full(turned.shape[0], index))
        return found.reshape(orientations.COUNT, count).mean(0)

    return scores
