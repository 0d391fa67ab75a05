"""Config file of a small job: the demo preset of a job in configs/, with the network of small_head.

python -m mtl_jax.main --config=tests/kit/small_study.py:paper --workdir=DIR
"""

import runpy
import sys
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import config

TESTS = Path(__file__).parents[1]


def get_config(job: str) -> ConfigDict:
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))  # small_head is imported from there
    config.BACKBONES[config.ALEXNET] = "kit.small_head"
    return runpy.run_path(str(TESTS.parent / "configs" / f"{job}.py"))["get_config"]("demo")
