"""The software that determines the results of a training run: versions, platform, JAX settings."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

from mtl_jax.environment import is_deterministic
from mtl_jax.models.precision import HIGHEST

PACKAGES = ("mtl_jax", "jax", "jaxlib", "flax", "optax", "numpy")
VERSION_FIELDS = ("versions.", "platform", "random.epoch_order")  # --accept_versions: may differ


def versions() -> dict[str, str]:
    """Return the installed version of each of PACKAGES."""
    return {name: metadata.version(name) for name in PACKAGES}


def record() -> dict[str, Any]:
    """Return what checkpoints and finished runs record of the software of this process."""
    return {
        "versions": versions(),
        "platform": jax.default_backend(),
        "precision": {"matmul": HIGHEST},  # outside of the training step
        "deterministic": is_deterministic(),
        "random": {
            "prng_impl": jax.config.jax_default_prng_impl,
            "threefry_partitionable": jax.config.jax_threefry_partitionable,
            "enable_x64": jax.config.jax_enable_x64,
            "epoch_order": "numpy",  # since 0.3.0
            "seed_offset": jax.config.jax_random_seed_offset,
        },
    }


def add_later_fields(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the fields that it lacks because an earlier version wrote it.

    Earlier versions recorded JAX's default precision, None, which is all bits of float32 on CPUs
    alone: on GPUs it can be TF32, and such a record keeps it.
    """
    filled = {"deterministic": False, **recorded}
    precision = recorded.get("precision")
    if recorded.get("platform") == "cpu" and isinstance(precision, Mapping):
        if precision.get("matmul") is None:
            filled["precision"] = {**precision, "matmul": HIGHEST}
    return filled


def version_of(recorded: dict[str, Any]) -> dict[str, str]:
    """Return the versions and the platform of a record as one flat dict."""
    return {**recorded["versions"], "platform": recorded["platform"]}


def may_differ(field: str) -> bool:
    """Return whether --accept_versions accepts a difference in this field of a record."""
    return field.startswith(VERSION_FIELDS)
