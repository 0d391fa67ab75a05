"""Prepare a small TFDS dataset of simulated mammograms without TensorFlow."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from kit.lesion import film

SHAPE = (300, 240)
# (patient, side, view, [(row, column, radius) of each lesion], class of each lesion)
EXAMPLES = {
    "train": [
        ("p1", 0, 0, [(120.5, 90, 20)], ["malignant"]),
        ("p1", 0, 1, [(140, 100.5, 25)], ["malignant"]),
        ("p2", 1, 0, [(80, 60, 12), (200, 150, 18)], ["benign", "benign_without_callback"]),
        ("p3", 1, 1, [(100, 100, 20)], ["unproven"]),
        ("p4", 1, 1, [], []),
    ],
    "validation": [("p5", 0, 0, [(60, 180, 10)], ["benign"])],
    "test": [("p6", 0, 0, [(150, 120, 22)], ["malignant"])],
}
SIDES = ["LEFT", "RIGHT"]
CLASSES = ["benign", "benign_without_callback", "malignant", "unproven"]


class ToyMammograms(tfds.core.GeneratorBasedBuilder):
    """16-bit images; lesions in a Sequence, each with a box and a mask."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        f = tfds.features
        lesion = {
            "id": np.int32,
            "bbox": f.BBoxFeature(),
            "mask": f.Image(shape=(None, None, 1), dtype=np.uint8),
            "pathology": f.ClassLabel(names=CLASSES),
        }
        features = {
            "image": f.Tensor(shape=(None, None), dtype=np.uint16, encoding="zlib"),
            "patient": f.Text(),
            "breast": f.ClassLabel(names=SIDES),
            "view": f.ClassLabel(names=["CC", "MLO"]),
            "size_um": np.float32,
            "first": f.Tensor(shape=(4,), dtype=np.float32),  # a box in pixels
            "cancer": np.int64,
            "lesions": f.Sequence(lesion),
        }
        return tfds.core.DatasetInfo(builder=self, features=f.FeaturesDict(features))

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        return {split: self._generate_examples(split) for split in EXAMPLES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        height, width = SHAPE
        for number, (patient, side, view, discs, classes) in enumerate(EXAMPLES[split]):
            lesions = []
            for row, column, radius in discs:
                top, bottom = row - radius, row + radius
                left, right = column - radius, column + radius
                box = tfds.features.BBox(top / height, left / width, bottom / height, right / width)
                mask = film(SHAPE, (row, column, radius), top=255) > 100
                lesions.append((box, (top, left, bottom, right), mask))
            yield (
                number,
                {
                    "image": film(SHAPE, *discs, top=65535),
                    "patient": patient,
                    "breast": side,
                    "view": view,
                    "size_um": 100.0,
                    "first": lesions[0][1] if lesions else (0, 0, 1, 1),
                    "cancer": int("malignant" in classes),
                    "lesions": [
                        {"id": i, "bbox": box, "mask": _png(mask), "pathology": kind}
                        for i, ((box, _, mask), kind) in enumerate(
                            zip(lesions, classes, strict=True), start=1
                        )
                    ],
                },
            )


def _png(mask: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    file.seek(0)
    return file


def make_dataset(folder: Path, file_format: str = "array_record") -> Path:
    """Prepare the dataset below `folder` and return its folder."""
    builder = ToyMammograms(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_dir)
