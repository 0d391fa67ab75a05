"""Open the images of `config.pretraining.images`: synthetic, a folder, or a TFDS dataset."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from mtl_jax.pretraining.photographs import LabeledImages, PhotographTask
from mtl_jax.pretraining.task import SyntheticTask, Task
from mtl_jax.types import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VALIDATION_FOLDERS = ("val", "validation", "test")
VALIDATION_INTERVAL = 20  # one in 20 images is for validation if the dataset has no such split


def open_task(s: ConfigDict, key: jax.Array, batch_size: int, workers: int) -> Task:
    """Return the task of `config.pretraining`: synthetic, folder:PATH or tfds:NAME.

    `key` determines order and augmentation, or the synthetic images; `workers` threads read files.
    """
    kind, _, location = s.images.partition(":")
    if kind == "synthetic" and not location:
        return SyntheticTask(key, batch_size, s.images_per_epoch, s.validation_images, s.shapes)
    if kind == "folder" and location:
        classes, train, validation = _open_folder(Path(location))
    elif kind == "tfds" and location:
        classes, train, validation = _open_tfds(location)
    else:
        raise InputError(
            f"config.pretraining.images={s.images} is invalid: expected synthetic, folder:PATH or "
            "tfds:NAME"
        )
    if classes < 2 or not len(train) or not len(validation):
        raise InputError(
            f"config.pretraining.images={s.images} is invalid: it has {classes} classes, "
            f"{len(train)} training images and {len(validation)} validation images; expected at "
            "least 2, 1 and 1"
        )
    name = f"{s.images}, {len(train):,} images"
    return PhotographTask(name, classes, train, validation, key, batch_size, workers)


class ImageFiles(Sequence[tuple[np.ndarray, int]]):
    """Image files with their classes, read on access."""

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
                f"{path}: the image cannot be read ({error}); remove or replace it"
            ) from error


class TfdsImages(Sequence[tuple[np.ndarray, int]]):
    """The examples of a TFDS data source with the given indices."""

    def __init__(self, name: str, source: Any, indices: Sequence[int]) -> None:
        self._name, self._source, self._indices = name, source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, int]:
        from mtl_jax.data.sources import tfds_fields

        number = self._indices[index]
        where = f"tfds {self._name}, example {number}"
        example = tfds_fields.read_example(self._source, number, where)
        image = np.asarray(example["image"])
        return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image, int(example["label"])


def _open_folder(root: Path) -> tuple[int, LabeledImages, LabeledImages]:
    """Return the number of classes and the training and validation images of a folder.

    The folder has ImageNet's layout, train/CLASS/files and val/CLASS/files; or CLASS/files, of
    which one in twenty, chosen by its name, is for validation.
    """
    if not root.is_dir():
        raise InputError(
            f"config.pretraining.images=folder:{root} is invalid: the folder does not exist"
        )
    train = root / "train" if (root / "train").is_dir() else root
    names = sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith("."))
    labels = {name: label for label, name in enumerate(names)}
    files = _list_files(train, labels)
    if train == root:
        splits = [], []
        for path, label in files:
            splits[_is_validation(f"{path.parent.name}/{path.name}")].append((path, label))
        return len(names), ImageFiles(splits[0]), ImageFiles(splits[1])
    validation = next((root / n for n in VALIDATION_FOLDERS if (root / n).is_dir()), None)
    if validation is None:
        raise InputError(
            f"{root}: has a folder train, but none of {', '.join(VALIDATION_FOLDERS)}; add one"
        )
    unknown = sorted(p.name for p in validation.iterdir() if p.is_dir() and p.name not in labels)
    if unknown:
        raise InputError(f"{validation}: class {unknown[0]!r} is not in {train}; remove it")
    return len(names), ImageFiles(files), ImageFiles(_list_files(validation, labels))


def _list_files(folder: Path, labels: dict[str, int]) -> list[tuple[Path, int]]:
    return [
        (path, label)
        for name, label in labels.items()
        if (folder / name).is_dir()
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def _open_tfds(name: str) -> tuple[int, LabeledImages, LabeledImages]:
    """Return the number of classes and the training and validation images of a TFDS dataset.

    It must be prepared and have the features image (uint8, 1 or 3 channels) and label.
    """
    from mtl_jax.data.sources import tfds_fields  # importing TFDS takes a second

    builder = tfds_fields.open_dataset(name)
    features = dict(builder.info.features)
    if "image" not in features or not hasattr(features.get("label"), "num_classes"):
        raise InputError(f"tfds {builder.name}: needs the features image and label (a ClassLabel)")
    shape = features["image"].shape
    if len(shape) != 3 or shape[-1] not in (1, 3) or features["image"].np_dtype != np.uint8:
        raise InputError(
            f"tfds {builder.name}: image is {features['image'].np_dtype} of shape {shape}, "
            "expected uint8 of 1 or 3 channels"
        )
    split_names = set(builder.info.splits)
    if "train" not in split_names:
        raise InputError(
            f"tfds {builder.name}: has no split train; it has {', '.join(sorted(split_names))}"
        )
    train = tfds_fields.open_split(builder, "train", None)
    classes = features["label"].num_classes
    validation_name = next((n for n in ("validation", "test") if n in split_names), None)
    splits: tuple[Sequence[int], Sequence[int]] = [], []
    if validation_name:
        validation = tfds_fields.open_split(builder, validation_name, None)
        splits = range(len(train)), range(len(validation))
    else:
        validation = train
        for index in range(len(train)):
            splits[_is_validation(str(index))].append(index)
    train_images = TfdsImages(builder.name, train, splits[0])
    return classes, train_images, TfdsImages(builder.name, validation, splits[1])


def _is_validation(name: str) -> bool:
    """Return whether an image is for validation, which depends only on its name."""
    return zlib.crc32(name.encode()) % VALIDATION_INTERVAL == 0
