"""Fixtures of small and read-only disks."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.spoiling import mount


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 KiB."""
    folder = tmp_path / "small"
    mount(folder, "256k")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that is read-only, also for root."""
    folder = tmp_path / "read_only"
    mount(folder, "256k", ",ro")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
