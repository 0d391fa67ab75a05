"""Test the TFDS reader, shards as a TFDS dataset, and that TensorFlow is not imported."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets
from kit import tfds_dataset
from kit.fuzz import outcomes
from kit.lesion import LESION, offset
from kit.tfds_dataset import CLASSES, make_dataset
from PIL import Image

from mtl_jax.data import ingest, shards, tfds_builder
from mtl_jax.data.sources import tfds
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError, RoiSet

HERE = Path(__file__).resolve().parents[1]
PLAIN = RoiSettings(correct=False)
COMMON = ("image:image", "case_id:patient", "view:view", "laterality:breast", "pixel_um:size_um")
LESIONS = ("label:lesions/pathology", "lesion_id:lesions/id")
BOXES = (*COMMON, *LESIONS, "box:lesions/bbox")
MASKS = (*COMMON, *LESIONS, "mask:lesions/mask")


def read_collection(path: object, folder: Path, *fields: str, **options: object) -> Collection:
    defaults = {"pixel_um": None, "modality": "DM", "truth_source": "biopsy", **options}
    return tfds.read_collection(str(path), fields=fields, folder=folder, **defaults)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that no test changes."""
    return make_dataset(tmp_path_factory.mktemp("tfds"))


def test_lesions_classes_splits_and_reasons(dataset: Path, tmp_path: Path) -> None:
    collection = read_collection(dataset, tmp_path, *BOXES)
    facts = [
        (v.case_id, v.lesion_id, v.view, v.laterality, v.label, v.split) for v in collection.views
    ]
    assert facts == [
        ("p6", "L1", "CC", "L", 1, "test"),
        ("p1", "L1", "CC", "L", 1, "train"),
        ("p1", "L1", "MLO", "L", 1, "train"),
        ("p2", "R1", "CC", "R", 0, "train"),
        ("p2", "R2", "CC", "R", 0, "train"),
        ("p5", "L1", "CC", "L", 0, "train"),
    ]
    assert [reason for _, reason in collection.left_out] == ["label unproven"]
    assert collection.views[0].box == pytest.approx((128, 98, 172, 142), abs=1e-4)
    assert {view.pixel_um for view in collection.views} == {(100.0, 100.0)}
    assert {view.modality for view in collection.views} == {"DM"}
    assert any("validation split is counted as training" in text for text in collection.decisions)


def test_masks_and_boxes_give_the_same_boxes(dataset: Path, tmp_path: Path) -> None:
    boxes, masks = (
        read_collection(dataset, tmp_path, *BOXES).views,
        read_collection(dataset, tmp_path, *MASKS).views,
    )
    for box_view, mask_view in zip(boxes, masks, strict=True):
        assert mask_view.box == pytest.approx(box_view.box, abs=1)


def test_a_full_mask_is_left_out_and_components_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesions = [(150, 120, 20), (100, 160, 15)]
    examples = {"train": [("p1", 0, 0, lesions, ["malignant", "benign"])]}
    monkeypatch.setattr(tfds_dataset, "EXAMPLES", examples)
    png = tfds_dataset._png

    def write_mask(mask: np.ndarray) -> io.BytesIO:
        """Fill the mask of the larger lesion, and give the other one a second component."""
        return png(mask >= 0 if mask.sum() > 1000 else mask | _corner(mask.shape))

    monkeypatch.setattr(tfds_dataset, "_png", write_mask)
    collection = read_collection(make_dataset(tmp_path / "in"), tmp_path, *MASKS)
    assert [reason for _, reason in collection.left_out] == [
        "its mask covers 100% of its image, or extends from border to border: values above 0"
        " are inside, so invert it if it is 0 inside, or give a box or a centre"
    ]
    assert [view.noted for view in collection.views] == [
        "mask of several components: treated as one lesion (2 components)"
    ]


def _corner(shape: tuple[int, ...]) -> np.ndarray:
    corner = np.zeros(shape, bool)
    corner[10:40, 10:40] = True
    return corner


