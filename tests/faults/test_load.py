"""The time grows about linearly with the size of the input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kit" / "load.py"
QUADRATIC = 100  # growth of quadratic work with ten times the input


def measure(what: str, size: int, folder: Path) -> dict[str, float]:
    folder.mkdir()
    process = subprocess.run(
        [sys.executable, str(SCRIPT), what, str(size), str(folder)],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    print(process.stdout)
    return json.loads(process.stdout)


@pytest.mark.parametrize(
    ("what", "size"),
    [
        pytest.param("manifest", 1_000, marks=pytest.mark.slow),
        pytest.param("manifest", 100_000, marks=pytest.mark.slow),
        pytest.param("rois", 10_000, marks=pytest.mark.slow),
        pytest.param("runs", 100, marks=pytest.mark.slow),
    ],
)
def test_ten_times_the_input_takes_less_than_quadratic_time(
    what: str, size: int, tmp_path: Path
) -> None:
    small, large = measure(what, size, tmp_path / "s"), measure(what, 10 * size, tmp_path / "l")
    for name, seconds in large.items():
        if name not in ("what", "size", "peak MiB") and seconds > 1:
            # A factor of 10**1.5: timings on busy machines are coarse.
            assert seconds < QUADRATIC**0.75 * max(small[name], 0.05), (name, small, large)
    assert large["peak MiB"] < 12 * small["peak MiB"]
