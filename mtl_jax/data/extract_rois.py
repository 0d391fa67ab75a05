"""ROIs cut out of images, over several processes, kept image by image until all are done."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mtl_jax.data.near_duplicates import pixel_digest
from mtl_jax.data.parallel import ordered_map
from mtl_jax.data.patients import header_digest
from mtl_jax.data.plausibility import check_location, check_polarity, check_roi
from mtl_jax.data.privacy import suppress_warnings
from mtl_jax.data.row_consistency import check_spacing
from mtl_jax.imaging.dicom_attributes import MAGNIFIED
from mtl_jax.imaging.gray_mapping import CURVES
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.resample import average_blocks, block_size, input_slice, output_shape
from mtl_jax.imaging.roi import PIXEL_UM, ROI_PIXELS, roi_indices, to_12_bit, to_counts
from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.imaging.table_vs_header import compare
from mtl_jax.imaging.value_checks import check_pixel_um, check_values
from mtl_jax.io import atomic
from mtl_jax.types import InputError, LesionView, Note

# Raise it when a rule of docs/facts.md changes: what was kept or made by other rules is made again.
RULES_VERSION = 2


class ImageJob(NamedTuple):
    """One image, the lesions to cut out of it, the file that keeps the ROIs meanwhile, the key
    by which the PatientID of its header is hidden (b'': it is not looked at), and whether the facts
    in `views` are from a table that the user wrote."""

    views: tuple[LesionView, ...]
    background: Mapping[str, Any]
    kept: Path
    header_key: bytes = b""
    user_table: bool = True


class ImageRois(NamedTuple):
    """Of one image: counts (n, 128, 128) int16, the fraction (n,) of each ROI outside the image,
    why each was not cut ('' where it was), whether the image itself cannot be read, or is of a kind
    that no study takes, digests of all its pixels ('' where they were not read) and of the
    PatientID of its header ('' where there is none), and the notes on the facts of each lesion
    view."""

    rois: np.ndarray
    outside: np.ndarray
    errors: tuple[str, ...]
    unreadable: bool = False
    excluded: bool = False
    pixels: str = ""
    patient: str = ""
    notes: tuple[tuple[Note, ...], ...] = ()


def make_job(
    views: Sequence[LesionView],
    background: Mapping[str, Any],
    version: int,
    folder: Path,
    header_key: bytes = b"",
    user_table: bool = True,
) -> ImageJob:
    """Return the job on one image. What it keeps is found again while `version`, all that decides
    the pixels and the notes, and the file's size and time are the same."""
    facts = [version, RULES_VERSION, dict(background), user_table]
    facts += [file_stamp(views[0].image_path), str(views[0].image_path)]
    facts += [[v.frame, v.box, v.pixel_um, v.bits, v.dark_is_dense, v.curve] for v in views]
    facts += [[v.laterality, v.view, v.modality, v.spacing_source] for v in views]
    facts.append(hashlib.sha256(header_key).hexdigest())
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return ImageJob(
        tuple(views), background, folder / f"{digest[:24]}.kept", header_key, user_table
    )


def file_stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, (-1, 0) where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def extract_all(jobs: Sequence[ImageJob], workers: int, label: str) -> list[ImageRois]:
    """Do each job that is not done yet; their cuts in order, without the pixels.

    Images are done one after the other in each of `workers` processes, so memory does not grow with
    their number. InputError: a process was killed, as when memory runs out.
    """
    bar = tqdm(total=len(jobs), desc=label, unit="image", disable=None)
    with bar, ordered_map(min(workers, len(jobs))) as over:
        found = []
        try:
            for one in over(_extract_without_pixels, jobs):
                found.append(one)
                bar.update()
        except BrokenProcessPool as error:
            raise InputError(
                f"{label}: a process that read images was killed, as when memory runs out; set"
                f" data.workers below {workers} and run it again: finished images are kept"
            ) from error
    return found


def extract(one: ImageJob) -> ImageRois:
    """Return the ROIs of one image, as kept, or made and kept. An image with errors is not kept, so
    that it is tried again once what was missing is there."""
    kept = _load_kept(one)
    if kept is not None:
        return kept
    with suppress_warnings():
        made = _extract_image(one)
    if not any(made.errors):
        file = io.BytesIO()
        digests = np.array([made.pixels, made.patient])
        notes = np.array(json.dumps(made.notes))
        np.savez(file, rois=made.rois, outside=made.outside, digests=digests, notes=notes)
        with atomic.report_write_errors(one.kept):
            one.kept.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(one.kept, _checksum(file.getvalue()) + file.getvalue())
    return made


def lesion_centre(view: LesionView) -> tuple[float, float]:
    """Middle of the lesion's box in pixels of 200 um."""
    rows, columns = block_size(view.pixel_um, PIXEL_UM)
    top, left, bottom, right = view.box
    return (top + bottom) / 2 / rows, (left + right) / 2 / columns


