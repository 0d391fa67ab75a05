"""Frozen layers, the optimizer of the others, and the learning rate schedule."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import optax

from mtl_jax.config import freeze_depth
from mtl_jax.types import Params


def frozen_layers(network: str) -> tuple[str, ...]:
    """Return the frozen layers: ('C1', 'C2') for 'C1-C2', () for 'C0' (section 2.3)."""
    return tuple(f"C{number}" for number in range(1, freeze_depth(network) + 1))


class SGD(NamedTuple):
    """Settings of the optimizer, without the learning rate, which is an argument of each step.

    `bias_rate` is the ratio of the learning rates of biases and kernels; with `decay_biases` weight
    decay applies to biases too.
    """

    momentum: float
    weight_decay: float
    bias_rate: float = 1.0
    decay_biases: bool = True


def make_optimizer(frozen: tuple[str, ...], sgd: SGD) -> optax.GradientTransformation:
    """Return the direction of SGD, which the step multiplies by minus the learning rate.

    For a trained parameter w with gradient g: v <- momentum v + (g + weight_decay w), and the step
    does w <- w - rate v. This is PyTorch's SGD. cuda-convnet, the paper's software, keeps the rate
    inside the velocity, which is the same for a constant rate. With a decreasing rate its velocity
    includes the earlier, higher rates (by the paper's schedule a negligible factor of 25^(1/steps)
    per step).

    For biases the direction is multiplied by `sgd.bias_rate` after the momentum, and weight decay
    applies only with `sgd.decay_biases`: cuda-convnet decays kernels only, PyTorch biases too. A
    frozen layer has no optimizer state, and its parameters stay bit-identical.
    """

    def labels(params: Params) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    decayed = None if sgd.decay_biases else _mask("kernel")
    trained = [optax.add_decayed_weights(sgd.weight_decay, decayed), optax.trace(sgd.momentum)]
    if sgd.bias_rate != 1:
        trained.append(optax.masked(optax.scale(sgd.bias_rate), _mask("bias")))
    branches = {"trained": optax.chain(*trained), "frozen": optax.set_to_zero()}
    return optax.multi_transform(branches, labels)


def _mask(leaf: str) -> Callable[[Params], Params]:
    """Return a function for the tree with True at leaves of this name and False elsewhere."""
    return partial(jax.tree_util.tree_map_with_path, lambda path, _: path[-1].key == leaf)


def learning_rate(step: jax.Array, steps: int, first: float, last: float) -> jax.Array:
    """Return the exponential decay, `first` at step 0 to `last` at `steps` - 1 (section 2.2)."""
    return first * (last / first) ** (step / max(steps - 1, 1))
