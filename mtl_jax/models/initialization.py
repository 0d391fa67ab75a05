"""Initialization schemes: random weights of new layers, and how the optimizer treats biases."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mtl_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Initialization:
    """Initial weights of the layers, and the learning rate and decay of their biases.

    `kernel_std` is the standard deviation of zero-mean normal kernels by layer; other layers keep
    the kernel of the network module: He-normal, and normal with standard deviation 0.01 in F5.
    """

    kernel_std: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bias: Mapping[str, float] = dataclasses.field(default_factory=dict)  # constant; 0 elsewhere
    bias_rate: float = 1.0  # learning rate of every bias as a multiple of the kernels'
    decay_biases: bool = True


_FULLY_CONNECTED_STD = dict.fromkeys(("F1", "F2", "F3", "F4", "F5"), 0.01)

INITIALIZATIONS: Mapping[str, Initialization] = {
    # He et al. 2015 (arXiv:1502.01852), with the bias rule of PyTorch's SGD.
    "he": Initialization(),
    # Krizhevsky et al. 2012, section 5. The update equation there decays every parameter, with
    # "an equal learning rate for all layers".
    "krizhevsky2012": Initialization(
        kernel_std=dict.fromkeys(("C1", "C2", "C3", "C4", "C5"), 0.01) | _FULLY_CONNECTED_STD,
        bias=dict.fromkeys(("C2", "C4", "C5", "F1", "F2", "F3", "F4"), 1.0),
    ),
    # cuda-convnet2, layers/layers-imagenet-1gpu.cfg and layer-params-imagenet-1gpu.cfg. The bias
    # of -7 there in the layer of 1000 nodes is for a softmax output. Here that layer is F3, a
    # hidden layer whose initial activations are at most 3: -7 would make every node dead. So its
    # biases are 0, as in F4 and F5, which the software does not define.
    "cuda_convnet2": Initialization(
        kernel_std={"C1": 0.01, "C2": 0.01, "C3": 0.03, "C4": 0.03, "C5": 0.03}
        | _FULLY_CONNECTED_STD,
        bias=dict.fromkeys(("C2", "C4", "C5", "F1", "F2"), 1.0),
        bias_rate=2.0,
        decay_biases=False,
    ),
}


def reinitialize(params: Params, key: jax.Array, scheme: Initialization) -> Params:
    """Return `params` with the random kernels and constant biases that `scheme` defines.

    Only layers of one kernel and one bias are changed. The stages of other backbones have further
    parameters and keep their initial weights: the schemes define AlexNet's layers.
    """
    new_params = dict(params)
    for number, name in enumerate(sorted(params)):
        layer = params[name]
        if set(layer) != {"kernel", "bias"}:
            continue
        kernel, bias = layer["kernel"], layer["bias"]
        if name in scheme.kernel_std:
            unit = jax.random.normal(jax.random.fold_in(key, number), kernel.shape, kernel.dtype)
            kernel = scheme.kernel_std[name] * unit
        if name in scheme.bias:
            bias = jnp.full_like(bias, scheme.bias[name])
        new_params[name] = {"kernel": kernel, "bias": bias}
    return new_params
