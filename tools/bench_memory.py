"""Measure the memory of training and scoring with ROIs on disk, as their number grows.

Each number of ROIs is measured in a new process, which opens and verifies the shards, splits the
cases, computes mean and standard deviation of all pixels, draws the order of an epoch, takes its
first STEPS steps, draws the order of the next epoch, and scores the SCORED ROIs of the test set.
All shards hold the same noise plus their number. Ids and file names are hashes, as in a
pseudonymised collection.
"""

import contextlib
import hashlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.data import ingest, shards
from mtl_jax.training import malloc

COUNTS = (10**3, 10**4, 10**5)
STEPS, READS, BATCH, SCORED = 30, 20, 128, 512
NETWORK = "C1"


def streamed(counts: tuple[int, ...], folder: Path | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of ROIs: peak resident memory in MB after each part, its growth
    from the first row, bytes of the index per ROI, the median time to read a batch, and steps per
    second; and one row for ROIs in memory."""
    first = None
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            home = Path(temporary) / "noise"
            write(home, count)
            for stream in ("always", "auto") if count == COUNTS[1] else ("always",):
                row = {"what": f"ROIs {'on disk' if stream == 'always' else 'in memory'}"}
                row |= _in_own_process(home, stream)
                first = first or row["peak_mb"]
                yield row | {"growth": row["peak_mb"] / first - 1}


def write(home: Path, count: int) -> None:
    """Write a collection of `count` ROIs of noise, two views per case."""
    noise = np.random.default_rng(0).normal(0, 500, (ingest.SHARD_ROIS, 128, 128)).astype(np.int16)
    chunks = (
        noise[: min(ingest.SHARD_ROIS, count - begin)] + np.int16(begin // ingest.SHARD_ROIS)
        for begin in range(0, count, ingest.SHARD_ROIS)
    )
    shards.write(home, "noise", [_line(number) for number in range(count)], chunks, {}, "")


def _line(number: int) -> dict[str, Any]:
    case, view = _hash(f"case {number // 2}"), ("CC", "MLO")[number % 2]
    return {
        "roi_id": f"noise/{case}/1/{view}",
        "case_id": case,
        "lesion_id": "1",
        "view": view,
        "laterality": "L",
        "modality": "DM",
        "label": number // 2 % 2,
        "truth_source": "biopsy",
        "split": "test" if number < SCORED else "train",
        "image": f"{_hash(f'image {number}')}.dcm",
        "pixel_um_row": 70.0,
        "pixel_um_col": 70.0,
        "spacing_source": "ImagerPixelSpacing",
        "centre_row": 200 + number * 7919 % 1999 / 4,
        "centre_col": 100 + number * 6101 % 1499 / 4,
        "height_mm": 5 + number * 104729 % 3001 / 100,
        "width_mm": 5 + number * 15485863 % 3001 / 100,
        "outside": 0.0,
        "note": "",
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _in_own_process(home: Path, stream: str) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, home, stream).result()


def _measure(home: Path, stream: str) -> dict[str, Any]:
    malloc.keep_freed_memory()
    import jax  # JAX takes seconds to import
    import jax.numpy as jnp

    from mtl_jax.experiments import run_data, splits
    from mtl_jax.models import alexnet
    from mtl_jax.training import dataset, optimizer, prefetch
    from mtl_jax.training.epoch import EpochOrder, make_epoch
    from mtl_jax.training.objective import multi_task_objective
    from mtl_jax.training.predict import predict
    from mtl_jax.training.step import make_step
    from mtl_jax.types import Run, TrainState

    peaks, network = {}, alexnet.AlexNet(dropout=0.5)
    frozen = optimizer.frozen_layers(NETWORK)
    params = alexnet.init(network, jax.random.key(0))
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), frozen)
    state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, params), tx.init(params))
    peaks["start"] = _peak_mb()
    begin = time.perf_counter()
    rois = shards.open_shards(home)
    open_seconds, peaks["opened"] = time.perf_counter() - begin, _peak_mb()
    collections, run = {rois.name: rois}, Run("sttl", (rois.name,), NETWORK, None, 0)
    split = splits.make_split(collections, rois.name, (), splits.SplitRules(True, 0, 1, 0.0, 0))
    peaks["split"] = _peak_mb()
    begin = time.perf_counter()
    parts = run_data.make_subsets([run], collections, split)
    statistics_seconds, peaks["statistics"] = time.perf_counter() - begin, _peak_mb()
    source, _ = run_data.training_dataset(parts, collections, stream)
    if prefetch.is_on_host(source):
        malloc.release_freed_memory()  # as a job does

    def draw_order(seed: int) -> EpochOrder:
        indices, weight = dataset.epoch_order([seed], source.count, BATCH)
        return EpochOrder(indices, weight, jnp.full(len(indices), 1e-3))

    begin = time.perf_counter()
    order = draw_order(1)
    order_seconds, peaks["order"] = time.perf_counter() - begin, _peak_mb()
    reads, clock = [], []
    for indices in order.indices[-READS:]:
        begin = time.perf_counter()
        prefetch.select_rows(source, indices)
        reads.append(time.perf_counter() - begin)
    step = make_step(multi_task_objective(network, (1.0,)), tx)
    epoch = make_epoch(step, on_host=prefetch.is_on_host(source))

    def stop_after_steps(_: int) -> None:
        clock.append(time.perf_counter())
        if len(clock) == STEPS:
            raise _Enough

    with contextlib.suppress(_Enough):
        epoch(state, source, order, jax.random.key(2), stop_after_steps)
    peaks["trained"] = _peak_mb()
    order = draw_order(3)
    peaks["next order"] = _peak_mb()
    predict(network, params, run_data.evaluation_dataset(parts[run], collections, stream))
    peaks["scored"] = _peak_mb()
    return {
        "rois": len(rois),
        "gb": sum(shard.nbytes for shard in rois.shards) / 1e9,
        "peak_mb": peaks["scored"],
        **{f"mb_{name}": value for name, value in peaks.items()},
        "index_bytes": _index_bytes(rois.index) / len(rois),
        "order_bytes": (order.indices.nbytes + order.weight.nbytes) / source.count,
        "open_s": open_seconds,
        "order_s": order_seconds,
        "statistics_s": statistics_seconds,
        "read_ms": 1e3 * float(np.median(reads)),
        "steps_a_second": (len(clock) - 1) / (clock[-1] - clock[0]),
    }


def _index_bytes(index: Mapping[str, np.ndarray]) -> int:
    """Return the bytes of the arrays and of the distinct strings in them."""
    columns = index.values()
    texts = {id(cell): cell for c in columns if c.dtype == object for cell in c}
    return sum(c.nbytes for c in columns) + sum(map(sys.getsizeof, texts.values()))


class _Enough(Exception):
    """Raised after the measured steps."""


def _peak_mb() -> float:
    """Return the peak resident memory in MB from /proc; getrusage starts with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
