"""A study from its command to its report, on the paths that it takes on a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_study_on_the_paths_of_a_gpu(tmp_path: Path) -> None:
    """Epochs are compiled loops, dispatched ahead. A first attempt on a GPU ended before its first
    run, because XLA counts no operations there."""
    program = [sys.executable, ROOT / "tests" / "kit" / "as_on_a_gpu.py"]
    sizes = ("cases=24", "target_cases=24", "test_fraction=0.6")
    settings = ("train.epochs=2", *(f"data.phantom.{size}" for size in sizes))
    command = [f"--config={ROOT}/configs/mttl.py:demo", f"--workdir={tmp_path}/run"]
    command += [f"--config.{setting}" for setting in (*settings, "train.precision=bfloat16")]
    ended = subprocess.run([*program, *command], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "report: " in ended.stdout and (tmp_path / "run" / "report.html").is_file()
    assert len(list((tmp_path / "run" / "runs").glob("*/scores.csv"))) == 2
