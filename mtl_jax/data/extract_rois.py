"""Extract ROIs from images in several processes, and cache them per image until all are done."""

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.data import contact_strip
from mtl_jax.data.near_duplicates import pixel_digest
from mtl_jax.data.parallel import ordered_map
from mtl_jax.data.patients import header_digest
from mtl_jax.data.plausibility import (
    CONSTANT_CURE,
    ONE_GRAY,
    check_location,
    check_polarity,
    constant_rows,
)
from mtl_jax.data.privacy import suppress_warnings
from mtl_jax.data.row_consistency import check_spacing
from mtl_jax.imaging.dicom_attributes import MAGNIFIED
from mtl_jax.imaging.gray_mapping import apply_curve
from mtl_jax.imaging.lesion_contrast import lesion_contrast
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.resample import (
    block_size,
    input_slice,
    is_coarser,
    output_shape,
    resample_part,
)
from mtl_jax.imaging.roi import RoiSettings, roi_indices, to_12_bit, to_counts
from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.imaging.table_vs_header import compare
from mtl_jax.imaging.value_checks import check_pixel_um, check_values
from mtl_jax.io import atomic
from mtl_jax.io.progress import Bar
from mtl_jax.types import ROI_PIXELS, InputError, LesionView, Note

INTERPOLATED = "the pixels are coarser than those of the ROI and were interpolated"
# Increase it when a rule of docs/facts.md changes: cached ROIs and shards are then made again.
RULES_VERSION = 3


class ImageJob(NamedTuple):
    """One image and the lesions to extract from it.

    The ROIs are cached in `cache_path`. `header_key` hashes the PatientID of the header; b'' if
    the PatientID is not used. `user_table` is True if the user wrote the table of `views`. With
    `strip`, the strip of the contact sheet is drawn while the image is in memory.
    """

    views: tuple[LesionView, ...]
    roi: RoiSettings
    cache_path: Path
    header_key: bytes = b""
    user_table: bool = True
    strip: bool = False

    @property
    def strip_path(self) -> Path:
        return self.cache_path.with_suffix(".jpg")


class ImageRois(NamedTuple):
    """The ROIs of one image.

    `rois` are counts (n, 128, 128) int16, `outside` (n,) the fraction of each ROI outside the
    image, `errors` why a ROI could not be extracted ('' if it could), `notes` those of each lesion
    view. `excluded`: the image is a magnification view. `pixels` and `patient` are digests of all
    pixels and of the PatientID, '' if unknown. `constant` are the positions of ROIs that have one
    gray value, which is also their error. `contrast` (n,) is how much brighter each lesion is than
    its surroundings (imaging/lesion_contrast.py); `largest` is the largest stored value, of
    `depth` bits. Both are NaN if unknown.
    """

    rois: np.ndarray
    outside: np.ndarray
    errors: tuple[str, ...]
    unreadable: bool = False
    excluded: bool = False
    pixels: str = ""
    patient: str = ""
    notes: tuple[tuple[Note, ...], ...] = ()
    constant: frozenset[int] = frozenset()
    contrast: np.ndarray = np.empty(0)
    largest: float = float("nan")
    depth: int = 0


def make_job(
    views: Sequence[LesionView],
    roi: RoiSettings,
    version: int,
    folder: Path,
    header_key: bytes = b"",
    user_table: bool = True,
    strip: bool = False,
) -> ImageJob:
    """Return the job of one image.

    The name of its cache file is a hash of `version`, the file's size and mtime, and everything
    else that determines the pixels and notes. `strip` does not change them.
    """
    facts = [version, RULES_VERSION, vars(roi), user_table]
    facts += [file_stamp(views[0].image_path), str(views[0].image_path)]
    facts += [[v.frame, v.box, v.pixel_um, v.bits, v.dark_is_dense, v.curve] for v in views]
    facts += [[v.laterality, v.view, v.modality, v.spacing_source] for v in views]
    facts.append(hashlib.sha256(header_key).hexdigest())
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    cache_path = folder / f"{digest[:24]}.kept"
    return ImageJob(tuple(views), roi, cache_path, header_key, user_table, strip)


def file_stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time in ns of a file, (-1, 0) if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def extract_all(jobs: Sequence[ImageJob], workers: int, label: str) -> list[ImageRois]:
    """Run the jobs that are not cached and return the results in order, without the pixels.

    Each of the `workers` processes reads one image at a time, so memory does not grow with the
    number of images. Raises InputError if a process is killed, for example for lack of memory.
    """
    with Bar(label, len(jobs), "image") as bar, ordered_map(min(workers, len(jobs))) as run_ordered:
        results = []
        try:
            for result in run_ordered(_extract_without_pixels, jobs):
                results.append(result)
                bar.update()
        except BrokenProcessPool as error:
            raise InputError(
                f"{label}: a process that read images was killed, perhaps for lack of memory; set"
                f" config.data.workers below {workers} and rerun: finished images are cached"
            ) from error
    return results


