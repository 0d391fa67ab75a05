"""Write the three phantom collections: simulated mammograms with known labels, as DICOM files.

    mtl-jax phantom --cases 150 --seed 0 --out phantom

The images are simulated: they serve to test software and are not evidence about patients.
docs/phantom.md shows and describes them.
"""

import argparse
import re
from pathlib import Path

from mtl_jax import config
from mtl_jax.io import paths
from mtl_jax.phantom.collection import Parameters, select_parameters, write_collection
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    c = config.default()
    phantom = c.data.phantom
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shown = "(default: %(default)s)"
    parser.add_argument(
        "--cases", type=int, default=phantom.cases, help=f"cases per collection {shown}"
    )
    parser.add_argument(
        "--target-cases", type=int, help="cases of the target (default: those of --cases)"
    )
    parser.add_argument(
        "--seed", type=int, default=phantom.seed, help=f"seed of the images and labels {shown}"
    )
    parser.add_argument("--out", type=paths.path, required=True, help="new folder")
    parser.add_argument(
        "--difficulty",
        type=float,
        default=phantom.difficulty,
        help=f"overlap of the classes, from 0 (none) to 1 (complete) {shown}",
    )
    parser.add_argument(
        "--shared-signal",
        type=float,
        default=phantom.shared_signal,
        help="how far the labels of the other collections depend on the appearance of the masses,"
        f" from 0 (random labels) to 1 (as in the target) {shown}",
    )
    parser.add_argument(
        "--target",
        choices=RECEPTORS,
        default=c.data.target,
        help=f"collection whose labels always depend on the appearance {shown}",
    )
    parser.add_argument(
        "--test-fraction",
        type=float,
        default=phantom.test_fraction,
        help=f"fraction of the cases in the official test set {shown}",
    )
    parser.add_argument(
        "--malignant-fraction",
        type=float,
        default=phantom.malignant_fraction,
        help=f"fraction of malignant cases {shown}",
    )
    parser.add_argument(
        "--workers", type=int, help="threads; no effect on the files (default: one per CPU)"
    )
    args = parser.parse_args(arguments)
    try:
        for field in phantom:
            phantom[field] = getattr(args, field)
        config.validate(c)
        made = [
            make(args.out / kind, select_parameters(kind, args.target, **phantom), args.workers)
            for kind in RECEPTORS
        ]
    except InputError as error:
        raise InputError(_name_flag(str(error))) from error
    print("simulated images, not evidence about patients; sources for --config.data.sources:")
    print("\n".join(made))
    return 0


def _name_flag(message: str) -> str:
    """Return a message with the flag in place of its config field."""
    match = re.match(r"config\.data\.phantom\.(\w+)=(.*)", message)
    return f"--{match[1].replace('_', '-')}={match[2]}" if match else message


def make(home: Path, parameters: Parameters, workers: int | None) -> str:
    """Write one collection and return its entry for config.data.sources."""
    if workers is not None and workers < 1:
        raise InputError(f"--workers={workers} is invalid: expected an integer >= 1")
    try:
        home.mkdir(parents=True)
        write_collection(home, parameters, workers)
    except FileExistsError as error:
        raise InputError(f"{home}: already exists; choose another --out") from error
    except OSError as error:
        raise InputError(f"{home}: cannot be written ({error.strerror})") from error
    return f"cbis_ddsm:{home}" if parameters.kind == "ddsm" else f"manifest:{home / 'manifest.csv'}"
