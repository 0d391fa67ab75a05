"""What all networks here share: names of layers in order, the fully connected ones, layers i to j.

A backbone adds its convolutions (alexnet, vgg, resnet).
"""

import abc
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from mtl_jax.models.initialization import INITIALIZATIONS, reinitialize
from mtl_jax.types import InputError, Params

CONVOLUTIONAL = ("C1", "C2", "C3", "C4", "C5")  # a convolution, block or stage each
FULLY_CONNECTED = {"F1": 4096, "F2": 4096, "F3": 1000, "F4": 100}  # then F5, the outputs
LAYERS = (*CONVOLUTIONAL, *FULLY_CONNECTED, "F5")
DROPOUT_LAYERS = ("F1", "F2")  # as in Krizhevsky et al. 2012, section 4.2


class Network(nn.Module):
    """C1..C5 of a backbone, then F1..F5 of Table 3. `outputs` is 2 for each head.

    A backbone says what each of C1..C5 is (`stage`), and what F1 takes of the last map (`flatten`).
    """

    outputs: int = 2
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
            if name in CONVOLUTIONAL:
                x = self.stage(name)(x)
            elif name == "F5":
                # Small, so that training starts from indifference, a loss of ln 2.
                small = nn.initializers.normal(0.01)
                x = nn.Dense(self.outputs, kernel_init=small, name=name)(x)
            else:
                x = self.flatten(x) if name == "F1" else x
                dense = nn.Dense(
                    FULLY_CONNECTED[name], kernel_init=nn.initializers.he_normal(), name=name
                )
                x = nn.relu(dense(x))
                if name in DROPOUT_LAYERS:
                    x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x

    @abc.abstractmethod
    def stage(self, name: str) -> nn.Module:
        """Return the module of this name among C1..C5."""

    def flatten(self, x: jax.Array) -> jax.Array:
        """Return the last map (n, h, w, c) as F1 takes it: (n, h w c), in (row, column, channel)
        order."""
        return x.reshape(x.shape[0], -1)  # len() fails for a symbolic batch


class Convolution(nn.Module):
    """A convolution with bias, and nothing behind it."""

    features: int
    size: int
    stride: int = 1
    pad: int | tuple[int, int] = 0  # zeros around, or before and behind rows and columns
    gray: bool = False  # one channel in the place of three equal ones is taken
    scale: float = 2.0  # of the initial kernels: this over the inputs of a pixel is their variance

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return `x` (n, h, w, c) -> (n, h', w', features)."""
        channels = 3 if self.gray else x.shape[-1]
        shape = (self.size, self.size, channels, self.features)
        start = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        kernel = self.param("kernel", start, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if x.shape[-1] == 1 < channels:
            # The same channel repeated: the sum of the kernels on the one is the same map, and
            # gives each kernel the same gradient.
            kernel = kernel.sum(2, keepdims=True)
        pad = self.pad if isinstance(self.pad, tuple) else (self.pad, self.pad)
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            [pad] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return x + bias


def layers_between(first: str, last: str) -> tuple[str, ...]:
    """Layer names from `first` to `last`, both included."""
    for name in (first, last):
        if name not in LAYERS:
            raise InputError(f"no layer {name!r}: a network has {', '.join(LAYERS)}")
    return LAYERS[LAYERS.index(first) : LAYERS.index(last) + 1]


@functools.partial(jax.jit, static_argnums=(0, 2))  # compiled once for all runs
def init(network: Network, key: jax.Array, initialization: str = "he") -> Params:
    """Return random parameters by the named scheme of `models.initialization`.

    With 'he': He-normal kernels unless the backbone says otherwise (F5: normal, 0.01), zero biases.
    """
    params = network.init(key, jnp.zeros((1, 128, 128, 3)))["params"]
    return reinitialize(params, key, INITIALIZATIONS[initialization])


def param_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its path, such as 'C1/kernel'."""
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    tree = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    return {path: value.shape for path, value in flatten_dict(tree, sep="/").items()}
