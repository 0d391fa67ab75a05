"""Deconvolution maps: feature maps projected back to pixels (Zeiler and Fergus 2014).

Each backward step is the transpose of the forward step: max pooling returns its value to the pixel
that was the largest (its switch), a convolution is applied with transposed filters, and negative
values are set to 0 in between. Biases and response normalization are left out on the way back. This
is defined for a chain of convolutions; networks with skip connections, such as ResNet-18, have no
such maps.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from mtl_jax.models.base import ConvSpec, Network
from mtl_jax.models.max_pool import pool_views
from mtl_jax.models.response_norm import local_response_normalization
from mtl_jax.types import Params


class ForwardPass(NamedTuple):
    """The results of the forward pass, by the path of the convolution."""

    maps: dict[str, jax.Array]  # rectified (h, w, c), before any pooling
    switches: dict[str, jax.Array]  # (h', w', c) int32: position of the maximum in each window


def convolve(x: jax.Array, kernel: jax.Array, conv: ConvSpec) -> jax.Array:
    """Return the convolution `conv` of `x` (h, w, c) with `kernel` HWIO, without bias."""
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        (conv.stride, conv.stride),
        (conv.pad, conv.pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[0]


def transposed_convolution(
    y: jax.Array, kernel: jax.Array, conv: ConvSpec, size: tuple[int, int]
) -> jax.Array:
    """Return the transpose of `convolve`: maps `y` (h, w, c) back to (*size, channels)."""
    like = jax.ShapeDtypeStruct((*size, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: convolve(x, kernel, conv), like)(y)[0]


def max_pool(x: jax.Array, window: int = 3) -> tuple[jax.Array, jax.Array]:
    """Return the maximum of each window, stride 2, and its (first) position in the window."""
    windows = _windows(x, window)
    switch = windows.argmax(0)
    return jnp.take_along_axis(windows, switch[None], 0)[0], switch


def max_unpool(
    y: jax.Array, switch: jax.Array, size: tuple[int, int], window: int = 3
) -> jax.Array:
    """Return each value of `y` (h', w', c) to the position in `switch`; overlaps are added."""

    def select(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(_windows(x, window), switch[None], 0)[0]

    like = jax.ShapeDtypeStruct((*size, y.shape[-1]), y.dtype)
    return jax.linear_transpose(select, like)(y)[0]


def forward(params: Params, image: jax.Array, convs: Sequence[ConvSpec]) -> ForwardPass:
    """Return the maps and switches of all `convs` for a standardized `image` (128, 128, 3)."""
    maps, switches, x, weights = {}, {}, image, flatten_dict(params, sep="/")
    for conv in convs:
        x = convolve(x, weights[f"{conv.path}/kernel"], conv) + weights[f"{conv.path}/bias"]
        x = x if conv.lrn and conv.lrn.before_rectifier else jax.nn.relu(x)
        if conv.lrn:
            x = jax.nn.relu(local_response_normalization(x[None], conv.lrn)[0])
        maps[conv.path] = x
        if conv.pool:
            x, switches[conv.path] = max_pool(x, conv.pool)
    return ForwardPass(maps, switches)


def project(
    params: Params,
    passed: ForwardPass,
    convs: Sequence[ConvSpec],
    feature: jax.Array,
    size: tuple[int, int],
) -> jax.Array:
    """Return the projection (*size, 3) of one feature map, with all others set to 0.

    It is map number `feature` of the last of `convs`, which begin with the first convolution.
    """
    maps, weights = passed.maps[convs[-1].path], flatten_dict(params, sep="/")
    y = maps * (jnp.arange(maps.shape[-1]) == feature)
    for below, conv in reversed(list(zip((None, *convs), convs, strict=False))):
        kernel = weights[f"{conv.path}/kernel"]
        if below is None:
            return transposed_convolution(y, kernel, conv, size)
        # The input of `conv`: the maps of the convolution below, pooled if it has a pooling.
        shape = passed.maps[below.path].shape[:2]
        switch = passed.switches.get(below.path)
        y = transposed_convolution(y, kernel, conv, switch.shape[:2] if below.pool else shape)
        y = jax.nn.relu(max_unpool(y, switch, shape, below.pool) if below.pool else y)
    raise ValueError("no convolutions")


def strongest_maps(
    network: Network, params: Params, gray: np.ndarray, count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the numbers (k,) of the strongest maps of each of C1..C5, and their projections.

    They are the `count` maps with the largest sums for a standardized ROI (s, s), of the last
    convolution of a layer. The projections (k, s, s) float32 are summed over the three equal
    channels; a positive value is brighter, a negative one darker. Empty if the network is not a
    chain of convolutions.
    """
    convs = network.convolution_chain()
    if not convs:
        return {}
    image = jnp.repeat(jnp.asarray(gray, jnp.float32)[..., None], 3, axis=-1)
    passed, strongest = _forward(params, image, convs), {}
    for end, conv in enumerate(convs, 1):
        if end < len(convs) and convs[end].layer == conv.layer:
            continue
        sums = np.asarray(passed.maps[conv.path].sum((0, 1)))
        numbers = np.argsort(-sums, kind="stable")[:count]
        maps = _project(params, passed, convs[:end], jnp.asarray(numbers), gray.shape)
        strongest[conv.layer] = (numbers, np.asarray(maps))
    return strongest


_forward = jax.jit(forward, static_argnums=2)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _project(
    params: Params,
    passed: ForwardPass,
    convs: tuple[ConvSpec, ...],
    features: jax.Array,
    size: tuple[int, int],
) -> jax.Array:
    def project_one(feature: jax.Array) -> jax.Array:
        return project(params, passed, convs, feature, size).sum(-1)

    return jax.vmap(project_one)(features)


def _windows(x: jax.Array, window: int) -> jax.Array:
    """Return (window ** 2, h', w', c): the pixels of each window, by row and then column."""
    return jnp.concatenate(pool_views(x[None], window))
