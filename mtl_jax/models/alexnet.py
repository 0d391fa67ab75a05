"""AlexNet of Table 3: five convolutions, five fully connected layers, 10,446 nodes.

Layers are named C1..C5, F1..F5 and can be applied from any one to any later one, which freezing,
feature extraction and visualization all rest on. Knows nothing of training.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.nouns import InputError, Params


class Convolution(NamedTuple):
    features: int
    size: int
    stride: int
    pad: int
    pool: bool  # 3x3 maximum, stride 2


CONVOLUTIONS = {
    "C1": Convolution(64, 11, 4, 2, True),
    "C2": Convolution(192, 5, 1, 2, True),
    "C3": Convolution(384, 3, 1, 1, False),
    "C4": Convolution(256, 3, 1, 1, False),
    "C5": Convolution(256, 3, 1, 1, True),
}
FULLY_CONNECTED = {"F1": 4096, "F2": 4096, "F3": 1000, "F4": 100}  # then F5, the outputs
LAYERS = (*CONVOLUTIONS, *FULLY_CONNECTED, "F5")
DROPPED_OUT = ("F1", "F2")  # as in Krizhevsky et al. 2012, section 4.2
NORMALIZED = ("C1", "C2")  # by local response normalization, where the weights were made with it


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

        `x` is (n, 128, 128, 3), or what the layer before `first` returned. Returns the output of
        `last` after rectifier, normalization and pool; for F5 the logits (n, outputs).
        """
        for name in layers_between(first, last):
            if name in CONVOLUTIONS:
                x = self._convolve(x, name)
            elif name == "F5":
                # Small, so that training starts from indifference, a loss of ln 2.
                small = nn.initializers.normal(0.01)
                x = nn.Dense(self.outputs, kernel_init=small, name=name)(x)
            else:
                x = x.reshape(len(x), -1)
                dense = nn.Dense(
                    FULLY_CONNECTED[name], kernel_init=nn.initializers.he_normal(), name=name
                )
                x = nn.relu(dense(x))
                if name in DROPPED_OUT:
                    x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x

    def _convolve(self, x: jax.Array, name: str) -> jax.Array:
        layer = CONVOLUTIONS[name]
        convolution = nn.Conv(
            layer.features,
            (layer.size, layer.size),
            strides=layer.stride,
            padding=layer.pad,
            kernel_init=nn.initializers.he_normal(),
            name=name,
        )
        x = nn.relu(convolution(x))
        if self.lrn and name in NORMALIZED:
            x = local_response_normalization(x)
        return nn.max_pool(x, (3, 3), strides=(2, 2)) if layer.pool else x


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


def init(network: AlexNet, key: jax.Array) -> Params:
    """He-normal kernels (F5: normal, 0.01) and zero biases."""
    return jax.jit(network.init)(key, jnp.zeros((1, 128, 128, 3)))["params"]
