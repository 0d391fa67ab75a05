"""What only all images of a collection show: bits, polarity, places and sizes of the lesions."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl_jax.data import audit, collection_checks, extract_rois, ingest, plausibility, shards
from mtl_jax.data.collection_checks import CheckedView
from mtl_jax.data.sources import mini_mias
from mtl_jax.imaging.lesion_contrast import lesion_contrast
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import InputError, LesionView, Note, RoiSet

PLAIN = RoiSettings()
OWN_IDS = ingest.Rules(pseudonymise=False)
BIOPSY = {"truth_source": "biopsy"}
COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,box,pixel_um,bits,polarity"


def checked(number: int = 0, **changes: object) -> CheckedView:
    """Return a lesion view of 30 x 20 mm in an image of 16 bits."""
    view = LesionView(
        **{"collection": "x", "image_path": Path("a.npy"), "box": (100, 100, 400, 300)},
        **{"case_id": "1", "lesion_id": "1", "view": "CC", "laterality": "L", "modality": "DM"},
        **{"label": 1, "truth_source": "biopsy", "pixel_um": (100.0, 100.0)},
        spacing_source="x",
    )
    usual = CheckedView(f"P{number}/1/CC", view, (), number, 50.0, 60_000.0, 16)
    in_view = {name: value for name, value in changes.items() if hasattr(view, name)}
    others = {name: value for name, value in changes.items() if name not in in_view}
    return usual._replace(view=replace(view, **in_view), **others)


def messages(views: list[CheckedView]) -> list[str]:
    return [check.message for check in collection_checks.check_collection(views, [])]


def test_contrast_is_the_difference_of_the_inner_box_and_the_ring() -> None:
    roi = np.full((128, 128), 100.0)
    roi[54:74, 44:84] = 400  # half of the height and width of a box of 40 x 80 pixels
    roi[:34] = roi[94:] = 5000  # beyond the ring, which ends at 1.5 times the box
    assert lesion_contrast(roi, (40, 80)) == 300
    assert lesion_contrast(4095 - roi, (40, 80)) == -300
    roi[54:60] += 7.0  # of the inner part 240 of 800 pixels, of the ring 6 rows of 40 pixels
    ring = 60 * 120 - 40 * 80
    assert lesion_contrast(roi, (40, 80)) == pytest.approx(300 + 7 * (240 / 800 - 240 / ring))


@pytest.mark.parametrize("sides", [(0.0, 0.0), (4.9, 30), (97, 30), (30, 200)])
def test_contrast_of_a_centre_or_a_box_as_large_as_the_roi_is_unknown(
    sides: tuple[float, float],
) -> None:
    assert np.isnan(lesion_contrast(np.eye(128), sides))


def test_a_collection_without_faults_has_no_check() -> None:
    assert messages([checked(n) for n in range(30)]) == []


@pytest.mark.parametrize(
    ("count", "largest", "depth", "bits"),
    [
        (20, 3111.0, 16, 12),
        (20, 4096.0, 16, 14),  # more than 12 bits
        (20, 255.0, 16, 8),
        (20, 4391.0, 14, None),  # 13 bits are of no detector
        (20, 3111.0, 12, None),
        (20, 60_000.0, 16, None),
        (19, 3111.0, 16, None),  # too few images
        (20, 100.0, 8, None),  # of 8 bits: rendered for a display
        (20, float("nan"), 16, None),  # floats
        (20, 0.0, 16, 8),
    ],
)
def test_bits_that_all_images_fit_are_suggested(
    count: int, largest: float, depth: int, bits: int | None
) -> None:
    views = [checked(n, largest=largest / (1 + n % 3), depth=depth) for n in range(count)]
    found = messages(views + views)  # two lesions in each image
    if bits is None:
        assert found == []
        return
    (message,) = found
    assert f"the largest value of 20 images is {int(largest):,} of {(1 << depth) - 1:,}" in message
    assert message.endswith(f": {bits} bits? If so, set the column bits of a manifest to {bits}")


def test_bits_are_not_suggested_for_values_on_the_curve_of_a_scanner() -> None:
    assert messages([checked(n, largest=3111.0, curve="ddsm_lumisys") for n in range(30)]) == []


@pytest.mark.parametrize(
    ("darker", "total", "question"),
    [(10, 10, "is the gray inverted"), (5, 10, "do the locations belong"), (3, 10, ""), (9, 9, "")],
)
def test_lesions_darker_than_their_surroundings(darker: int, total: int, question: str) -> None:
    views = [checked(n, contrast=-3.0 if n < darker else 3.0) for n in range(total)]
    unknown = [checked(n, contrast=float("nan")) for n in range(40)]
    found = messages(views + unknown)
    assert len(found) == bool(question)
    if question:
        assert found[0].startswith(
            f"lesions are darker than their surroundings in {100 * darker // total}% of {total}"
        )
        assert question in found[0]


def test_locations_that_are_large_or_outside_are_counted_and_named() -> None:
    beyond = Note(plausibility.BEYOND, "30% of it")
    views = [checked(n) for n in range(3)]
    views += [checked(7, box=(0, 0, 1010, 300)), checked(8, notes=(beyond,))]
    large, outside = collection_checks.check_collection(views, [])
    assert (large.count, large.total, large.items) == (1, 5, ["P7/1/CC"])
    assert "1 of 5 locations are larger than 100 mm (the largest: 101 mm)" in large.message
    assert (outside.kind, outside.items) == (plausibility.BEYOND, ["P8/1/CC"])
    assert outside.message.startswith("1 of 5 locations extend beyond their images")


def film(path: Path, seed: int) -> None:
    """Write a 12-bit image in 16 bits with a lesion at rows and columns 140 to 200."""
    gray = np.random.default_rng(seed).integers(1000, 1400, (350, 350)).astype(np.uint16)
    gray[150:190, 150:190] += 900
    np.save(path, gray)


def rows(home: Path, count: int, **cells: str) -> None:
    plain = {"truth": "benign", "box": "140;140;200;200", "pixel_um": "100", "bits": "12"}
    with (home / "m.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS.split(","), restval="")
        table.writeheader()
        for n in range(count):
            ids = {"dataset": "mine", "patient_id": f"P{n}", "lesion_id": "1", "view": "CC"}
            table.writerow(ids | plain | {"image_path": f"{n}.npy"} | cells)


def load(home: Path) -> RoiSet:
    shutil.rmtree(home / "cache", ignore_errors=True)
    return ingest.load(f"manifest:{home}/m.csv", home / "cache", PLAIN, {}, OWN_IDS)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for n in range(20):
        film(folder / f"{n}.npy", n)
    return folder


def test_checks_are_in_the_manifest_the_audit_and_on_screen_not_in_the_index(films: Path) -> None:
    rows(films, 20)
    right = load(films)
    assert right.manifest["checks"] == []
    rows(films, 20, polarity="dark_dense", bits="")
    rois = load(films)
    kinds = [check["kind"] for check in rois.manifest["checks"]]
    assert kinds == [collection_checks.BITS, collection_checks.POLARITY]
    bits, polarity = (check["message"] for check in rois.manifest["checks"])
    assert "of 65,535: 12 bits? If so, set the column bits of a manifest to 12" in bits
    assert "darker than their surroundings in 100% of 20 views: is the gray inverted" in polarity
    screen = audit.format_summary([rois])
    assert f"mine: check: {bits}" in screen and f"mine: check: {polarity}" in screen
    (folder,) = (films / "cache").glob("[!.]*")
    with (folder / "audit.csv").open(newline="") as file:
        last = [(r["decision"], r["item"], r["reason"]) for r in csv.DictReader(file)][-2:]
    assert last == [("noted", "mine", bits), ("noted", "mine", polarity)]
    # A work folder records a digest of the index: checks must not change it.
    assert not any("darker" in text or "12 bits?" in text for text in rois.index["noted"])
    assert rois.manifest["counts"]["left_out"] == 0


def test_what_the_checks_use_is_cached_with_the_rois(films: Path) -> None:
    view = checked(0, image_path=films / "3.npy", box=(140.0, 140.0, 200.0, 200.0)).view
    job = extract_rois.make_job([view], PLAIN, 1, films / "kept")
    first, again = extract_rois.extract(job), extract_rois.extract(job)
    assert job.cache_path.is_file()
    assert again.contrast.tolist() == first.contrast.tolist() and first.contrast[0] > 0
    assert (again.largest, again.depth) == (first.largest, 16)
    assert first.largest == np.load(films / "3.npy").max()


def old_shards(folder: Path, blank: tuple[int, ...]) -> Path:
    """Write shards as version 0.2.0 did: without checks, with ROIs of one gray value."""
    counts = np.random.default_rng(3).integers(-900, 900, (5, 128, 128)).astype(np.int16)
    counts[list(blank)] = 0
    index = []
    for n in range(5):
        row = dict.fromkeys(shards.COLUMNS, "") | {"roi_id": f"old/P{n}/1/CC", "case_id": f"P{n}"}
        numbers = ("pixel_um_row", "pixel_um_col", "centre_row", "centre_col", "outside")
        row |= dict.fromkeys((*numbers, "height_mm", "width_mm"), 1.0)
        index.append(row | {"lesion_id": "1", "view": "CC", "label": n % 2} | BIOPSY)
    patients = [{"case_id": f"P{n}", "patient": f"k{n}"} for n in range(5)]
    patients = [dict.fromkeys(shards.PATIENT_COLUMNS, "") | row for row in patients]
    record = {"decisions": [], "left_out": [], "imaging": {}, "counts": {"unusable": 0}}
    chunks = [counts[:2], counts[2:]]
    shards.write(folder, "old", index, chunks, record, "", patients)
    return folder


def test_old_shards_open_without_their_rois_of_one_gray_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old_shards(tmp_path / "old", blank=(1, 3))
    before = shards.open_shards(folder)
    rois = ingest.load(f"shards:{folder}", tmp_path, PLAIN, {}, OWN_IDS)
    assert rois.index["case_id"].tolist() == rois.patients["case_id"].tolist() == ["P0", "P2", "P4"]
    kept = np.concatenate(before.shards)[[0, 2, 4]]
    assert np.array_equal(np.concatenate(rois.shards), kept)
    note = capsys.readouterr().err
    assert "old: 2 of 5 ROIs have one gray value" in note and "old/P1/1/CC, old/P3/1/CC" in note
    assert [item for item, _ in rois.manifest["left_out"]] == ["old/P1/1/CC", "old/P3/1/CC"]
    assert rois.manifest["checks"][0]["count"] == 2
    shards.reject_replaced(rois)  # the files are as they were
    assert shards.content_digest(rois) == shards.content_digest(before)
    with pytest.raises(InputError, match="strict: 0 of the ROIs were corrected and 2 more"):
        ingest.load(f"shards:{folder}", tmp_path, PLAIN, {}, replace(OWN_IDS, strict=True))
    empty = old_shards(tmp_path / "empty", blank=(0, 1, 2, 3, 4))
    with pytest.raises(InputError, match="old: no ROI left: .* one gray value"):
        ingest.load(f"shards:{empty}", tmp_path, PLAIN, {}, OWN_IDS)


def test_old_shards_without_such_rois_are_unchanged(tmp_path: Path) -> None:
    folder = old_shards(tmp_path / "old", blank=())
    rois = ingest.load(f"shards:{folder}", tmp_path, PLAIN, {}, OWN_IDS)
    assert len(rois) == 5 and rois.manifest == json.loads((folder / "manifest.json").read_text())


def test_blank_films_of_ddsm_are_left_out(shared: Path, tmp_path: Path) -> None:
    """Two of the 1,258 films at 299 x 299 pixels are blank, a malignant and a benign one."""
    source = shared / "data/ddsm299"
    if not source.is_dir():
        pytest.skip("the folder 'shared/data/ddsm299' with real films is not beside the checkout")
    blank = ("A_1716_1.RIGHT_MLO.png", "D_4034_1.LEFT_CC.png")
    names = (*blank, "A_1109_1.LEFT_CC.png")
    for n, name in enumerate(names):
        with Image.open(source / "png" / name) as image:
            gray = np.asarray(image.convert("L")).repeat(4, 0).repeat(3, 1)  # 200 x 160 um
            np.save(tmp_path / f"{n}.npy", gray)
    rows(tmp_path, len(names), box="500;400;600;500", pixel_um="200;160", bits="8")
    rois = load(tmp_path)
    assert rois.index["case_id"].tolist() == ["P2"]
    assert [item for item, _ in rois.manifest["left_out"]] == ["P0/1/CC", "P1/1/CC"]
    assert rois.manifest["checks"][0]["kind"] == plausibility.ONE_GRAY


def test_polarity_of_mini_mias(shared: Path, tmp_path: Path) -> None:
    """No lesion of mini-MIAS is darker than its surroundings; inverted, each one is."""
    folder = shared / "data/mini_mias"
    if not folder.is_dir():
        pytest.skip("the folder 'shared/data/mini_mias' with real films is not beside the checkout")
    views = mini_mias.read_collection(str(folder), classes=("CIRC", "SPIC", "MISC")).views
    for inverted, share in ((False, 0), (True, 100)):
        contrasts = [
            extract_rois.extract(
                extract_rois.make_job([replace(view, dark_is_dense=inverted)], PLAIN, 1, tmp_path)
            ).contrast[0]
            for view in views[:24]
        ]
        check = collection_checks.check_polarity(contrasts)
        assert (check is not None) == inverted
        assert not check or f"in {share}% of" in check.message
