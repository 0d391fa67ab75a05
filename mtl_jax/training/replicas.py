"""Several trainings that differ in their random numbers and regions alone, as one compiled program.

Each is a lane. Lanes lie side by side on a device (`jax.vmap`) and over devices (`jax.pmap`), and
never exchange anything: a lane gives what it would give alone, to rounding, and to the bit whatever
the other lanes hold. It knows neither files nor the model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax.training import dataset, devices

SHARE = 0.5  # of a device's memory that lanes may take up; maps of frozen layers have another third


class Lanes(NamedTuple):
    """`width` lanes on each of `devices` devices. Arrays of all lanes lead with (devices, width),
    or with (width,) where there is one device. `uneven`: some may have fewer steps than others."""

    devices: int
    width: int
    uneven: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.width,) if self.devices == 1 else (self.devices, self.width)

    @property
    def count(self) -> int:
        return self.devices * self.width


def deal(trainings: int, device_count: int, uneven: bool = False) -> Lanes | None:
    """Lanes for so many trainings; None where each is better alone, on all devices at once."""
    if trainings < max(2, device_count):
        return None
    return Lanes(device_count, -(-trainings // device_count), uneven)


def most(bytes_each: float, device_count: int) -> int:
    """How many trainings fit on the devices together, at least 1; on CPUs one a device, since there
    the products of one training keep all cores at work."""
    memory, host = devices.memory()
    if not host:
        return device_count
    return device_count * max(1, int(SHARE * memory / bytes_each))


def beside(bytes_each: float) -> int:
    """How many such sources of batches fit on a device beside each other, at least 1."""
    return max(1, int(dataset.SHARE * devices.memory()[0] / bytes_each))


def stack(trees: Sequence[Any], lanes: Lanes | None) -> Any:
    """One tree of all lanes; lanes without a tree of their own repeat the last. Without lanes, the
    one tree itself."""
    if lanes is None:
        (tree,) = trees
        return tree
    filled = [*trees, *[trees[-1]] * (lanes.count - len(trees))]

    def one(*leaves: jax.Array) -> jax.Array:
        stacked = jnp.stack(leaves)
        return stacked.reshape(*lanes.axes, *stacked.shape[1:])

    return jax.tree.map(one, *filled)


def take(tree: Any, lanes: Lanes | None, number: int) -> Any:
    """The tree of one lane; without lanes, the one tree itself."""
    if lanes is None:
        return tree
    place = number if lanes.devices == 1 else divmod(number, lanes.width)
    return jax.tree.map(lambda leaf: leaf[place], tree)


def compiled(
    function: Callable[..., Any], in_axes: tuple[Any, ...], lanes: Lanes | None, **options: Any
) -> Callable[..., Any]:
    """`function` compiled for one training, or for all lanes at once.

    `in_axes` as in `jax.vmap`: 0 for what each lane has its own of, None for what all share.
    """
    if lanes is None:
        return devices.compiled(function, **options)
    side_by_side = jax.vmap(function, in_axes)
    if lanes.devices == 1:
        return devices.compiled(side_by_side, **options)
    places = jax.local_devices()[: lanes.devices]
    return jax.pmap(side_by_side, in_axes=in_axes, devices=places, **options)
