"""Regions cut out of images, over several processes, kept image by image until all are done.

Knows no collections and no shards.
"""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mtl_jax import whole
from mtl_jax.data.patients import header_digest
from mtl_jax.data.privacy import quiet
from mtl_jax.imaging.density import CURVES
from mtl_jax.imaging.read import read_stored
from mtl_jax.imaging.resample import average, block, size_after, under
from mtl_jax.imaging.roi import PIXEL_UM, ROI_PIXELS, places, to_12_bit, to_counts
from mtl_jax.imaging.stored import Stored
from mtl_jax.nouns import InputError, LesionView

MAGNIFIED = "magnification view: its spacing is not that of a contact view"


class Job(NamedTuple):
    """One image, the lesions to cut out of it, the file that keeps the regions meanwhile, and the
    key by which the PatientID of its header is hidden (b'': it is not looked at)."""

    views: tuple[LesionView, ...]
    background: Mapping[str, Any]
    kept: Path
    header_key: bytes = b""


class Cut(NamedTuple):
    """Of one image: counts (n, 128, 128) int16, the fraction (n,) of each region outside the image,
    why each was not cut ('' where it was), whether the image itself cannot be read, or is of a kind
    that no study takes, and digests of all its pixels ('' where they were not read) and of the
    PatientID of its header ('' where there is none)."""

    rois: np.ndarray
    outside: np.ndarray
    errors: tuple[str, ...]
    unreadable: bool = False
    excluded: bool = False
    pixels: str = ""
    patient: str = ""


def job(
    views: Sequence[LesionView],
    background: Mapping[str, Any],
    version: int,
    folder: Path,
    header_key: bytes = b"",
) -> Job:
    """The job on one image. What it keeps is found again while `version`, all that decides the
    pixels, and the file's size and time are the same."""
    facts = [version, dict(background), stamp(views[0].image_path), str(views[0].image_path)]
    facts += [[v.frame, v.box, v.pixel_um, v.bits, v.dark_is_dense, v.curve] for v in views]
    facts.append(hashlib.sha256(header_key).hexdigest())
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Job(tuple(views), background, folder / f"{digest[:24]}.kept", header_key)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, (-1, 0) where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def cut_all(jobs: Sequence[Job], workers: int, label: str) -> list[Cut]:
    """Does each job that is not done yet; their cuts in order, without the pixels.

    Images are done one after the other in each of `workers` processes, so memory does not grow with
    their number. InputError: a process was killed, as when memory runs out.
    """
    bar = tqdm(total=len(jobs), desc=label, unit="image", disable=None)
    with bar, _map(min(workers, len(jobs))) as over:
        found = []
        try:
            for one in over(_summary, jobs):
                found.append(one)
                bar.update()
        except BrokenProcessPool as error:
            raise InputError(
                f"{label}: a process that read images was killed, as when memory runs out; set"
                f" data.workers below {workers} and run it again: finished images are kept"
            ) from error
    return found


def cut(one: Job) -> Cut:
    """The regions of one image, as kept, or made and kept. An image with errors is not kept, so
    that it is tried again once what was missing is there."""
    kept = _load(one)
    if kept is not None:
        return kept
    with quiet():
        made = _cut(one)
    if not any(made.errors):
        file = io.BytesIO()
        digests = np.array([made.pixels, made.patient])
        np.savez(file, rois=made.rois, outside=made.outside, digests=digests)
        with whole.writing(one.kept):
            one.kept.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(one.kept, _seal(file.getvalue()) + file.getvalue())
    return made


def centre(view: LesionView) -> tuple[float, float]:
    """Middle of the lesion's box in pixels of 200 um."""
    rows, columns = block(view.pixel_um, PIXEL_UM)
    top, left, bottom, right = view.box
    return (top + bottom) / 2 / rows, (left + right) / 2 / columns


def _load(one: Job) -> Cut | None:
    """What was kept of the image; None where there is nothing, or nothing whole."""
    try:
        content = one.kept.read_bytes()
    except OSError:
        return None
    # NumPy stops reading before the archive's own checksum: a changed header would go unseen.
    size = len(_seal(b""))
    if content[:size] != _seal(content[size:]):
        return None
    with np.load(io.BytesIO(content[size:]), allow_pickle=False) as file:
        rois, outside, (pixels, patient) = file["rois"], file["outside"], file["digests"].tolist()
    return Cut(rois, outside, ("",) * len(rois), pixels=pixels, patient=patient)


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _summary(one: Job) -> Cut:
    return cut(one)._replace(rois=np.empty(0))


def _cut(one: Job) -> Cut:
    path = one.views[0].image_path
    nothing = np.zeros((len(one.views), ROI_PIXELS, ROI_PIXELS), np.int16), np.zeros(len(one.views))
    try:
        image = read_stored(path, one.views[0].frame)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return Cut(*nothing, (reason,) * len(one.views), unreadable=True)
    if image.magnified:
        return Cut(*nothing, (MAGNIFIED,) * len(one.views), excluded=True)
    made = regions(image, one.views, one.background)
    patient = header_digest(one.header_key, image.patient_id) if one.header_key else ""
    return made._replace(pixels=_digest(image.values), patient=patient)


def _digest(values: np.ndarray) -> str:
    """The same for two files with the same pixels, whatever else is in them."""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def regions(image: Stored, views: Sequence[LesionView], background: Mapping[str, Any]) -> Cut:
    """The regions of `image` around the lesions of `views`, as every collection's are cut."""
    rois = np.zeros((len(views), ROI_PIXELS, ROI_PIXELS), np.int16)
    outside = np.zeros(len(views))
    errors = []
    limits = image.limits()
    for number, view in enumerate(views):
        try:
            roi, outside[number] = _region(image, limits, view)
            rois[number] = to_counts(roi, background)
            errors.append("")
        except InputError as error:
            errors.append(str(error))
    return Cut(rois, outside, tuple(errors))


def _region(
    image: Stored, limits: tuple[float, float], view: LesionView
) -> tuple[np.ndarray, float]:
    """The (128, 128) region around a lesion, 12-bit gray at 200 um, and the fraction outside.

    Only the part of the image under the region is worked on, to the same values.
    """
    if image.made and view.bits not in (None, image.bits):
        raise InputError(
            f"bits {view.bits} was given, but its header makes it density of {image.bits} bits:"
            " leave bits empty"
        )
    spans = block(view.pixel_um, PIXEL_UM)
    shape = size_after(image.values.shape, spans, PIXEL_UM)
    rows, columns, outside = places(centre(view), shape)
    down, across = ((int(p.min()), int(p.max()) + 1) for p in (rows, columns))
    height, width = image.values.shape
    part = image.gray(under(spans[0], down, height), under(spans[1], across, width))
    roi = average(_density(part, limits, view, view.bits or image.bits), spans, down, across)
    return roi[np.ix_(rows - down[0], columns - across[0])], outside


def _density(
    part: np.ndarray, limits: tuple[float, float], view: LesionView, bits: int
) -> np.ndarray:
    """Stored gray as 12-bit gray that rises with density, by the view's curve or linearly."""
    gray = to_12_bit(part, bits, limits)
    if not view.curve:
        return 4095.0 - gray if view.dark_is_dense else gray
    if view.curve not in CURVES:
        raise InputError(f"no curve {view.curve!r}; known: {', '.join(sorted(CURVES))}")
    return CURVES[view.curve](part, bits)


@contextlib.contextmanager
def _map(workers: int) -> Iterator[Any]:
    """`map` in this process, or in order over several, started afresh: safe beside threads."""
    if workers <= 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
