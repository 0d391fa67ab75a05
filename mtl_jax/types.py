"""Central types that the packages pass to each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Params = dict[str, dict[str, Any]]
Box = tuple[float, float, float, float]
ROI_PIXELS = 128  # side of an ROI (Samala et al. 2017, section 2.1)
PATIENTS, GROUPS = "patients", "groups"  # what the cases of a collection are
UNKNOWN = -1  # label of a lesion without a reference standard, which is only scored


class InputError(Exception):
    """The user's input is invalid: one line that names the file or field and the cure."""


@contextmanager
def prefix_errors(where: object) -> Iterator[None]:
    """Put `where` before the message of an InputError from the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


class Note(NamedTuple):
    """A note on metadata of an image that contradict each other or look wrong.

    `kind` is a short fixed sentence, so that notes can be counted. `detail` holds the numbers of
    this image. `corrected` is True if a value was replaced by a documented rule; otherwise nothing
    was changed. Neither text holds an id or a file name.
    """

    kind: str
    detail: str = ""
    corrected: bool = False

    @property
    def text(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


@dataclass(frozen=True)
class LesionView:
    """One lesion in one image, as a source describes it before any pixel is read.

    `box` is (top, left, bottom, right) in pixels of the stored image, with the origin at the top
    left and half-open: a lesion on exactly rows 10..19 has top 10, bottom 20. `pixel_um` is the
    pixel spacing in µm, (row, column).
    """

    collection: str
    image_path: Path
    box: Box
    case_id: str
    lesion_id: str  # unique within the case; the same in all views of the lesion
    view: str  # CC, MLO, ML, LM, ...
    laterality: str  # L, R or '' if unknown
    modality: str  # SFM or DM
    label: int  # 1 malignant, 0 benign, UNKNOWN
    truth_source: str  # biopsy, followup, birads, simulated, unstated
    pixel_um: tuple[float, float]
    spacing_source: str
    bits: int | None = None  # stored bit depth; None: as the file states
    dark_is_dense: bool = False  # True: stored gray values fall as density rises
    curve: str = ""  # a key of imaging.gray_mapping.CURVES; '': stored gray is used linearly
    frame: int | None = None  # of a multi-frame image; None: not stated, the image has one frame
    split: str = ""  # official split: train, test or ''
    device: str = ""  # digitizer or detector of the image, such as LUMISYS LASER; '' if unknown
    note: str = ""  # what was corrected; rejected if data.strict
    noted: str = ""  # what was noticed and not changed
    where: str = ""  # table and line, for messages; of it, files get the line at most

    @property
    def frame_number(self) -> int:
        return self.frame or 0


@dataclass(frozen=True)
class Collection:
    """The lesion views of one collection and what its source decided while reading it.

    `root` is the folder that file names are relative to. `left_out` lists (item, reason) for
    everything in the collection that is not in `views`. `decisions` are sentences for
    manifest.json, `notices` are sentences for the screen. `public_ids` is True if ids and file
    names are published pseudonyms, which are written unchanged; those of other collections are
    hashed. `has_checksums` is True if `root` holds SHA256SUMS, which are verified before any pixel
    is read. `namespace` is the namespace of the patient ids; '' for the default of the source and
    name (data/patients.py). `cases_are` is GROUPS if the collection has no patient ids, and a case
    is a set of images that may show the same patient.
    """

    name: str
    root: Path
    views: tuple[LesionView, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    decisions: tuple[str, ...] = ()
    public_ids: bool = False
    has_checksums: bool = False
    namespace: str = ""
    notices: tuple[str, ...] = ()
    cases_are: str = PATIENTS


@dataclass(frozen=True)
class RoiSet:
    """The ROIs of one collection, opened from shards.

    `index` maps each column of index.csv to an array with one entry per ROI: int, float or, for
    text, Python strings (dtype object). Arrays read from a file are read-only. `shards` are
    memory-mapped (n, 128, 128) int16 arrays, which together have the order of the index; a count
    is `manifest["gray_per_count"]` 12-bit gray levels. `manifest` is the parsed manifest.json.
    The column `device` is there only if a source states the device of an image.
    `patients` has one row per case, with the columns of data/patients.py; if it is empty, each
    case is one patient.
    """

    name: str
    index: Mapping[str, np.ndarray]
    shards: tuple[np.ndarray, ...]
    manifest: dict[str, Any]
    patients: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.shards))


class Batch(NamedTuple):
    """Network input.

    image: (n, 128, 128, 1) float32, standardized gray values, or (n, h, w, c), the activations of
    the frozen layers; label: (n,) int32, 0 or 1; task: (n,) int32; weight: (n,) float32, 0 for
    padding rows.
    """

    image: Any
    label: Any
    task: Any
    weight: Any


class TrainState(NamedTuple):
    """The state that training updates: step () int32, params, opt_state."""

    step: Any
    params: Params
    opt_state: Any


@dataclass(frozen=True)
class Run:
    """The settings of one training run: approach, tasks, frozen layers, fold and seed.

    `id` is built from these settings, so that stages of a study share identical runs. Settings
    that are the same for all runs of a work folder are not part of it.
    """

    approach: str  # mttl or sttl, with its options: mttl+heads=per_task
    tasks: tuple[str, ...]  # the collections trained on; the target first
    network: str  # C0, C1, C1-C2 ... C1-C5
    fold: int | None  # the held-out fold; None: train on all training cases, score the test set
    seed: int  # config.seed: initial weights, order of the ROIs and dropout
    split: int = 1  # number of the random partition of the cases into folds, from 1
    initialization: int = 0  # number of the independent random stream of the seed, from 0
    target_cases: int | None = None  # number of training cases of the target; None: all
    heads: str = "shared"  # shared or per_task
    task_weights: tuple[float, ...] = ()  # weight of each task in the loss; (): all 1

    @property
    def id(self) -> str:
        part = "test" if self.fold is None else f"split{self.split}-fold{self.fold + 1}"
        cases = "" if self.target_cases is None else f"-cases{self.target_cases}"
        initialization = f"-init{self.initialization}" if self.initialization else ""
        return f"{self.approach}-{self.network}-{part}{cases}-seed{self.seed}{initialization}"
