"""Measure how fast a model bundle scores DICOM images, and the share of reading them.

The images are those of bench_ingest.py, 4,000 x 3,000 pixels of 12 bits with one lesion each; the
weights are random. The files are in the page cache, and the network is compiled beforehand.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from bench_ingest import write_images

from mtl_jax import bundle
from mtl_jax.bundle import lesion_table, scoring, training_ranges
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.models import alexnet

IMAGES = {"ExplicitVRLittleEndian": 100, "JPEGLosslessSV1": 24}
EXPLAINED = 8


def speed(rounds: int = 3) -> Iterator[dict]:
    """Yield a row for each transfer syntax with median seconds: reading all images, scoring them
    without attribution maps, and one attribution map."""
    model = _untrained()
    with tempfile.TemporaryDirectory() as folder:
        for syntax, count in IMAGES.items():
            home = Path(folder) / syntax
            paths = write_images(home, syntax, count)
            lesions = lesion_table.read(home / "m.csv", [home])
            scoring.score(model, lesions[:2], attribution=True)  # compiles
            reading, scored, maps = [], [], []
            for _ in range(rounds):
                reading.append(_seconds(lambda p=paths: [read_stored(path) for path in p]))
                scored.append(
                    _seconds(
                        lambda h=home: scoring.score(
                            model, lesion_table.read(h / "m.csv", [h]), attribution=False
                        )
                    )
                )
                maps.append(_seconds(lambda: _explain(model)))
            whole, read = float(np.median(scored)), float(np.median(reading))
            yield {
                "what": f"score {syntax}",
                "images": count,
                "seconds": whole,
                "a_second": count / whole,
                "reading": read,
                "share_of_reading": read / whole,
                "attribution_map": float(np.median(maps)) / EXPLAINED,
            }


def _explain(model: bundle.Model) -> None:
    for _ in range(EXPLAINED):
        scoring.attribution_map(model, np.zeros((128, 128), np.int16))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _untrained() -> bundle.Model:
    """Return a bundle with random weights and training ranges, which do not affect the time."""
    network = alexnet.AlexNet()
    params = jax.tree.map(np.asarray, alexnet.init(network, jax.random.key(0)))
    rng = np.random.default_rng(0)
    names = np.arange(400).astype(str)
    numbers = rng.random(400).astype(np.float32)
    features = rng.random((400, alexnet.FULLY_CONNECTED["F4"])).astype(np.float32)
    label = np.arange(400, dtype=np.int32) % 2
    reference = bundle.Reference(np.full(400, "x"), names, names, label, numbers, features)
    counts = rng.integers(-999, 999, (2, 128, 128)).astype(np.int16)
    sides = np.full((2, 2), 70.0)
    limits = training_ranges.training_limits(
        training_ranges.measure(counts, sides, np.zeros(2), sides), ["DM", "DM"]
    )
    about = {
        "run": {"tasks": ["x"], "input_mean": {"x": 0.0}, "input_std": {"x": 1000.0}},
        "network": {"outputs": 2, "lrn": False},
        "preprocessing": RoiSettings().record(),
        "training": {"x": limits},
        "calibration": None,
        "far": 1.0,
    }
    return bundle.Model(about, params, reference)
