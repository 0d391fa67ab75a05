"""Several trainings that differ in their random numbers and ROIs alone, as one compiled program.

Each is a replica. Replicas lie side by side on a device (`jax.vmap`) and over devices
(`jax.pmap`), and never exchange anything: a replica gives what it would give alone, to rounding,
and to the bit whatever the other replicas hold. It knows neither files nor the model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax.training import dataset, devices

SHARE = (
    0.5  # of a device's memory that replicas may take up; maps of frozen layers have another third
)


class Replicas(NamedTuple):
    """`width` replicas on each of `devices` devices. Arrays of all replicas lead with (devices,
    width), or with (width,) where there is one device. `ragged`: some may have fewer steps than
    others."""

    devices: int
    width: int
    ragged: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.width,) if self.devices == 1 else (self.devices, self.width)

    @property
    def count(self) -> int:
        return self.devices * self.width


def make_replicas(trainings: int, device_count: int, ragged: bool = False) -> Replicas | None:
    """Replicas for so many trainings; None where each is better alone, on all devices at once."""
    if trainings < max(2, device_count):
        return None
    return Replicas(device_count, -(-trainings // device_count), ragged)


def max_runs(bytes_each: float, device_count: int) -> int:
    """Return how many trainings fit on the devices together, at least 1; on CPUs one a device,
    since there the products of one training keep all cores at work."""
    memory, host = devices.memory()
    if not host:
        return device_count
    return device_count * max(1, int(SHARE * memory / bytes_each))


def max_datasets(bytes_each: float) -> int:
    """Return how many such sources of batches fit on a device beside each other, at least 1."""
    return max(1, int(dataset.SHARE * devices.memory()[0] / bytes_each))


def stack_replicas(trees: Sequence[Any], replicas: Replicas | None) -> Any:
    """Return one tree of all replicas; replicas without a tree of their own repeat the last.
    Without replicas, the one tree itself."""
    if replicas is None:
        (tree,) = trees
        return tree
    filled = [*trees, *[trees[-1]] * (replicas.count - len(trees))]

    def one(*leaves: jax.Array) -> jax.Array:
        stacked = jnp.stack(leaves)
        return stacked.reshape(*replicas.axes, *stacked.shape[1:])

    return jax.tree.map(one, *filled)


def take_replica(tree: Any, replicas: Replicas | None, number: int) -> Any:
    """Return the tree of one replica; without replicas, the one tree itself."""
    if replicas is None:
        return tree
    place = number if replicas.devices == 1 else divmod(number, replicas.width)
    return jax.tree.map(lambda leaf: leaf[place], tree)


def jit_replicas(
    function: Callable[..., Any],
    in_axes: tuple[Any, ...],
    replicas: Replicas | None,
    **options: Any,
) -> Callable[..., Any]:
    """Return `function` compiled for one training, or for all replicas at once.

    `in_axes` as in `jax.vmap`: 0 for what each replica has its own of, None for what all share.
    """
    if replicas is None:
        return devices.jit(function, **options)
    side_by_side = jax.vmap(function, in_axes)
    if replicas.devices == 1:
        return devices.jit(side_by_side, **options)
    places = jax.local_devices()[: replicas.devices]
    return jax.pmap(side_by_side, in_axes=in_axes, devices=places, **options)
