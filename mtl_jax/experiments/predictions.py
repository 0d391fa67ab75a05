"""The predictions of a study: the scores of all runs in one table, predictions.csv."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.experiments.scores import Scores
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import escape_row, format_rows
from mtl_jax.types import InputError, Run

FILE = "predictions.csv"
# The columns and their pandas types; an empty Int64 cell is missing.
COLUMNS = {
    "stage": "str",
    "approach": "str",
    "network": "str",  # freeze depth
    "split": "Int64",  # number of the partition into folds; empty on the test set
    "fold": "Int64",  # from 1, as in the id of the run; empty on the test set
    "target_cases": "Int64",  # number of training cases of the target; empty: all
    "initialization": "Int64",
    "seed": "Int64",
    "run": "str",
    "task": "str",  # the collection of the ROI
    "case_id": "str",
    "lesion_id": "str",
    "view": "str",
    "roi_id": "str",
    "truth": "int",  # 1 malignant, 0 benign
    "score": "float",
}


def write_predictions(
    folder: Path, stages: Mapping[str, Sequence[Run]], tables: Mapping[str, Scores]
) -> str:
    """Write predictions.csv into the work folder `folder`, atomically and one run at a time.

    It has one row for each stage, run of the stage and scored ROI: a run that two stages share
    is in both. `tables` are the scores by run id. Returns the SHA-256 of the file.
    """
    atomic.write_chunks(folder / FILE, (text.encode() for text in _chunks(stages, tables)))
    return atomic.file_sha256(folder / FILE)


def _chunks(stages: Mapping[str, Sequence[Run]], tables: Mapping[str, Scores]) -> Iterator[str]:
    yield format_rows([COLUMNS])
    for stage, runs in stages.items():
        for run in runs:
            yield format_rows(map(escape_row, _rows(stage, run, tables[run.id])))


def _rows(stage: str, run: Run, scores: Scores) -> Iterator[list[object]]:
    """Yield the rows of a run, with scores as in scores.csv."""
    split, fold = (None, None) if run.fold is None else (run.split, run.fold + 1)
    settings = [stage, run.approach, run.network, split, fold]
    settings += [run.target_cases, run.initialization, run.seed, run.id]
    columns = (scores.task, scores.case_id, scores.lesion_id, scores.view, scores.roi_id)
    ids_by_row = zip(*(column.tolist() for column in columns), strict=True)
    for ids, label, score in zip(ids_by_row, scores.label, scores.score, strict=True):
        yield [*settings, *ids, label, f"{score:.9g}"]


def read_predictions(folder: Path, sha256: str | None = None) -> pd.DataFrame:
    """Read predictions.csv of a work folder; InputError if it is missing or damaged.

    `sha256` is the checksum of results.json; results of versions before 0.3 have none.
    """
    path = folder / FILE
    missing = {name: [""] if kind == "Int64" else [] for name, kind in COLUMNS.items()}
    try:
        if sha256 and atomic.file_sha256(path) != sha256:
            raise InputError(
                f"{path}: does not match the checksum in results.json; run the job again to write"
                " it (finished runs are not repeated)"
            )
        table = pd.read_csv(path, dtype=COLUMNS, na_values=missing, keep_default_na=False)
        return table[list(COLUMNS)]
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; run the job again to write it (finished runs are not repeated)"
        ) from error
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({reason}); run the job again to write it") from error
