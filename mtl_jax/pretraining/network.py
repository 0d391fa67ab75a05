"""AlexNet with the classification head of the pretraining task.

The convolutions are those of `models.alexnet`. Optional weight standardization, which trains
faster, is removed when the convolutions are exported.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import weights
from mtl_jax.models import alexnet
from mtl_jax.models.precision import compute_dtype, matmul_precision
from mtl_jax.types import Params

HIDDEN = 4096  # nodes of F1 and F2 in Krizhevsky et al. 2012
# Gain that keeps the variance at a rectifier: a rectified unit normal has variance 1/2 - 1/(2 pi).
RELU_GAIN = 1 / np.sqrt(0.5 - 1 / (2 * np.pi))


class NetworkConfig(NamedTuple):
    """Architecture of the network for pretraining."""

    size: int  # side of the images in pixels
    channels: int
    classes: int
    head: str  # fully_connected: two hidden layers with dropout; pooled: global average pooling
    initialization: str  # of C1: random (He-normal), or analytic (Gabor filters)
    # Kernels minus their mean, divided by their standard deviation, times a trained gain (Brock et
    # al. 2021, arXiv:2101.08692).
    weight_standardization: bool
    precision: str  # of the training step, as in config.train; parameters stay float32


def init(config: NetworkConfig, key: jax.Array) -> Params:
    """Return He-normal kernels (or Gabor filters in C1), zero biases and a small last layer."""
    params: Params = {}
    channels = config.channels
    for name, layer in alexnet.CONVOLUTIONS.items():
        shape = (layer.size, layer.size, channels, layer.features)
        key, layer_key = jax.random.split(key)
        params[name] = _init_layer(layer_key, shape, np.sqrt(2 / np.prod(shape[:3])))
        channels = layer.features
    if config.initialization == "analytic":
        bank = weights.make_gabor_bank(channels=config.channels)
        params["C1"]["kernel"] = jnp.asarray(bank)
    if config.weight_standardization:
        for name in alexnet.CONVOLUTIONS:
            params[name]["gain"] = jnp.ones(params[name]["bias"].shape)
    nodes = channels
    if config.head == "fully_connected":
        nodes *= _last_map_size(config.size) ** 2
        for name in ("F1", "F2"):
            key, layer_key = jax.random.split(key)
            params[name] = _init_layer(layer_key, (nodes, HIDDEN), np.sqrt(2 / nodes))
            nodes = HIDDEN
    return params | {"classes": _init_layer(key, (nodes, config.classes), 0.01)}


def logits(
    config: NetworkConfig,
    params: Params,
    images: jax.Array,
    dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Return the logits (n, classes) float32 of images; without `key` there is no dropout."""
    with matmul_precision(config.precision):
        return _logits(config, params, images, dropout, key)


def _logits(
    config: NetworkConfig,
    params: Params,
    images: jax.Array,
    dropout: float,
    key: jax.Array | None,
) -> jax.Array:
    plain = export_convolutions(config, params)
    head = {name: layer for name, layer in params.items() if name not in plain}
    dtype = compute_dtype(config.precision)
    x, plain, head = jax.tree.map(lambda a: a.astype(dtype), (images, plain, head))
    x = alexnet.forward(plain, x, "C1", "C5", precision=config.precision)
    x = x.mean((1, 2)) if config.head == "pooled" else x.reshape(len(x), -1)
    for number, name in enumerate(sorted(head.keys() - {"classes"})):
        x = jax.nn.relu(x @ head[name]["kernel"] + head[name]["bias"])
        if key is not None and dropout:
            mask = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
            x = jnp.where(mask, x / (1 - dropout), 0)
    return (x @ head["classes"]["kernel"] + head["classes"]["bias"]).astype(jnp.float32)


def export_convolutions(config: NetworkConfig, params: Params) -> Params:
    """Return C1 to C5 as plain AlexNet has them: kernel and bias, three channels in C1.

    A kernel for gray images is divided among three equal channels, so that it gives the same
    output for a gray image repeated in three channels.
    """
    plain: Params = {}
    for name in alexnet.CONVOLUTIONS:
        kernel = params[name]["kernel"]
        if config.weight_standardization:
            fan_in = np.prod(kernel.shape[:3])
            centered = kernel - kernel.mean((0, 1, 2))
            scale = jax.lax.rsqrt(fan_in * (centered**2).mean((0, 1, 2)) + 1e-8)
            kernel = centered * scale * params[name]["gain"] * RELU_GAIN
        if kernel.shape[2] == 1:
            kernel = jnp.repeat(kernel / 3, 3, axis=2)
        plain[name] = {"kernel": kernel, "bias": params[name]["bias"]}
    return plain


def _init_layer(key: jax.Array, shape: tuple[int, ...], std: float) -> dict[str, jax.Array]:
    return {"kernel": std * jax.random.normal(key, shape), "bias": jnp.zeros(shape[-1])}


def _last_map_size(size: int) -> int:
    """Return the number of rows of the output of C5 for an image of `size` pixels."""
    init = partial(alexnet.AlexNet().init_with_output, last="C5")
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(init, jax.random.key(0), image)[0].shape[1]
