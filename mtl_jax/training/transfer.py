"""Which layers of the pretrained network stay frozen, and how the others learn."""

import jax
import optax

from mtl_jax.config import NETWORKS
from mtl_jax.models.network import CONVOLUTIONAL
from mtl_jax.nouns import InputError, Params


def frozen_layers(network: str) -> tuple[str, ...]:
    """('C1', 'C2') for 'C1-C2'; () for 'C0' (section 2.3)."""
    if network not in NETWORKS:
        raise InputError(f"unknown network {network!r}: choose one of {', '.join(NETWORKS)}")
    depth = 0 if network == "C0" else int(network[-1])
    return CONVOLUTIONAL[:depth]


def optimizer(
    frozen: tuple[str, ...], momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Direction of stochastic gradient descent; the step multiplies it by minus the learning rate.

    For a trained parameter w with gradient g: v <- momentum v + (g + weight_decay w), and the step
    does w <- w - rate v, which is PyTorch's SGD to the letter. cuda-convnet, the paper's software,
    keeps the rate inside the velocity: v <- momentum v - rate (g + weight_decay w), w <- w + v.
    At a constant rate the two are the same; under a falling rate cuda-convnet's velocity remembers
    the earlier, higher rates (with the paper's schedule a factor of 25^(1/steps) a step, which is
    next to nothing). cuda-convnet decays weights only, PyTorch and this one biases too.

    Decay and momentum stand inside the trained branch: a frozen layer has no optimizer state and
    moves by exactly nothing.
    """

    def labels(params: Params) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    trained = optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum))
    return optax.multi_transform({"trained": trained, "frozen": optax.set_to_zero()}, labels)


def learning_rate(step: jax.Array, steps: int, first: float, last: float) -> jax.Array:
    """Exponential fall from `first` at step 0 to `last` at step `steps` - 1 (section 2.2)."""
    return first * (last / first) ** (step / max(steps - 1, 1))
