"""Compile the programs of a study for NVIDIA H100 cards, on a machine without a GPU.

    python tools/gpu_programs.py [--networks C1 C1-C5] [--json FILE]

XLA compiles from the description of a card (extra [gpu-compile]). Each line has the memory that a
program needs per card, and how many convolutions, grouped convolutions, dtype conversions, layout
transposes, scatters and collectives it has; no times, which only a card shows.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

# The plug-in's check for a profiling library fails without a driver; nothing else needs it.
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtl_jax.config import NETWORKS, default
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.models import registry
from mtl_jax.models.base import Network, init, output_shapes
from mtl_jax.training import dataset, epoch, feature_cache, objective, optimizer, orientations
from mtl_jax.training import predict as prediction
from mtl_jax.training.replicas import AXIS, MAX_WIDTH
from mtl_jax.training.step import make_step, make_step_by_sum
from mtl_jax.types import ROI_PIXELS, InputError, TrainState

# What CUDA's driver reports of a card, in the text format of XLA's GpuTargetConfigProto.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
runtime_version { major: 13 }
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Without a card no algorithm can be timed: products and convolutions are library calls.
OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
PRECISIONS = ("float32", "tf32", "bfloat16")
ROIS = 886 + 322 + 337  # training ROIs of the paper, Table 2
BATCH = 128
EXPLANATION = (
    "this program needs jax[cuda13], which compiles for a GPU without having one: pip install"
    " 'mtl_jax[gpu-compile]'"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--json", type=paths.path, help="also write the rows to this file")
    flags = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # of this process; the programs are for the cards
    if flags.json:
        atomic.make_folder(flags.json.parent)
    rows = []
    for row in programs(flags.networks):
        print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
        rows.append(row)
        if flags.json:
            atomic.write_text(flags.json, json.dumps(rows, indent=1) + "\n")


def programs(networks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each program of these freeze depths."""
    for network in networks:
        for precision in PRECISIONS:
            yield _row("training", network, precision, compile_training(network, precision))
        yield _row(
            "training from pixels", network, "float32", compile_training(network, cached=False)
        )
        yield _row("one run on 8 cards", network, "float32", compile_training(network, cards=8))
        yield _row("8 runs on 8 cards", network, "float32", compile_replicas(network, 1, cards=8))
        compiled = compile_replicas(network, MAX_WIDTH)
        yield _row(f"{MAX_WIDTH} replicas", network, "float32", compiled)
        if network != "C0":
            yield _row("frozen layers", network, "float32", compile_frozen_layers(network))
        yield _row("scoring", network, "float32", compile_scoring(network))


def compile_training(
    network: str,
    precision: str = "float32",
    cached: bool = True,
    cards: int = 1,
    backbone: str = "alexnet",
) -> Any:
    """Return the compiled steps of one run; over several cards each batch is divided."""
    mesh = _mesh(cards)
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names)) if cards > 1 else None
    take_steps, arguments = _training(network, precision, cached, backbone, sharding)
    return _compile(take_steps, arguments, mesh, donate_argnums=0)


def compile_replicas(
    network: str, width: int, precision: str = "float32", cards: int = 1, backbone: str = "alexnet"
) -> Any:
    """Return the compiled steps of `width` replicas on each of the cards."""
    take_steps, arguments = _training(network, precision, True, backbone, None, replicas=True)
    state, source, order, key = arguments
    state, order, key = (_add_axis(tree, width) for tree in (state, order, key))
    if cards == 1:
        return _compile(take_steps, (state, source, order, key), _mesh(1), donate_argnums=0)
    arguments = [_add_axis(tree, cards) for tree in (state, source, order, key)]
    mapped = jax.pmap(take_steps, axis_name=AXIS, devices=_devices(cards), donate_argnums=0)
    return mapped.lower(*arguments).compile(compiler_options=OPTIONS)


def compile_frozen_layers(network: str, backbone: str = "alexnet") -> Any:
    """Return the compiled program that computes activations for the frozen-feature cache."""
    model = registry.build(backbone)
    frozen = optimizer.frozen_layers(network)
    compute = feature_cache.make_layers(model, frozen[-1])
    n_images = feature_cache.BATCH_ROIS * orientations.COUNT
    arguments = _params(model), _pixels(), _like((n_images,), jnp.int32)
    return _compile(compute, arguments, _mesh(1))


def compile_scoring(network: str, backbone: str = "alexnet") -> Any:
    """Return the compiled program that scores ROIs from the first trained layer on."""
    model = registry.build(backbone)
    frozen = optimizer.frozen_layers(network)
    source = _activations(model, frozen[-1]) if frozen else _pixels()
    compute = prediction.make_mean_of_eight(model, model.layers[len(frozen)])
    n_images = prediction.BATCH_ROIS * orientations.COUNT
    arguments = _params(model), source, _like((n_images,), jnp.int32)
    return _compile(compute, arguments, _mesh(1))


