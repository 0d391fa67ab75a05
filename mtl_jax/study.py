"""The Python API of the main job: load a config, run its study, read the results."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from mtl_jax import environment, jobs
from mtl_jax.config import PRETRAINING
from mtl_jax.io import paths, signals
from mtl_jax.launch import prepare, train_and_report
from mtl_jax.training import malloc
from mtl_jax.types import InputError

if TYPE_CHECKING:
    import pandas as pd


def load_config(job: str | Path) -> ConfigDict:
    """Return the config of a job, to change and to pass to `run_study`.

    Parameters
    ----------
    job
        The name of a job in `configs/`, such as ``"mttl"``, or the path of a config file; with
        ``:demo`` for the preset that takes minutes, as in ``"mttl:demo"``.

    Returns
    -------
    ConfigDict
        The settings (`docs/settings.md`). Setting a field that does not exist raises
        AttributeError, a value of another type TypeError.

    Raises
    ------
    InputError
        If there is no such file or preset, or the file has an error.
    """
    name, colon, preset = _path_text("load_config", job).partition(":")
    file, _ = jobs.find_config(paths.expand_user(name))
    return jobs.load_config(file, preset if colon else None)


def run_study(config: ConfigDict, workdir: str | Path) -> "Study":
    """Run the study of a config, write its report, and return its results.

    The work folder is that of ``python -m mtl_jax.main``: finished runs are not trained again, and
    either can resume what the other began.

    Parameters
    ----------
    config
        Settings from `load_config`. They are copied, not changed.
    workdir
        Folder of the results; created if missing.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If a setting or a file is invalid; one line that says what to do.
    KeyboardInterrupt
        On Ctrl-C (in a notebook: interrupt the kernel), at the end of the epoch, which is saved.
        Call `run_study` again to resume.
    """
    from mtl_jax import report

    _reject_unsupported(config)
    config = config.copy_and_resolve_references()
    folder = paths.path(_path_text("run_study", workdir))
    try:
        with signals.handle_interrupt():
            prepare(config)
            environment.start_jax()
            _reject_several_processes(config.devices)
            train_and_report(config, folder, report.write)
    finally:
        malloc.release_freed_memory()
    return open_study(folder)


def open_study(workdir: str | Path) -> "Study":
    """Return the results in the work folder of a finished study.

    Parameters
    ----------
    workdir
        Folder of the results, such as the ``--workdir`` of a job.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If the study is not finished, or a file is damaged.
    """
    from mtl_jax.report import read_workdir

    folder = paths.path(_path_text("open_study", workdir))
    return Study(folder, read_workdir.read(folder).results)


@dataclass(frozen=True)
class Study:
    """The results of a finished study.

    Attributes
    ----------
    folder
        The work folder (`docs/architecture.md`, section 4).
    results
        The content of results.json.
    """

    folder: Path
    results: Mapping[str, Any] = field(repr=False)

    @property
    def auc(self) -> "pd.DataFrame":
        """AUCs of the last stage, the headline of each approach first.

        The column ``study`` is the approach, ``unit`` is view or lesion, ``method`` is empirical
        or proper; ``auc``, ``se``, ``ci_low`` and ``ci_high`` are fractions, not percentages.
        """
        return self._table("auc")

    @property
    def comparisons(self) -> "pd.DataFrame":
        """Differences ``delta`` of the AUCs of ``a`` and ``b``, the primary one first."""
        return self._table("comparisons")

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """Scores of all runs, with one row for each stage, run and scored ROI.

        ``truth`` is 1 for malignant and 0 for benign, ``score`` the probability of malignancy
        (not calibrated). InputError if predictions.csv is missing or damaged.
        """
        from mtl_jax.experiments.predictions import read_predictions

        return read_predictions(self.folder, self.results.get("predictions_sha256"))

    @property
    def report_path(self) -> Path:
        """The report, one HTML file, which opens offline."""
        return self.folder / "report.html"

    def summary(self) -> str:
        """Return the primary result, AUCs, comparisons and warnings as text."""
        from mtl_jax import report

        return report.summary(self.folder)

    def _table(self, key: str) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame(self.results[key])


def _path_text(function: str, path: str | Path) -> str:
    """Return `path` as text; InputError if it is no path, such as None, which names no folder."""
    if not isinstance(path, str | Path):
        raise InputError(f"{function}: {path!r} is no path; give a str or a pathlib.Path")
    return str(path)


def _reject_unsupported(config: ConfigDict) -> None:
    """Raise InputError if `config` is none, or of a job that only the command line runs."""
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"run_study: the config is a {type(config).__name__}; expected that of load_config"
        )
    if config.study == PRETRAINING:
        raise InputError(
            f"config.study={PRETRAINING!r} is not a study; run python -m mtl_jax.main"
            " --config=configs/pretrain.py"
        )


def _reject_several_processes(devices: int) -> None:
    """Raise InputError if a launcher started several processes to train one network."""
    import jax

    from mtl_jax.training import multihost

    if jax.process_count() > 1 or (devices > 1 and multihost.is_multiprocess(os.environ)):
        raise InputError(
            "run_study does not support several processes: start python -m mtl_jax.main by the"
            " launcher, or unset its variables"
        )
