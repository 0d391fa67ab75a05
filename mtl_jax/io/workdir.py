"""The work folder: what ran, on what, and that it belongs to this config."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from mtl_jax import old_names
from mtl_jax.config_diff import describe_difference
from mtl_jax.io import atomic
from mtl_jax.types import InputError

# They say where and how the work is done, or what is recorded beside it, and change no result, so
# that a job may move; another number of devices changes it by rounding. accept_versions, too, is no
# setting of the study: what it lets through is recorded with each run.
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
    "stream",
    "train.validation_epochs",
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
    """Write under the final name only when whole."""
    atomic.write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Make `folder`, and keeps other jobs out of it meanwhile.

    Raises InputError where another job is at work in it, or it cannot be made. The system lets go
    of the lock of a process that ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file_lock = filelock.FileLock(folder / ".lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"--workdir={folder}: another job is at work in this folder; wait for its end, or "
            "name another folder"
        ) from error
    except OSError as error:
        raise InputError(
            f"--workdir={folder}: this folder cannot be made ({error.strerror}); name another"
        ) from error
    with file_lock:
        yield


def claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Make `folder`, which is there, the work folder of `config`, or finds that it already is."""
    reject_other_config(folder, config)
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


def reject_other_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError if `folder` belongs to another config, with the fields that differ."""
    path = folder / "config.json"
    if not path.exists():
        return
    written = _read_json(path)
    reject_old(folder, written)
    differ = describe_difference(written, json.loads(json.dumps(config)), but=IGNORED_FIELDS)
    if differ:
        raise InputError(
            f"--workdir={folder} belongs to another config: {differ}; name another folder"
        )


def write_once(path: Path, value: Any, what: str) -> None:
    """Write `value` once; a later job must arrive at the same, else InputError."""
    if path.exists():
        if _read_json(path) != json.loads(json.dumps(value)):
            raise InputError(
                f"{path}: {what} are not those of this job's data any more; name another --workdir"
            )
        return
    write_json(path, value)


def record_environment(folder: Path, devices: list[str]) -> None:
    """Write environment.json. One of other packages or devices that stood there before is kept in
    its `before`, the oldest first."""
    path, now = folder / "environment.json", environment(devices)
    there = _read_json(path) if path.exists() else now
    before = there.pop("before", [])
    if any(there.get(key) != now[key] for key in ("packages", "devices")):
        before.append(there)
    write_json(path, now | ({"before": before} if before else {}))


def environment(devices: list[str]) -> dict[str, Any]:
    """Versions and machine, for the record."""
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
        raise InputError(f"{path}: damaged; name another --workdir or delete this one")
    return value
