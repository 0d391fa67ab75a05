"""From a collection on disk to its shards, made once. Knows no format of any collection."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtl_jax.data import shards
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.read import read_image
from mtl_jax.imaging.resample import block, to_pixel_size
from mtl_jax.imaging.roi import GRAY_PER_COUNT, PIXEL_UM, ROI_PIXELS, lesion_roi, to_12_bit
from mtl_jax.nouns import Collection, InputError, LesionView, RoiSet

SHARD_ROIS = 2048  # 64 MiB a shard


def load(
    spec: str,
    cache: Path,
    background: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
) -> RoiSet:
    """The regions of the collection `spec`, 'name:path'; 'shards:PATH' opens ready shards.

    Anything else is made into `cache`/<collection>-<fingerprint>, unless it stands there already.
    `background` is {'correct': bool, 'along_mm': float, 'depth_mm': float}; `options` maps a
    source's name to its keyword arguments. InputError: anything wrong with the user's files.
    """
    name, path = _split(spec)
    if name == "shards":
        return shards.open_shards(Path(path))
    collection = SOURCES[name](path, **options.get(name, {}))
    fingerprint = _fingerprint(name, collection, background, options.get(name, {}))
    folder = Path(cache) / f"{collection.name}-{fingerprint[:12]}"
    return _stand(folder, collection, background, fingerprint)


def make(
    spec: str,
    out: Path,
    background: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
) -> RoiSet:
    """As `load`, but under the plain name `out`/<collection>, for shards that travel.

    InputError if other shards stand there already: they are never overwritten.
    """
    name, path = _split(spec)
    if name == "shards":
        raise InputError(f"data source {spec!r}: shards are made already; name a raw collection")
    collection = SOURCES[name](path, **options.get(name, {}))
    fingerprint = _fingerprint(name, collection, background, options.get(name, {}))
    folder = Path(out) / collection.name
    rois = _stand(folder, collection, background, fingerprint)
    if rois.manifest.get("fingerprint") != fingerprint:
        raise InputError(f"{folder}: other shards stand here; delete them or choose another folder")
    return rois


def _split(spec: str) -> tuple[str, str]:
    name, _, path = spec.partition(":")
    if not name or not path:
        raise InputError(f"data source {spec!r}: write name:path, as in mini_mias:data/mini_mias")
    if name not in (*SOURCES, "shards"):
        valid = ", ".join(sorted((*SOURCES, "shards")))
        raise InputError(f"data source {spec!r}: no source {name!r}; valid ones are {valid}")
    return name, path


def _stand(
    folder: Path, collection: Collection, background: Mapping[str, Any], fingerprint: str
) -> RoiSet:
    if not folder.exists():
        _write(folder, collection, background, fingerprint)
    return shards.open_shards(folder)


def _fingerprint(
    source: str,
    collection: Collection,
    background: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """SHA-256 of all that decides the shards: views, settings, size and time of every image.

    Tables count through the views and decisions that they led to.
    """
    views = []
    for view in collection.views:
        try:
            stat = view.image_path.stat()
        except OSError as error:
            raise InputError(f"{view.image_path}: no such image file") from error
        fields = {**vars(view), "image_path": _relative(view, collection)}
        views.append([fields, stat.st_size, stat.st_mtime_ns])
    facts = {
        "format_version": shards.FORMAT_VERSION,
        "source": source,
        "options": dict(options),
        "imaging": _imaging(background),
        "name": collection.name,
        "views": views,
        "left_out": collection.left_out,
        "decisions": collection.decisions,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _write(
    folder: Path, collection: Collection, background: Mapping[str, Any], fingerprint: str
) -> None:
    views = collection.views
    if not views:
        reasons = Counter(reason for _, reason in collection.left_out).most_common(1)
        most = f", most because: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"{collection.name}: no lesion left in {collection.root}"
            f" ({len(collection.left_out)} left out{most})"
        )
    pixels = np.empty((len(views), ROI_PIXELS, ROI_PIXELS), np.int16)
    outside = np.empty(len(views))
    # Each image is read once, whichever way its lesions are listed.
    by_image: dict[tuple[Path, int], list[int]] = {}
    for number, view in enumerate(views):
        by_image.setdefault((view.image_path, view.frame), []).append(number)
    for numbers in tqdm(by_image.values(), desc=collection.name, unit="image", disable=None):
        gray = _gray(views[numbers[0]])
        for number in numbers:
            try:
                roi, outside[number] = lesion_roi(gray, _centre(views[number]), background)
            except InputError as error:
                raise InputError(f"{_where(views[number])}: {error}") from error
            pixels[number] = roi
    index = _index(collection, outside)
    chunks = (pixels[start : start + SHARD_ROIS] for start in range(0, len(views), SHARD_ROIS))
    record = {
        "fingerprint": fingerprint,
        "imaging": _imaging(background),
        "counts": _counts(collection, len(by_image)),
        "decisions": collection.decisions,
        "left_out": collection.left_out,
    }
    shards.write(folder, collection.name, index, chunks, record)


def _gray(view: LesionView) -> np.ndarray:
    """The whole image as 12-bit gray at 200 um, bright where dense."""
    stored, bits = read_image(view.image_path, view.frame)
    bits = view.bits or bits
    try:
        gray = to_12_bit(stored, bits)
        if view.dark_is_dense:
            gray = 4095.0 - gray
        return to_pixel_size(gray, view.pixel_um, PIXEL_UM)
    except InputError as error:
        raise InputError(f"{_where(view)}: {error}") from error


def _centre(view: LesionView) -> tuple[float, float]:
    """Middle of the lesion's box in pixels of 200 um."""
    rows, columns = block(view.pixel_um, PIXEL_UM)
    top, left, bottom, right = view.box
    return (top + bottom) / 2 / rows, (left + right) / 2 / columns


