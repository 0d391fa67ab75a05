"""Small disks and small collections, and ways to damage them, for the tests of faults."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mtl_jax.data import ingest
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import RoiSet

ROI = RoiSettings()
HEADER = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"


def mount(folder: Path, size: str, options: str = "") -> None:
    """Mount a disk in memory at `folder`; skip the test if this user may not mount."""
    folder.mkdir(exist_ok=True)
    flags = ["-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(folder)]
    process = subprocess.run(["mount", *flags], capture_output=True, text=True)
    if process.returncode:
        pytest.skip(f"this user may not mount a small disk: {process.stderr.strip()[:80]}")


def films(folder: Path, count: int = 4, seed: int = 0) -> Path:
    """Write a collection of `count` patients with one lesion each, and return its manifest."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = [HEADER]
    for i in range(count):
        pixels = rng.integers(0, 256, (160, 170), np.uint8)
        (folder / f"{i}.pgm").write_bytes(b"P5 170 160 255\n" + pixels.tobytes())
        truth = ("malignant", "benign")[i % 2]
        rows.append(f"ours,P{i},1,CC,{i}.pgm,{truth},200,40;50;90;100")
    table = folder / "m.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def load(table: Path, cache: Path, outside: bool = False, **rules: object) -> RoiSet:
    options = {"manifest": {"outside": outside}}
    return ingest.load(f"manifest:{table}", cache, ROI, options, ingest.Rules(**rules))


def flip(path: Path, offset: int) -> None:
    """Flip one bit of the byte at `offset`."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)
