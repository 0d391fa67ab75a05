"""Base class of the networks: the layer names, the fully connected layers, partial application.

The module of each backbone adds its stages.
"""

import abc
import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from mtl_jax.models.initialization import INITIALIZATIONS, reinitialize
from mtl_jax.models.precision import FLOAT32, matmul_precision
from mtl_jax.models.resample import resample
from mtl_jax.models.response_norm import Normalization
from mtl_jax.types import ROI_PIXELS, InputError, Params

FULLY_CONNECTED = {"F1": 4096, "F2": 4096, "F3": 1000, "F4": 100}  # nodes; then F5, the outputs
DROPOUT_LAYERS = ("F1", "F2")  # as in Krizhevsky et al. 2012, section 4.2


class ConvSpec(NamedTuple):
    """One convolution of a network that is a chain of convolutions."""

    path: str  # of its parameters, 'C1' or 'C1/conv2'
    stride: int
    pad: tuple[int, int]  # zeros before and after the rows and columns of its input
    lrn: Normalization | None
    pool: int  # window of the max pooling of stride 2 after it; 0 for none

    @property
    def layer(self) -> str:
        return self.path.split("/")[0]


class Network(nn.Module):
    """The stages of a backbone, then F1 to F5 of Samala et al. 2017, Table 3.

    A subclass defines the modules of its stages (`stage`) and may redefine their number, the size
    that images are resampled to, and the input of F1 (`flatten`). `outputs` is 2 for each task.
    """

    stages: ClassVar[tuple[str, ...]] = ("C1", "C2", "C3", "C4", "C5")  # what can be frozen
    input_size: ClassVar[int | None] = None  # in pixels; None: ROIs as they are

    outputs: int = 2
    dropout: float = 0.0

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers in order, C1 ... F5."""
        return (*self.stages, *FULLY_CONNECTED, "F5")

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        first: str = "C1",
        last: str = "F5",
        train: bool = False,
        precision: str = FLOAT32,
    ) -> jax.Array:
        """Apply layers `first` to `last`, both included, to `x`; `train` applies dropout.

        `x` are images (n, 128, 128, 3), resampled to `input_size` before C1, or the output of the
        layer before `first`. Gray images may have one channel (n, 128, 128, 1), which costs a third
        of three equal channels. The result is the output after rectifier, normalization and
        pooling; for F5 the logits (n, outputs). `precision` is that of products and convolutions
        (`models.precision`), on any device and whatever JAX's default is.
        """
        with matmul_precision(precision):
            return self._apply_layers(x, first, last, train)

    def _apply_layers(self, x: jax.Array, first: str, last: str, train: bool) -> jax.Array:
        for name in self.layers_between(first, last):
            if name in self.stages:
                if name == self.stages[0] and self.input_size:
                    x = resample(x, self.input_size)
                x = self.stage(name)(x)
            elif name == "F5":
                # Small kernels give probabilities of 0.5 at first, a loss of ln 2.
                kernel_init = nn.initializers.normal(0.01)
                x = nn.Dense(self.outputs, kernel_init=kernel_init, name=name)(x)
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
        """Return the module of this name, one of `stages`."""

    def flatten(self, x: jax.Array) -> jax.Array:
        """Return the input of F1: the last map (n, h, w, c) as (n, h w c), row-major."""
        return x.reshape(x.shape[0], -1)  # len(x) fails on a symbolic batch size

    def fields(self) -> dict[str, Any]:
        """Return everything that distinguishes this network from others, for records and keys."""
        names = [field.name for field in dataclasses.fields(self)]
        fields = {name: getattr(self, name) for name in names if name not in ("parent", "name")}
        size = {"input_size": self.input_size} if self.input_size else {}
        return {"backbone": type(self).__name__, **size, **fields}

    def convolution_chain(self) -> tuple[ConvSpec, ...]:
        """Return the stages as a chain of convolutions; () if they are not such a chain.

        Deconvolution maps and the ONNX export need it.
        """
        return ()

    def layers_between(self, first: str, last: str) -> tuple[str, ...]:
        """Return the layer names from `first` to `last`, both included."""
        layers = self.layers
        for name in (first, last):
            if name not in layers:
                raise InputError(f"layer {name!r} is unknown: expected one of {', '.join(layers)}")
        return layers[layers.index(first) : layers.index(last) + 1]


class Convolution(nn.Module):
    """A convolution with bias, without activation."""

    features: int
    size: int
    stride: int = 1
    pad: int | tuple[int, int] = 0  # zeros on all sides, or before and after rows and columns
    gray: bool = False  # accept one channel instead of three equal ones
    scale: float = 2.0  # variance of the initial kernels times fan-in

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolution of `x` (n, h, w, c), of shape (n, h', w', features)."""
        channels = 3 if self.gray else x.shape[-1]
        shape = (self.size, self.size, channels, self.features)
        kernel_init = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        kernel = self.param("kernel", kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if x.shape[-1] == 1 < channels:
            # Summing the kernels over the channels gives the same map as three equal channels,
            # and the same gradient of each kernel.
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


@functools.partial(jax.jit, static_argnums=(0, 2))  # compiled once for all runs
def init(network: Network, key: jax.Array, initialization: str = "he") -> Params:
    """Return random parameters by the named scheme of `models.initialization`, with zero biases."""
    params = network.init(key, jnp.zeros((1, ROI_PIXELS, ROI_PIXELS, 3)))["params"]
    return reinitialize(params, key, INITIALIZATIONS[initialization])


@functools.cache
def param_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its path, such as 'C1/kernel'."""
    image = _like((1, ROI_PIXELS, ROI_PIXELS, 3))
    tree = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    return {path: value.shape for path, value in flatten_dict(tree, sep="/").items()}


@functools.cache
def output_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of the output of every layer for one ROI, without the axis of the ROIs."""
    params = {path: _like(shape) for path, shape in param_shapes(network).items()}
    variables = {"params": unflatten_dict(params, sep="/")}
    x, shapes = _like((1, ROI_PIXELS, ROI_PIXELS, 3)), {}
    for name in network.layers:
        x = jax.eval_shape(functools.partial(network.apply, first=name, last=name), variables, x)
        shapes[name] = x.shape[1:]
    return shapes


@functools.cache
def try_network(network: Network, channels: int) -> None:
    """Apply all layers to one ROI of 1 or 3 channels without computing; raise what they raise."""
    params = {path: _like(shape) for path, shape in param_shapes(network).items()}
    variables = {"params": unflatten_dict(params, sep="/")}
    jax.eval_shape(network.apply, variables, _like((1, ROI_PIXELS, ROI_PIXELS, channels)))


def _like(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
