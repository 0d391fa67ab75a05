"""One image under two case ids is rejected; near-duplicate ROIs across a split are reported."""

from pathlib import Path

import numpy as np
import pytest
from kit.spoiling import HEADER, films, load
from scipy.ndimage import gaussian_filter

from mtl_jax.data import near_duplicates
from mtl_jax.experiments import leak_checks, splits
from mtl_jax.types import InputError, RoiSet


def random_rois(count: int, seed: int = 0) -> np.ndarray:
    """Return smooth random ROIs with a mass in the middle, as mammograms have."""
    rng = np.random.default_rng(seed)
    noise = np.stack([gaussian_filter(rng.normal(0, 1, (128, 128)), 6) for _ in range(count)])
    mass = 2 * np.exp(-((np.mgrid[:128, :128] - 63.5) ** 2).sum(0) / 800)
    return (4000 * noise + 100 * mass).astype(np.int16)


def collection(pixels: np.ndarray, cases: list[str], name: str = "t") -> RoiSet:
    index = {
        "roi_id": np.array([f"{name}/{i}" for i in range(len(pixels))]),
        "case_id": np.array(cases),
        "split": np.full(len(pixels), ""),
        "label": np.arange(len(pixels)) % 2,
    }
    return RoiSet(name, index, (pixels[:3], pixels[3:]), {})


CHANGES = {
    "the same": lambda r: r,
    "another brightness and contrast": lambda r: 0.5 * r + 300,
    "8 bits": lambda r: np.round(r / 16) * 16,
    "noise": lambda r: r + np.random.default_rng(1).normal(0, 20, r.shape),
    "mirrored": lambda r: r[:, ::-1],
    "rotated": lambda r: np.rot90(r),
    "rotated and mirrored": lambda r: r.T[::-1],
    "smoothed": lambda r: gaussian_filter(r.astype(float), 1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_an_roi_is_detected(change: str) -> None:
    pixels = random_rois(40)
    pixels[17] = CHANGES[change](pixels[5]).astype(np.int16)
    (result,) = near_duplicates.find_near_duplicates(
        [collection(pixels, [f"c{i}" for i in range(40)])]
    )
    assert (result.a, result.b) == (
        (0, 5),
        (0, 17),
    ) and result.correlation >= near_duplicates.MIN_CORRELATION


def test_the_result_equals_comparing_all_pairs() -> None:
    pixels = random_rois(60, seed=2)
    for i in range(0, 30, 2):  # decreasing correlation
        mixed = pixels[i] + i / 30 * pixels[59 - i]
        pixels[i + 1] = mixed.astype(np.int16)
    means = pixels.reshape(60, 32, 4, 32, 4).mean((2, 4)).reshape(60, -1)
    correlations = np.corrcoef(means)
    expected = {
        (i, j)
        for i in range(60)
        for j in range(i)
        if correlations[i, j] >= near_duplicates.MIN_CORRELATION
    }
    result = near_duplicates.find_near_duplicates(
        [collection(pixels, [f"c{i}" for i in range(60)])]
    )
    assert {(pair.b[1], pair.a[1]) for pair in result} == expected and len(expected) > 3


def test_views_of_one_case_and_flat_rois_are_not_reported() -> None:
    pixels = random_rois(10)
    pixels[1] = pixels[0]
    pixels[2:5] = 7
    assert not near_duplicates.find_near_duplicates([collection(pixels, ["a", "a", *"bcdefghi"])])


def test_mini_mias_has_no_near_duplicates(shared: Path, tmp_path: Path) -> None:
    from kit.spoiling import ROI

    from mtl_jax.data import ingest

    options = {"mini_mias": {"classes": ("CIRC", "SPIC", "MISC")}}
    spec = f"mini_mias:{shared / 'data' / 'mini_mias'}"
    assert not near_duplicates.find_near_duplicates([ingest.load(spec, tmp_path, ROI, options)])


def test_a_copy_across_a_split_is_reported_and_one_within_a_fold_is_not() -> None:
    pixels = random_rois(12)
    pixels[7], pixels[9] = pixels[1], pixels[3]
    rois = collection(pixels, [f"c{i:02d}" for i in range(12)])
    parts = [["c01", "c03", "c09"], ["c07"]]
    third_fold = sorted(set(rois.index["case_id"]) - {c for part in parts for c in part})
    split = splits.Split(
        "t", [*parts[0], *parts[1], *third_fold], [], [[*parts, third_fold]], "by hand"
    )
    (pair,) = leak_checks.find_near_duplicates_across_split({"t": rois}, split)
    assert (pair["a"], pair["b"], pair["correlation"]) == ("t/1", "t/7", 1.0)
    assert (
        "1 pairs of ROIs of different cases look alike across the split"
        in leak_checks.near_duplicates_note([pair])
    )
    other = collection(random_rois(4, 9), list("wxyz"), "o")
    other.shards[0][2] = pixels[5]
    assert len(leak_checks.find_near_duplicates_across_split({"t": rois, "o": other}, split)) == 2


def test_one_image_under_two_cases_is_rejected_or_left_out_under_both(tmp_path: Path) -> None:
    table = films(tmp_path / "films")
    folder = table.parent
    # The same pixels in another file with another header.
    content = (folder / "0.pgm").read_bytes()
    (folder / "9.pgm").write_bytes(content.replace(b"P5 170", b"P5\n# from elsewhere\n170", 1))
    row = "ours,P9,1,CC,9.pgm,benign,200,40;50;90;100"
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(InputError, match="0.pgm: its pixels are listed under more than one case"):
        load(table, tmp_path / "cache")
    rois = load(table, tmp_path / "cache", unusable="leave_out")
    assert len(rois) == 3 and rois.manifest["counts"]["unusable"] == 2


def test_one_file_listed_under_two_cases_is_rejected(tmp_path: Path) -> None:
    table = films(tmp_path / "films")
    table.write_text(
        f"{HEADER}\nours,P1,1,CC,0.pgm,benign,200,40;50;90;100\n"
        "ours,P2,1,CC,0.pgm,benign,200,60;50;90;100\n"
    )
    with pytest.raises(InputError, match="more than one case"):
        load(table, tmp_path / "cache")
