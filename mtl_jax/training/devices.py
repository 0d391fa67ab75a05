"""Where a step runs: on one device, or each batch spread over several."""

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
    """Return how rows of a batch are spread over `count` devices; None for one device.

    Of several processes (multihost.py), all devices of all count, and all are taken.
    """
    found = jax.device_count()
    if count > found:
        raise InputError(f"config.devices is {count}; this machine has {found}: set it to {found}")
    if count == 1:
        return None
    # Auto, because the default (Explicit) makes Linen's Dropout reject a sharded batch.
    mesh = jax.make_mesh(
        (count,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )
    return NamedSharding(mesh, PartitionSpec("rows"))


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return `jax.jit` with the compiler's settings that suit the device."""
    return jax.jit(function, compiler_options=_compiler_options(), **options)


@functools.cache
def _compiler_options() -> dict[str, str]:
    """On CPUs, products of matrices by YNNPACK and convolutions by Eigen: each is the faster one
    there, and the default of jaxlib 0.10 takes YNNPACK for both (docs/benchmarks.md)."""
    cpu = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    options = cpu if jax.default_backend() == "cpu" else {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another jaxlib, without this setting
        return {}
    return options


def enable_compilation_cache(folder: Path) -> None:
    """Programs compiled from now on are kept in `folder` and found there by later processes.

    JAX's own variable JAX_COMPILATION_CACHE_DIR goes before. `folder` may be deleted when nothing
    runs.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    # A folder for each kind of processor, since JAX's own key does not tell them apart, and nodes
    # that share a disk may differ.
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute() / kind))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """Return the instructions that this machine's processor knows, as far as the system tells."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    known = [line for line in lines if line.partition(":")[0].strip() in ("flags", "Features")]
    return known[0] if known else f"{platform.machine()} {platform.processor()}"


def memory() -> tuple[float, float]:
    """Return bytes of memory of the first device, and of the host; a CPU is its own host: 0
    then."""
    host = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    stats = jax.local_devices()[0].memory_stats()
    return (float(stats["bytes_limit"]), host) if stats else (host, 0.0)


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """Return a copy of every array on each device of the mesh, or on the default device.

    Of several processes each brings its own devices the same values.
    """
    if sharding is None:
        return jax.tree.map(lambda a: jax.numpy.array(a, copy=True), tree)
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())

    def copies(array: jax.Array) -> jax.Array:
        # may_alias=False: the result is donated to the step, and the source must outlive that.
        each = [jax.device_put(array, d, may_alias=False) for d in everywhere.addressable_devices]
        return jax.make_array_from_single_device_arrays(array.shape, everywhere, each)

    return jax.tree.map(copies, tree)


def local_arrays(tree: Any) -> Any:
    """Return the copy of every replicated array that the first device of this process holds."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)
