"""Replicas: several training runs as one compiled program.

The runs differ only in their random numbers and their ROIs. Replicas are batched on a device by
`jax.vmap` and over devices by `jax.pmap`, and never exchange data: each gives the result that it
gives alone up to rounding. Whatever the other replicas are, the result is bit-identical on CPUs,
and on GPUs with config.deterministic.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax.training import dataset, devices

MAX_MEMORY_SHARE = 0.5  # of a device, for replicas; the frozen-feature cache may use a third


class Replicas(NamedTuple):
    """`width` replicas on each of `devices` devices.

    Arrays of all replicas have the axes (devices, width) in front, or (width,) if there is one
    device. In `ragged` replicas some may have fewer steps than others.
    """

    devices: int
    width: int
    ragged: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.width,) if self.devices == 1 else (self.devices, self.width)

    @property
    def count(self) -> int:
        return self.devices * self.width


def make_replicas(runs: int, device_count: int, ragged: bool = False) -> Replicas | None:
    """Return replicas for `runs` runs; None if each run should use all devices on its own."""
    if runs < max(2, device_count):
        return None
    return Replicas(device_count, -(-runs // device_count), ragged)


def max_runs(bytes_each: float, device_count: int) -> int:
    """Return how many runs fit on the devices together, at least 1.

    It is one per CPU device, since the matrix products of one run keep all cores busy.
    """
    memory, host = devices.memory()
    if not host:
        return device_count
    return device_count * max(1, int(MAX_MEMORY_SHARE * memory / bytes_each))


def max_datasets(bytes_each: float) -> int:
    """Return how many datasets fit on a device together, at least 1."""
    return max(1, int(dataset.MAX_MEMORY_SHARE * devices.memory()[0] / bytes_each))


def stack_replicas(trees: Sequence[Any], replicas: Replicas | None) -> Any:
    """Return one tree with the axes of the replicas; without replicas, the only tree itself.

    Replicas in excess of `trees` repeat the last tree.
    """
    if replicas is None:
        (tree,) = trees
        return tree
    filled = [*trees, *[trees[-1]] * (replicas.count - len(trees))]

    def stack(*leaves: jax.Array) -> jax.Array:
        stacked = jnp.stack(leaves)
        return stacked.reshape(*replicas.axes, *stacked.shape[1:])

    return jax.tree.map(stack, *filled)


def take_replica(tree: Any, replicas: Replicas | None, number: int) -> Any:
    """Return the tree of one replica; without replicas, the tree itself."""
    if replicas is None:
        return tree
    index = number if replicas.devices == 1 else divmod(number, replicas.width)
    return jax.tree.map(lambda leaf: leaf[index], tree)


def jit_replicas(
    function: Callable[..., Any],
    in_axes: tuple[Any, ...],
    replicas: Replicas | None,
    **options: Any,
) -> Callable[..., Any]:
    """Return `function` compiled for one run, or for all replicas at once.

    `in_axes` is that of `jax.vmap`: 0 for arguments of each replica, None for shared arguments.
    """
    if replicas is None:
        return devices.jit(function, **options)
    vmapped = jax.vmap(function, in_axes)
    if replicas.devices == 1:
        return devices.jit(vmapped, **options)
    local_devices = jax.local_devices()[: replicas.devices]
    return jax.pmap(vmapped, in_axes=in_axes, devices=local_devices, **options)
