"""The phantom: the same bytes again, the truth it states, and how hard it is to read."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from mtl_jax.data.sources import phantom
from mtl_jax.data.sources.phantom_detector import DETECTORS, expose
from mtl_jax.data.sources.phantom_tissue import tissue
from mtl_jax.nouns import Collection, InputError

GOOD = {
    "cases": 10,
    "seed": 3,
    "difficulty": 0.4,
    "test_fraction": 0.4,
    "malignant_fraction": 0.4,
}


def make(folder: Path, kind: str = "sfm", **changes: float) -> Collection:
    return phantom.collection(kind, folder, **{**GOOD, **changes})


def pixels(collection: Collection) -> dict[str, bytes]:
    return {view.image_path.name: view.image_path.read_bytes() for view in collection.views}


@cache
def drawn(difficulty: float, count: int = 110) -> list[tuple[int, list]]:
    """(label, views) of `count` cases, the classes in turn, without writing them."""
    return [
        (case % 2, phantom.simulate("sfm", 11, case, bool(case % 2), difficulty))
        for case in range(count)
    ]


def auc(labels: list[int], scores: list[float]) -> float:
    score, label = np.array(scores), np.array(labels, bool)
    statistic = stats.mannwhitneyu(score[label], score[~label]).statistic
    return statistic / (label.sum() * (~label).sum())


def radial_lines(image: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """How far bright lines about the mass point to its centre, -1 to 1: a spiculation measure."""
    row, column = np.indices(image.shape) + 0.5
    row, column = row - (box[0] + box[2]) / 2, column - (box[1] + box[3]) / 2
    radius = max(box[2] - box[0], box[3] - box[1]) / 2
    distance = np.hypot(row, column)
    near = (distance > 0.7 * radius) & (distance < radius + 25)
    smooth = image.astype(float)
    d_rr, d_rc, d_cc = (
        ndimage.gaussian_filter(smooth, 1, order=order)[near] for order in ((2, 0), (1, 1), (0, 2))
    )
    gap = np.hypot(d_rr - d_cc, 2 * d_rc)
    ridge = np.maximum(gap / 2 - (d_rr + d_cc) / 2 - np.abs(d_rr + d_cc + gap) / 2, 0)
    along = 0.5 * np.arctan2(2 * d_rc, d_cc - d_rr)
    toward = np.cos(2 * (along - np.arctan2(row, column)[near]))
    return float((toward * ridge).sum() / ridge.sum())


@pytest.mark.parametrize("kind", DETECTORS)
def test_same_seed_same_bytes_and_more_cases_change_none(tmp_path: Path, kind: str) -> None:
    few = pixels(make(tmp_path / "a", kind, cases=3))
    assert pixels(make(tmp_path / "b", kind, cases=3)) == few
    more = pixels(make(tmp_path / "b", kind, cases=5))
    assert len(more) > len(few) and {name: more[name] for name in few} == few
    other = pixels(make(tmp_path / "b", kind, cases=3, seed=4))
    assert not set(other.values()) & set(few.values())


def test_a_phantom_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path)
    assert "simulated" in first.decisions[0]
    monkeypatch.delattr(phantom, "simulate")
    assert make(tmp_path) == first
    with pytest.raises(NameError):
        make(tmp_path, seed=4)
    assert len(list(tmp_path.iterdir())) == 1  # nothing half made is left behind


def test_files_say_what_each_kind_is(tmp_path: Path) -> None:
    expected = {"sfm": ("SFM", 200, 4095), "ddsm": ("SFM", 100, 4095), "dm": ("DM", 100, 16383)}
    for kind, (modality, pixel_um, maxval) in expected.items():
        found = make(tmp_path, kind, cases=4)
        assert found.name == kind
        for view in found.views:
            assert (view.modality, view.pixel_um) == (modality, (pixel_um, pixel_um))
            assert view.truth_source == "simulated" and not view.dark_is_dense
            size = round(36_000 / pixel_um)
            header = f"P5\n{size} {size}\n{maxval}\n".encode()
            stored = view.image_path.read_bytes()
            assert stored.startswith(header)
            gray = np.frombuffer(stored[len(header) :], ">u2")
            assert len(np.unique(gray)) > 200 and 0 < gray.min() and gray.max() < maxval
            top, left, bottom, right = view.box
            assert 0 <= top < bottom <= size and 0 <= left < right <= size


def test_proportions_are_exact_in_both_splits_and_views_agree(tmp_path: Path) -> None:
    found = make(tmp_path, cases=50)
    cases: dict[str, set[tuple[int, str, str]]] = {}
    for view in found.views:
        cases.setdefault(view.case_id, set()).add((view.label, view.split, view.laterality))
    assert all(len(facts) == 1 for facts in cases.values())
    count = {(1, "train"): 12, (1, "test"): 8, (0, "train"): 18, (0, "test"): 12}
    facts = [next(iter(facts))[:2] for facts in cases.values()]
    assert {key: facts.count(key) for key in count} == count


def test_most_cases_have_two_views_of_their_own_texture() -> None:
    pairs = [views for _, views in drawn(0.4) if len(views) == 2]
    assert 0.55 < len(pairs) / len(drawn(0.4)) < 0.85
    assert all([view[0] for view in views] == ["CC", "MLO"] for views in pairs)
    alike = [
        np.corrcoef(views[0][2][:40].ravel(), views[1][2][:40].ravel())[0, 1] for views in pairs
    ]
    assert abs(np.mean(alike)) < 0.2


@pytest.mark.parametrize("pixel_mm", [0.1, 0.2])
def test_tissue_has_the_power_spectrum_of_mammograms(pixel_mm: float) -> None:
    """Exponent 3 (Burgess 2001) from 0.15 to 2 cycles a mm: radial average, Hann window."""
    size = round(36 / pixel_mm)
    window = np.outer(np.hanning(size), np.hanning(size))
    axis = np.fft.fftfreq(size, pixel_mm)
    frequency = np.hypot(*np.meshgrid(axis, axis))
    edges = np.geomspace(0.15, 2.0, 16)
    power = np.zeros(15)
    for seed in range(8):
        field = tissue(np.random.default_rng(seed), size, pixel_mm, 0.4, 5.0)
        spectrum = np.abs(np.fft.fft2((field - field.mean()) * window)) ** 2
        power += stats.binned_statistic(frequency.ravel(), spectrum.ravel(), bins=edges).statistic
    slope = stats.linregress(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(power)).slope
    assert -slope == pytest.approx(3.0, abs=0.3)


def test_box_is_centred_on_the_lesion() -> None:
    """The mean of many views, laid box centre on box centre, is brightest there: within 1.5 mm."""
    half = 60
    total = np.zeros((2 * half, 2 * half))
    for _, views in drawn(0.4):
        for _, _, image, (top, left, bottom, right) in views:
            row, column = (top + bottom) // 2, (left + right) // 2
            part = image[row - half : row + half, column - half : column + half].astype(float)
            total += (part - part.mean()) / part.std()
    smooth = ndimage.gaussian_filter(total, 4)
    peak = np.unravel_index(smooth.argmax(), smooth.shape)
    assert np.hypot(*(np.array(peak) + 0.5 - half)) * 0.2 < 1.5


def test_gray_rises_with_density_and_so_does_quantum_noise() -> None:
    for kind, detector in DETECTORS.items():
        thick = np.repeat(np.arange(5.0, 41.0, 5.0), 4000).reshape(8, 40, 100)
        gray = [expose(np.random.default_rng(0), detector, part, 0.0) for part in thick]
        assert np.all(np.diff([part.mean() for part in gray]) > 0), kind
    noise = [part.std() for part in gray]  # of dm, last: linear, so that only quanta count
    # Relative Poisson noise goes as 1 / sqrt(quanta); 35 mm more let exp(-0.035 x 35) of them by.
    assert noise[-1] / noise[0] == pytest.approx(np.exp(0.035 * 35 / 2), rel=0.1)


def test_difficulty_0_is_nearly_separable_and_the_default_is_not() -> None:
    found = {}
    for difficulty in (0.0, 0.4):
        labels = [label for label, _ in drawn(difficulty)]
        scores = [
            np.mean([radial_lines(image, box) for _, _, image, box in views])
            for _, views in drawn(difficulty)
        ]
        found[difficulty] = auc(labels, scores)
    assert found[0.0] > 0.92
    assert 0.65 < found[0.4] < 0.9


@pytest.mark.parametrize("kind", DETECTORS)
def test_difficulty_1_is_chance_for_any_reader(kind: str) -> None:
    """The class leaves no trace in the bytes, so that no feature can tell it."""
    for case in range(2):
        pairs = zip(
            phantom.simulate(kind, 0, case, True, 1.0),
            phantom.simulate(kind, 0, case, False, 1.0),
            strict=True,
        )
        assert all(np.array_equal(one[2], other[2]) for one, other in pairs)
    easier = phantom.simulate(kind, 0, 0, True, 0.9)[0][2]
    assert not np.array_equal(easier, phantom.simulate(kind, 0, 0, False, 0.9)[0][2])


@pytest.mark.parametrize("difficulty", [0.2, 0.4, 0.7])
def test_severity_keeps_its_stated_ceiling(difficulty: float) -> None:
    rng = np.random.default_rng(5)
    labels = [0, 1] * 4000
    scores = [phantom.severity(rng, bool(label), difficulty) for label in labels]
    ceiling = stats.norm.cdf(6 * (1 - difficulty) ** 2 / np.sqrt(2))
    assert auc(labels, scores) == pytest.approx(ceiling, abs=0.015)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("tomo", {}, "'tomo'; choose one of sfm, ddsm, dm"),
        ("sfm", {"cases": 0}, "cases is 0"),
        ("sfm", {"seed": -1}, "seed is -1"),
        ("sfm", {"difficulty": 1.5}, "difficulty is 1.5"),
        ("sfm", {"difficulty": float("nan")}, "difficulty is nan"),
        ("sfm", {"test_fraction": -0.1}, "test_fraction is -0.1"),
        ("sfm", {"malignant_fraction": 2.0}, "malignant_fraction is 2.0"),
    ],
)
def test_wrong_parameters_are_one_line(
    tmp_path: Path, kind: str, changes: dict[str, float], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make(tmp_path, kind, **changes)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write") as caught:
        make(tmp_path / "file")
    assert "\n" not in str(caught.value)
