"""Export the network of a bundle as StableHLO with `jax.export`.

The exported function maps ROIs (n, 128, 128) float32 to scores (n,) float32, for any n. The ROIs
are in units of 1/8 gray level, background-corrected as bundle.json states. Standardization and the
mean over the eight orientations are part of the function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export

from mtl_jax.bundle.model import Model
from mtl_jax.training import orientations
from mtl_jax.training.objective import malignancy_probability

PLATFORMS = ("cpu", "cuda")


def to_stablehlo(model: Model, task: str | None = None) -> bytes:
    """Serialize the score function with its weights for CPU and CUDA.

    Run it with `jax.export.deserialize(data).call(rois)`. The CUDA version was not tested on a GPU.
    `task` is the training collection that the images resemble; the tested collection by default.
    """
    (n,) = export.symbolic_shape("n")
    rois = jax.ShapeDtypeStruct((n, 128, 128), jnp.float32)
    exported = export.export(jax.jit(score_function(model, task)), platforms=PLATFORMS)(rois)
    return bytes(exported.serialize())


def score_function(model: Model, task: str | None = None) -> Callable[[jax.Array], jax.Array]:
    """Return the function that maps ROIs (n, 128, 128) float32 to scores (n,)."""
    name = model.task(task)
    index = model.tasks.index(name)
    mean, std = (model.about["run"][f"input_{what}"][name] for what in ("mean", "std"))
    network = model.network
    params = jax.tree.map(jnp.asarray, model.params)

    def scores(rois: jax.Array) -> jax.Array:
        count = rois.shape[0]
        gray = (rois - jnp.float32(mean)) / jnp.float32(std)
        # Orientations are concatenated along the batch, so that no index depends on the unknown n.
        oriented = jnp.concatenate(
            [orientations.orient(gray, jnp.full(count, k)) for k in range(orientations.COUNT)]
        )
        logits = network.apply({"params": params}, jnp.repeat(oriented[..., None], 3, axis=-1))
        probability = malignancy_probability(logits, jnp.full(oriented.shape[0], index))
        return probability.reshape(orientations.COUNT, count).mean(0)

    return scores
