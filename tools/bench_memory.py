"""Measures the memory of learning and scoring regions that stay on disk, as their number grows.

Each number of regions has a process of its own, which opens and checks the shards, goes through all
pixels for their mean and deviation, draws the order of a whole epoch, takes STEPS steps of it and
scores SCORED regions. The shards are one block of noise, a count brighter in each, and written out
in full.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import heap
from mtl_jax.data import ingest, shards

COUNTS = (10**3, 10**4, 10**5)
STEPS, READS, BATCH, SCORED = 30, 20, 128, 512
NETWORK = "C1"


def streamed(counts: tuple[int, ...], folder: Path | None) -> Iterator[dict[str, Any]]:
    """A row a number of regions: peak resident memory in MB after each part of the work, its growth
    from the first row, bytes of the index a region, the median time to read a batch, steps a
    second; and one of a pool in memory."""
    first = None
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            home = Path(temporary) / "noise"
            write(home, count)
            for stream in ("always", "auto") if count == COUNTS[1] else ("always",):
                row = {"what": f"regions {'on disk' if stream == 'always' else 'in memory'}"}
                row |= _in_own_process(home, stream)
                first = first or row["peak_mb"]
                yield row | {"growth": row["peak_mb"] / first - 1}


def write(home: Path, count: int) -> None:
    """A collection of `count` regions of noise, two views a case, with ids as those of a study."""
    noise = np.random.default_rng(0).normal(0, 500, (ingest.SHARD_ROIS, 128, 128)).astype(np.int16)
    chunks = (
        noise[: min(ingest.SHARD_ROIS, count - begin)] + np.int16(begin // ingest.SHARD_ROIS)
        for begin in range(0, count, ingest.SHARD_ROIS)
    )
    shards.write(home, "noise", [_line(number) for number in range(count)], chunks, {}, "")


def _line(number: int) -> dict[str, Any]:
    case, view = f"P{number // 2:07d}", ("CC", "MLO")[number % 2]
    return {
        "roi_id": f"noise/{case}/1/{view}",
        "case_id": case,
        "lesion_id": "1",
        "view": view,
        "laterality": "L",
        "modality": "DM",
        "label": number // 2 % 2,
        "truth_source": "biopsy",
        "split": "train",
        "image": f"{case}/{case}_{view}.dcm",
        "pixel_um_row": 70.0,
        "pixel_um_col": 70.0,
        "spacing_source": "ImagerPixelSpacing",
        "centre_row": 700.25 + number % 101,
        "centre_col": 300.75 + number % 97,
        "height_mm": 12.5,
        "width_mm": 14.0,
        "outside": 0.0,
        "note": "",
    }


def _in_own_process(home: Path, stream: str) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, home, stream).result()


def _measure(home: Path, stream: str) -> dict[str, Any]:
    heap.keep()
    import jax  # JAX takes seconds, and the others do without
    import jax.numpy as jnp

    from mtl_jax.data.rows import Rows
    from mtl_jax.models import alexnet
    from mtl_jax.nouns import TrainState
    from mtl_jax.training import feed, pool, transfer
    from mtl_jax.training.epoch import Order, make_epoch
    from mtl_jax.training.predict import predict

    peaks, network = {}, alexnet.AlexNet(dropout=0.5)
    frozen = transfer.frozen_layers(NETWORK)
    params = alexnet.init(network, jax.random.key(0))
    optimizer = transfer.optimizer(frozen, 0.9, 0.0005)
    state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, params), optimizer.init(params))
    peaks["start"] = _peak_mb()
    begin = time.perf_counter()
    rois = shards.open_shards(home)
    opened, peaks["opened"] = time.perf_counter() - begin, _peak_mb()
    rows, label = Rows(rois.shards), rois.index["label"]
    begin = time.perf_counter()
    mean, std = pool.statistics([rows])
    gone_through, peaks["statistics"] = time.perf_counter() - begin, _peak_mb()
    source = pool.make_pool([rows], [label], mean, std, stream)
    picks, weight = pool.epoch_order(jax.random.key(1), len(rows), BATCH)
    jax.block_until_ready((picks, weight))
    peaks["order"] = _peak_mb()
    reads, clock = [], []
    for some in np.asarray(picks[-READS:]):
        begin = time.perf_counter()
        feed.fetch(source, some)
        reads.append(time.perf_counter() - begin)
    epoch = make_epoch(network, frozen, 0.9, 0.0005, (1.0,), None, "C1", feed.on_host(source))
    order = Order(picks[:STEPS], weight[:STEPS], jnp.full(STEPS, 1e-3))
    state, _ = epoch(
        state, source, order, jax.random.key(2), lambda _: clock.append(time.perf_counter())
    )
    peaks["learned"] = _peak_mb()
    scored = rows.of(np.linspace(0, len(rows) - 1, SCORED).astype(int))
    predict(network, state.params, pool.make_pool([scored], [label[:SCORED]], mean, std, stream))
    peaks["scored"] = _peak_mb()
    return {
        "regions": len(rows),
        "gb": rows.nbytes / 1e9,
        "peak_mb": peaks["scored"],
        **{f"mb_{name}": value for name, value in peaks.items()},
        "index_bytes": sum(column.nbytes for column in rois.index.values()) / len(rows),
        "order_bytes": (picks.nbytes + weight.nbytes) / len(rows),
        "open_s": opened,
        "statistics_s": gone_through,
        "read_ms": 1e3 * float(np.median(reads)),
        "steps_a_second": (len(clock) - 1) / (clock[-1] - clock[0]),
    }


def _peak_mb() -> float:
    """Most resident memory of this process up to now, as Linux tells it; that of getrusage begins
    with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
