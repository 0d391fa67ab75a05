"""Run benchmarks on this machine: `python tools/bench.py WHAT [--against torch] [--json FILE]`.

WHAT is gpu, step, train, study, scale, score, ingest, memory or roc.

Prints one line per measurement; --json writes {machine, versions, rows}. Each benchmark is in a
module bench_WHAT.py, which is imported only for it: `gpu` needs no package that reads images.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mtl_jax import environment
from mtl_jax.config import NETWORKS, PRECISIONS
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.training import malloc
from mtl_jax.types import InputError

# Packages whose versions are recorded where they are installed; some are for development only.
PACKAGES = (
    *("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "flax", "optax"),
    *("torch", "triton", "numpy", "scipy"),
    *("pydicom", "imagecodecs", "python-gdcm", "pylibjpeg-openjpeg"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects = parser.add_subparsers(dest="what", required=True)
    roc = subjects.add_parser("roc", help="speed of ROC fits and bootstraps")
    roc.add_argument(
        "--calibrate",
        action="store_true",
        help="type I error and coverage instead (about 15 min)",
    )
    ingest = subjects.add_parser("ingest", help="images per second compared with pydicom")
    ingest.add_argument(
        "--memory", action="store_true", help="memory of 4,000 images instead (minutes)"
    )
    step = subjects.add_parser("step", help="images per second of training steps and of scoring")
    step.add_argument("--against", choices=["torch"], help="needs the [bench] extra")
    score = subjects.add_parser("score", help="DICOM images per second scored by a model bundle")
    memory = subjects.add_parser("memory", help="memory of training from ROIs on disk (minutes)")
    memory.add_argument("--million", action="store_true", help="also with 10^6 ROIs (33 GB)")
    memory.add_argument("--folder", type=paths.path, help="folder for the ROIs")
    train = subjects.add_parser("train", help="whole runs at the paper's data size")
    train.add_argument("--epochs", type=int, default=200)
    study = subjects.add_parser(
        "study", help="replicas, and the projected time of the paper's study"
    )
    study.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 10, 20])
    scale = subjects.add_parser("scale", help="strong scaling over 1, 2, 4, ... devices")
    scale.add_argument("--cpu_devices", type=int, help="number of CPU devices to emulate")
    gpu = subjects.add_parser("gpu", help="all of training on one GPU, in a given time")
    gpu.add_argument("--minutes", type=float, default=8, help="stop after these (default 8)")
    gpu.add_argument("--table", type=paths.path, help="also write Markdown tables to this file")
    gpu.add_argument("--epochs", type=int, default=200, help="of the whole run")
    gpu.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    for subject in (train, gpu):
        subject.add_argument("--share", type=float, default=1, help="fraction of the paper's ROIs")
    for subject in (train, study, scale, gpu):
        subject.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    for subject, steps in ((study, 20), (scale, 20), (gpu, 192)):
        subject.add_argument("--steps", type=int, default=steps, help="steps per measurement")
    for subject, precisions in ((study, ["float32"]), (gpu, ["tf32", "bfloat16", "float32"])):
        subject.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=precisions)
    train.add_argument("--precision", choices=PRECISIONS, default="float32")
    for subject in (roc, ingest, step, score, memory, train, study, scale, gpu):
        subject.add_argument("--json", type=paths.path, help="also write the rows to this file")
    flags = parser.parse_args()
    _check(flags)
    malloc.keep_freed_memory()  # as in a job; this affects PyTorch too
    for path in filter(None, (flags.json, getattr(flags, "table", None))):
        atomic.make_folder(path.parent)
    rows = []
    report = {"machine": _machine(), "versions": _versions(), "rows": rows}
    for row in MEASURES[flags.what](flags):
        print("  ".join(f"{k} {_short(v)}" for k, v in row.items()), flush=True)
        rows.append(row)
        # After each row, so that an interrupted benchmark keeps its results.
        if flags.json:
            atomic.write_text(flags.json, json.dumps(report, indent=1))
        if getattr(flags, "table", None):
            atomic.write_text(flags.table, _tables(report))


def _machine() -> dict[str, Any]:
    """Return the machine, the command and the load before it."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "gpus": _nvidia("gpus/*/information", "Model"),
        "driver": _nvidia("version", "NVRM version"),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", "tools/bench.py", *sys.argv[1:]]),
        "load": os.getloadavg()[0],
    }


def _nvidia(pattern: str, field: str) -> list[str]:
    """Return the values of a field of the files in which NVIDIA's driver describes itself."""
    files = sorted(Path("/proc/driver/nvidia").glob(pattern))
    lines = [line.partition(":") for file in files for line in file.read_text().splitlines()]
    return [value.strip() for name, _, value in lines if name.strip() == field]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _tables(report: dict[str, Any]) -> str:
    """Return the report as Markdown, with a table for each kind of row."""
    facts = {**report["machine"], **report["versions"]}
    parts = [", ".join(f"{name} {_short(value)}" for name, value in facts.items()) + "\n"]
    kinds = dict.fromkeys(row["what"] for row in report["rows"])
    for kind in kinds:
        rows = [row for row in report["rows"] if row["what"] == kind]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "what"))
        lines = [names, ["---"] * len(names), *([row.get(name) for name in names] for row in rows)]
        parts += [f"**{kind}**\n", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines)]
        parts.append("")
    return "\n".join(parts)


def _cell(value: object) -> str:
    return "" if value is None else str(_short(value)).replace("|", "\\|")


def _check(flags: argparse.Namespace) -> None:
    """Raise InputError if a number is out of range."""
    if getattr(flags, "minutes", 1) <= 0:
        raise InputError(f"--minutes {flags.minutes:g}: expected a number above 0")
    for name in ("epochs", "steps", "replicas", "share"):
        value = getattr(flags, name, 1)
        for number in value if isinstance(value, list) else [value]:
            if name == "share" and not 0 < number <= 1:
                raise InputError(f"--share {number:g}: expected a number in (0, 1]")
            if name != "share" and number < 1:
                raise InputError(f"--{name} {number}: expected an integer >= 1")


def measure_roc(flags: argparse.Namespace) -> Iterator[dict]:
    import bench_roc

    return bench_roc.study() if flags.calibrate else bench_roc.speed()


def measure_ingest(flags: argparse.Namespace) -> Iterator[dict]:
    import bench_ingest

    return bench_ingest.memory() if flags.memory else bench_ingest.speed()


def measure_step(flags: argparse.Namespace) -> Iterator[dict]:
    environment.start_jax()
    import bench_step  # the import of JAX takes seconds

    return bench_step.speed(flags.against)


def measure_train(flags: argparse.Namespace) -> Iterator[dict]:
    environment.start_jax()
    import bench_train

    return bench_train.speed(flags.networks, flags.epochs, flags.share, flags.precision)


def measure_study(flags: argparse.Namespace) -> Iterator[dict]:
    environment.start_jax()
    import bench_study

    return bench_study.speed(flags.networks, flags.replicas, flags.precisions, flags.steps)


def measure_gpu(flags: argparse.Namespace) -> Iterator[dict]:
    end = time.monotonic() + 60 * flags.minutes
    # JAX would otherwise take three quarters of the memory, which PyTorch and a second process use.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    environment.start_jax()
    import bench_gpu

    return bench_gpu.speed(flags, end)


def measure_scale(flags: argparse.Namespace) -> Iterator[dict]:
    with environment.report_start_errors():
        import jax

    if flags.cpu_devices:
        jax.config.update("jax_num_cpu_devices", flags.cpu_devices)
    environment.start_jax()
    import bench_scale

    return bench_scale.speed(flags.networks, flags.steps)


def measure_score(_: argparse.Namespace) -> Iterator[dict]:
    environment.start_jax()
    import bench_score

    return bench_score.speed()


def measure_memory(flags: argparse.Namespace) -> Iterator[dict]:
    import bench_memory

    counts = bench_memory.COUNTS + ((10**6,) if flags.million else ())
    return bench_memory.streamed(counts, flags.folder)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


MEASURES = {
    "roc": measure_roc,
    "ingest": measure_ingest,
    "step": measure_step,
    "train": measure_train,
    "study": measure_study,
    "scale": measure_scale,
    "gpu": measure_gpu,
    "score": measure_score,
    "memory": measure_memory,
}

if __name__ == "__main__":
    sys.exit(command_line.run(main))
