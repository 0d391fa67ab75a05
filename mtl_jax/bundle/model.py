"""Score images with a trained network, preprocessed as in its training."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.bundle import calibration
from mtl_jax.config import ALEXNET
from mtl_jax.data import extract_rois
from mtl_jax.imaging.image_formats import FLOAT_BITS
from mtl_jax.imaging.resample import is_coarser
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.models import registry, response_norm
from mtl_jax.models.base import Network
from mtl_jax.training.dataset import Dataset, make_dataset
from mtl_jax.training.predict import predict_with_features
from mtl_jax.types import UNKNOWN, Box, InputError, LesionView, Params

ASSUMED_PIXEL_SIZE = "pixel_um was not given: {:g} um was assumed"


class Reference(NamedTuple):
    """Training lesions.

    Attributes
    ----------
    task
        Collection, (n,) str.
    case_id
        Ids of the cases, (n,) str.
    lesion_id
        Ids of the lesions, (n,) str.
    label
        1 for malignant, 0 for benign, (n,) int32.
    score
        Mean over the views of the lesion, (n,) float32.
    features
        F4 features, mean over the views of the lesion, (n, 100) float32.
    """

    task: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    label: np.ndarray
    score: np.ndarray
    features: np.ndarray


class Neighbour(NamedTuple):
    """A training lesion and its distance in F4."""

    task: str
    case_id: str
    lesion_id: str
    label: int
    score: float
    distance: float


@dataclass(frozen=True)
class Model:
    """A model bundle, as returned by `mtl_jax.load`. For research only.

    Attributes
    ----------
    about
        Contents of bundle.json.
    params
        Parameters of the network.
    reference
        Training lesions.
    sha256
        SHA-256 of the SHA256SUMS file, which identifies the bundle; '' if it was not loaded.
    assumptions
        What `score` assumed because it was not given, such as the pixel size.
    """

    about: dict[str, Any]
    params: Params
    reference: Reference
    sha256: str = ""
    assumptions: list[str] = field(default_factory=list, compare=False)

    def __repr__(self) -> str:
        run, backbone = self.about["run"], self.about["network"].get("backbone", ALEXNET)
        calibrated = "calibrated" if self.about["calibration"] else "not calibrated"
        phantom = ", phantom model" if self.about["phantom"] else ""
        return (
            f"<mtl_jax model {run['id']}: {backbone}, frozen {run['network']}, trained on"
            f" {len(self.reference.label)} lesions of {' and '.join(self.tasks)},"
            f" {calibrated}{phantom}>"
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Training collections; the first one was tested."""
        return tuple(self.about["run"]["tasks"])

    @property
    def network(self) -> Network:
        """The network without parameters."""
        settings = self.about["network"]
        # Early versions wrote True for their only normalization, and no backbone for AlexNet.
        lrn = settings["lrn"]
        lrn = response_norm.to_json(response_norm.LEGACY) if lrn is True else lrn
        if not response_norm.is_valid(lrn):
            raise ValueError("the response normalization has unknown fields")
        return registry.build(settings.get("backbone", ALEXNET), settings["outputs"], lrn)

    @property
    def roi(self) -> RoiSettings:
        """How the ROIs were made."""
        return RoiSettings.from_record(self.about["preprocessing"])

    def task(self, name: str | None = None) -> str:
        """Return `name`, by default the tested collection; InputError if it was not trained on."""
        if name is not None and name not in self.tasks:
            raise InputError(f"task {name!r} is unknown: expected one of {', '.join(self.tasks)}")
        return name or self.tasks[0]

    def score(
        self,
        pixels: ArrayLike,
        boxes: Sequence[Box],
        pixel_um: float | tuple[float, float] | None = None,
        bits: int | None = None,
        task: str | None = None,
    ) -> np.ndarray:
        """Score the lesions of one image.

        Parameters
        ----------
        pixels
            Whole image (H, W), larger values denser; uint8, uint16 or float.
        boxes
            (top, left, bottom, right) of each lesion in pixels, half open.
        pixel_um
            Pixel size in µm: one number, or (row, column). By default that of the ROI is assumed
            (200 for the paper's 25.6 mm), which is recorded in `assumptions`.
        bits
            Bits of gray, 1 to 16; by default those of the pixel type, 12 for float.
        task
            Training collection that the image resembles; the tested collection by default.

        Returns
        -------
        numpy.ndarray
            Scores (n,) float32 from 0 (benign) to 1 (malignant).

        Raises
        ------
        InputError
            If the image or a box cannot be scored, such as float values from 0 to 1 without
            `bits=1`.

        Warns
        -----
        UserWarning
            If the ingest would note something about the image, such as unused bits of gray, and
            once for each model if no pixel size is given.
        """
        values = np.asarray(pixels)
        if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
            raise InputError(
                f"pixels are {values.dtype} {values.shape}: expected one gray image (rows, columns)"
                " of uint8, uint16 or float"
            )
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
            if not np.isfinite(values).all():
                raise InputError("pixels contain values that are not finite")
        if pixel_um is None:
            pixel_um = self.roi.pixel_um
            assumption = ASSUMED_PIXEL_SIZE.format(pixel_um)
            if assumption not in self.assumptions:
                self.assumptions.append(assumption)
                warnings.warn(f"{assumption}; pass the pixel size in um", stacklevel=2)
        depth = _depth(values.dtype, bits)
        given_depth = None if bits is None else depth
        views = [_unlabelled_view(box, _pixel_size(pixel_um), given_depth) for box in boxes]
        extracted = cut_rois(StoredImage(values, depth), views, self.roi)
        for text in dict.fromkeys(note.text for notes in extracted.notes for note in notes):
            warnings.warn(text, stacklevel=2)
        return self.score_rois(extracted.rois, task)[0]

    def score_rois(
        self, counts: np.ndarray, task: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (n,) and F4 features (n, 100), float32, of ROIs (n, 128, 128) int16."""
        if not len(counts):
            return np.zeros(0, np.float32), np.zeros((0, self.reference.features.shape[1]), "f4")
        return predict_with_features(self.network, self.params, self.make_dataset(counts, task))

    def make_dataset(self, counts: np.ndarray, task: str | None = None) -> Dataset:
        """Return ROIs (n, 128, 128) int16 as a dataset with the standardization of the training."""
        index = self.tasks.index(self.task(task))
        mean, std = (
            np.float32([self.about["run"][f"input_{name}"][t] for t in self.tasks])
            for name in ("mean", "std")
        )
        pixels = [counts if i == index else counts[:0] for i in range(len(self.tasks))]
        return make_dataset(pixels, [np.zeros(len(p), int) for p in pixels], mean, std)

    def probability(self, scores: ArrayLike, unit: str, task: str | None = None) -> np.ndarray:
        """Return the calibrated probability of malignancy of each score.

        Parameters
        ----------
        scores
            Scores in [0, 1].
        unit
            'view' or 'lesion'.
        task
            Training collection that the images resemble; the tested collection by default.

        Returns
        -------
        numpy.ndarray
            Probabilities at the prevalence of the training lesions; NaN without calibration.
        """
        fitted = self.about["calibration"]
        values = np.asarray(scores, float)
        if fitted is None or self.task(task) != self.tasks[0]:
            return np.full(values.shape, np.nan)
        return calibration.apply(fitted[unit]["a"], fitted[unit]["b"], values)

    def operating_points(self, task: str | None = None) -> list[dict[str, Any]]:
        """Return the lesion-level operating points of bundle.json that are valid for a task.

        They were chosen on lesions of the tested collection, and there are none for another task.
        """
        return self.about["operating_points"] if self.task(task) == self.tasks[0] else []

    def percentile(self, score: float, label: int, task: str | None = None) -> float:
        """Return the percentage of training lesions of a class that scored lower; ties count half.

        Parameters
        ----------
        score
            Score of a lesion.
        label
            Class of the training lesions: 1 malignant, 0 benign.
        task
            Collection of the training lesions; the tested collection by default.
        """
        same = (self.reference.task == self.task(task)) & (self.reference.label == label)
        scores = self.reference.score[same]
        if not len(scores):
            return float("nan")
        below = np.mean(scores < np.float32(score)) + np.mean(scores == np.float32(score)) / 2
        return float(100 * below)

    def nearest(self, features: np.ndarray, count: int = 5) -> list[Neighbour]:
        """Return the training lesions nearest to F4 features (100,), by Euclidean distance."""
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
    image: StoredImage, views: Sequence[LesionView], roi: RoiSettings
) -> extract_rois.ImageRois:
    """Extract the ROIs of one image, with the fraction of each outside it and notes on the image.

    Raises InputError for the first lesion whose box is not inside the image or whose ROI cannot be
    extracted.
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
        if is_coarser(view.pixel_um, roi.pixel_um) and not roi.upsample:
            raise InputError(
                f"pixels of {max(view.pixel_um):g} um are coarser than those of the model's ROIs,"
                f" {roi.pixel_um:g} um: use the image at its original resolution, or a model that"
                " was trained with config.data.roi.upsample=True"
            )
    extracted = extract_rois.crop_rois(image, views, roi)
    for view, error in zip(views, extracted.errors, strict=True):
        if error:
            box = ";".join(f"{edge:g}" for edge in view.box)
            raise InputError(error if len(views) == 1 else f"the box {box}: {error}")
    return extracted


def _depth(dtype: np.dtype, bits: int | None) -> int:
    """Return the bits of gray of pixels; InputError if `bits` does not fit their type."""
    max_bits = 16 if dtype.kind == "f" else 8 * dtype.itemsize
    if bits is None:
        return FLOAT_BITS if dtype.kind == "f" else max_bits
    is_integer = isinstance(bits, int | np.integer) and not isinstance(bits, bool)
    if not is_integer or not 1 <= bits <= max_bits:
        raise InputError(
            f"bits={bits!r} is invalid for {dtype} pixels: expected an integer from 1 to"
            f" {max_bits}; omit it to use all bits of the type"
        )
    return int(bits)


def _pixel_size(pixel_um: float | tuple[float, float]) -> tuple[float, float]:
    """Return the pixel size as (row, column)."""
    try:
        row, column = np.broadcast_to(np.asarray(pixel_um, float), 2).tolist()
    except (TypeError, ValueError) as error:
        raise InputError(
            f"pixel_um={pixel_um!r} is invalid: expected one number or (row, column)"
        ) from error
    return row, column


def _unlabelled_view(box: Box, pixel_um: tuple[float, float], bits: int | None) -> LesionView:
    """Return a lesion of which only box, pixel size and bits are known."""
    try:
        top, left, bottom, right = (float(edge) for edge in box)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"box {box!r} is invalid: expected a list of (top, left, bottom, right)"
        ) from error
    corners = top, left, bottom, right
    if not np.isfinite(corners).all():
        raise InputError(f"box {box!r} is invalid: expected finite numbers")
    fields = ("", Path(), corners, "", "", "", "", "", UNKNOWN, "", pixel_um, "pixel_um")
    return LesionView(*fields, bits=bits)
