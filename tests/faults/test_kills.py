"""SIGKILL at random times in every phase: the rerun gives the bytes of an uninterrupted job."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    """Run in a separate process, because it forks before anything is computed."""
    script = ROOT / "tests" / "kit" / "killing.py"
    process = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "kills"), "20", "1"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-500:] + process.stderr[-3000:]
    assert process.stdout.count("the same bytes") == 20
    # A phase may end before it is killed; most do not.
    assert int(process.stdout.splitlines()[-2].split("; ")[1].split()[0]) >= 90
