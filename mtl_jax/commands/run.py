"""Run a job, as `python -m mtl_jax.main` does.

mtl-jax run --config=mttl:demo --workdir=runs/demo
"""

import os
import sys
from typing import NoReturn

from absl import app

from mtl_jax import main as job


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a job and end the process with its exit code."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # modules of a config file, as python -m finds them
    before = sys.argv
    if arguments is not None:
        sys.argv = [before[0], *arguments]  # where ml_collections reads --config.FIELD=VALUE
    try:
        app.run(job.main, flags_parser=job.parse_flags)
    finally:
        sys.argv = before
