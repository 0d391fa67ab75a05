"""A trained network with all that is needed to score an image as the study did. Reads no files."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.bundle import calibration
from mtl_jax.data import extract_rois
from mtl_jax.imaging.read_image import FLOAT_BITS
from mtl_jax.imaging.roi import PIXEL_UM
from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.models import registry, response_norm
from mtl_jax.models.base import Network
from mtl_jax.training.dataset import Pool, make_pool
from mtl_jax.training.predict import predict_with_features
from mtl_jax.types import UNKNOWN, Box, InputError, LesionView, Params

LAYER = "F4"  # in which lesions are near or far


class Reference(NamedTuple):
    """The training lesions: task, case_id, lesion_id (n,) str, label (n,) int32, score (n,) float32
    and features (n, 100) float32 of F4, both the mean over the lesion's views."""

    task: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    label: np.ndarray
    score: np.ndarray
    features: np.ndarray


class Neighbour(NamedTuple):
    """A training lesion and how far it is away in F4."""

    task: str
    case_id: str
    lesion_id: str
    label: int
    score: float
    distance: float


@dataclass(frozen=True)
class Model:
    """What `mtl_jax.load` returns. `about` is bundle.json; `sha256` stands for the whole bundle.

    For research only.
    """

    about: dict[str, Any]
    params: Params
    reference: Reference
    sha256: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The collections that were learned, the one that was tested first."""
        return tuple(self.about["run"]["tasks"])

    @property
    def network(self) -> Network:
        own = self.about["network"]  # of bundles made before there were other backbones: AlexNet
        # True was written by versions with one fixed normalization, which trained the network.
        lrn = response_norm.as_json(response_norm.EARLIER) if own["lrn"] is True else own["lrn"]
        if not response_norm.is_valid(lrn):
            raise ValueError("its response normalization has other fields")
        return registry.build(own.get("backbone", "alexnet"), own["outputs"], lrn)

    def task(self, name: str | None = None) -> str:
        """`name`, or the collection that was tested. InputError: it was not learned."""
        if name is not None and name not in self.tasks:
            raise InputError(f"task {name!r}: this model has learned {', '.join(self.tasks)}")
        return name or self.tasks[0]

    def score(
        self,
        pixels: ArrayLike,
        boxes: Sequence[Box],
        pixel_um: float | tuple[float, float] = PIXEL_UM,
        bits: int | None = None,
        task: str | None = None,
    ) -> np.ndarray:
        """Scores (n,) float32 in [0, 1], higher more malignant, of the lesions in one image.

        `pixels` is the whole image (H, W), larger where denser, uint8, uint16 or float; `boxes` are
        n times (top, left, bottom, right) in its pixels, half open; `pixel_um` its pixel size, one
        number or (row, column); `bits` the depth of its gray, 1 to 16 (as the type says; 12 for
        float); `task` the collection it is to be treated as (the tested one). InputError: what
        cannot be scored, as floats from 0 to 1 without `bits=1`. Warns of all that an ingest notes,
        as gray that uses only a part of its depth.
        """
        values = np.asarray(pixels)
        if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
            raise InputError(
                f"pixels are {values.dtype} {values.shape}; one gray image is uint8, uint16 or"
                " float (rows, columns)"
            )
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
            if not np.isfinite(values).all():
                raise InputError("pixels hold values that are not finite")
        depth = _depth(values.dtype, bits)
        said = None if bits is None else depth
        views = [_unlabelled(box, _both(pixel_um), said) for box in boxes]
        found = cut_rois(
            StoredImage(values, depth), views, self.about["preprocessing"]["background"]
        )
        for text in dict.fromkeys(note.text for notes in found.notes for note in notes):
            warnings.warn(text, stacklevel=2)
        return self.score_rois(found.rois, task)[0]

    def score_rois(
        self, counts: np.ndarray, task: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n,) and features of F4 (n, 100), float32, of ROIs (n, 128, 128) int16."""
        if not len(counts):
            return np.zeros(0, np.float32), np.zeros((0, self.reference.features.shape[1]), "f4")
        return predict_with_features(
            self.network, self.params, self.make_dataset(counts, task), LAYER
        )

    def make_dataset(self, counts: np.ndarray, task: str | None = None) -> Pool:
        """ROIs (n, 128, 128) int16 with what standardizes them as this model's training did."""
        index = self.tasks.index(self.task(task))
        mean, std = (
            np.float32([self.about["run"][f"input_{name}"][t] for t in self.tasks])
            for name in ("mean", "std")
        )
        pixels = [counts if i == index else counts[:0] for i in range(len(self.tasks))]
        return make_pool(pixels, [np.zeros(len(p), int) for p in pixels], mean, std)

    def probability(self, scores: ArrayLike, unit: str, task: str | None = None) -> np.ndarray:
        """Calibrated probabilities of malignancy at the prevalence of the training collection; NaN
        where this model has no calibration for the task. `unit` is view or lesion."""
        fitted = self.about["calibration"]
        values = np.asarray(scores, float)
        if fitted is None or self.task(task) != self.tasks[0]:
            return np.full(values.shape, np.nan)
        return calibration.apply(fitted[unit]["a"], fitted[unit]["b"], values)

    def percentile(self, score: float, label: int, task: str | None = None) -> float:
        """Share, 0 to 100, of the training lesions of this label that scored lower; ties half."""
        same = (self.reference.task == self.task(task)) & (self.reference.label == label)
        others = self.reference.score[same]
        if not len(others):
            return float("nan")
        below = np.mean(others < np.float32(score)) + np.mean(others == np.float32(score)) / 2
        return float(100 * below)

    def nearest(self, features: np.ndarray, count: int = 5) -> list[Neighbour]:
        """The training lesions nearest to features (100,) by Euclidean distance in F4."""
        r = self.reference
        distance = np.linalg.norm(r.features - features, axis=1)
        return [
            Neighbour(
                *(str(column[i]) for column in r[:3]),
                int(r.label[i]),
                float(r.score[i]),
                float(distance[i]),
            )
            for i in np.argsort(distance, kind="stable")[:count]
        ]