def test_lesion_ids_of_two_breasts_differ_for_unknown_names_of_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disc = [(150, 120, 22)]
    examples = {"train": [("p1", n, 0, disc, [kind]) for n, kind in enumerate(CLASSES[::2])]}
    monkeypatch.setattr(tfds_dataset, "EXAMPLES", examples)
    monkeypatch.setattr(tfds_dataset, "SIDES", ["sinistra", "dextra"])
    collection = read_collection(make_dataset(tmp_path / "in"), tmp_path, *BOXES)
    assert [(view.lesion_id, view.laterality) for view in collection.views] == [
        ("sinistra1", ""),
        ("dextra1", ""),
    ]


@pytest.mark.parametrize("pixel_um", [0.07, 5.0, 2000.0])
def test_an_implausible_pixel_size_is_rejected(
    dataset: Path, tmp_path: Path, pixel_um: float
) -> None:
    fields = [field for field in BOXES if not field.startswith("pixel_um")]
    with pytest.raises(InputError, match="is (below|above) .*the unit is um"):
        read_collection(dataset, tmp_path, *fields, pixel_um=pixel_um)


def test_a_split_or_a_part_of_it_is_selected(dataset: Path, tmp_path: Path) -> None:
    assert {view.split for view in read_collection(f"{dataset}:test", tmp_path, *BOXES).views} == {
        "test"
    }
    parts = [
        read_collection(f"{dataset}:{part}", tmp_path, *BOXES)
        for part in ("train[:2]", "train[2:]")
    ]
    boxes = [view.box for part in parts for view in part.views]
    assert boxes == [
        view.box for view in read_collection(f"{dataset}:train", tmp_path, *BOXES).views
    ]
    assert {view.split for part in parts for view in part.views} == {"train"}
    assert 0 < len(parts[0].views) < len(boxes)
    with pytest.raises(InputError, match="no split 'tests'; it has test, train, validation"):
        read_collection(f"{dataset}:tests", tmp_path, *BOXES)


def test_a_dataset_is_found_by_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow_datasets.core.constants, "DATA_DIR", str(dataset.parents[1]))
    named = read_collection("toy_mammograms:test", tmp_path, *BOXES)
    assert [view.case_id for view in named.views] == ["p6"]


def test_one_box_per_image_in_pixels_and_a_numeric_label(dataset: Path, tmp_path: Path) -> None:
    collection = read_collection(f"{dataset}:test", tmp_path, *COMMON, "label:cancer", "box:first")
    assert [(view.box, view.label) for view in collection.views] == [((128, 98, 172, 142), 1)]
    # Without a lesion_id of the dataset, each example is a lesion.
    assert collection.views[0].lesion_id == "test-000000-1"


def test_an_image_without_box_is_a_crop_of_the_lesion(dataset: Path, tmp_path: Path) -> None:
    fields = ("image:image", "label:cancer", "case_id:patient")
    collection = read_collection(f"{dataset}:test", tmp_path, *fields, pixel_um=200.0)
    assert collection.views[0].box == (150, 120, 150, 120)
    assert "extent not given" in collection.views[0].noted
    assert collection.views[0].spacing_source == "set by the user"


def test_a_lesion_is_in_the_middle_of_its_roi(dataset: Path, tmp_path: Path) -> None:
    options = {
        "tfds": {
            "fields": BOXES,
            "pixel_um": None,
            "modality": "DM",
            "truth_source": "biopsy",
            "folder": tmp_path / "cache",
        }
    }
    rois = ingest.load(f"tfds:{dataset}", tmp_path / "cache", PLAIN, options)
    assert len(rois) == 6
    for roi in np.concatenate(rois.shards)[:, 48:80, 48:80]:
        assert offset(roi) < 1
    # Gray values have 16 bits.
    brightest = np.concatenate(rois.shards).max() * rois.manifest["gray_per_count"]
    assert brightest == pytest.approx(round(LESION * 65535 / 4095) * 4095 / 65535, abs=0.1)


