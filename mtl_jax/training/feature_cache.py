"""The frozen-feature cache: activations of the frozen layers, computed once.

The activations of every ROI in its eight orientations are the same in every epoch, and in every run
with the same ROIs, pixel statistics and weights.
"""

import functools
import hashlib
import math
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

from mtl_jax.data.array_rows import Rows
from mtl_jax.io import atomic
from mtl_jax.io.progress import Bar
from mtl_jax.models.base import Network
from mtl_jax.training import devices, memory, orientations, software
from mtl_jax.training.dataset import (
    Activations,
    BatchSource,
    Dataset,
    make_batch,
    padded_count,
)
from mtl_jax.training.prefetch import is_on_host, select_rows
from mtl_jax.types import Params

BATCH_ROIS = 32

_cache: dict[str, jax.Array | np.ndarray] = {}  # in memory, least recently used first
# All activations in memory: a training run still holds its own after they left the cache.
_alive: weakref.WeakValueDictionary[str, jax.Array | np.ndarray] = weakref.WeakValueDictionary()

Blocks = Iterator[tuple[int, jax.Array]]  # the first index, and the activations from it on
ComputeLayers = Callable[[Params, Dataset, jax.Array], jax.Array]


def cached_source(
    network: Network,
    params: Params,
    dataset: Dataset,
    frozen: tuple[str, ...],
    folder: Path | None = None,
) -> tuple[BatchSource, str]:
    """Return the source that batches are made from, and the first layer that they go through.

    The source is the activations of the `frozen` layers (from C1 on) on the device, else in the
    host's memory, else in a file of `folder`; `dataset` itself if no layer is frozen or they fit
    nowhere. The folder may be deleted when no job is running.
    """
    if not frozen or not dataset.count:
        return dataset, network.layers[0]
    key = _key(network, {name: params[name] for name in frozen}, dataset)
    values = _cache.pop(key, None)
    if values is None:
        # On the default device, where all activations are, whichever device trained the weights.
        params = jax.device_put(jax.device_get({name: params[name] for name in frozen}))
        path = folder and folder / f"{key}.npy"
        values = _compute_activations(network, frozen[-1], params, dataset, path)
    if values is None:
        return dataset, network.layers[0]
    if not isinstance(values, Rows):
        _cache[key] = _alive[key] = values
    columns = (
        np.resize(np.repeat(column, orientations.COUNT), len(values))  # rows after the ROIs: any
        for column in (dataset.label, dataset.task)
    )
    as_array = jnp.asarray if isinstance(values, jax.Array) else np.asarray
    return Activations(values, *map(as_array, columns)), network.layers[len(frozen)]


def clear_cache() -> None:
    """Free the memory of all cached activations."""
    _cache.clear()


def _key(network: Network, layers: Params, dataset: Dataset) -> str:
    """Return a digest of everything that the activations depend on, with versions and precision."""
    digest = hashlib.sha256()
    fields = network.fields()
    del fields["outputs"], fields["dropout"]  # of the fully connected layers
    made_by = {
        **software.record(),
        "device": jax.devices()[0].device_kind,
        "dtype": np.dtype(np.float32).name,
        **fields,
        "layers": sorted(layers),
    }
    digest.update(repr(made_by).encode())
    weights = flatten_dict(layers, sep="/")
    arrays = (dataset.digest, dataset.mean, dataset.std)  # the digest stands for the pixels
    for array in map(np.asarray, (*arrays, *(weights[path] for path in sorted(weights)))):
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _compute_activations(
    network: Network, last: str, params: Params, dataset: Dataset, path: Path | None
) -> jax.Array | np.ndarray | Rows | None:
    """Return the activations of layer `last`; None if they fit neither in memory nor on disk."""
    compute = _compile_layers(network, last)
    output = jax.eval_shape(compute, params, *select_rows(dataset, np.zeros(1, int)))
    count = int(dataset.count)
    shape = (count * orientations.COUNT, *output.shape[1:])
    padded_shape = (padded_count(count) * orientations.COUNT, *output.shape[1:])
    size = 4 * math.prod(shape)
    blocks = _compute_blocks(compute, params, dataset)
    device_limit, host_limit = _memory_limits()
    if _make_room(4 * math.prod(padded_shape), device_limit, jax.Array):
        values = jnp.zeros(padded_shape, jnp.float32)
        for begin, block in blocks:
            values = _update(values, block, begin)
        return values
    if _make_room(size, host_limit, np.ndarray):
        values = np.empty(shape, np.float32)
        for begin, block in blocks:
            values[begin : begin + len(block)] = block
        return values
    if path is None:
        return None
    if not path.exists():
        atomic.make_folder(path.parent)
        if size > shutil.disk_usage(path.parent).free / 2:
            return None
        # With the machine's name, since processes on several machines may have the same number.
        draft = path.with_name(f".{path.name}.partial-{platform.node()}-{os.getpid()}")
        with atomic.report_write_errors(path):
            _write(draft, shape, blocks)
            draft.replace(path)
    return Rows([np.load(path, mmap_mode="r")])


def _memory_limits() -> tuple[float, float]:
    """Return the bytes that activations may use on the first device and on the host."""
    return memory.ACTIVATIONS * memory.device_bytes(), memory.host_activation_bytes()


def _make_room(size: int, limit: float, kind: type) -> bool:
    """Return whether `size` more bytes fit, after evicting the least recently used activations.

    Activations that a training run is using stay in memory and count.
    """
    if size > limit:
        return False
    cached = [key for key, values in _cache.items() if isinstance(values, kind)]
    while size + sum(v.nbytes for v in _alive.values() if isinstance(v, kind)) > limit:
        if not cached:
            return False
        del _cache[cached.pop(0)]
    return True


@functools.cache
def _compile_layers(network: Network, last: str) -> ComputeLayers:
    """Return the compiled layers up to `last`."""
    return devices.jit(make_layers(network, last))


def make_layers(network: Network, last: str) -> ComputeLayers:
    """Return the layers up to `last`, not compiled."""

    def compute(params: Params, dataset: Dataset, indices: jax.Array) -> jax.Array:
        image = make_batch(dataset, indices, jnp.ones(len(indices))).image
        return network.apply({"params": params}, image, last=last)

    return compute


def _compute_blocks(compute: ComputeLayers, params: Params, dataset: Dataset) -> Blocks:
    """Yield all activations in blocks of one size; the last block begins early and repeats rows."""
    count = int(dataset.count)
    size = min(BATCH_ROIS, count)
    with Bar("frozen layers", count, "ROI") as bar:
        for begin in range(0, count, size):
            first = min(begin, count - size) * orientations.COUNT
            indices = np.arange(first, first + size * orientations.COUNT)
            if is_on_host(dataset):
                yield first, compute(params, *select_rows(dataset, indices))
            else:
                yield first, compute(params, dataset, indices)
            bar.update(min(size, count - begin))


@functools.partial(jax.jit, donate_argnums=0)
def _update(values: jax.Array, block: jax.Array, begin: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(values, block, begin, 0)


def _write(path: Path, shape: tuple[int, ...], blocks: Blocks) -> None:
    """Write an .npy file with `write` calls: the pages of a memory map count as memory."""
    values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    with path.open("r+b") as stream:
        for begin, block in blocks:
            stream.seek(values.offset + begin * values[0].nbytes)
            stream.write(np.ascontiguousarray(block).data)
        stream.flush()
        os.fsync(stream.fileno())
