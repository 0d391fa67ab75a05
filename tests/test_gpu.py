"""Training on an NVIDIA GPU, compared with the CPU and with itself.

These tests need a machine with a GPU and `jax[cuda13]`; each training is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax.environment import NVIDIA_FILES

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests" / "kit" / "train_once.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(Path(file).exists() for file in NVIDIA_FILES), reason="needs an NVIDIA GPU"
    ),
]
# Norm of the difference between the weights after one step, relative to that of the step. More
# steps multiply rounding errors: 1e-7 in the first weights becomes 3e-3 in 20 steps with C1 frozen.
TOLERANCES = {"float32": 1e-3, "tf32": 3e-2, "bfloat16": 0.2}


def train(
    folder: Path,
    network: str,
    precision: str = "float32",
    platform: str = "cuda",
    deterministic: bool = False,
    stop: int = 0,
    epochs: int = 4,
    batch: int = 64,
) -> dict[str, np.ndarray]:
    """Return the parameters at the start and at the end; nothing if `stop` ends the process."""
    folder.mkdir(exist_ok=True)
    arguments = [folder, network, precision, deterministic, stop, epochs, batch]
    settings = {
        "JAX_PLATFORMS": platform,
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    ended = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    if stop:
        return {}
    with np.load(folder / "params.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("network", ["C0", "C1-C5"])
def test_a_resumed_run_has_the_same_bits_with_deterministic(network: str, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", network, "tf32", deterministic=True)
    train(tmp_path / "parts", network, "tf32", deterministic=True, stop=2)
    assert (tmp_path / "parts" / "run" / "checkpoint").is_dir()
    parts = train(tmp_path / "parts", network, "tf32", deterministic=True)
    assert whole["end"].tobytes() == parts["end"].tobytes()


@pytest.mark.parametrize("network", ["C1", "C1-C5"])
def test_a_step_in_each_precision_is_that_of_the_cpu_in_float32(
    network: str, tmp_path: Path
) -> None:
    one = {"epochs": 1, "batch": 320}
    expected = train(tmp_path / "cpu", network, platform="cpu", **one)
    for precision, tolerance in TOLERANCES.items():
        actual = train(tmp_path / precision, network, precision, **one)
        difference = np.linalg.norm(actual["end"] - expected["end"])
        relative = difference / np.linalg.norm(expected["end"] - expected["start"])
        print(f"{network} {precision}: {relative:.1e}")
        assert relative < tolerance
