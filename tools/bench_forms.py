"""Train one run or replicas in forms that jobs do not use, to compare them with that of jobs.

`jax.vmap` of a step turns its convolutions into grouped ones, and the gradients of the kernels into
forward convolutions with large windows. Replicas one after another have plain convolutions.

Each form has the epoch of all replicas on one device, with the arguments and results of
`training.epoch.make_epoch`, and calls its loop as jobs do.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mtl_jax.training import dataset, devices
from mtl_jax.training.epoch import Epoch, EpochOrder, call_in_pieces, scan_steps
from mtl_jax.training.step import Metrics, Objective, make_step
from mtl_jax.types import TrainState

ALONE, SUM = "alone", "gradient of the sum"  # the forms of jobs: one run, and replicas
VMAP, MAP = "vmap of the step", "lax.map"
TakeSteps = Callable[
    [TrainState, dataset.BatchSource, EpochOrder, jax.Array], tuple[TrainState, Metrics]
]


def make_epoch(form: str, objective: Objective, optimizer: optax.GradientTransformation) -> Epoch:
    """Return the epoch of replicas in the form VMAP or MAP."""
    take_steps = scan_steps(make_step(objective, optimizer), dataset.make_batch)
    vmapped = jax.vmap(take_steps, (0, None, 0, 0))
    together = vmapped if form == VMAP else one_after_another(take_steps)
    return call_in_pieces(devices.jit(together, donate_argnums=0), 1)


def one_after_another(take_steps_of_one: TakeSteps) -> TakeSteps:
    """Return a function that takes all steps of one replica after another.

    It is `jax.lax.map` over the replicas, but their states are carried and updated in place:
    `lax.map` would copy all of them.
    """

    def take_steps(
        states: TrainState, source: dataset.BatchSource, orders: EpochOrder, keys: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(
            states: TrainState, replica: tuple[jax.Array, EpochOrder, jax.Array]
        ) -> tuple[TrainState, Metrics]:
            number, order, key = replica
            state = jax.tree.map(lambda leaf: leaf[number], states)
            state, metrics = take_steps_of_one(state, source, order, key)
            states = jax.tree.map(
                lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, number, 0),
                states,
                state,
            )
            return states, metrics

        numbers = jnp.arange(len(orders.rate))
        return jax.lax.scan(body, states, (numbers, orders, keys))

    return take_steps