def extract(job: ImageJob) -> ImageRois:
    """Return the ROIs of one image from the cache; an image with errors is not cached."""
    cached = _load_cached(job)
    if cached is not None:
        return cached
    with suppress_warnings():
        result = _extract_image(job)
    if not any(result.errors):
        file = io.BytesIO()
        digests = np.array([result.pixels, result.patient])
        notes = np.array(json.dumps(result.notes))
        np.savez(
            file,
            rois=result.rois,
            outside=result.outside,
            digests=digests,
            notes=notes,
            contrast=result.contrast,
            values=np.array([result.largest, result.depth]),
        )
        atomic.make_folder(job.cache_path.parent)
        atomic.write_bytes(job.cache_path, _checksum(file.getvalue()) + file.getvalue())
    return result


def lesion_center(view: LesionView, roi: RoiSettings) -> tuple[float, float]:
    """Return the (row, column) of the center of the lesion's box, in pixels of the ROI."""
    rows, columns = block_size(view.pixel_um, roi.pixel_um, roi.upsample)
    top, left, bottom, right = view.box
    return (top + bottom) / 2 / rows, (left + right) / 2 / columns


def _load_cached(job: ImageJob) -> ImageRois | None:
    """Return the cached ROIs of an image, or None if there are none or the file is damaged."""
    try:
        content = job.cache_path.read_bytes()
    except OSError:
        return None
    # NumPy does not verify the checksums of the archive, so a changed header would go unnoticed.
    size = len(_checksum(b""))
    if content[:size] != _checksum(content[size:]):
        return None
    with np.load(io.BytesIO(content[size:]), allow_pickle=False) as file:
        rois, outside = file["rois"], file["outside"]
        pixels, patient = file["digests"].tolist()
        notes_of_views = json.loads(file["notes"].item())
        contrast, (largest, depth) = file["contrast"], file["values"].tolist()
    return ImageRois(
        rois,
        outside,
        ("",) * len(rois),
        pixels=pixels,
        patient=patient,
        notes=tuple(tuple(Note(*note) for note in notes) for notes in notes_of_views),
        contrast=contrast,
        largest=largest,
        depth=int(depth),
    )


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _extract_without_pixels(job: ImageJob) -> ImageRois:
    return extract(job)._replace(rois=np.empty(0))


def _extract_image(job: ImageJob) -> ImageRois:
    views = job.views
    path = views[0].image_path
    empty = np.zeros((len(views), ROI_PIXELS, ROI_PIXELS), np.int16), np.zeros(len(views))
    # If any row gives no frame, the image must have one frame, whatever the other rows give.
    frame = None if any(view.frame is None for view in views) else views[0].frame
    try:
        image = read_stored(path, frame, views[0].bits)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return ImageRois(*empty, (reason,) * len(views), unreadable=True)
    if image.magnified:
        return ImageRois(*empty, (MAGNIFIED,) * len(views), excluded=True)
    cropped = crop_rois(image, views, job.roi, job.user_table)
    result = _compare_header(cropped, image, job)
    patient = header_digest(job.header_key, image.patient_id) if job.header_key else ""
    if job.strip:
        _save_strip(job, image, result)
    return result._replace(pixels=pixel_digest(image.values), patient=patient)


