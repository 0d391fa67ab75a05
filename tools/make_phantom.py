"""Writes the three phantom collections: simulated mammograms with known truth, as DICOM files.

    python tools/make_phantom.py --cases 150 --seed 0 --out phantom

Simulated images: for trying software and asking what it can find, not evidence about patients.
docs/phantom.md shows what they look like and how they are made.
"""

import argparse
import sys
from pathlib import Path

from mtl_jax import config
from mtl_jax.io import command_line, paths
from mtl_jax.phantom.collection import Parameters, write
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    c = config.default()
    phantom = c.data.phantom
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shown = "(default: %(default)s)"
    parser.add_argument("--cases", type=int, default=phantom.cases, help=f"in each {shown}")
    parser.add_argument("--seed", type=int, default=phantom.seed, help=shown)
    parser.add_argument(
        "--out", type=paths.path, required=True, help="folder that is not there yet"
    )
    parser.add_argument(
        "--difficulty",
        type=float,
        default=phantom.difficulty,
        help=f"overlap of the classes, 0 none to 1 all {shown}",
    )
    parser.add_argument(
        "--shared-signal",
        type=float,
        default=phantom.shared_signal,
        help=f"how far the others' labels follow the target's cues, 0 to 1 {shown}",
    )
    parser.add_argument("--target", choices=RECEPTORS, default=c.data.target, help=shown)
    parser.add_argument("--test-fraction", type=float, default=phantom.test_fraction, help=shown)
    parser.add_argument(
        "--malignant-fraction", type=float, default=phantom.malignant_fraction, help=shown
    )
    parser.add_argument(
        "--workers", type=int, help="threads; they change no byte (default: one a processor)"
    )
    given = parser.parse_args(arguments)
    try:
        for field in phantom:
            phantom[field] = getattr(given, field)
        config.validate(c)
        made = [make(given.out / kind, kind, given) for kind in RECEPTORS]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("simulated images, not evidence about patients; sources for --config.data.sources:")
    print("\n".join(made))
    return 0


def make(home: Path, kind: str, given: argparse.Namespace) -> str:
    """Writes one collection; the word by which a job reads it."""
    if given.workers is not None and given.workers < 1:
        raise InputError(f"--workers is {given.workers}; give at least 1")
    agreement = 1.0 if kind == given.target else given.shared_signal
    try:
        home.mkdir(parents=True)
        parameters = Parameters(
            kind,
            given.cases,
            given.seed,
            given.difficulty,
            agreement,
            given.test_fraction,
            given.malignant_fraction,
        )
        write(home, parameters, given.workers)
    except FileExistsError as error:
        raise InputError(f"{home}: stands there already; choose another --out") from error
    except OSError as error:
        raise InputError(f"{home}: cannot be written ({error.strerror})") from error
    return f"cbis_ddsm:{home}" if kind == "ddsm" else f"manifest:{home / 'manifest.csv'}"


if __name__ == "__main__":
    sys.exit(command_line.run(main))
