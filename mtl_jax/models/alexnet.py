"""AlexNet of Table 3: five convolutions, five fully connected layers, 10,446 nodes.

Layers are named C1..C5, F1..F5 and can be applied from any one to any later one, which freezing,
feature extraction and visualization all rest on. Knows nothing of training.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models.max_pool import max_pool
from mtl_jax.nouns import InputError, Params


class Geometry(NamedTuple):
    channels: int
    features: int
    size: int
    stride: int
    pad: int
    pool: bool  # 3x3 maximum, stride 2


CONVOLUTIONS = {
    "C1": Geometry(3, 64, 11, 4, 2, True),
    "C2": Geometry(64, 192, 5, 1, 2, True),
    "C3": Geometry(192, 384, 3, 1, 1, False),
    "C4": Geometry(384, 256, 3, 1, 1, False),
    "C5": Geometry(256, 256, 3, 1, 1, True),
}
FULLY_CONNECTED = {"F1": 4096, "F2": 4096, "F3": 1000, "F4": 100}  # then F5, the outputs
LAYERS = (*CONVOLUTIONS, *FULLY_CONNECTED, "F5")
DROPPED_OUT = ("F1", "F2")  # as in Krizhevsky et al. 2012, section 4.2
NORMALIZED = ("C1", "C2")  # by local response normalization, where the weights were made with it


class Convolution(nn.Module):
    """A convolution, rectifier, normalization where `lrn`, and pool where the layer has one."""

    layer: Geometry
    lrn: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = self.layer
        shape = (layer.size, layer.size, layer.channels, layer.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (layer.features,))
        if x.shape[-1] == 1 < layer.channels:
            # The same channel repeated: the sum of the kernels on the one is the same map, and
            # gives each kernel the same gradient.
            kernel = kernel.sum(2, keepdims=True)
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (layer.stride, layer.stride),
            [(layer.pad, layer.pad)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = x + bias
        if self.lrn:
            x = local_response_normalization(nn.relu(x))
            return max_pool(x) if layer.pool else x
        # The rectifier after the pool is the same as before it, on a quarter of the numbers.
        return nn.relu(max_pool(x) if layer.pool else x)


class AlexNet(nn.Module):
    """Maps of 31, 15, 7 and 3 pixels on 128x128 input.

    `outputs` is 2 for each head. `lrn` follows the pretrained weights: torchvision's have none.
    """

    outputs: int = 2
    lrn: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, first: str = "C1", last: str = "F5", train: bool = False
    ) -> jax.Array:
        """Applies layers `first` to `last`.

        `x` is (n, 128, 128, 3), or what the layer before `first` returned. A gray image repeated
        into three channels may be given as the one channel, (n, 128, 128, 1), at a third of the
        cost. Returns the output of `last` after rectifier, normalization and pool; for F5 the
        logits (n, outputs).
        """
        for name in layers_between(first, last):
            if name in CONVOLUTIONS:
                x = Convolution(CONVOLUTIONS[name], self.lrn and name in NORMALIZED, name=name)(x)
            elif name == "F5":
                # Small, so that training starts from indifference, a loss of ln 2.
                small = nn.initializers.normal(0.01)
                x = nn.Dense(self.outputs, kernel_init=small, name=name)(x)
            else:
                x = x.reshape(x.shape[0], -1)  # len() knows no symbolic batch
                dense = nn.Dense(
                    FULLY_CONNECTED[name], kernel_init=nn.initializers.he_normal(), name=name
                )
                x = nn.relu(dense(x))
                if name in DROPPED_OUT:
                    x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


def layers_between(first: str, last: str) -> tuple[str, ...]:
    """Layer names from `first` to `last`, both included."""
    for name in (first, last):
        if name not in LAYERS:
            raise InputError(f"no layer {name!r}: AlexNet has {', '.join(LAYERS)}")
    return LAYERS[LAYERS.index(first) : LAYERS.index(last) + 1]


def local_response_normalization(x: jax.Array) -> jax.Array:
    """`x` (n, h, w, c) normalized over channels (Krizhevsky et al. 2012, section 3.3)."""
    neighbours = jax.lax.reduce_window(
        x * x, 0.0, jax.lax.add, (1, 1, 1, 5), (1, 1, 1, 1), ((0, 0), (0, 0), (0, 0), (2, 2))
    )
    return x / (2.0 + 1e-4 * neighbours) ** 0.75


def forward(
    params: Params, x: jax.Array, first: str = "C1", last: str = "F5", lrn: bool = False
) -> jax.Array:
    """Layers `first` to `last` on `x` (NHWC float32) with `params`, without dropout."""
    outputs = params["F5"]["kernel"].shape[-1] if last == "F5" else 2
    return AlexNet(outputs, lrn).apply({"params": params}, jnp.asarray(x), first, last)


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all runs
def init(network: AlexNet, key: jax.Array) -> Params:
    """He-normal kernels (F5: normal, 0.01) and zero biases."""
    return network.init(key, jnp.zeros((1, 128, 128, 3)))["params"]


def shapes(outputs: int = 2) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shape of every parameter, by layer and leaf."""
    network = AlexNet(outputs)
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    tree = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    return {la: {leaf: v.shape for leaf, v in leaves.items()} for la, leaves in tree.items()}
