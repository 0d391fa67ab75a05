"""Two tiny finished studies of one phantom collection, for tests that need a trained model.

A test run and a cross-validation of its training cases, trained for seconds.
"""

from pathlib import Path
from typing import NamedTuple

from mtl_jax import config
from mtl_jax.experiments.runner import run_study


class Trained(NamedTuple):
    """Work folders of both, the test run's folder, and the phantom's files with manifest.csv."""

    test: Path
    cross_validation: Path
    run: Path
    films: Path


def train(folder: Path) -> Trained:
    """Run both studies in `folder`."""
    for study in ("test", "cross_validation"):
        c = config.default()
        c.study, c.approaches, c.network, c.folds = study, ("sttl",), "C1-C5", 2
        c.data.sources, c.data.cache = ("phantom:sfm",), str(folder / "cache")
        c.data.phantom.cases, c.data.phantom.difficulty = 14, 0.0
        # Enough for scores out of fold that rise with malignancy, so that they calibrate.
        c.train.epochs, c.train.batch_size = 6, 32
        c.train.learning_rate, c.train.final_learning_rate = 0.002, 0.002
        c.cross_validation.initializations = 1
        c.statistics.bootstrap, c.analysis.enabled = 100, False
        run_study(c, folder / study)
    (films,) = (path.parent for path in (folder / "cache").glob("phantom-*/manifest.csv"))
    (run,) = (folder / "test" / "runs").iterdir()
    return Trained(folder / "test", folder / "cross_validation", run, films)
