"""Which images a source task has: the name in the config opens them."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from mtl_jax.pretraining.photographs import PhotoTask, Pictures
from mtl_jax.pretraining.task import FormulaTask, Task
from mtl_jax.types import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
HELD_OUT_NAMES = ("val", "validation", "test")
ONE_IN = 20  # is held out where the collection marks nothing


def open_task(s: ConfigDict, key: jax.Array, batch_size: int, workers: int) -> Task:
    """Return the task that `config.pretraining.images` names: synthetic, folder:PATH or
    tfds:NAME."""
    kind, _, place = s.images.partition(":")
    if kind == "synthetic" and not place:
        return FormulaTask(key, batch_size, s.images_per_epoch, s.validation_images)
    if kind == "folder" and place:
        classes, learned, held_out = _folder(Path(place))
    elif kind == "tfds" and place:
        classes, learned, held_out = _tfds(place)
    else:
        raise InputError(
            f"config.pretraining.images is {s.images!r}; it must be synthetic, "
            "folder:PATH or tfds:NAME"
        )
    if classes < 2 or not len(learned) or not len(held_out):
        raise InputError(
            f"config.pretraining.images={s.images}: {classes} classes, "
            f"{len(learned)} images to learn "
            f"and {len(held_out)} held out; at least 2, 1 and 1 are needed"
        )
    name = f"{s.images}, {len(learned):,} images"
    return PhotoTask(name, classes, learned, held_out, key, batch_size, workers)


class Files(Sequence[tuple[np.ndarray, int]]):
    """Image files with their classes, read when asked for."""

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, int]:
        path, label = self._files[index]
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB")), label
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path}: this image cannot be read ({error}); remove or replace it"
            ) from error


class Dataset(Sequence[tuple[np.ndarray, int]]):
    """Some examples of the TFDS data source `name`, by number."""

    def __init__(self, name: str, source: Any, numbers: Sequence[int]) -> None:
        self._name, self._source, self._numbers = name, source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, int]:
        from mtl_jax.data.sources import tfds_fields

        number = self._numbers[index]
        example = tfds_fields.read_example(
            self._source, number, f"tfds {self._name}, example {number}"
        )
        image = np.asarray(example["image"])
        return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image, int(example["label"])


def _folder(root: Path) -> tuple[int, Pictures, Pictures]:
    """ImageNet's layout: train/CLASS/files and val/CLASS/files; or CLASS/files, of which one in
    twenty, chosen by its name, is held out."""
    if not root.is_dir():
        raise InputError(f"config.pretraining.images=folder:{root}: no such folder")
    train = root / "train" if (root / "train").is_dir() else root
    names = sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith("."))
    label = {name: number for number, name in enumerate(names)}
    learned = _files(train, label)
    if train == root:
        parts = [], []
        for path, number in learned:
            parts[_chosen(f"{path.parent.name}/{path.name}")].append((path, number))
        return len(names), Files(parts[0]), Files(parts[1])
    held_out = next((root / n for n in HELD_OUT_NAMES if (root / n).is_dir()), None)
    if held_out is None:
        raise InputError(f"{root}: has train, but no {', '.join(HELD_OUT_NAMES)} folder")
    unknown = sorted(p.name for p in held_out.iterdir() if p.is_dir() and p.name not in label)
    if unknown:
        raise InputError(f"{held_out}: class {unknown[0]!r} is not in {train}")
    return len(names), Files(learned), Files(_files(held_out, label))


def _files(folder: Path, label: dict[str, int]) -> list[tuple[Path, int]]:
    return [
        (path, number)
        for name, number in label.items()
        if (folder / name).is_dir()
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in ENDINGS
    ]


def _tfds(place: str) -> tuple[int, Pictures, Pictures]:
    """Return a prepared dataset with the features image (uint8, 1 or 3 channels) and label."""
    from mtl_jax.data.sources import tfds_fields  # TFDS takes a second to load

    found = tfds_fields.open_dataset(place)
    features = dict(found.info.features)
    if "image" not in features or not hasattr(features.get("label"), "num_classes"):
        raise InputError(f"tfds {found.name}: needs features image and label (a ClassLabel)")
    shape = features["image"].shape
    if len(shape) != 3 or shape[-1] not in (1, 3) or features["image"].np_dtype != np.uint8:
        raise InputError(f"tfds {found.name}: image must be uint8 of 1 or 3 channels, not {shape}")
    splits = set(found.info.splits)
    held_out = next((n for n in ("validation", "test") if n in splits), None)
    if "train" not in splits:
        raise InputError(f"tfds {found.name}: has no split train; it has {', '.join(splits)}")
    train = tfds_fields.open_split(found, "train", None)
    classes = features["label"].num_classes
    if held_out:
        test = tfds_fields.open_split(found, held_out, None)
        return (
            classes,
            Dataset(found.name, train, range(len(train))),
            Dataset(found.name, test, range(len(test))),
        )
    parts = [], []
    for number in range(len(train)):
        parts[_chosen(str(number))].append(number)
    return classes, Dataset(found.name, train, parts[0]), Dataset(found.name, train, parts[1])


def _chosen(name: str) -> bool:
    """Return whether this one is held out: a property of its name alone."""
    return zlib.crc32(name.encode()) % ONE_IN == 0
