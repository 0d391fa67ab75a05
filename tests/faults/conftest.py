"""Small and read-only disks."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.spoiling import mount


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 KiB."""
    place = tmp_path / "small"
    mount(place, "256k")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that is read-only, also for root."""
    place = tmp_path / "read_only"
    mount(place, "256k", ",ro")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
