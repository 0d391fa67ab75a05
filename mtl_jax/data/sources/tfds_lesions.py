"""From the examples of a TFDS dataset to lesion views and image files.

Decoded images are kept as .npy files, since a lesion view names an image file.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.data.sources import tfds_fields
from mtl_jax.data.sources.location import LesionBox
from mtl_jax.data.sources.tfds_fields import Field
from mtl_jax.imaging import mask
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import InputError, LesionView, prefix_errors

SPLITS = {"train": "train", "training": "train", "validation": "train", "test": "test"}
SIDES = {"l": "L", "left": "L", "r": "R", "right": "R"}
CROP = "each image is a crop of its lesion, extent not given"
LABELS = {"1": 1, "0": 0, "True": 1, "False": 0}
DTYPES = ("uint8", "uint16", "float32")

LeftOut = tuple[tuple[str, str], ...]


def read_views(
    found: Any,
    splits: Sequence[str],
    mapping: Mapping[str, Field],
    pixel_um: float | None,
    home: Path,
    same: Mapping[str, str],
) -> tuple[tuple[LesionView, ...], LeftOut]:
    """Return all lesion views of the dataset `found`, and what is left out; images are under
    `home`.

    `mapping` names the field of each of our nouns; `same` is what all views share.
    """
    home.mkdir(parents=True, exist_ok=True)
    kept: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    for split in splits:
        official = SPLITS.get(split.partition("[")[0], "")
        for item, content, image in _examples(found, split, mapping["image"], home):
            shape = np.load(image, mmap_mode="r", allow_pickle=False).shape
            for number, lesion in enumerate(_lesions(content, mapping, item), start=1):
                name = f"{item}-{number}"
                facts, place = _facts(lesion, mapping, name), _box(lesion, mapping, shape)
                label = _label(facts["label"])
                if label is None or isinstance(place, str):
                    reason = f"label {facts['label']}" if label is None else place
                    left_out.append((name, reason))
                    continue
                size = _pixel_size(facts.get("pixel_um", pixel_um), name)
                kept.append(
                    LesionView(
                        **same,
                        image_path=image,
                        box=place.box,
                        case_id=facts["case_id"],
                        lesion_id=facts["lesion_id"],
                        view=facts.get("view", "").upper(),
                        laterality=facts.get("laterality", ""),
                        label=label,
                        pixel_um=(size, size),
                        split=official,
                        note=place.note,
                        noted=place.noted,
                        where=f"tfds {found.name} {name}",
                    )
                )
    agreeing, others = _agreeing(kept)
    return agreeing, (*left_out, *others)


def _examples(
    found: Any, split: str, image: Field, home: Path
) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """(item, example, image file) of each example; images are decoded where no file stands yet."""
    whole = tfds_fields.open_split(found, split, skip=None)
    rest = tfds_fields.open_split(found, split, skip=image)
    plain = "".join(letter if letter.isalnum() else "_" for letter in split)
    for number in range(len(whole)):
        item = f"{plain}-{number:06d}"
        where = f"tfds {found.name} {split} example {number}"
        file = home / f"{item}.npy"
        done = file.is_file()
        content = tfds_fields.read_example(rest if done else whole, number, where)
        if not done:
            _write(file, _gray(tfds_fields.get_values(content, image)[0], where))
        yield item, content, file


def _gray(value: Any, where: str) -> np.ndarray:
    """Return (H, W) of an image (H, W), (H, W, 1) or (H, W, 3) of equal channels."""
    gray = np.asarray(value)
    if gray.ndim == 3 and gray.shape[2] in (1, 3) and not (gray != gray[..., :1]).any():
        gray = gray[..., 0]
    if gray.ndim != 2 or gray.dtype not in DTYPES:
        raise InputError(
            f"{where}: an image of {gray.dtype} {gray.shape}; it must be gray (rows, columns) of"
            f" {', '.join(DTYPES)}"
        )
    return gray


def _write(file: Path, gray: np.ndarray) -> None:
    """Under another name first, so that a file that stands is whole."""
    draft = file.with_suffix(f".{os.getpid()}.part")
    with draft.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(gray), allow_pickle=False)
    os.replace(draft, file)


def _lesions(
    content: dict[str, Any], mapping: Mapping[str, Field], item: str
) -> Iterator[dict[str, Any]]:
    """{ours: value} of each lesion; what is not inside a Sequence holds for all lesions."""
    columns = {
        ours: tfds_fields.get_values(content, field)
        for ours, field in mapping.items()
        if ours != "image"
    }
    sizes = {len(columns[ours]) for ours in columns if mapping[ours].several}
    if len(sizes) > 1:
        raise InputError(f"{item}: its Sequence features have {sorted(sizes)} values")
    for number in range(sizes.pop() if sizes else 1):
        yield {o: v[number if mapping[o].several else 0] for o, v in columns.items()}


def _facts(lesion: Mapping[str, Any], mapping: Mapping[str, Field], item: str) -> dict[str, str]:
    facts = {
        ours: tfds_fields.format_value(value, mapping[ours].feature)
        for ours, value in lesion.items()
        if ours not in ("box", "mask")
    }
    # Numbers of lesions are often counted anew in each breast, whatever word says which it is.
    word = facts.get("laterality", "")
    side = SIDES.get(word.strip().lower(), "")
    own = facts.get("lesion_id")
    facts["lesion_id"] = f"{side or word}{own}" if own else item
    facts["laterality"] = side
    if not facts["case_id"]:
        raise InputError(f"{item}: its case_id is empty")
    return facts


def _label(text: str) -> int | None:
    word = text.lower()
    if word.startswith(("malignant", "benign")):
        return int(word.startswith("malignant"))
    return LABELS.get(text)


def _box(
    lesion: Mapping[str, Any], mapping: Mapping[str, Field], shape: tuple[int, ...]
) -> LesionBox | str:
    """In pixels of the image (H, W) `shape`, or the reason why there is none."""
    height, width = shape
    if "box" in lesion:
        top, left, bottom, right = map(float, np.asarray(lesion["box"]).ravel()[:4])
        if tfds_fields.is_relative(mapping["box"].feature):
            top, bottom, left, right = top * height, bottom * height, left * width, right * width
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            return "its box is empty or reaches beyond the image"
        return LesionBox((top, left, bottom, right))
    if "mask" not in lesion:
        # A crop of a lesion, whose extent nobody states.
        return LesionBox((height / 2, width / 2, height / 2, width / 2), noted=CROP)
    values = np.asarray(lesion["mask"])
    try:
        box, notes = mask.box_from_mask(
            values.reshape(*values.shape[:2], -1).max(2), shape, "its mask"
        )
    except InputError as error:
        return str(error)
    return LesionBox.from_notes(box, notes)


def _pixel_size(value: str | float | None, item: str) -> float:
    try:
        size = float(value or 0)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise InputError(f"{item}: pixel_um {value!r} is no size")
    with prefix_errors(item):
        check_pixel_um((size, size), "pixel_um")
    return size


def _agreeing(views: Sequence[LesionView]) -> tuple[tuple[LesionView, ...], LeftOut]:
    """Return the views of lesions with one label in all their views, and the others as left out."""
    labels: dict[tuple[str, str], set[int]] = {}
    for view in views:
        labels.setdefault((view.case_id, view.lesion_id), set()).add(view.label)
    kept = tuple(v for v in views if len(labels[v.case_id, v.lesion_id]) == 1)
    others = [view for view in views if len(labels[view.case_id, view.lesion_id]) > 1]
    return kept, tuple((v.image_path.stem, "views of its lesion differ in label") for v in others)
