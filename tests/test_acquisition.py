"""The acquisition of a collection, for the table of the report."""

import numpy as np

from mtl_jax.data import acquisition
from mtl_jax.types import RoiSet


def make_rois(**columns: list) -> RoiSet:
    index = {name: np.array(values, object) for name, values in columns.items()}
    published = acquisition.PUBLISHED["mini_mias"]._asdict()
    shards = (np.zeros((3, 128, 128), np.int16),)
    return RoiSet("t", {"roi_id": np.arange(3)} | index, shards, {"acquisition": published})


def test_devices_of_the_images_replace_the_published_ones() -> None:
    rois = make_rois(device=["Howtek", "", "Howtek"], pixel_um_row=[50, 43.5, 50])
    facts = acquisition.describe(rois)
    assert facts["device"] == "Howtek (2), not stated (1)"
    assert facts["pixel_um"] == "not stated"  # the columns are not known
    serials = make_rois(device=[str(number) for number in range(8)])
    assert acquisition.describe(serials)["device"].endswith("4 (1), 3 others")


def test_published_facts_are_used_where_the_images_state_none() -> None:
    rois = make_rois(pixel_um_row=[200.0] * 3, pixel_um_col=[100.0, 200.0, 100.0])
    facts = acquisition.describe(rois)
    assert facts["device"] == "Joyce-Loebl microdensitometer"
    assert (facts["bits"], facts["pixel_um"]) == ("8", "200 × 100–200")