def _index(collection: Collection, outside: np.ndarray) -> list[dict[str, Any]]:
    index = []
    repeats: Counter[str] = Counter()
    for view, fraction in zip(collection.views, outside, strict=True):
        top, left, bottom, right = view.box
        row, column = _centre(view)
        roi_id = f"{collection.name}/{view.case_id}/{view.lesion_id}/{view.view}"
        repeats[roi_id] += 1
        line = {
            "roi_id": roi_id if repeats[roi_id] == 1 else f"{roi_id}-{repeats[roi_id]}",
            "label": view.label,
            "image": _relative(view, collection),
            "pixel_um_row": view.pixel_um[0],
            "pixel_um_col": view.pixel_um[1],
            "centre_row": round(row, 3),
            "centre_col": round(column, 3),
            "height_mm": round((bottom - top) * view.pixel_um[0] / 1000, 4),
            "width_mm": round((right - left) * view.pixel_um[1] / 1000, 4),
            "outside": round(float(fraction), 6),
        }
        same = {column: getattr(view, column) for column in shards.COLUMNS if hasattr(view, column)}
        index.append(same | line)
    return index


def _counts(collection: Collection, images: int) -> dict[str, int]:
    """Malignant and benign count lesions, not views."""
    lesions = {(view.case_id, view.lesion_id): view.label for view in collection.views}
    malignant = sum(lesions.values())
    return {
        "images": images,
        "rois": len(collection.views),
        "lesions": len(lesions),
        "cases": len({view.case_id for view in collection.views}),
        "malignant": malignant,
        "benign": len(lesions) - malignant,
        "left_out": len(collection.left_out),
    }


def _imaging(background: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "background": dict(background),
        "pixel_um": PIXEL_UM,
        "roi_pixels": ROI_PIXELS,
        "gray_per_count": GRAY_PER_COUNT,
        "outside_image": "mirrored",
    }


def _relative(view: LesionView, collection: Collection) -> str:
    return view.image_path.relative_to(collection.root).as_posix()


def _where(view: LesionView) -> str:
    return f"{view.image_path}: lesion {view.lesion_id} of case {view.case_id}"