def cut_rois(
    image: StoredImage, views: Sequence[LesionView], background: dict[str, Any]
) -> extract_rois.Cut:
    """The ROIs of one image, the fraction of each outside it, and the notes on its facts.

    InputError: the first lesion whose box does not lie in the image, or which cannot be cut.
    """
    height, width = image.values.shape
    for view in views:
        top, left, bottom, right = view.box
        if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
            raise InputError(
                f"the box {top:g};{left:g};{bottom:g};{right:g} is not inside the image of"
                f" {height} rows and {width} columns (top;left;bottom;right)"
            )
        check_pixel_um(view.pixel_um, view.spacing_source)
    found = extract_rois.rois(image, views, background)
    for error in filter(None, found.errors):
        raise InputError(error)
    return found


def _depth(dtype: np.dtype, bits: int | None) -> int:
    """The bits of gray in pixels of a type, for which `bits` was given."""
    most = 16 if dtype.kind == "f" else 8 * dtype.itemsize
    if bits is None:
        return FLOAT_BITS if dtype.kind == "f" else most
    whole = isinstance(bits, int | np.integer) and not isinstance(bits, bool)
    if not whole or not 1 <= bits <= most:
        raise InputError(
            f"bits {bits!r} is not the depth of gray in {dtype} pixels, a whole number from 1 to"
            f" {most}; leave it out for the depth of their type"
        )
    return int(bits)


def _both(pixel_um: float | tuple[float, float]) -> tuple[float, float]:
    """Pixel size (row, column) of one number or two."""
    try:
        row, column = np.broadcast_to(np.asarray(pixel_um, float), 2).tolist()
    except (TypeError, ValueError) as error:
        raise InputError(f"pixel_um {pixel_um!r} is not one number or (row, column)") from error
    return row, column


def _unlabelled(box: Box, pixel_um: tuple[float, float], bits: int | None) -> LesionView:
    try:
        top, left, bottom, right = (float(edge) for edge in box)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"box {box!r} is not (top, left, bottom, right); boxes is a list of them"
        ) from error
    corners = top, left, bottom, right
    if not np.isfinite(corners).all():
        raise InputError(f"box {box!r} is not (top, left, bottom, right) in finite numbers")
    kept = ("", Path(), corners, "", "", "", "", "", UNKNOWN, "", pixel_um, "pixel_um")
    return LesionView(*kept, bits=bits)
