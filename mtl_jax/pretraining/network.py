"""AlexNet with the head of the source task: its layers, their start, their logits and its export.

The convolutions are those of `models.alexnet`; here they can be written in a form that learns
faster and is plain AlexNet again when the training ends.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import weights
from mtl_jax.models import alexnet
from mtl_jax.types import InputError, Params

HIDDEN = 4096  # F1 and F2 of Krizhevsky et al. 2012
RECTIFIED = 1 / np.sqrt(0.5 - 1 / (2 * np.pi))


class Form(NamedTuple):
    """How the network is built. `head`: two hidden layers with dropout, or the mean of the last
    map; `standardized`: each kernel is used minus its mean, divided by its standard deviation,
    times a gain that is learned (Brock et al. 2021, arXiv:2101.08692)."""

    size: int
    channels: int
    classes: int
    head: str
    initialization: str  # of C1: random or analytic
    standardized: bool
    half: bool  # compute in bfloat16; parameters stay float32


def init(form: Form, key: jax.Array) -> Params:
    """He-normal kernels, or Gabor filters in C1; zero biases; an indifferent last layer."""
    params: Params = {}
    wide = form.channels
    for name, layer in alexnet.CONVOLUTIONS.items():
        shape = (layer.size, layer.size, wide, layer.features)
        key, own = jax.random.split(key)
        params[name] = _layer(own, shape, np.sqrt(2 / np.prod(shape[:3])))
        wide = layer.features
    if form.initialization == "analytic":
        bank = weights.make_gabor_bank(channels=form.channels)
        params["C1"]["kernel"] = jnp.asarray(bank)
    if form.standardized:
        for name in alexnet.CONVOLUTIONS:
            params[name]["gain"] = jnp.ones(params[name]["bias"].shape)
    if form.head == "fully_connected":
        wide *= _last_map(form.size) ** 2
        for name in ("F1", "F2"):
            key, own = jax.random.split(key)
            params[name] = _layer(own, (wide, HIDDEN), np.sqrt(2 / wide))
            wide = HIDDEN
    return params | {"classes": _layer(key, (wide, form.classes), 0.01)}


def logits(
    form: Form,
    params: Params,
    images: jax.Array,
    dropout: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Return (n, classes) float32 of `images` (n, size, size, channels); dropout where `key` is
    given."""
    x, plain = images, convolutions(form, params)
    head = {name: layer for name, layer in params.items() if name not in plain}
    if form.half:
        x, plain, head = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (x, plain, head))
    x = alexnet.forward(plain, x, "C1", "C5")
    x = x.mean((1, 2)) if form.head == "pooled" else x.reshape(len(x), -1)
    for number, name in enumerate(sorted(head.keys() - {"classes"})):
        x = jax.nn.relu(x @ head[name]["kernel"] + head[name]["bias"])
        if key is not None and dropout:
            kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
            x = jnp.where(kept, x / (1 - dropout), 0)
    return (x @ head["classes"]["kernel"] + head["classes"]["bias"]).astype(jnp.float32)


def convolutions(form: Form, params: Params) -> Params:
    """C1 to C5 as plain AlexNet has them: kernel and bias, three channels in C1.

    A kernel that sees gray is shared out over three equal channels: on gray that is repeated into
    them it answers the same.
    """
    plain: Params = {}
    for name in alexnet.CONVOLUTIONS:
        kernel = params[name]["kernel"]
        if form.standardized:
            fan_in = np.prod(kernel.shape[:3])
            centred = kernel - kernel.mean((0, 1, 2))
            scale = jax.lax.rsqrt(fan_in * (centred**2).mean((0, 1, 2)) + 1e-8)
            # After the rectifier a unit normal has variance 1/2 - 1/(2 pi) about its mean, and
            # kernels of zero mean see no mean.
            kernel = centred * scale * params[name]["gain"] * RECTIFIED
        if kernel.shape[2] == 1:
            kernel = jnp.repeat(kernel / 3, 3, axis=2)
        plain[name] = {"kernel": kernel, "bias": params[name]["bias"]}
    return plain


def _layer(key: jax.Array, shape: tuple[int, ...], scale: float) -> dict[str, jax.Array]:
    return {"kernel": scale * jax.random.normal(key, shape), "bias": jnp.zeros(shape[-1])}


def _last_map(size: int) -> int:
    """Return rows of the map behind C5."""
    for layer in alexnet.CONVOLUTIONS.values():
        size = (size + 2 * layer.pad - layer.size) // layer.stride + 1
        size = (size - 3) // 2 + 1 if layer.pool else size
    if size < 1:
        raise InputError(
            "config.pretraining.size is too small for five convolutions; 64 is the least"
        )
    return size
