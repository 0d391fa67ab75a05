"""The rows of index.csv and the counts in manifest.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.data import audit, extract_rois, shards
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io.csv_safe import escape_formula
from mtl_jax.types import LesionView


def index_rows(
    views: Sequence[LesionView],
    images: Sequence[str],
    outside: Sequence[float],
    roi: RoiSettings,
) -> list[dict[str, Any]]:
    """Return the rows of index.csv; `outside` is the fraction of each ROI outside its image.

    The rows have a device only if a view has one.
    """
    has_device = any(view.device for view in views)
    index = []
    repeats: Counter[str] = Counter()
    for view, image, fraction in zip(views, images, outside, strict=True):
        top, left, bottom, right = view.box
        row, column = extract_rois.lesion_center(view, roi)
        roi_id = f"{view.collection}/{audit.item_name(view)}"
        repeats[roi_id] += 1
        record = {
            "roi_id": roi_id if repeats[roi_id] == 1 else f"{roi_id}-{repeats[roi_id]}",
            "label": view.label,
            "image": escape_formula(image),
            "note": escape_formula(view.note),
            "noted": escape_formula(view.noted),
            "pixel_um_row": view.pixel_um[0],
            "pixel_um_col": view.pixel_um[1],
            "centre_row": round(row, 3),
            "centre_col": round(column, 3),
            "height_mm": round((bottom - top) * view.pixel_um[0] / 1000, 4),
            "width_mm": round((right - left) * view.pixel_um[1] / 1000, 4),
            "outside": round(fraction, 6),
        }
        if has_device:
            record[shards.DEVICE] = escape_formula(view.device)
        copied = {name: getattr(view, name) for name in shards.COLUMNS if hasattr(view, name)}
        index.append(copied | record)
    return index


def count_rois(
    table: Sequence[Mapping[str, Any]],
    views: Sequence[LesionView],
    images: Sequence[str],
    unusable: int,
) -> dict[str, int]:
    """Return the counts of the ROIs of `views` and of the rows of audit.csv.

    `malignant` and `benign` count lesions, not views. `unusable` views are part of `left_out`.
    """
    lesions = {(view.case_id, view.lesion_id): view.label for view in views}
    malignant = sum(lesions.values())
    return {
        "images": len(set(zip(images, (view.frame_number for view in views), strict=True))),
        "rois": len(views),
        "lesions": len(lesions),
        "cases": len({view.case_id for view in views}),
        "malignant": malignant,
        "benign": len(lesions) - malignant,
        "repaired": sum(bool(view.note) for view in views),
        "noted": sum(bool(view.noted) and not view.note for view in views),
        "left_out": len(table) - len(views),
        "unusable": unusable,
    }
