"""The work folder: its lock, its config, and the record of the software and machine."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import filelock

from mtl_jax import old_names
from mtl_jax.config_diff import changed_fields, fill_missing, format_changes
from mtl_jax.io import atomic
from mtl_jax.types import InputError

# Fields that may differ when a job is resumed. They set where and how the work is done or what is
# recorded, and do not change the results; the number of devices changes them only by rounding.
# What accept_versions accepts is recorded with each run.
IGNORED_FIELDS = (
    "accept_versions",
    "data.cache",
    "data.workers",
    "devices",
    "executor",
    "keep_weights",
    "ray.address",
    "ray.cpus",
    "ray.gpus",
    "replicas",
    "stream",
    "train.checkpoint_minutes",
    "train.validation_epochs",
    "train.writers",
    *old_names.REMOVED_IN_0_3,
)
PACKAGES = (
    "mtl_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "scikit-image",
    "pydicom",
    "ml_collections",
    "tensorflow-datasets",
)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON to `path` atomically."""
    atomic.write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Create `folder` and hold its lock; raise InputError if another job holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file_lock = filelock.FileLock(folder / ".lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"--workdir={folder}: another job uses this folder; wait until it ends, or name "
            "another folder"
        ) from error
    except OSError as error:
        raise InputError(
            f"--workdir={folder}: this folder cannot be created ({error.strerror}); name another"
        ) from error
    with file_lock:
        yield


def claim(
    folder: Path, config: Mapping[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Make the existing `folder` the work folder of `config`, unless it already is."""
    reject_other_config(folder, config, defaults)
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config)


def reject_old(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError if `config`, the config.json of `folder`, has fields of version 0.1.0."""
    fields = old_names.old_fields(config)
    if fields:
        raise InputError(
            f"{folder}: mtl_jax 0.1.0 wrote this work folder (its config.json has "
            f"{', '.join(fields[:3])}); finish it with that version, or name another --workdir"
        )


def reject_other_config(
    folder: Path, config: Mapping[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Raise InputError if `folder` belongs to another config, with the fields that differ.

    Fields that config.json lacks were added to the package later; they have their `defaults`.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    written = _read_json(path)
    reject_old(folder, written)
    written = fill_missing(written, json.loads(json.dumps(dict(defaults))))
    current = json.loads(json.dumps(config))
    difference = format_changes(changed_fields(written, current, ignored=IGNORED_FIELDS))
    if difference:
        raise InputError(
            f"--workdir={folder} belongs to another config: {difference}; name another folder"
        )


def write_once(path: Path, value: Any, what: str) -> None:
    """Write `value` as JSON to `path`, or raise InputError if `path` holds another value."""
    if path.exists():
        if _read_json(path) != json.loads(json.dumps(value)):
            raise InputError(
                f"{path}: {what} of this folder differ from those of the current data; name another"
                " --workdir"
            )
        return
    write_json(path, value)


def record_environment(folder: Path, devices: list[str]) -> None:
    """Write environment.json; an older record that differs is kept in its list `before`."""
    path, current = folder / "environment.json", environment(devices)
    previous = _read_json(path) if path.exists() else current
    before = previous.pop("before", [])
    if any(previous.get(key) != current[key] for key in ("packages", "devices")):
        before.append(previous)
    write_json(path, current | ({"before": before} if before else {}))


def environment(devices: list[str]) -> dict[str, Any]:
    """Return the versions of Python and the packages, the platform and the devices."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_count": os.cpu_count(),
        "devices": devices,
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        value = error
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: damaged; delete this file and run the job again (finished runs are kept)"
        )
    return value