def _save_strip(job: ImageJob, image: StoredImage, result: ImageRois) -> None:
    """Draw the image, the boxes of its lesions and their ROIs for the contact sheet.

    Every n-th row and column is enough for a small picture, so that the whole image is not
    converted to gray. A failure must not cost the ROIs: the sheet states which strips are missing.
    """
    usable = [number for number, error in enumerate(result.errors) if not error]
    if not usable:
        return
    with contextlib.suppress(Exception):
        views = [job.views[number] for number in usable]
        every = slice(None, None, max(1, max(image.values.shape) // contact_strip.SIDE))
        bits = views[0].bits or image.bits
        stored = image.gray(every, every)
        limits = float(stored.min()), float(stored.max())
        gray = _normalize_gray(stored, limits, views[0], bits)
        strip = contact_strip.draw(
            gray, image.values.shape, views, result.rois[usable], job.roi.extent_mm
        )
        job.strip_path.parent.mkdir(parents=True, exist_ok=True)
        contact_strip.write_private(job.strip_path, strip)


def _compare_header(result: ImageRois, image: StoredImage, job: ImageJob) -> ImageRois:
    """Return `result` with the notes and errors from comparing each lesion view to the header."""
    errors, notes = list(result.errors), list(result.notes)
    for number, view in enumerate(job.views):
        try:
            notes[number] += compare(view, image.header, job.user_table)
            notes[number] += check_spacing(view.pixel_um, image.header)
        except InputError as error:
            errors[number] = errors[number] or str(error)
    return result._replace(errors=tuple(errors), notes=tuple(notes))


def crop_rois(
    image: StoredImage,
    views: Sequence[LesionView],
    roi: RoiSettings,
    user_table: bool = True,
) -> ImageRois:
    """Return the ROIs of `image` around the lesions of `views`, at ingest and at scoring."""
    rois = np.zeros((len(views), ROI_PIXELS, ROI_PIXELS), np.int16)
    outside, contrast = np.zeros(len(views)), np.full(len(views), np.nan)
    constant = set()
    errors: list[str] = []
    notes: list[tuple[Note, ...]] = []
    image_notes: dict[int | None, tuple[Note, ...]] = {}
    limits = image.limits()
    for number, view in enumerate(views):
        try:
            check_pixel_um(view.pixel_um, view.spacing_source)
            if view.bits not in image_notes:
                image_notes[view.bits] = image.notes + check_values(image, view.bits)
            view_notes = check_polarity(view, image) + _resolution_note(view, roi.pixel_um)
            pixels, outside[number] = _crop_roi(image, limits, view, roi)
            view_notes += check_location(view.box, image.values.shape, view.pixel_um, user_table)
            contrast[number] = lesion_contrast(pixels, _sides(view, roi.pixel_um))
            rois[number] = to_counts(pixels, roi)
            if constant_rows(rois[number : number + 1]).item():
                constant.add(number)
                raise InputError(f"{ONE_GRAY} ({pixels[0, 0]:g} of 4095){CONSTANT_CURE}")
            errors.append("")
        except InputError as error:
            view_notes = ()
            errors.append(str(error))
        notes.append(image_notes.get(view.bits, ()) + view_notes)
    return ImageRois(
        rois,
        outside,
        tuple(errors),
        notes=tuple(notes),
        constant=frozenset(constant),
        contrast=contrast,
        largest=_largest(image),
        depth=image.depth,
    )


def _largest(image: StoredImage) -> float:
    """Return the largest stored value; NaN for floats, and for exposures, which fill no scale."""
    is_exposure = image.depth != image.bits
    return float("nan") if image.values.dtype.kind == "f" or is_exposure else image.largest


def _sides(view: LesionView, pixel_um: float) -> tuple[float, float]:
    """Return the height and width of the lesion's box in pixels of the ROI."""
    top, left, bottom, right = view.box
    row_um, column_um = view.pixel_um
    return (bottom - top) * row_um / pixel_um, (right - left) * column_um / pixel_um


def _resolution_note(view: LesionView, pixel_um: float) -> tuple[Note, ...]:
    """Return a note if the pixels of the image are coarser than those of the ROI."""
    if not is_coarser(view.pixel_um, pixel_um):
        return ()
    row, column = view.pixel_um
    return (Note(INTERPOLATED, f"{row:g} x {column:g} um to {pixel_um:g} um"),)


def _crop_roi(
    image: StoredImage, limits: tuple[float, float], view: LesionView, roi: RoiSettings
) -> tuple[np.ndarray, float]:
    """Return the (128, 128) ROI around a lesion, 12-bit gray, and its fraction outside the image.

    Only the part of the image that it needs is processed.
    """
    spans = block_size(view.pixel_um, roi.pixel_um, roi.upsample)
    shape = output_shape(image.values.shape, spans, roi.pixel_um)
    rows, columns, outside = roi_indices(lesion_center(view, roi), shape, roi.pixel_um)
    down, across = ((int(p.min()), int(p.max()) + 1) for p in (rows, columns))
    height, width = image.values.shape
    part = image.gray(input_slice(spans[0], down, height), input_slice(spans[1], across, width))
    gray = _normalize_gray(part, limits, view, view.bits or image.bits)
    # Interpolation may overshoot the gray scale, which the counts of a shard cannot hold.
    pixels = np.clip(resample_part(gray, spans, down, across), 0.0, 4095.0)
    return pixels[np.ix_(rows - down[0], columns - across[0])], outside


def _normalize_gray(
    part: np.ndarray, limits: tuple[float, float], view: LesionView, bits: int
) -> np.ndarray:
    """Return stored values as 12-bit normalized gray (dense tissue bright)."""
    gray = to_12_bit(part, bits, limits)
    if view.curve:
        return apply_curve(view.curve, part, bits)
    return 4095.0 - gray if view.dark_is_dense else gray
