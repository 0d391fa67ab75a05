"""Measure whole runs at the data size of the paper.

The ROIs are random, as many as in the paper; their content does not affect the time.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bench_step
import jax
import numpy as np

from mtl_jax import config
from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import dataset, feature_cache, optimizer
from mtl_jax.training.fit import fit
from mtl_jax.training.setup import Training, TrainingRun

ROIS = {"sfm": 886, "ddsm": 322, "dm": 337}


def speed(
    networks: Sequence[str], epochs: int, share: float, precision: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each network: a run of `epochs` epochs on a fraction of the paper's ROIs."""
    source = papers_dataset(share)
    rois = source.count
    network = alexnet.AlexNet(dropout=0.5)
    params = jax.device_get(init(network, jax.random.key(0)))
    train_config = config.default().train
    train_config.epochs, train_config.precision = epochs, precision
    for name in networks:
        feature_cache.clear_cache()
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            run = TrainingRun(
                Path(folder) / "run",
                params,
                jax.random.key(0),
                lambda line, ends=ends: ends.append(time.perf_counter()),
            )
            training = Training(
                network,
                optimizer.frozen_layers(name),
                dict.fromkeys(ROIS, 1.0),
                train_config,
                cache=Path(folder) / "cache",
            )
            fit([run], source, training)
            seconds = time.perf_counter() - begin
        steps = dataset.steps_per_epoch(rois, train_config.batch_size)
        yield {
            "what": f"training, {epochs} epochs of {rois} ROIs, batch 128",
            "network": name,
            "precision": precision,
            "seconds": seconds,
            "first_epoch": ends[0] - begin,  # with compilation and the activations of frozen layers
            "other_epochs": float(np.median(np.diff(ends))) if epochs > 1 else None,
            "ours": epochs * steps * bench_step.BATCH / seconds,
            "peak_gb": peak_memory(),  # in this process so far
            "load": os.getloadavg()[0],
        }


def papers_dataset(share: float) -> dataset.Dataset:
    """Return random ROIs of three tasks: a fraction of as many as in the paper."""
    rng = np.random.default_rng(0)
    counts = [max(2, round(share * n)) for n in ROIS.values()]
    pixels = [rng.normal(0, 500, (n, 128, 128)).astype(np.int16) for n in counts]
    labels = [np.arange(n) % 2 for n in counts]
    return dataset.make_dataset(pixels, labels, *dataset.pixel_statistics(pixels))


def peak_memory() -> float | None:
    """Return the most GB that JAX has used on the device in this process; None on a CPU."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] / 1e9 if stats else None
