"""A changed byte in the cache is detected before use and its file named, or has no effect."""

from pathlib import Path

import numpy as np
import pytest
from kit.spoiling import ROI, films, flip, load

from mtl_jax.data import extract_rois, ingest, shards
from mtl_jax.data.sources import cbis_ddsm, manifest
from mtl_jax.types import InputError

PHANTOM = {
    "target": "sfm",
    "cases": 1,
    "target_cases": None,
    "seed": 0,
    "difficulty": 0.3,
    "shared_signal": 1.0,
    "test_fraction": 0.4,
    "malignant_fraction": 0.4,
}


def test_a_changed_byte_anywhere_in_shards_is_detected_and_its_file_named(tmp_path: Path) -> None:
    """In every file, at both ends and at random positions."""
    table = films(tmp_path / "films")
    load(table, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").glob("ours-*")
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        original, size = path.read_bytes(), path.stat().st_size
        for position in {0, size - 1, *rng.integers(size, size=12).tolist()}:
            flip(path, position)
            with pytest.raises(InputError, match="ours-") as result:
                shards.open_shards(folder)
            # The manifest is also reported if its checksum was changed.
            reported_name = path.name if path.name != shards.MANIFEST_SHA256 else "manifest.json"
            assert reported_name in str(result.value), (path.name, position)
            path.write_bytes(original)
    assert len(load(table, tmp_path / "cache")) == 4


def test_a_changed_byte_in_a_cached_image_only_repeats_its_extraction(tmp_path: Path) -> None:
    """In the fields at both ends, which NumPy alone does not verify, and at random positions."""
    views = manifest.read_collection(str(films(tmp_path / "films", 1))).views
    job = extract_rois.make_job(views, ROI, 1, tmp_path / "kept")
    extracted = extract_rois.extract(job)
    original = job.cache_path.read_bytes()
    rng = np.random.default_rng(0)
    ends = [*range(0, 200, 3), *range(len(original) - 300, len(original), 3)]
    for position in [*ends, *rng.integers(len(original), size=40).tolist()]:
        flip(job.cache_path, position)
        repeated = extract_rois.extract(job)
        np.testing.assert_array_equal(repeated.rois, extracted.rois)
        np.testing.assert_array_equal(repeated.outside, extracted.outside)
        assert repeated.pixels == extracted.pixels
        job.cache_path.write_bytes(original)


def test_a_damaged_cache_of_lesion_locations_is_ignored(tmp_path: Path) -> None:
    cache_path = tmp_path / "places.json"
    cache = {"a": cbis_ddsm.masks.LesionLocation((10.0, 20.0, 30.0, 40.0), "")}
    cbis_ddsm._save_cache(cache_path, cache)
    assert cbis_ddsm._load_cache(cache_path) == cache
    original = cache_path.read_bytes()
    for position in range(len(original)):
        flip(cache_path, position)
        assert cbis_ddsm._load_cache(cache_path) == {}, position
        cache_path.write_bytes(original)


def test_a_changed_byte_of_the_phantom_is_detected_before_extraction(tmp_path: Path) -> None:
    ingest.load("phantom:sfm", tmp_path, ROI, {"phantom": PHANTOM | {"folder": tmp_path}})
    (phantom_folder,) = tmp_path.glob("phantom-*")
    image = next(phantom_folder.glob("*.dcm"))
    flip(image, image.stat().st_size - 100)
    for folder in tmp_path.glob("sfm-*"):
        folder.rename(tmp_path / ".gone")
    with pytest.raises(InputError, match=f"damaged: {image.name} is .*changed; delete the folder"):
        ingest.load("phantom:sfm", tmp_path, ROI, {"phantom": PHANTOM | {"folder": tmp_path}})
