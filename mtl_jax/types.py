"""The few central types that rooms hand to each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Params = dict[str, dict[str, Any]]
Box = tuple[float, float, float, float]
UNKNOWN = -1  # the label of a lesion that is only scored


class InputError(Exception):
    """The user's input is invalid: one line that names the file or field and the cure."""


@contextmanager
def prefix_errors(where: object) -> Iterator[None]:
    """Begin the message of an InputError from the block with `where`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


class Note(NamedTuple):
    """What was noticed about the facts of an image that contradict each other or look wrong.

    `kind` is a short fixed sentence, so that notes can be counted; `detail` holds the numbers of
    this image. `corrected`: a value was replaced by a stated rule; otherwise nothing was changed.
    Neither text holds an id or a file name.
    """

    kind: str
    detail: str = ""
    corrected: bool = False

    @property
    def text(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


@dataclass(frozen=True)
class LesionView:
    """One lesion seen in one image: what a source yields, before any pixel is read.

    `box` is (top, left, bottom, right) in pixels of the image as stored, origin top left, half
    open: a lesion on exactly rows 10..19 has top 10, bottom 20. `pixel_um` is (row, column).
    """

    collection: str
    image_path: Path
    box: Box
    case_id: str
    lesion_id: str  # the same in every view of the lesion; unique within the case
    view: str  # CC, MLO, ML, LM, ...
    laterality: str  # L, R or '' where unknown
    modality: str  # SFM or DM
    label: int  # 1 malignant, 0 benign, UNKNOWN
    truth_source: str  # biopsy, followup, birads, simulated, unstated
    pixel_um: tuple[float, float]
    spacing_source: str
    bits: int | None = None  # stored bit depth; None: as the file says
    dark_is_dense: bool = False  # True: stored gray falls as density rises
    curve: str = ""  # how stored gray becomes density: a name in imaging.density; '': as stored
    frame: int | None = None  # of a multi-frame image; None: not stated, the image has one
    split: str = ""  # official split: train, test or ''
    note: str = ""  # what was corrected; strict rules reject it
    noted: str = ""  # what was noticed and left as it is
    where: str = ""  # table and line, for messages to the user; in no record

    @property
    def frame_number(self) -> int:
        return self.frame or 0


@dataclass(frozen=True)
class Collection:
    """What a source says of one collection: its lesion views, and all that it decided on the way.

    `left_out` lists (item, reason) for everything the collection holds that is not a view here;
    `decisions` are sentences for the record; `root` is the folder that file names are relative to.
    `public_ids`: its ids and file names are published pseudonyms, which may be written as they are;
    those of any other collection are hashed. `sealed`: `root` holds checksums of its files (whole),
    which are checked before a pixel is read. `namespace`: within which its case ids name patients;
    '' for the one that data/patients.py gives to its source and name. `notices` are sentences for
    the screen.
    """

    name: str
    root: Path
    views: tuple[LesionView, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    decisions: tuple[str, ...] = ()
    public_ids: bool = False
    sealed: bool = False
    namespace: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoiSet:
    """The ROIs of one collection, opened from shards.

    `index` maps each column of index.csv to an array with one entry an ROI: int, float or, for
    text, Python strings (dtype object); those read from a file are read-only. `shards` are
    memory-mapped (n, 128, 128) int16 arrays, together in the order of the index, each count worth
    `manifest["gray_per_count"]` 12-bit gray levels; `manifest` is the parsed manifest.json.
    `patients` has one row a case, columns as in data/patients.py; without rows, each case is a
    patient of its own.
    """

    name: str
    index: Mapping[str, np.ndarray]
    shards: tuple[np.ndarray, ...]
    manifest: dict[str, Any]
    patients: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.shards))


class Batch(NamedTuple):
    """Network input: image (n, 128, 128, 1) float32 standardized gray, or the maps (n, h, w, c) of
    its frozen layers; label (n,) int32 0 or 1, task (n,) int32, weight (n,) float32, 0 for rows
    that only fill the batch."""

    image: Any
    label: Any
    task: Any
    weight: Any


class TrainState(NamedTuple):
    """All that training changes: step () int32, params, opt_state."""

    step: Any
    params: Params
    opt_state: Any


@dataclass(frozen=True)
class Run:
    """One training: who learns what, with which layers frozen, from which random numbers.

    `id` is made of these settings, so that two stages of a study that ask for the same training
    find it done. What is the same for all runs of a work folder is not in it.
    """

    approach: str  # mttl or sttl, with its options: mttl+heads=per_task
    tasks: tuple[str, ...]  # the collections learned; the one tested first
    network: str  # C0, C1, C1-C2 ... C1-C5
    fold: int | None  # the fold held out; None: all training cases, scored on the test set
    seed: int  # config.seed: initial weights, order and dropout
    split: int = 1  # which random partition of the cases into folds, counted from 1
    initialization: int = 0  # which independent stream of the seed, counted from 0
    target_cases: int | None = None  # how many training cases of the target; None: all
    heads: str = "shared"  # shared or per_task
    task_weights: tuple[float, ...] = ()  # of each task in the loss; (): all 1

    @property
    def id(self) -> str:
        part = "test" if self.fold is None else f"split{self.split}-fold{self.fold + 1}"
        few = "" if self.target_cases is None else f"-cases{self.target_cases}"
        start = f"-init{self.initialization}" if self.initialization else ""
        return f"{self.approach}-{self.network}-{part}{few}-seed{self.seed}{start}"
