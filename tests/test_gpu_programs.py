"""Compile the programs of a study for H100 cards, without having one (extra [gpu-compile])."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import pytest

from mtl_jax import config
from mtl_jax.models import registry
from mtl_jax.training import memory, optimizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("jax_cuda13_plugin") is None,
        reason="needs the CUDA plug-in of JAX, which compiles for a GPU (make gpu-programs)",
    ),
]
H100_BYTES = 0.75 * 80e9  # what JAX allocates by default


@pytest.fixture(scope="module")
def programs() -> Iterator[Any]:
    import gpu_programs  # sets a variable that the plug-in reads

    # Programs that are only compiled cannot be read back from the folder of compiled programs.
    jax.config.update("jax_enable_compilation_cache", False)
    yield gpu_programs
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.mark.parametrize("network", config.NETWORKS)
def test_the_programs_have_the_operations_that_a_card_computes_fast(
    programs: Any, network: str
) -> None:
    """Train, compute frozen layers and score, on one card and on eight, in each precision. Grouped
    convolutions are in replicas alone, where a card is faster with them (docs/benchmarks.md)."""
    rows = list(programs.programs([network]))
    assert len(rows) >= 7
    for row in rows:
        is_grouped = row["what"] == "16 replicas" and network != "C1-C5"
        assert row["scatters"] == 0 and (row["grouped"] > 0) == is_grouped, row
        assert row["temporary_mb"] < 4000, row
    training = [row for row in rows if row["what"] == "training"]
    assert {row["precision"] for row in training} == {"float32", "tf32", "bfloat16"}
    # Forward pass and gradient of the weights of each convolution; that of the input of all but the
    # first.
    n_trained = 5 - len(optimizer.frozen_layers(network))
    assert {row["convolutions"] for row in training} == {max(0, 3 * n_trained - 1)}
    collectives = {row["what"]: row["collectives"] for row in rows}
    assert collectives["one run on 8 cards"] > 0
    assert collectives["8 runs on 8 cards"] == collectives["training"] == 0


@pytest.mark.parametrize(
    ("backbone", "network", "width"),
    [
        *(("alexnet", "C1-C5", 8), ("alexnet", "C1", 4), ("alexnet", "C0", 4)),
        *(("vgg16", "C1-C5", 4), ("vit_s16", "C1-C4", 2)),
    ],
)
def test_the_estimated_memory_of_a_replica_is_close_to_that_of_the_compiler(
    programs: Any, backbone: str, network: str, width: int
) -> None:
    """At most 15% less, and 25% more."""
    few, many = (
        programs.memory_bytes(programs.compile_replicas(network, n, backbone=backbone))
        for n in (width, 2 * width)
    )
    frozen = optimizer.frozen_layers(network)
    model = registry.build(backbone, dropout=0.5)
    estimate = memory.run_bytes(model, frozen, frozen, config.default().train)
    assert 0.85 < estimate / ((many - few) / width) < 1.25


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_the_estimate_holds_in_each_precision(programs: Any, precision: str) -> None:
    few, many = (
        programs.memory_bytes(programs.compile_replicas("C1-C5", n, precision)) for n in (4, 8)
    )
    frozen, train = optimizer.frozen_layers("C1-C5"), config.default().train
    train.precision = precision
    model = registry.build("alexnet", dropout=0.5)
    estimate = memory.run_bytes(model, frozen, frozen, train)
    assert estimate == pytest.approx((many - few) / 4, rel=0.15)


def test_the_replicas_that_a_job_trains_together_fit_on_the_card(
    programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They leave the other shares of the budget free, and a tenth for the workspace of libraries,
    which only a card shows."""
    monkeypatch.setattr(memory, "device_bytes", lambda: H100_BYTES)
    frozen = optimizer.frozen_layers("C1-C5")
    model = registry.build("alexnet", dropout=0.5)
    each = memory.run_bytes(model, frozen, frozen, config.default().train)
    width = memory.max_runs(each, 1)
    compiled = programs.compile_replicas("C1-C5", width)
    data = sum(1545 * n for n in memory.roi_bytes(model, frozen))
    needed = programs.memory_bytes(compiled) - data
    assert 0.8 < needed / (memory.RUNS * H100_BYTES) < 1.05
    assert needed + (memory.ROIS + memory.ACTIVATIONS) * H100_BYTES < 0.95 * H100_BYTES
