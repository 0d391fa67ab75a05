"""What the frozen layers give for every ROI in its eight orientations, computed once.

It is the same in every epoch, and in every run with the same ROIs, input statistics and weights.
Knows no training.
"""

import functools
import hashlib
import os
import platform
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from mtl_jax.data.array_rows import Rows, chunks
from mtl_jax.models.base import LAYERS, Network
from mtl_jax.training import devices, orientations, software
from mtl_jax.training.dataset import Activations, BatchSource, Dataset, make_batch
from mtl_jax.training.prefetch import fetch, on_host
from mtl_jax.types import Params

BATCH_ROIS = 32
SHARE = 1 / 3  # of a memory: the most that all maps in it take up

_kept: dict[str, jax.Array | np.ndarray] = {}  # maps in memory, those used last at the end
# All maps in memory: a training holds its own when they are kept no longer.
_alive: weakref.WeakValueDictionary[str, jax.Array | np.ndarray] = weakref.WeakValueDictionary()

Blocks = Iterator[tuple[int, jax.Array]]  # first pick, maps of it and the following ones


def cached_source(
    network: Network,
    params: Params,
    pool: Dataset,
    frozen: tuple[str, ...],
    folder: Path | None = None,
) -> tuple[BatchSource, str]:
    """What batches are best drawn from, and the first layer that they have to go through.

    That is the maps of the `frozen` layers, on the device, else in the host's memory, else in a
    file of `folder` (it may be deleted when nothing runs); and `pool` itself where nothing is
    frozen or there is room nowhere.
    """
    if not frozen or not len(pool.label):
        return pool, LAYERS[0]
    key = _key(network, {name: params[name] for name in frozen}, pool)
    maps = _kept.pop(key, None)
    if maps is None:
        maps = _make(network, frozen[-1], params, pool, folder and folder / f"{key}.npy")
    if maps is None:
        return pool, LAYERS[0]
    if not isinstance(maps, Rows):
        _kept[key] = _alive[key] = maps
    columns = (np.repeat(column, orientations.COUNT) for column in (pool.label, pool.task))
    place = jnp.asarray if isinstance(maps, jax.Array) else np.asarray
    return Activations(maps, *map(place, columns)), LAYERS[len(frozen)]


def clear_cache() -> None:
    """Frees the memory that maps take up."""
    _kept.clear()


def _key(network: Network, layers: Params, pool: Dataset) -> str:
    """A name for the maps: all that they depend on. Files of other versions or of another precision
    have other names, so that no job reads them."""
    digest = hashlib.sha256()
    backbone = type(network).__name__, getattr(network, "lrn", False)
    made_by = {
        **software.record(),
        "device": jax.devices()[0].device_kind,
        "dtype": np.dtype(np.float32).name,
        "backbone": backbone,
        "layers": sorted(layers),
    }
    digest.update(repr(made_by).encode())
    own = flatten_dict(layers, sep="/")
    arrays = (pool.pixels, pool.table, pool.mean, pool.std)
    for array in (*arrays, *(own[path] for path in sorted(own))):
        digest.update(repr((array.shape, str(array.dtype))).encode())
        for rows in chunks(array if isinstance(array, Rows) else np.asarray(array)):
            digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()[:32]


def _make(
    network: Network, last: str, params: Params, pool: Dataset, file: Path | None
) -> jax.Array | np.ndarray | Rows | None:
    """The maps, where there is room for them; None where there is none."""
    compute = _compute(network, last)
    like = jax.eval_shape(compute, params, *fetch(pool, np.zeros(1, int)))
    shape = (len(pool.label) * orientations.COUNT, *like.shape[1:])
    size = 4 * int(np.prod(shape))
    on_device, on_host = _memory()
    blocks = _blocks(compute, params, pool)
    if _make_room(size, on_device, jax.Array):
        maps = jnp.zeros(shape, jnp.float32)
        for begin, block in blocks:
            maps = _put(maps, block, begin)
        return maps
    if _make_room(size, on_host, np.ndarray):
        maps = np.empty(shape, np.float32)
        for begin, block in blocks:
            maps[begin : begin + len(block)] = block
        return maps
    if file is None:
        return None
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(file.parent).free / 2:
            return None
        # The machine's name as well: processes on several may have the same number.
        draft = file.with_name(f".{file.name}.partial-{platform.node()}-{os.getpid()}")
        _write(draft, shape, blocks)
        draft.replace(file)
    return Rows([np.load(file, mmap_mode="r")])


def _memory() -> tuple[float, float]:
    """Bytes that maps may take up on the first device and on the host beside it."""
    device, host = devices.memory()
    return SHARE * device, SHARE * host


def _make_room(size: int, limit: float, kind: type) -> bool:
    """Whether `size` bytes more fit, if need be in place of the maps used longest ago. Maps that
    a training is using stay in memory and count."""
    if size > limit:
        return False
    held = [key for key, maps in _kept.items() if isinstance(maps, kind)]
    while size + sum(maps.nbytes for maps in _alive.values() if isinstance(maps, kind)) > limit:
        if not held:
            return False
        del _kept[held.pop(0)]
    return True


@functools.cache
def _compute(network: Network, last: str) -> Callable[[Params, Dataset, jax.Array], jax.Array]:
    def compute(params: Params, pool: Dataset, indices: jax.Array) -> jax.Array:
        image = make_batch(pool, indices, jnp.ones(len(indices))).image
        return network.apply({"params": params}, image, last=last)

    return devices.jit(compute)


def _blocks(
    compute: Callable[[Params, Dataset, jax.Array], jax.Array], params: Params, pool: Dataset
) -> Blocks:
    """All maps in blocks of one size, so that one compiled program makes them; the last block
    begins early and repeats some."""
    count = len(pool.label)
    size = min(BATCH_ROIS, count)
    for begin in tqdm(range(0, count, size), "frozen layers", leave=False, dynamic_ncols=True):
        first = min(begin, count - size) * orientations.COUNT
        indices = np.arange(first, first + size * orientations.COUNT)
        near, indices = fetch(pool, indices) if on_host(pool) else (pool, indices)
        yield first, compute(params, near, indices)


@functools.partial(jax.jit, donate_argnums=0)
def _put(maps: jax.Array, block: jax.Array, begin: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(maps, block, begin, 0)


def _write(file: Path, shape: tuple[int, ...], blocks: Blocks) -> None:
    """The maps as an .npy file, written rather than mapped: a mapping's pages count as memory."""
    maps = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    with file.open("r+b") as stream:
        for begin, block in blocks:
            stream.seek(maps.offset + begin * maps[0].nbytes)
            stream.write(np.ascontiguousarray(block).data)
        stream.flush()
        os.fsync(stream.fileno())
