"""Write ROIs as a TFDS dataset, which can be loaded without this package."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtl_jax.data import shards
from mtl_jax.types import ROI_PIXELS, InputError, RoiSet

VERSION = "1.0.0"
ALL = "all"  # the split of ROIs without an official one
FEATURES = {
    str: tfds.features.Text(),
    int: tfds.features.Scalar(np.int64),
    # Stored as bytes, because records store plain numbers in 32 bits.
    float: tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes"),
}


class MtlRois(tfds.core.GeneratorBasedBuilder):
    """A TFDS dataset with one example per ROI.

    Features are `pixels` (128, 128) int16 counts and the columns of index.csv. A count is
    `gray_per_count` (in the metadata) levels of 12-bit gray. Splits are the official
    train and test, and 'all' for ROIs without one.
    """

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, rois: RoiSet, **kwargs: Any) -> None:
        self._rois = rois
        kwargs.setdefault("file_format", "array_record")
        super().__init__(config=tfds.core.BuilderConfig(name=rois.name), **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        columns = {name: FEATURES[shards.COLUMNS.get(name, str)] for name in self._rois.index}
        pixels = tfds.features.Tensor(
            shape=(ROI_PIXELS, ROI_PIXELS), dtype=np.int16, encoding="zlib"
        )
        manifest = self._rois.manifest
        return tfds.core.DatasetInfo(
            builder=self,
            description="ROIs around breast lesions, for research only.",
            features=tfds.features.FeaturesDict({"pixels": pixels, **columns}),
            supervised_keys=("pixels", "label"),
            metadata=tfds.core.MetadataDict(
                collection=self._rois.name,
                content=shards.content_digest(self._rois),
                gray_per_count=manifest["gray_per_count"],
                imaging=manifest.get("imaging", {}),
            ),
        )

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        names = sorted(set(self._rois.index["split"].tolist()))
        return {name or ALL: self._generate_examples(name) for name in names}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        index, number = self._rois.index, 0
        for shard in self._rois.shards:
            for pixels in shard:
                if index["split"][number] == split:
                    row = {name: column.item(number) for name, column in index.items()}
                    yield row["roi_id"], {"pixels": np.array(pixels), **row}
                number += 1


def prepare(rois: RoiSet, data_dir: Path) -> Path:
    """Write the dataset mtl_rois/<collection> under `data_dir`, if absent, and return its folder.

    Open it with tfds.data_source("mtl_rois/<collection>", data_dir=..., split=...) or
    tfds.builder_from_directory(folder).as_data_source(split=...). Raises InputError if the folder
    holds other ROIs.
    """
    builder = MtlRois(rois=rois, data_dir=data_dir)
    builder.download_and_prepare()
    if builder.info.metadata["content"] != shards.content_digest(rois):
        raise InputError(
            f"{builder.data_dir}: contains ROIs made from other data or settings; delete it or"
            " choose another folder"
        )
    return Path(builder.data_dir)
