"""Ten times the input takes about ten times as long: no work is quadratic."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kit" / "load.py"
QUADRATIC = 100  # what ten times as much would cost


def measured(what: str, size: int, folder: Path) -> dict[str, float]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what, str(size), str(folder)],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("manifest", 5_000),
        pytest.param("manifest", 100_000, marks=pytest.mark.slow),
        pytest.param("rois", 10_000, marks=pytest.mark.slow),
        ("runs", 100),
    ],
)
def test_ten_times_as_much(what: str, size: int, tmp_path: Path) -> None:
    small, large = measured(what, size, tmp_path / "s"), measured(what, 10 * size, tmp_path / "l")
    for name, seconds in large.items():
        if name not in ("what", "size", "peak MiB") and seconds > 1:
            # Half way, in powers, between ten and its square: clocks on busy machines are coarse.
            assert seconds < QUADRATIC**0.75 * max(small[name], 0.05), (name, small, large)
    assert large["peak MiB"] < 12 * small["peak MiB"]
