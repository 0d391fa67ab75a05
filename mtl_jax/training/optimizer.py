"""Optimizers of `config.train.optimizer`, and the frozen layers, which no optimizer changes.

An optimizer gives the direction that the step multiplies by minus the learning rate, which is an
argument of the step: runs of different length share one compiled program.
"""

import functools
from collections.abc import Callable

import jax
import optax
from ml_collections import ConfigDict

from mtl_jax.config import freeze_depth
from mtl_jax.models.initialization import INITIALIZATIONS
from mtl_jax.types import Params


def frozen_layers(network: str) -> tuple[str, ...]:
    """Return the frozen layers: ('C1', 'C2') for 'C1-C2', () for 'C0' (section 2.3)."""
    return tuple(f"C{number}" for number in range(1, freeze_depth(network) + 1))


@functools.cache
def sgd(
    momentum: float, weight_decay: float, decay_biases: bool = True
) -> optax.GradientTransformation:
    """Return the direction of stochastic gradient descent with momentum (section 2.2).

    For a parameter w with gradient g: v <- momentum v + (g + weight_decay w), and the step does
    w <- w - rate v. This is PyTorch's SGD. cuda-convnet, the paper's software, keeps the rate
    inside the velocity, which is the same for a constant rate. With a decreasing rate its velocity
    includes the earlier, higher rates (by the paper's schedule a negligible factor of 25^(1/steps)
    per step).
    """
    return optax.chain(_decay(weight_decay, decay_biases), optax.trace(momentum))


@functools.cache
def adamw(weight_decay: float, decay_biases: bool = True) -> optax.GradientTransformation:
    """Return the direction of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).

    The moments decay by 0.9 and 0.999, epsilon is 1e-8. The decay is decoupled and multiplied by
    the learning rate, as in PyTorch.
    """
    return optax.chain(optax.scale_by_adam(), _decay(weight_decay, decay_biases))


# Each entry takes config.train, and whether weight decay applies to biases too.
OPTIMIZERS: dict[str, Callable[[ConfigDict, bool], optax.GradientTransformation]] = {
    "sgd": lambda train, decay_biases: sgd(train.momentum, train.weight_decay, decay_biases),
    "adamw": lambda train, decay_biases: adamw(train.weight_decay, decay_biases),
}


def make_optimizer(
    train: ConfigDict, frozen: tuple[str, ...], initialization: str = "he"
) -> optax.GradientTransformation:
    """Return the optimizer of config.train for the layers that are not `frozen`.

    The initialization scheme determines how biases are trained: with which multiple of the
    learning rate, and whether with weight decay (cuda-convnet decays kernels only, PyTorch biases
    too).
    """
    biases = INITIALIZATIONS[initialization]
    optimizer = OPTIMIZERS[train.optimizer](train, biases.decay_biases)
    return freeze(optimizer, frozen, biases.bias_rate)


@functools.cache
def freeze(
    optimizer: optax.GradientTransformation, frozen: tuple[str, ...], bias_rate: float = 1.0
) -> optax.GradientTransformation:
    """Return `optimizer` for all layers except the `frozen` ones.

    The direction of biases is multiplied by `bias_rate`. A frozen layer has no optimizer state, and
    its parameters stay bit-identical.
    """

    def labels(params: Params) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    if bias_rate != 1:
        optimizer = optax.chain(optimizer, optax.masked(optax.scale(bias_rate), _mask("bias")))
    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def _decay(weight_decay: float, decay_biases: bool) -> optax.GradientTransformation:
    return optax.add_decayed_weights(weight_decay, None if decay_biases else _mask("kernel"))


def _mask(leaf: str) -> Callable[[Params], Params]:
    """Return a function for the tree with True at leaves of this name and False elsewhere."""
    return functools.partial(jax.tree_util.tree_map_with_path, lambda path, _: path[-1].key == leaf)
