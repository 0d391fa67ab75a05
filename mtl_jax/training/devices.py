"""Devices: sharding of batches, compilation, placement of arrays."""

import functools
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mtl_jax.types import InputError


def batch_sharding(count: int) -> NamedSharding | None:
    """Return the sharding of a batch's rows over `count` devices; None for one device.

    Where several processes train together (multihost.py), `count` is that of all their devices.
    """
    available = jax.device_count()
    if count > available:
        raise InputError(
            f"config.devices={count} is invalid: this machine has {available}; set it to"
            f" {available}"
        )
    if count == 1:
        return None
    # Auto, because the default (Explicit) makes Linen's Dropout reject a sharded batch.
    mesh = jax.make_mesh(
        (count,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )
    return NamedSharding(mesh, PartitionSpec("rows"))


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return `jax.jit` of `function` with the compiler options that suit the device."""
    return jax.jit(function, compiler_options=_compiler_options(), **options)


@functools.cache
def _compiler_options() -> dict[str, str]:
    """Return options that use YNNPACK for matrix products and Eigen for convolutions on CPUs.

    Each is the faster one for its operation; jaxlib 0.10 uses YNNPACK for both by default
    (docs/benchmarks.md).
    """
    cpu = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    options = cpu if jax.default_backend() == "cpu" else {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # a jaxlib without this option
        return {}
    return options


def enable_compilation_cache(folder: Path) -> None:
    """Keep compiled programs in `folder` for later processes.

    JAX's variable JAX_COMPILATION_CACHE_DIR takes precedence. `folder` may be deleted when no job
    is running.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    # Each kind of processor has a folder, since JAX's own key does not distinguish them, and nodes
    # that share a disk may differ.
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute() / kind))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """Return the instruction sets of this machine's processor, or its name if they are unknown."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    flags = [line for line in lines if line.partition(":")[0].strip() in ("flags", "Features")]
    return flags[0] if flags else f"{platform.machine()} {platform.processor()}"


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """Return a copy of every array on each device of the mesh, or on the default device.

    Of several processes, each copies the same values to its own devices.
    """
    if sharding is None:
        return jax.tree.map(lambda a: jax.numpy.array(a, copy=True), tree)
    replicated = NamedSharding(sharding.mesh, PartitionSpec())

    def copy(array: jax.Array) -> jax.Array:
        # may_alias=False: the result is donated to the step, and the source must outlive it.
        copies = [jax.device_put(array, d, may_alias=False) for d in sharding.mesh.local_devices]
        return jax.make_array_from_single_device_arrays(array.shape, replicated, copies)

    return jax.tree.map(copy, tree)


def device_of(tree: Any) -> jax.Device:
    """Return the device that holds the arrays of `tree`; the first one if they are on the host."""
    leaf = jax.tree.leaves(tree)[0]
    return next(iter(leaf.devices())) if isinstance(leaf, jax.Array) else jax.local_devices()[0]


def local_arrays(tree: Any) -> Any:
    """Return the copy of every replicated array on the first device of this process."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)
