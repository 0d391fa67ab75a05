"""Replicas: several training runs as one compiled program.

The runs differ only in their random numbers and their ROIs. Replicas are an axis of the arrays on a
device, and `jax.pmap` divides them over devices. They never exchange data: each gives the result
that it gives alone up to rounding. Whatever the other replicas are, the result is bit-identical on
CPUs, and on GPUs with config.deterministic, where it was tried with AlexNet on one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtl_jax.training import devices

# Of the devices, for pmap and for the arrays that it receives: it would compile twice otherwise.
AXIS = "replicas"
# Replicas on a GPU: twice as many train 2 to 3% faster in all (docs/benchmarks.md), need twice the
# memory, and end later.
MAX_WIDTH = 16


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


def stack_replicas(trees: Sequence[Any], replicas: Replicas | None) -> Any:
    """Return one tree with the axes of the replicas; without replicas, the only tree itself.

    Replicas in excess of `trees` repeat the last tree. Of several devices, each receives only the
    arrays of its own replicas.
    """
    if replicas is None:
        (tree,) = trees
        return tree
    return jax.tree.map(lambda *leaves: _stack_leaf(leaves, replicas), *_fill(trees, replicas))


def stack_on_host(trees: Sequence[Any], replicas: Replicas | None) -> Any:
    """Return `stack_replicas` as NumPy arrays, for small arrays that each call transfers."""
    if replicas is None:
        (tree,) = trees
        return tree
    axes = replicas.axes
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(*axes, *leaves[0].shape), *_fill(trees, replicas)
    )


def share(tree: Any, replicas: Replicas | None) -> Any:
    """Return the arrays that all replicas read, placed once on each device.

    Of several devices, they have an axis of devices in front; arrays on the host stay there.
    """
    if replicas is None or replicas.devices == 1:
        return tree

    def copies(array: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        if not isinstance(array, jax.Array):
            return np.broadcast_to(array, (replicas.devices, *array.shape))
        return _place([array] * replicas.devices)

    return jax.tree.map(copies, tree)


def take_replica(tree: Any, replicas: Replicas | None, number: int) -> Any:
    """Return the tree of one replica, on its device; without replicas, the tree itself."""
    if replicas is None:
        return tree
    device, place = divmod(number, replicas.width)

    def take(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        if replicas.devices == 1:
            return leaf[place]
        if isinstance(leaf, jax.Array):  # indexing it would move the arrays of all devices
            return leaf.addressable_data(device)[0, place]
        return leaf[device, place]

    return jax.tree.map(take, tree)


def jit_replicas(
    function: Callable[..., Any], replicas: Replicas | None, **options: Any
) -> Callable[..., Any]:
    """Return the compiled `function`, which is of one run or of all replicas of a device.

    Over several devices all its arguments and results have an axis of devices in front.
    """
    if replicas is None or replicas.devices == 1:
        return devices.jit(function, **options)
    local_devices = _devices(replicas.devices)
    return jax.pmap(function, axis_name=AXIS, devices=local_devices, **options)


def _fill(trees: Sequence[Any], replicas: Replicas) -> list[Any]:
    return [*trees, *[trees[-1]] * (replicas.count - len(trees))]


def _stack_leaf(values: Sequence[jax.Array | np.ndarray], replicas: Replicas) -> jax.Array:
    if replicas.devices == 1:
        return jnp.array(_stack(values))
    width = replicas.width
    starts = range(0, len(values), width)
    return _place([_stack(values[start : start + width]) for start in starts])


def _stack(values: Sequence[jax.Array | np.ndarray]) -> jax.Array | np.ndarray:
    """Return a stack on the host, unless the arrays are on a device, as random keys are."""
    on_device = any(isinstance(value, jax.Array) for value in values)
    return jnp.stack(values) if on_device else np.stack(values)


def _place(arrays: Sequence[jax.Array | np.ndarray]) -> jax.Array:
    """Return one array with an axis of devices in front, the n-th of `arrays` on the n-th."""
    local_devices = _devices(len(arrays))
    sharding = NamedSharding(Mesh(local_devices, AXIS), PartitionSpec(AXIS))
    placed = [
        jax.device_put(array[None], device)
        for array, device in zip(arrays, local_devices, strict=True)
    ]
    shape = (len(arrays), *arrays[0].shape)
    return jax.make_array_from_single_device_arrays(shape, sharding, placed)


def _devices(count: int) -> list[jax.Device]:
    return jax.local_devices()[:count]