def _load_kept(one: ImageJob) -> ImageRois | None:
    """Return what was kept of the image; None where there is nothing, or nothing whole."""
    try:
        content = one.kept.read_bytes()
    except OSError:
        return None
    # NumPy stops reading before the archive's own checksum: a changed header would go unseen.
    size = len(_checksum(b""))
    if content[:size] != _checksum(content[size:]):
        return None
    with np.load(io.BytesIO(content[size:]), allow_pickle=False) as file:
        rois, outside, (pixels, patient) = (
            file["rois"],
            file["outside"],
            file["digests"].tolist(),
        )
        listed = json.loads(file["notes"].item())
    notes = tuple(tuple(Note(*note) for note in notes) for notes in listed)
    return ImageRois(rois, outside, ("",) * len(rois), pixels=pixels, patient=patient, notes=notes)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _extract_without_pixels(one: ImageJob) -> ImageRois:
    return extract(one)._replace(rois=np.empty(0))


def _extract_image(one: ImageJob) -> ImageRois:
    path = one.views[0].image_path
    nothing = np.zeros((len(one.views), ROI_PIXELS, ROI_PIXELS), np.int16), np.zeros(len(one.views))
    # A row that gives no frame asks whether there are several, whatever the others give.
    frame = None if any(view.frame is None for view in one.views) else one.views[0].frame
    try:
        image = read_stored(path, frame, one.views[0].bits)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return ImageRois(*nothing, (reason,) * len(one.views), unreadable=True)
    if image.magnified:
        return ImageRois(*nothing, (MAGNIFIED,) * len(one.views), excluded=True)
    cuts = crop_rois(image, one.views, one.background, one.user_table)
    made = _compare_header(cuts, image, one)
    patient = header_digest(one.header_key, image.patient_id) if one.header_key else ""
    return made._replace(pixels=pixel_digest(image.values), patient=patient)


def _compare_header(made: ImageRois, image: StoredImage, one: ImageJob) -> ImageRois:
    """Return `made` with what the header says against each lesion view: notes, or why it is
    rejected."""
    errors, notes = list(made.errors), list(made.notes)
    for number, view in enumerate(one.views):
        try:
            notes[number] += compare(
                view.laterality,
                view.view,
                view.modality,
                view.pixel_um,
                view.spacing_source,
                image.header,
                one.user_table,
            )
            notes[number] += check_spacing(view.pixel_um, image.header)
        except InputError as error:
            errors[number] = errors[number] or str(error)
    return made._replace(errors=tuple(errors), notes=tuple(notes))


def crop_rois(
    image: StoredImage,
    views: Sequence[LesionView],
    background: Mapping[str, Any],
    user_table: bool = True,
) -> ImageRois:
    """Return the ROIs of `image` around the lesions of `views`, as every collection's are cut, with
    the notes on its values and on their locations; `user_table` as in Job."""
    rois = np.zeros((len(views), ROI_PIXELS, ROI_PIXELS), np.int16)
    outside = np.zeros(len(views))
    errors: list[str] = []
    notes: list[tuple[Note, ...]] = []
    checked: dict[int | None, tuple[Note, ...]] = {}
    limits = image.limits()
    for number, view in enumerate(views):
        try:
            check_pixel_um(view.pixel_um, view.spacing_source)
            if view.bits not in checked:
                checked[view.bits] = image.notes + check_values(image, view.bits)
            own = check_polarity(view, image)
            roi, outside[number] = _crop_roi(image, limits, view)
            own += check_location(view.box, image.values.shape, view.pixel_um, user_table)
            own += check_roi(roi)
            rois[number] = to_counts(roi, background)
            errors.append("")
        except InputError as error:
            own = ()
            errors.append(str(error))
        notes.append(checked.get(view.bits, ()) + own)
    return ImageRois(rois, outside, tuple(errors), notes=tuple(notes))


def _crop_roi(
    image: StoredImage, limits: tuple[float, float], view: LesionView
) -> tuple[np.ndarray, float]:
    """Return the (128, 128) ROI around a lesion, 12-bit gray at 200 um, and the fraction outside.

    Only the part of the image under the ROI is worked on, to the same values.
    """
    spans = block_size(view.pixel_um, PIXEL_UM)
    shape = output_shape(image.values.shape, spans, PIXEL_UM)
    rows, columns, outside = roi_indices(lesion_centre(view), shape)
    down, across = ((int(p.min()), int(p.max()) + 1) for p in (rows, columns))
    height, width = image.values.shape
    part = image.gray(input_slice(spans[0], down, height), input_slice(spans[1], across, width))
    roi = average_blocks(
        _to_density_gray(part, limits, view, view.bits or image.bits), spans, down, across
    )
    return roi[np.ix_(rows - down[0], columns - across[0])], outside


def _to_density_gray(
    part: np.ndarray, limits: tuple[float, float], view: LesionView, bits: int
) -> np.ndarray:
    """Stored gray as 12-bit gray that rises with density, by the view's curve or linearly."""
    gray = to_12_bit(part, bits, limits)
    if not view.curve:
        return 4095.0 - gray if view.dark_is_dense else gray
    if view.curve not in CURVES:
        raise InputError(f"no curve {view.curve!r}; known: {', '.join(sorted(CURVES))}")
    return CURVES[view.curve](part, bits)