def test_images_are_decoded_once(dataset: Path, tmp_path: Path) -> None:
    first = read_collection(dataset, tmp_path, *BOXES)
    files = sorted(tmp_path.rglob("*"))
    times = [file.stat().st_mtime_ns for file in files]
    again = read_collection(dataset, tmp_path, *BOXES)
    assert again == first
    assert sorted(tmp_path.rglob("*")) == files
    assert [file.stat().st_mtime_ns for file in files] == times
    assert not list(tmp_path.rglob("*.part"))


def test_the_built_in_curated_dataset_needs_no_fields(tmp_path: Path) -> None:
    class Fake:
        name = "curated_breast_imaging_ddsm"

    features = tfds._parse_fields(tfds.DEFAULT_FIELDS[Fake.name], Fake.name, [])
    builder = tensorflow_datasets.builder(f"{Fake.name}/original-mass", data_dir=tmp_path)
    from mtl_jax.data.sources import tfds_fields

    per_lesion = {
        field: tfds_fields.find_field(builder, path).per_lesion for field, path in features.items()
    }
    assert per_lesion == {
        **dict.fromkeys(("image", "case_id", "view", "laterality"), False),
        **dict.fromkeys(("label", "mask", "lesion_id"), True),
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((), "missing image, label, case_id; write FIELD:FEATURE of each; features of toy_mammo"),
        (("image:image", "label:cancer"), "missing case_id"),
        ((*COMMON, "label:lesions/class"), "no feature 'lesions/class'; there are bbox, id, mask"),
        ((*COMMON, "label:lesions/id/x"), "no feature 'lesions/id/x'; there are no more"),
        ((*COMMON, "labl:cancer"), "'labl:cancer' is invalid: expected FIELD:FEATURE"),
        ((*COMMON, "image:image", "label:cancer"), "'image:image' is invalid: expected FIELD:FEAT"),
        ((*BOXES, "mask:lesions/mask"), "give box or mask, not both"),
        (("image:image", "case_id:patient", "label:cancer"), "set config.data.tfds.pixel_um"),
        (("image:first", *COMMON[1:], "label:cancer"), "example 0: an image of float32 (4,)"),
    ],
)
def test_invalid_fields_are_rejected(
    dataset: Path, tmp_path: Path, fields: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        read_collection(dataset, tmp_path, *fields)
    assert "\n" not in str(caught.value)


def test_invalid_options_are_rejected(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="config.data.tfds.modality='MR' is invalid: expected SFM, DM"
    ):
        read_collection(dataset, tmp_path, *BOXES, modality="MR")
    with pytest.raises(
        InputError, match="config.data.tfds.truth_source='sure' is invalid: expected"
    ):
        read_collection(dataset, tmp_path, *BOXES, truth_source="sure")


def test_missing_datasets_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tfds no_such_dataset: no such prepared dataset"):
        read_collection("no_such_dataset", tmp_path, *BOXES)
    with pytest.raises(InputError, match="tfds .*: no such prepared dataset"):
        read_collection(tmp_path, tmp_path, *BOXES)
    with pytest.raises(InputError, match="not prepared in"):
        read_collection("curated_breast_imaging_ddsm/original-mass", tmp_path)


def test_a_feature_of_foreign_code_is_not_imported(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    features = dataset / "features.json"
    features.write_text(features.read_text().replace("tensorflow_datasets.core.features.t", "os.t"))
    with pytest.raises(InputError, match="features.json names 'os.t.*not a feature of TFDS"):
        read_collection(dataset, tmp_path, *BOXES)


def test_damaged_records_give_one_line_errors(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    record = next(dataset.glob("*test*"))
    counts = outcomes(
        record, 40, 1, lambda: read_collection(f"{dataset}:test", tmp_path / "out", *BOXES)
    )
    assert counts["rejected"] > 2
    info = dataset / "dataset_info.json"
    outcomes(info, 60, 2, lambda: read_collection(f"{dataset}:test", tmp_path / "out", *BOXES))
    features = dataset / "features.json"
    outcomes(features, 100, 3, lambda: read_collection(f"{dataset}:test", tmp_path / "out", *BOXES))


@pytest.fixture(scope="module")
def rois(tmp_path_factory: pytest.TempPathFactory) -> RoiSet:
    folder = tmp_path_factory.mktemp("rois")
    gray = np.random.default_rng(0).integers(0, 4096, (300, 260)).astype(np.uint16)
    for n in range(1, 6):
        Image.fromarray(np.roll(gray, n)).save(folder / f"{n}.png")
    rows = [
        f"mine,P{n},1,CC,{n}.png,{('benign', 'malignant')[n % 2]},"
        f"{n * 20};40;{n * 20 + 9};60,200,12,{'test' if n > 3 else 'train'}"
        for n in range(1, 6)
    ]
    header = "dataset,patient_id,lesion_id,view,image_path,truth,box,pixel_um,bits,split"
    (folder / "m.csv").write_text("\n".join([header, *rows]))
    return ingest.load(f"manifest:{folder / 'm.csv'}", folder / "cache", PLAIN, {})


def test_shards_read_through_tfds_are_equal(rois: RoiSet, tmp_path: Path) -> None:
    folder = tfds_builder.prepare(rois, tmp_path)
    assert tfds_builder.prepare(rois, tmp_path) == folder
    pixels = np.concatenate(rois.shards)
    builder = tensorflow_datasets.builder_from_directory(folder)
    seen = 0
    for split in ("train", "test"):
        for example in builder.as_data_source(split=split):
            roi_id = example["roi_id"].decode()
            (row,) = np.flatnonzero(rois.index["roi_id"] == roi_id)
            assert (example["pixels"] == pixels[row]).all()
            assert example["pixels"].dtype == np.int16
            for column, kind in shards.COLUMNS.items():
                value = example[column].decode() if kind is str else example[column]
                assert value == rois.index[column][row]
            assert example["split"].decode() == split
            seen += 1
    assert seen == len(rois) == 5
    assert builder.info.metadata["gray_per_count"] == rois.manifest["gray_per_count"]


def test_a_dataset_of_other_shards_is_rejected(rois: RoiSet, tmp_path: Path) -> None:
    tfds_builder.prepare(rois, tmp_path)
    entry = {**rois.manifest["shards"][0], "sha256": "0" * 64}
    mask_view = RoiSet(rois.name, rois.index, rois.shards, {**rois.manifest, "shards": [entry]})
    with pytest.raises(InputError, match="contains ROIs made from other data"):
        tfds_builder.prepare(mask_view, tmp_path)


def test_tfds_loads_the_dataset_without_this_package_or_tensorflow(
    rois: RoiSet, tmp_path: Path
) -> None:
    tfds_builder.prepare(rois, tmp_path)
    script = (
        "import sys, json, tensorflow_datasets as tfds\n"
        f"s = tfds.data_source('mtl_rois/mine', data_dir={str(tmp_path)!r}, split='train')\n"
        "loaded = [name for name in ('tensorflow', 'mtl_jax') if name in sys.modules]\n"
        "print(json.dumps([len(s), list(s[0]['pixels'].shape), loaded]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, [128, 128], []]


def test_tensorflow_is_never_imported(dataset: Path, tmp_path: Path) -> None:
    for file in [*(HERE / "mtl_jax").rglob("*.py"), *(HERE / "tools").rglob("*.py")]:
        assert not re.search(r"^\s*(import|from) tensorflow\b", file.read_text(), re.M), file
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from mtl_jax.data import tfds_builder\n"
        "from mtl_jax.data.sources import tfds\n"
        f"collection = tfds.read_collection({str(dataset)!r}, fields={BOXES!r}, pixel_um=None,"
        f" modality='', truth_source='unstated', folder=Path({str(tmp_path)!r}))\n"
        "print(len(collection.views), 'tensorflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "6 False\n"), done.stderr
