"""Convert the examples of a TFDS dataset to lesion views and image files (.npy)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtl_jax.data.image_notes import split_notes
from mtl_jax.data.sources import tfds_fields
from mtl_jax.data.sources.disputed_lesions import separate_disputed
from mtl_jax.data.sources.location import LesionBox
from mtl_jax.data.sources.tfds_fields import Field
from mtl_jax.imaging import mask
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.io import atomic
from mtl_jax.types import InputError, LesionView, prefix_errors

# Official split by name of a TFDS split.
SPLITS = {"train": "train", "training": "train", "validation": "train", "test": "test"}
LATERALITIES = {"l": "L", "left": "L", "r": "R", "right": "R"}
CROP = "each image is a crop of its lesion, extent not given"
LABELS = {"1": 1, "0": 0, "True": 1, "False": 0}
DTYPES = ("uint8", "uint16", "float32")

LeftOut = tuple[tuple[str, str], ...]


def read_views(
    dataset: Any,
    splits: Sequence[str],
    mapping: Mapping[str, Field],
    pixel_um: float | None,
    home: Path,
    constants: Mapping[str, str],
) -> tuple[tuple[LesionView, ...], LeftOut]:
    """Return all lesion views of a dataset, and what is left out with reasons.

    `mapping` holds the feature of each field, such as label, and `constants` the fields that all
    lesion views share. Decoded images are written to `home`.
    """
    atomic.make_folder(home)
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    for split in splits:
        official_split = SPLITS.get(split.partition("[")[0], "")
        for item, example, image in _examples(dataset, split, mapping["image"], home):
            shape = np.load(image, mmap_mode="r", allow_pickle=False).shape
            for number, lesion in enumerate(_lesions(example, mapping, item), start=1):
                name = f"{item}-{number}"
                facts, lesion_box = _facts(lesion, mapping, name), _box(lesion, mapping, shape)
                label = _parse_label(facts["label"])
                if label is None or isinstance(lesion_box, str):
                    reason = f"label {facts['label']}" if label is None else lesion_box
                    left_out.append((name, reason))
                    continue
                size = _pixel_size(facts.get("pixel_um", pixel_um), name)
                views.append(
                    LesionView(
                        **constants,
                        image_path=image,
                        box=lesion_box.box,
                        case_id=facts["case_id"],
                        lesion_id=facts["lesion_id"],
                        view=facts.get("view", "").upper(),
                        laterality=facts["laterality"],
                        label=label,
                        pixel_um=(size, size),
                        split=official_split,
                        note=lesion_box.note,
                        noted=lesion_box.noted,
                        where=f"tfds {dataset.name} {name}",
                    )
                )
    consistent, disputed = separate_disputed(views)
    reason = "views of its lesion differ in label"
    left_out += [(view.image_path.stem, reason) for view in disputed]
    return tuple(consistent), tuple(left_out)


def _examples(
    dataset: Any, split: str, image: Field, home: Path
) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """Yield (item, example, image file) of each example; cached images are not decoded again."""
    with_images = tfds_fields.open_split(dataset, split, skip=None)
    without_images = tfds_fields.open_split(dataset, split, skip=image)
    prefix = "".join(letter if letter.isalnum() else "_" for letter in split)
    for number in range(len(with_images)):
        item = f"{prefix}-{number:06d}"
        where = f"tfds {dataset.name} {split} example {number}"
        file = home / f"{item}.npy"
        cached = file.is_file()
        examples = without_images if cached else with_images
        example = tfds_fields.read_example(examples, number, where)
        if not cached:
            _write_image(file, _to_gray(tfds_fields.get_values(example, image)[0], where))
        yield item, example, file


def _to_gray(value: Any, where: str) -> np.ndarray:
    """Return (H, W) of an image (H, W), (H, W, 1) or (H, W, 3) of equal channels."""
    gray = np.asarray(value)
    if gray.ndim == 3 and gray.shape[2] in (1, 3) and not (gray != gray[..., :1]).any():
        gray = gray[..., 0]
    if gray.ndim != 2 or gray.dtype not in DTYPES:
        raise InputError(
            f"{where}: an image of {gray.dtype} {gray.shape} is invalid: expected gray (rows,"
            f" columns) of {', '.join(DTYPES)}"
        )
    return gray


def _write_image(file: Path, gray: np.ndarray) -> None:
    """Write under another name first, so that an existing file is always complete."""
    draft = file.with_suffix(f".{os.getpid()}.part")
    with atomic.report_write_errors(file):
        with draft.open("wb") as stream:
            np.save(stream, np.ascontiguousarray(gray), allow_pickle=False)
        os.replace(draft, file)


def _lesions(
    example: dict[str, Any], mapping: Mapping[str, Field], item: str
) -> Iterator[dict[str, Any]]:
    """Yield {field: value} of each lesion; values outside a Sequence apply to all lesions."""
    values = {
        name: tfds_fields.get_values(example, field)
        for name, field in mapping.items()
        if name != "image"
    }
    sizes = {len(values[name]) for name in values if mapping[name].per_lesion}
    if len(sizes) > 1:
        raise InputError(f"{item}: its Sequence features have {sorted(sizes)} values")
    for number in range(sizes.pop() if sizes else 1):
        yield {name: values[name][number if mapping[name].per_lesion else 0] for name in values}


def _facts(lesion: Mapping[str, Any], mapping: Mapping[str, Field], item: str) -> dict[str, str]:
    facts = {
        name: tfds_fields.format_value(value, mapping[name].feature)
        for name, value in lesion.items()
        if name not in ("box", "mask")
    }
    # Lesion numbers often count within a breast, so the id includes the side as written.
    side = facts.get("laterality", "")
    facts["laterality"] = LATERALITIES.get(side.strip().lower(), "")
    lesion_id = facts.get("lesion_id")
    facts["lesion_id"] = f"{facts['laterality'] or side}{lesion_id}" if lesion_id else item
    if not facts["case_id"]:
        raise InputError(f"{item}: its case_id is empty")
    return facts


def _parse_label(text: str) -> int | None:
    lower_text = text.lower()
    if lower_text.startswith(("malignant", "benign")):
        return int(lower_text.startswith("malignant"))
    return LABELS.get(text)


def _box(
    lesion: Mapping[str, Any], mapping: Mapping[str, Field], shape: tuple[int, ...]
) -> LesionBox | str:
    """Return the box in pixels of the image (H, W) `shape`, or the reason why there is none."""
    height, width = shape
    if "box" in lesion:
        top, left, bottom, right = map(float, np.asarray(lesion["box"]).ravel()[:4])
        if isinstance(mapping["box"].feature, tfds.features.BBoxFeature):  # fractions
            top, bottom, left, right = top * height, bottom * height, left * width, right * width
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            return "its box is empty or reaches beyond the image"
        return LesionBox((top, left, bottom, right))
    if "mask" not in lesion:
        # A crop of a lesion of unknown extent.
        return LesionBox((height / 2, width / 2, height / 2, width / 2), noted=CROP)
    values = np.asarray(lesion["mask"])
    try:
        box, notes = mask.box_from_mask(
            values.reshape(*values.shape[:2], -1).max(2), shape, "its mask"
        )
    except InputError as error:
        return str(error)
    return LesionBox(box, *split_notes(notes))


def _pixel_size(value: str | float | None, item: str) -> float:
    try:
        size = float(value or 0)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise InputError(f"{item}: pixel_um {value!r} is invalid: expected a number above 0")
    with prefix_errors(item):
        check_pixel_um((size, size), "pixel_um")
    return size
