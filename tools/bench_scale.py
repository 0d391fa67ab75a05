"""Measure the speed-up of training with the number of devices, in two ways.

Either each batch of one run is divided over the devices, or each device trains its own run.
Simulated CPU devices show that it works, but not its speed.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import bench_step
import jax
from bench_study import epoch_of_replicas

from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import devices, feature_cache, optimizer


def speed(networks: Sequence[str], steps: int, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Yield images per second for each network and number of devices (1, 2, 4, ...)."""
    source = bench_step.random_dataset(bench_step.ROIS)
    counts = [2**n for n in range(8) if 2**n <= jax.local_device_count()]
    for name in networks:
        frozen = optimizer.frozen_layers(name)
        params = jax.device_get(init(alexnet.AlexNet(), jax.random.key(0)))
        feature_cache.clear_cache()
        maps, first = feature_cache.cached_source(alexnet.AlexNet(), params, source, frozen)
        candidates = {}
        for n in counts:
            sharding = devices.batch_sharding(n)
            shared = devices.replicate(maps, sharding)
            candidates[f"shared {n}"] = epoch_of_replicas(
                frozen, params, shared, first, 1, "tf32", steps, sharding
            )
            candidates[f"own {n}"] = epoch_of_replicas(
                frozen, params, maps, first, n, "tf32", steps, device_count=n
            )
        best = bench_step.time_in_turn(candidates, rounds)
        images = steps * bench_step.BATCH
        for n in counts:
            yield {
                "what": f"devices, batch {bench_step.BATCH}",
                "network": name,
                "device": jax.devices()[0].device_kind,
                "devices": n,
                "one_training": images / best[f"shared {n}"],
                "speedup": best["shared 1"] / best[f"shared {n}"],
                "a_training_each": n * images / best[f"own {n}"],
                "speedup_of_each": n * best["own 1"] / best[f"own {n}"],
                "load": os.getloadavg()[0],
            }
