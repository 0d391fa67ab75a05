"""Feature maps projected back to the pixels that raised them: the deconvolutional network of Zeiler
and Fergus 2014. It convolves on its own, from the weights, and knows no training.

Each step back is the transpose of the step forward: a pool gives its value back to the pixel that
was the largest (its switch), a convolution is applied with its filters transposed, and what is
negative on the way is cut off. Biases and response normalization are left out on the way back.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.alexnet import CONVOLUTIONS, NORMALIZED, local_response_normalization
from mtl_jax.nouns import Params

LAYERS = tuple(CONVOLUTIONS)
WINDOW, STRIDE = 3, 2  # of the pools


class Passed(NamedTuple):
    """What the way forward leaves: by layer, the rectified maps (h, w, c) before any pool, and the
    switches of its pool, (h', w', c) int32 in 0..8, the place in the 3x3 window."""

    maps: dict[str, jax.Array]
    switches: dict[str, jax.Array]


def convolve(x: jax.Array, kernel: jax.Array, layer: str) -> jax.Array:
    """The convolution of `layer` without bias: `x` (h, w, c), `kernel` HWIO."""
    stride, pad = CONVOLUTIONS[layer].stride, CONVOLUTIONS[layer].pad
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[0]


def transposed(y: jax.Array, kernel: jax.Array, layer: str, size: tuple[int, int]) -> jax.Array:
    """The transpose of `convolve`: maps `y` (h, w, c) back to (*size, channels)."""
    like = jax.ShapeDtypeStruct((*size, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: convolve(x, kernel, layer), like)(y)[0]


def pool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest of each 3x3 window, stride 2, and where it stood; the first of equals."""
    windows = _windows(x)
    switch = windows.argmax(0)
    return jnp.take_along_axis(windows, switch[None], 0)[0], switch


def unpool(y: jax.Array, switch: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Each value of `y` (h', w', c) back where `switch` says, all else 0. Values of overlapping
    windows that meet on a pixel are added."""

    def chosen(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(_windows(x), switch[None], 0)[0]

    like = jax.ShapeDtypeStruct((*size, y.shape[-1]), y.dtype)
    return jax.linear_transpose(chosen, like)(y)[0]


def forward(params: Params, image: jax.Array, lrn: bool) -> Passed:
    """`image` (128, 128, 3) standardized through C1 to C5, with the switches of the pools."""
    maps, switches, x = {}, {}, image
    for layer in LAYERS:
        bias = params[layer]["bias"]
        x = jax.nn.relu(convolve(x, params[layer]["kernel"], layer) + bias)
        if lrn and layer in NORMALIZED:
            x = local_response_normalization(x[None])[0]
        maps[layer] = x
        if CONVOLUTIONS[layer].pool:
            x, switches[layer] = pool(x)
    return Passed(maps, switches)


def project(
    params: Params, passed: Passed, layer: str, feature: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """What map number `feature` of `layer` saw, (*size, 3): all other maps of the layer are 0."""
    found = passed.maps[layer]
    y = found * (jnp.arange(found.shape[-1]) == feature)
    for name in reversed(LAYERS[: LAYERS.index(layer) + 1]):
        below = LAYERS[LAYERS.index(name) - 1] if name != "C1" else None
        # What the layer below hands up: its maps, pooled where it pools; under C1 the image.
        shape = passed.maps[below].shape[:2] if below else size
        if below and CONVOLUTIONS[below].pool:
            y = transposed(y, params[name]["kernel"], name, passed.switches[below].shape[:2])
            y = unpool(y, passed.switches[below], shape)
        else:
            y = transposed(y, params[name]["kernel"], name, shape)
        if below:
            y = jax.nn.relu(y)
    return y


def strongest(params: Params, gray: np.ndarray, lrn: bool, count: int) -> dict[str, tuple]:
    """For each layer, the numbers (k,) of the `count` maps that a region raises most in sum, and
    their projections (k, s, s) float32, summed over the three equal channels.

    `gray` (s, s) is standardized. A negative projection says darker, a positive one brighter.
    """
    passed, found = _forward(params, _three(gray), lrn), {}
    for layer in LAYERS:
        raised = np.asarray(passed.maps[layer].sum((0, 1)))
        which = np.argsort(-raised, kind="stable")[:count]
        maps = _project(params, passed, layer, jnp.asarray(which), gray.shape)
        found[layer] = (which, np.asarray(maps))
    return found


def _three(gray: np.ndarray) -> jax.Array:
    return jnp.repeat(jnp.asarray(gray, jnp.float32)[..., None], 3, axis=-1)


_forward = jax.jit(forward, static_argnums=2)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _project(
    params: Params, passed: Passed, layer: str, features: jax.Array, size: tuple[int, int]
) -> jax.Array:
    def one(feature: jax.Array) -> jax.Array:
        return project(params, passed, layer, feature, size).sum(-1)

    return jax.vmap(one)(features)


def _windows(x: jax.Array) -> jax.Array:
    """(9, h', w', c): the nine places of each window, by row and then column."""
    rows, columns = ((n - WINDOW) // STRIDE + 1 for n in x.shape[:2])
    return jnp.stack(
        [
            x[i : i + STRIDE * (rows - 1) + 1 : STRIDE, j : j + STRIDE * (columns - 1) + 1 : STRIDE]
            for i in range(WINDOW)
            for j in range(WINDOW)
        ]
    )
