"""Initial weights of new layers, and the optimizer's rule for biases, by name of the scheme.

Knows layer names and parameters. It does not know a network module, training or pretrained weights.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mtl_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Initialization:
    """How layers start, and how their biases are learned.

    Parameters
    ----------
    kernel_std : mapping of str to float
        Standard deviation of the zero-mean normal kernels by layer. A layer that is not listed
        keeps the kernel of the network module: He-normal, and normal with 0.01 in F5.
    bias : mapping of str to float
        Constant biases by layer; 0 in a layer that is not listed.
    bias_rate : float
        Learning rate of every bias as a multiple of the kernels'.
    decay_biases : bool
        Whether weight decay applies to biases as well.
    """

    kernel_std: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bias: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bias_rate: float = 1.0
    decay_biases: bool = True


_FULLY_CONNECTED_STD = dict.fromkeys(("F1", "F2", "F3", "F4", "F5"), 0.01)

INITIALIZATIONS: Mapping[str, Initialization] = {
    # He et al. 2015 (arXiv:1502.01852), with the bias rule of PyTorch's SGD.
    "he": Initialization(),
    # Krizhevsky et al. 2012, section 5. Its one update equation decays every parameter, and it
    # uses "an equal learning rate for all layers".
    "krizhevsky2012": Initialization(
        kernel_std=dict.fromkeys(("C1", "C2", "C3", "C4", "C5"), 0.01) | _FULLY_CONNECTED_STD,
        bias=dict.fromkeys(("C2", "C4", "C5", "F1", "F2", "F3", "F4"), 1.0),
    ),
    # cuda-convnet2, layers/layers-imagenet-1gpu.cfg and layer-params-imagenet-1gpu.cfg. Its bias
    # of -7 in the layer of 1000 nodes is for a softmax output. Here that layer, F3, is hidden
    # behind a rectifier whose input is at most 3 at the start: -7 makes every node dead. F3 starts
    # at 0, as do F4 and F5, which the software does not define.
    "cuda_convnet2": Initialization(
        kernel_std={"C1": 0.01, "C2": 0.01, "C3": 0.03, "C4": 0.03, "C5": 0.03}
        | _FULLY_CONNECTED_STD,
        bias=dict.fromkeys(("C2", "C4", "C5", "F1", "F2"), 1.0),
        bias_rate=2.0,
        decay_biases=False,
    ),
}


def reinitialize(params: Params, key: jax.Array, scheme: Initialization) -> Params:
    """Return `params` with the kernels and biases that `scheme` defines drawn from `key`.

    Only layers that consist of one kernel and one bias are changed. The convolutional blocks of
    VGG16 and ResNet-18 hold several and keep their start: the schemes define AlexNet's layers.
    """
    changed = dict(params)
    for number, name in enumerate(sorted(params)):
        layer = params[name]
        if "kernel" not in layer:
            continue
        kernel, bias = layer["kernel"], layer["bias"]
        if name in scheme.kernel_std:
            draw = jax.random.normal(jax.random.fold_in(key, number), kernel.shape, kernel.dtype)
            kernel = scheme.kernel_std[name] * draw
        if name in scheme.bias:
            bias = jnp.full_like(bias, scheme.bias[name])
        changed[name] = {"kernel": kernel, "bias": bias}
    return changed
