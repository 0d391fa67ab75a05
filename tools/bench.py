"""Run benchmarks on this machine: `python tools/bench.py WHAT [--against torch] [--json FILE]`.

WHAT is step, train, study, scale, score, ingest, memory or roc.

Prints one line per measurement; --json writes {machine, versions, rows}. Each benchmark is in a
module bench_WHAT.py.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench_ingest
import bench_memory
import bench_roc

from mtl_jax import environment
from mtl_jax.config import NETWORKS, PRECISIONS
from mtl_jax.io import command_line, paths
from mtl_jax.training import malloc
from mtl_jax.types import InputError

# Packages whose versions are recorded, and the modules to import; some are for development only.
PACKAGES = {
    **{
        "jax": "jax",
        "jaxlib": "jaxlib",
        "torch": "torch",
        "numpy": "numpy",
        "scipy": "scipy",
        "pydicom": "pydicom",
        "imagecodecs": "imagecodecs",
    },
    **{"python-gdcm": "gdcm", "pylibjpeg-openjpeg": "openjpeg"},
}


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
    train.add_argument("--share", type=float, default=1.0, help="fraction of the paper's ROIs")
    study = subjects.add_parser(
        "study", help="replicas, and the projected time of the paper's study"
    )
    study.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 10, 20])
    scale = subjects.add_parser("scale", help="strong scaling over 1, 2, 4, ... devices")
    scale.add_argument("--cpu_devices", type=int, help="number of CPU devices to emulate")
    for subject in (train, study, scale):
        subject.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    for subject in (study, scale):
        subject.add_argument("--steps", type=int, default=20, help="steps per measurement")
    study.add_argument("--against", choices=["torch"], help="needs the [bench] extra")
    study.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    train.add_argument("--precision", choices=PRECISIONS, default="float32")
    for subject in (roc, ingest, step, score, memory, train, study, scale):
        subject.add_argument("--json", type=paths.path, help="also write the rows to this file")
    flags = parser.parse_args()
    _check(flags)
    malloc.keep_freed_memory()  # as in a job; this affects PyTorch too
    versions = {"python": platform.python_version()} | {
        package: version(package) for package in PACKAGES if find_spec(PACKAGES[package])
    }
    machine = {"system": platform.platform(), "cores": os.cpu_count()}
    rows = []
    for row in MEASURES[flags.what](flags):
        print("  ".join(f"{k} {_short(v)}" for k, v in row.items()), flush=True)
        rows.append(row)
        if flags.json:  # after each row, so that an interrupted benchmark keeps its results
            report = {"machine": machine, "versions": versions, "rows": rows}
            flags.json.write_text(json.dumps(report, indent=1))


def _check(flags: argparse.Namespace) -> None:
    """Raise InputError if a number is out of range."""
    for name in ("epochs", "steps", "replicas", "share"):
        value = getattr(flags, name, 1)
        for number in value if isinstance(value, list) else [value]:
            if name == "share" and not 0 < number <= 1:
                raise InputError(f"--share {number:g}: expected a number in (0, 1]")
            if name != "share" and number < 1:
                raise InputError(f"--{name} {number}: expected an integer >= 1")


def measure_roc(flags: argparse.Namespace) -> Iterator[dict]:
    return bench_roc.study() if flags.calibrate else bench_roc.speed()


def measure_ingest(flags: argparse.Namespace) -> Iterator[dict]:
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

    return bench_study.speed(
        flags.against, flags.networks, flags.replicas, flags.precisions, flags.steps
    )


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
    "score": measure_score,
    "memory": measure_memory,
}

if __name__ == "__main__":
    sys.exit(command_line.run(main))