def memory_bytes(compiled: Any) -> int:
    """Return the bytes that a compiled program needs on a card, with its arguments."""
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


def describe(compiled: Any) -> dict[str, Any]:
    """Return the memory and the operations of a compiled program."""
    memory, text = compiled.memory_analysis(), compiled.as_text()
    convolutions = [
        line for line in text.splitlines() if 'custom_call_target="__cudnn$conv' in line
    ]
    grouped = r"(?:feature|batch)_group_count=(?!1\b)\d+"
    collectives = r"all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"

    def count(operation: str) -> int:
        return len(re.findall(rf" = \S+ (?:{operation})(?:-start)?\(", text))

    return {
        "arguments_mb": round(memory.argument_size_in_bytes / 1e6, 1),
        "temporary_mb": round(memory.temp_size_in_bytes / 1e6, 1),
        "convolutions": len(convolutions),
        "grouped": sum(bool(re.search(grouped, line)) for line in convolutions),
        "products": len(re.findall(r'custom_call_target="__cublas', text)),
        "converts": count("convert"),
        "transposes": count("transpose"),
        "scatters": count("scatter"),
        "collectives": count(collectives),
    }


def _training(
    network: str,
    precision: str,
    cached: bool,
    backbone: str,
    sharding: NamedSharding | None,
    replicas: bool = False,
) -> tuple[Callable[..., Any], list[Any]]:
    """Return the steps of a run, or of replicas, on the paper's ROIs, not compiled, and the shapes
    of the arguments of a run."""
    model, c = registry.build(backbone, dropout=default().model.dropout), default()
    frozen = optimizer.frozen_layers(network)
    in_cache = frozen if cached else ()
    first = model.layers[len(in_cache)]
    source = _activations(model, in_cache[-1]) if in_cache else _pixels()
    tx = optimizer.make_optimizer(c.train, frozen)
    minimized = objective.multi_task_objective(model, (1.0, 1.0, 1.0), first, precision=precision)
    make_batch = epoch.batch_maker(sharding)
    if replicas:
        make_batch, step = jax.vmap(make_batch, (None, 0, 0)), make_step_by_sum(minimized, tx)
    else:
        step = make_step(minimized, tx)
    take_steps = epoch.scan_steps(step, make_batch, int(replicas))
    params = _params(model)
    state = TrainState(_like((), jnp.int32), params, jax.eval_shape(tx.init, params))
    shape = (epoch.SCANNED_STEPS, BATCH)
    order = epoch.EpochOrder(_like(shape, jnp.int32), _like(shape, jnp.bool_), _like(shape[:1]))
    return take_steps, [state, source, order, jax.eval_shape(lambda: jax.random.key(0))]


def _params(network: Network) -> Any:
    return jax.eval_shape(lambda: init(network, jax.random.key(0)))


def _pixels() -> dataset.Dataset:
    count = dataset.padded_count(ROIS)
    rows, table = _like((count,), jnp.int32), _like((3,))
    pixels = _like((count, ROI_PIXELS, ROI_PIXELS), jnp.int16)
    return dataset.Dataset(
        pixels, rows, rows, rows, table, table, _like((32,), jnp.uint8), _like((), jnp.int32)
    )


def _activations(network: Network, last: str) -> dataset.Activations:
    count = dataset.padded_count(ROIS) * orientations.COUNT
    rows = _like((count,), jnp.int32)
    return dataset.Activations(_like((count, *output_shapes(network)[last])), rows, rows)


def _like(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _add_axis(tree: Any, size: int) -> Any:
    return jax.tree.map(lambda leaf: _like((size, *leaf.shape), leaf.dtype), tree)


def _devices(count: int) -> list[Any]:
    if not find_spec("jax_cuda13_plugin"):
        raise InputError(EXPLANATION)
    topology = topologies.get_topology_desc(
        "h100", "cuda", target_config=H100, topology=f"1x1x{count}"
    )
    return list(topology.devices)


def _mesh(count: int) -> Mesh:
    return Mesh(np.array(_devices(count)), "rows")


def _compile(
    function: Callable[..., Any], arguments: Sequence[Any], mesh: Mesh, **options: Any
) -> Any:
    replicated = NamedSharding(mesh, PartitionSpec())
    compiled = jax.jit(function, in_shardings=replicated, out_shardings=replicated, **options)
    return compiled.lower(*arguments).compile(compiler_options=OPTIONS)


def _row(what: str, network: str, precision: str, compiled: Any) -> dict[str, Any]:
    return {"what": what, "network": network, "precision": precision, **describe(compiled)}


if __name__ == "__main__":
    sys.exit(command_line.run(main))
