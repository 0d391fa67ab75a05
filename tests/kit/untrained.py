"""A model bundle with random weights, for tests of scoring and its output."""

from pathlib import Path

import jax
import numpy as np

from mtl_jax import bundle
from mtl_jax.bundle import training_ranges
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.models import base, registry


def make_untrained(
    folder: Path, seed: int = 0, name: str = "sttl-C1-test-seed0", backbone: str = "alexnet"
) -> Path:
    """Write a bundle with random weights to `folder`, and return `folder`."""
    rng = np.random.default_rng(0)
    ids = np.array(["a", "b"])
    reference = bundle.Reference(
        np.array(["dm", "dm"]),
        ids,
        ids,
        np.int32([0, 1]),
        np.float32([0.4, 0.6]),
        rng.random((2, 100)).astype(np.float32),
    )
    counts = rng.integers(-4000, 4000, (3, 128, 128)).astype(np.int16)
    sides = np.full((3, 2), 100.0)
    limits = training_ranges.training_limits(
        training_ranges.measure(counts, sides, np.zeros(3), sides / 10), ["DM"]
    )
    unit = {"a": 1.0, "b": 0.0}
    about = {
        "made_with": "mtl_jax test",
        "use": "For research only, not for clinical use.",
        "phantom": True,
        "run": {
            **{"id": name, "approach": "sttl", "tasks": ["dm"], "network": "C1"},
            **{"input_mean": {"dm": 0.0}, "input_std": {"dm": 1000.0}},
        },
        "network": {"backbone": backbone, "outputs": 2, "lrn": False},
        "weights": {"name": "random", "backbone": backbone},
        "preprocessing": RoiSettings().record(),
        "calibration": {
            "method": "made up",
            "view": unit,
            "lesion": unit | {"prevalence": 0.375, "checks": []},
        },
        "operating_points": [],
        "no_calibration": None,
        "out_of_fold": "made up",
        "reference_scores": {"dm": "made up"},
        "training": {"dm": limits},
        "far": 1e9,
    }
    params = jax.tree.map(np.asarray, base.init(registry.build(backbone), jax.random.key(seed)))
    bundle.save(bundle.Model(about, params, reference), "made up", folder)
    return folder
