"""Feature maps projected back to the pixels that raised them: the deconvolutional network of Zeiler
and Fergus 2014.

Each step back is the transpose of the step forward: a pool gives its value back to the pixel that
was the largest (its switch), a convolution is applied with its filters transposed, and what is
negative on the way is cut off. Biases and response normalization are left out on the way back. That
is defined for a chain of convolutions; a network of sums, such as ResNet-18, has no such maps.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from mtl_jax.analysis.conv_chain import ConvSpec, convolution_chain
from mtl_jax.models.base import Network
from mtl_jax.models.response_norm import local_response_normalization
from mtl_jax.types import Params

STRIDE = 2  # of the pools


class Passed(NamedTuple):
    """What the way forward leaves: by convolution, the rectified maps (h, w, c) before any pool,
    and the switches of its pool, (h', w', c) int32, the place in the window, by row and column."""

    maps: dict[str, jax.Array]
    switches: dict[str, jax.Array]


def convolve(x: jax.Array, kernel: jax.Array, link: ConvSpec) -> jax.Array:
    """Return the convolution of `link` without bias: `x` (h, w, c), `kernel` HWIO."""
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        (link.stride, link.stride),
        (link.pad, link.pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[0]


def transposed(y: jax.Array, kernel: jax.Array, link: ConvSpec, size: tuple[int, int]) -> jax.Array:
    """Return the transpose of `convolve`: maps `y` (h, w, c) back to (*size, channels)."""
    like = jax.ShapeDtypeStruct((*size, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: convolve(x, kernel, link), like)(y)[0]


def pool(x: jax.Array, window: int = 3) -> tuple[jax.Array, jax.Array]:
    """Return the maximum of each window (stride 2) and its index; of ties, the first."""
    windows = _windows(x, window)
    switch = windows.argmax(0)
    return jnp.take_along_axis(windows, switch[None], 0)[0], switch


def unpool(y: jax.Array, switch: jax.Array, size: tuple[int, int], window: int = 3) -> jax.Array:
    """Return each value of `y` (h', w', c) back where `switch` says, all else 0. Values of
    overlapping windows that meet on a pixel are added."""

    def chosen(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(_windows(x, window), switch[None], 0)[0]

    like = jax.ShapeDtypeStruct((*size, y.shape[-1]), y.dtype)
    return jax.linear_transpose(chosen, like)(y)[0]


def forward(params: Params, image: jax.Array, links: Sequence[ConvSpec]) -> Passed:
    """Return `image` (128, 128, 3) standardized through all `links`, with the switches of the
    pools."""
    maps, switches, x, own = {}, {}, image, flatten_dict(params, sep="/")
    for link in links:
        x = convolve(x, own[f"{link.path}/kernel"], link) + own[f"{link.path}/bias"]
        x = x if link.lrn and link.lrn.before_rectifier else jax.nn.relu(x)
        if link.lrn:
            x = jax.nn.relu(local_response_normalization(x[None], link.lrn)[0])
        maps[link.path] = x
        if link.pool:
            x, switches[link.path] = pool(x, link.pool)
    return Passed(maps, switches)


def project(
    params: Params,
    passed: Passed,
    links: Sequence[ConvSpec],
    feature: jax.Array,
    size: tuple[int, int],
) -> jax.Array:
    """Return what map number `feature` of the last of `links` saw, (*size, 3): all its other maps
    are 0. `links` begin with the first convolution."""
    found, own = passed.maps[links[-1].path], flatten_dict(params, sep="/")
    y = found * (jnp.arange(found.shape[-1]) == feature)
    for below, link in reversed(list(zip((None, *links), links, strict=False))):
        kernel = own[f"{link.path}/kernel"]
        if below is None:
            return transposed(y, kernel, link, size)
        # What the convolution below hands up: its maps, pooled where it pools.
        shape = passed.maps[below.path].shape[:2]
        if below.pool:
            switch = passed.switches[below.path]
            y = transposed(y, kernel, link, switch.shape[:2])
            y = unpool(y, switch, shape, below.pool)
        else:
            y = transposed(y, kernel, link, shape)
        y = jax.nn.relu(y)
    raise ValueError("no links")


def strongest(
    network: Network, params: Params, gray: np.ndarray, count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each of C1..C5, the numbers (k,) of the `count` maps that an ROI raises most in sum,
    and their projections (k, s, s) float32, summed over the three equal channels. Of a layer of
    several convolutions its last one's. Empty where the network is no chain.

    `gray` (s, s) is standardized. A negative projection says darker, a positive one brighter.
    """
    links = convolution_chain(network)
    if not links:
        return {}
    passed, found = _forward(params, _three(gray), links), {}
    for end, link in enumerate(links, 1):
        if end < len(links) and links[end].layer == link.layer:
            continue
        raised = np.asarray(passed.maps[link.path].sum((0, 1)))
        which = np.argsort(-raised, kind="stable")[:count]
        maps = _project(params, passed, links[:end], jnp.asarray(which), gray.shape)
        found[link.layer] = (which, np.asarray(maps))
    return found


def _three(gray: np.ndarray) -> jax.Array:
    return jnp.repeat(jnp.asarray(gray, jnp.float32)[..., None], 3, axis=-1)


_forward = jax.jit(forward, static_argnums=2)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _project(
    params: Params,
    passed: Passed,
    links: tuple[ConvSpec, ...],
    features: jax.Array,
    size: tuple[int, int],
) -> jax.Array:
    def one(feature: jax.Array) -> jax.Array:
        return project(params, passed, links, feature, size).sum(-1)

    return jax.vmap(one)(features)


def _windows(x: jax.Array, window: int) -> jax.Array:
    """Return (window ** 2, h', w', c): the places of each window, by row and then column."""
    rows, columns = ((n - window) // STRIDE + 1 for n in x.shape[:2])
    return jnp.stack(
        [
            x[i : i + STRIDE * (rows - 1) + 1 : STRIDE, j : j + STRIDE * (columns - 1) + 1 : STRIDE]
            for i in range(window)
            for j in range(window)
        ]
    )
