"""Test the phantom collections: equal bytes for equal parameters, stated labels, difficulty."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.command import run_command
from scipy import ndimage, stats

from mtl_jax import config
from mtl_jax.commands import make_phantom
from mtl_jax.data import ingest
from mtl_jax.data.sources import phantom
from mtl_jax.phantom import appearance, case, collection, mass, tissue
from mtl_jax.phantom.collection import Parameters, plan_cases
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import Collection, InputError, RoiSet

GOOD = {
    "target": "sfm",
    "cases": 10,
    "target_cases": None,
    "seed": 3,
    "difficulty": 0.4,
    "shared_signal": 1.0,
    "test_fraction": 0.4,
    "malignant_fraction": 0.4,
}


def make(folder: Path, kind: str = "dm", **changes: Any) -> Collection:
    return phantom.read_collection(kind, folder, **{**GOOD, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def images(dataset: Collection) -> dict[str, bytes]:
    return {view.image_path.name: view.image_path.read_bytes() for view in dataset.views}


def parameters(kind: str = "dm", **changes: Any) -> Parameters:
    defaults = {"cases": 4, "seed": 3, "difficulty": 0.4, "agreement": 1.0}
    return Parameters(
        **defaults | {"kind": kind, "test_fraction": 0.5, "malignant_fraction": 0.5} | changes
    )


def rois(tmp_path_factory: pytest.TempPathFactory, **changes: Any) -> RoiSet:
    """Return ROIs of the digital phantom, extracted like those of any collection."""
    folder = tmp_path_factory.mktemp("phantom")
    c = config.default()
    c.data.phantom.update(changes)
    return ingest.load("phantom:dm", folder, *ingest.read_settings(c.data.to_dict(), folder))


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    statistic = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    return statistic / (np.sum(labels == 1) * np.sum(labels == 0))


def spiculation(roi: np.ndarray, radius: float) -> float:
    """Return how radial bright lines around the mass of an ROI (128, 128) are, -1 to 1.

    Orientations of second derivatives are weighted by their strength (Karssemeijer & te Brake
    1996). `radius` of the mass is in pixels.
    """
    row, column = np.indices(roi.shape) - 63.5
    distance = np.hypot(row, column)
    near = (distance > 0.7 * radius) & (distance < radius + 25)
    d_rr, d_rc, d_cc = (
        ndimage.gaussian_filter(roi.astype(float), 1, order=order)[near]
        for order in ((2, 0), (1, 1), (0, 2))
    )
    gap = np.hypot(d_rr - d_cc, 2 * d_rc)
    ridge = np.maximum(gap / 2 - (d_rr + d_cc) / 2 - np.abs(d_rr + d_cc + gap) / 2, 0)
    orientation = 0.5 * np.arctan2(2 * d_rc, d_cc - d_rr)
    radiality = np.cos(2 * (orientation - np.arctan2(row, column)[near]))
    return float((radiality * ridge).sum() / ridge.sum())


def spiculation_auc(rois: RoiSet) -> float:
    radii = np.maximum(rois.index["height_mm"], rois.index["width_mm"]) / 2 / 0.2
    pixels = np.concatenate(rois.shards)
    scores = [spiculation(roi, radius) for roi, radius in zip(pixels, radii, strict=True)]
    return auc(rois.index["label"], np.array(scores))


@pytest.mark.parametrize("kind", RECEPTORS)
def test_bytes_depend_on_the_seed_and_not_on_the_number_of_workers(
    tmp_path: Path, kind: str
) -> None:
    for workers in (1, 3):
        home = tmp_path / str(workers)
        home.mkdir()
        collection.write_collection(home, parameters(kind), workers)
    first = contents(tmp_path / "1")
    assert len(first) > 6 and contents(tmp_path / "3") == first


def test_a_larger_phantom_has_the_same_first_cases_and_another_seed_other_images(
    tmp_path: Path,
) -> None:
    few = images(make(tmp_path, cases=3))
    more = images(make(tmp_path, cases=5))
    assert len(more) > len(few) and {name: more[name] for name in few} == few
    assert not set(images(make(tmp_path, cases=3, seed=4)).values()) & set(few.values())


def test_concurrent_jobs_simulate_a_phantom_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: make(tmp_path), range(2))
    assert first == second and "simulated" in first.decisions[0]
    monkeypatch.delattr(phantom, "write_collection")
    assert make(tmp_path) == first
    with pytest.raises(NameError):
        make(tmp_path, seed=4)
    assert len(list(tmp_path.glob("[!.]*"))) == 1  # no incomplete phantom remains


def test_facts_of_each_kind(tmp_path: Path) -> None:
    expected = {
        "sfm": ("SFM", 50, "NominalScannedPixelSpacing"),
        "ddsm": ("SFM", 50, "assumed"),
        "dm": ("DM", 100, "ImagerPixelSpacing"),
    }
    for kind, (modality, pixel_um, source) in expected.items():
        dataset = make(tmp_path, kind, cases=4)
        assert dataset.name == kind and dataset.public_ids and not dataset.left_out
        assert not any("biops" in text for text in dataset.decisions)
        for view in dataset.views:
            assert (view.collection, view.modality) == (kind, modality)
            assert (view.pixel_um, view.spacing_source) == ((pixel_um, pixel_um), source)
            assert view.truth_source == "simulated" and view.note == ""
            assert (tmp_path in view.image_path.parents) and view.image_path.suffix == ".dcm"


@pytest.mark.parametrize("kind", ["dm", "ddsm"])
def test_boxes_are_those_of_the_marks(tmp_path: Path, kind: str) -> None:
    """For the box of a manifest and for a mask in the layout of CBIS-DDSM."""
    dataset = {(int(v.case_id[-5:]), v.view): v.box for v in make(tmp_path, kind, cases=3).views}
    expected = {}
    for plan in plan_cases(parameters(kind, cases=3, malignant_fraction=0.4)):
        simulated = case.simulate_case(kind, 3, plan.number, plan.looks_malignant, 0.4)
        expected |= {(plan.number, view.view): view.box for view in simulated.views}
    assert dataset == expected


@pytest.mark.parametrize("kind", ["dm", "ddsm"])
def test_proportions_are_exact_in_both_splits_and_views_agree(tmp_path: Path, kind: str) -> None:
    dataset = make(tmp_path, kind, cases=15)
    cases: dict[str, set[tuple[int, str, str]]] = {}
    for view in dataset.views:
        cases.setdefault(view.case_id, set()).add((view.label, view.split, view.laterality))
    assert all(len(facts) == 1 for facts in cases.values())
    count = {(1, "train"): 4, (1, "test"): 2, (0, "train"): 6, (0, "test"): 3}
    facts = [next(iter(facts))[:2] for facts in cases.values()]
    assert {key: facts.count(key) for key in count} == count


def test_without_a_test_set_all_cases_are_for_training(tmp_path: Path) -> None:
    for kind in ("dm", "ddsm"):
        dataset = make(tmp_path, kind, cases=2, test_fraction=0.0)
        assert {view.split for view in dataset.views} == {"train"}


def test_most_cases_have_two_views_with_different_textures() -> None:
    simulated_cases = [case.simulate_case("dm", 11, number, False, 0.4) for number in range(25)]
    pairs = [simulated.views for simulated in simulated_cases if len(simulated.views) == 2]
    assert 0.5 < len(pairs) / len(simulated_cases) < 0.9
    assert all([view.view for view in views] == ["CC", "MLO"] for views in pairs)
    correlations = [
        np.corrcoef(views[0].stored[:80].ravel(), views[1].stored[:80].ravel())[0, 1]
        for views in pairs
    ]
    assert abs(np.mean(correlations)) < 0.25


@pytest.mark.slow
def test_a_spiculation_feature_separates_the_classes_partly_at_the_default_difficulty(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert 0.52 < spiculation_auc(rois(tmp_path_factory, cases=150, seed=1)) < 0.8


def test_a_spiculation_feature_separates_the_classes_at_difficulty_0(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert spiculation_auc(rois(tmp_path_factory, cases=30, seed=1, difficulty=0.0)) > 0.9


@pytest.mark.parametrize("kind", RECEPTORS)
def test_images_do_not_depend_on_the_class_at_difficulty_1(kind: str) -> None:
    for number in range(2):
        pairs = zip(
            case.simulate_case(kind, 0, number, True, 1.0).views,
            case.simulate_case(kind, 0, number, False, 1.0).views,
            strict=True,
        )
        assert all(np.array_equal(first.stored, second.stored) for first, second in pairs)
    easier = [case.simulate_case(kind, 0, 0, looks, 0.9).views[0].stored for looks in (True, False)]
    assert not np.array_equal(*easier)


@pytest.mark.parametrize("difficulty", [0.2, 0.4, 0.7])
def test_severity_has_the_stated_largest_auc(difficulty: float) -> None:
    rng = np.random.default_rng(5)
    labels = np.array([0, 1] * 4000)
    scores = np.array(
        [appearance.sample_severity(rng, bool(label), difficulty) for label in labels]
    )
    max_auc = stats.norm.cdf(6 * (1 - difficulty) ** 2 / np.sqrt(2))
    assert auc(labels, scores) == pytest.approx(max_auc, abs=0.015)


def sample_views(kind: str, malignant: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptors (4000, 4) of masses of a class, and as one view shows them."""
    rng = np.random.default_rng(7 + malignant)
    severity = [appearance.sample_severity(rng, malignant, 0.4) for _ in range(4000)]
    masses = [appearance.sample_mass(rng, kind, value, 1.0) for value in severity]
    views = [appearance.sample_projection(rng, lesion, 1.0) for lesion in masses]
    return tuple(
        np.array([[getattr(lesion, name) for name in appearance.DESCRIPTORS] for lesion in seen])
        for seen in (masses, views)
    )


@pytest.mark.parametrize("kind", RECEPTORS)
def test_rates_of_descriptors_are_similar_to_those_of_cbis_ddsm(kind: str) -> None:
    """Its tables: irregular 54% of malignant and 11% of benign masses, ill-defined 38% and 19%,
    spiculated 46% and 5%. The descriptor that benign masses imitate is tested apart."""
    malignant, benign = (np.mean(sample_views(kind, k)[0] > 0.5, axis=0) for k in (True, False))
    imitated = appearance.DESCRIPTORS.index(appearance.PRESENTATIONS[kind].imitated)
    others = np.arange(4) != imitated
    assert np.all((malignant[others] > 0.3) & (malignant[others] < 0.7))
    assert np.all((benign[others] > 0.02) & (benign[others] < 0.2))
    assert 0.2 < benign[imitated] < 0.45 and malignant[imitated] < benign[imitated] + 0.25


def test_the_page_has_the_probabilities() -> None:
    page = (Path(__file__).parents[1] / "docs" / "phantom.md").read_text(encoding="utf-8")
    presentations = [appearance.PRESENTATIONS[kind] for kind in RECEPTORS]
    for number, name in enumerate(appearance.DESCRIPTORS):
        cells = " | ".join(f"{p.follows[number]:.2f}" for p in presentations)
        assert re.search(rf"^\| .*{name}.* \| {re.escape(cells)} \|$", page, re.M), name
    imitated = " | ".join(p.imitated for p in presentations)
    assert f"| imitated by benign masses | {imitated} |" in page


@pytest.mark.parametrize("kind", RECEPTORS)
def test_one_view_shows_enough_for_an_auc_of_0_86(kind: str) -> None:
    """An observer of the descriptors of one view adds log likelihood ratios from histograms of the
    first half of the masses, as if they were independent; it is evaluated on the second half."""
    views = np.concatenate([sample_views(kind, k)[1] for k in (False, True)])
    label, half = np.repeat([0, 1], 4000), np.tile(np.arange(4000) < 2000, 2)
    score = np.zeros(len(views))
    for column in np.minimum((views * 12).astype(int), 11).T:
        counts = [np.bincount(column[half & (label == k)], minlength=12) + 1 for k in (0, 1)]
        score += np.log(counts[1] / counts[0])[column]
    assert 0.86 < auc(label[~half], score[~half]) < 0.92


def test_the_size_does_not_depend_on_the_severity() -> None:
    rng = np.random.default_rng(2)
    severity = rng.random(3000)
    masses = [appearance.sample_mass(rng, "sfm", value, 1.0) for value in severity]
    for name in ("diameter_mm", "aspect", "halo"):
        values = np.array([float(getattr(lesion, name)) for lesion in masses])
        assert stats.spearmanr(severity, values).pvalue > 0.01, name


def test_the_contrast_of_masses_hardly_differs_between_the_classes() -> None:
    """Of -log of the counts, in the inner half of the mark minus a ring around it."""
    contrast: dict[bool, list[float]] = {True: [], False: []}
    for number in range(70):
        for malignant, values in contrast.items():
            (view, *_) = case.simulate_case("dm", 9, number, malignant, 0.4).views
            gray = -np.log(view.stored.astype(float))
            top, left, bottom, right = view.box
            rows, columns = np.indices(gray.shape)
            distance = np.hypot(
                (rows + 0.5 - (top + bottom) / 2) / (bottom - top) * 2,
                (columns + 0.5 - (left + right) / 2) / (right - left) * 2,
            )
            ring = (distance > 1.1) & (distance < 1.6)
            values.append(gray[distance < 0.5].mean() - gray[ring].mean())
    ratio = np.median(contrast[True]) / np.median(contrast[False])
    assert 0.75 < ratio < 1.33


def test_tissue_overlaps_the_mass_in_proportion_to_the_nuisance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def simulate(difficulty: float) -> np.ndarray:
        return case.simulate_case("dm", 5, 1, False, difficulty).views[0].stored.astype(float)

    with_overlap = [simulate(difficulty) for difficulty in (0.0, 0.2, 0.4)]
    monkeypatch.setattr(case, "make_overlap", lambda rng, pixels, pixel_mm: overlap)
    overlap = np.zeros((320, 320), np.float32)
    without = [simulate(difficulty) for difficulty in (0.0, 0.2, 0.4)]
    overlap = np.full((320, 320), 2.0, np.float32)
    absorbed = [
        np.median(np.log(a / b))
        for a, b in zip(without, [simulate(d) for d in (0.0, 0.2, 0.4)], strict=True)
    ]
    assert not np.array_equal(with_overlap[2], without[2])
    # 2 mm of gland in place of 2 mm of mostly fat, half of it at difficulty 0.2; some is scattered.
    assert abs(absorbed[0]) < 1e-3
    assert absorbed[2] == pytest.approx(2 * 0.0346 * 0.7, rel=0.4)
    assert absorbed[1] / absorbed[2] == pytest.approx(0.5, abs=0.1)


def test_overlapping_tissue_covers_a_part_of_the_image_by_some_mm() -> None:
    fields = [tissue.make_overlap(np.random.default_rng(k), 320, 0.1) for k in range(40)]
    assert all(field.shape == (320, 320) and field.min() >= 0 for field in fields)
    assert 0.2 < np.mean([np.mean(field > 0.5) for field in fields]) < 0.5
    assert 1.0 < np.median([field.max() for field in fields]) < 12.0


def test_without_nuisance_descriptors_follow_the_severity_in_both_views() -> None:
    rng = np.random.default_rng(3)
    assert appearance.amount_of_nuisance(0.0) == 0.0
    default = config.default().data.phantom.difficulty
    assert appearance.amount_of_nuisance(default) == appearance.amount_of_nuisance(0.9) == 1.0
    assert appearance.amount_of_nuisance(default / 2) == 0.5
    for severity in (0.1, 0.9):
        for _ in range(50):
            lesion = appearance.sample_mass(rng, "ddsm", severity, 0.0)
            values = np.array([getattr(lesion, name) for name in appearance.DESCRIPTORS])
            assert np.all(np.abs(values - severity) < 0.4)  # five standard deviations
            assert appearance.sample_projection(rng, lesion, 0.0) == lesion


def test_a_view_hides_a_descriptor_in_15_of_100_masses_whatever_the_other_view_shows() -> None:
    lesion = mass.Mass(15.0, 1.2, 9.0, False, 0.8, 0.8, 0.8, 0.8)
    rng = np.random.default_rng(4)
    views = [appearance.sample_projection(rng, lesion, 1.0) for _ in range(4000)]
    names = appearance.DESCRIPTORS
    shown = np.array([[getattr(view, name) for name in names] for view in views]) / 0.8
    hidden = shown < 0.999
    assert hidden.mean(0) == pytest.approx(np.full(4, 0.15), abs=0.02)
    assert shown[hidden].max() < 0.4
    assert np.mean(hidden[::2] & hidden[1::2]) == pytest.approx(0.15**2, abs=0.005)


def test_marks_are_at_most_1_5_mm_off_in_each_direction_and_exact_at_difficulty_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bodies = []

    def render(*arguments: Any) -> mass.RenderedMass:
        bodies.append(mass.render_mass(*arguments))
        return bodies[-1]

    monkeypatch.setattr(case, "render_mass", render)
    for difficulty, largest in ((0.0, 0), (0.4, 15)):
        bodies.clear()
        views = [
            v for k in range(8) for v in case.simulate_case("dm", 5, k, False, difficulty).views
        ]
        shifts = [
            np.array(ndimage.center_of_mass(view.mark)) - ndimage.center_of_mass(rendered.body)
            for view, rendered in zip(views, bodies, strict=True)
        ]
        assert np.abs(shifts).max() <= largest + 1e-6
        assert largest == 0 or np.abs(shifts).max() > 5
        pairs = zip(views, bodies, strict=True)
        assert all(view.mark.sum() == rendered.body.sum() for view, rendered in pairs)


def test_the_target_has_its_own_number_of_cases(tmp_path: Path) -> None:
    for kind, cases in (("dm", 7), ("sfm", 4)):
        dataset = make(tmp_path, kind, target="dm", cases=4, target_cases=7)
        assert len({view.case_id for view in dataset.views}) == cases
    # The same folder as in a study in which all collections have seven cases.
    assert (
        make(tmp_path, "dm", target="dm", cases=7).root
        == make(tmp_path, "dm", target="dm", cases=4, target_cases=7).root
    )


def test_truth_has_the_severity_and_what_each_view_shows(tmp_path: Path) -> None:
    dataset = make(tmp_path, "dm", cases=6)
    truth = np.genfromtxt(
        dataset.root / "truth.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    assert len(truth) == len(dataset.views)
    for row in truth:
        number = int(row["case"][-5:])
        simulated = case.simulate_case("dm", 3, number, bool(row["looks_malignant"]), 0.4)
        (view,) = (view for view in simulated.views if view.view == row["view"])
        assert row["severity"] == pytest.approx(simulated.severity, abs=1e-4)
        assert row["spiculation"] == pytest.approx(view.mass.spiculation, abs=1e-4)


@cache
def labels_and_appearance(agreement: float) -> tuple[np.ndarray, np.ndarray]:
    plans = plan_cases(parameters(cases=3000, agreement=agreement, malignant_fraction=0.4))
    return tuple(np.array([[plan.malignant, plan.looks_malignant] for plan in plans]).T)


def test_agreement_of_labels_and_appearance() -> None:
    label, appearance = labels_and_appearance(1.0)
    assert np.array_equal(label, appearance)
    label, appearance = labels_and_appearance(0.0)
    assert stats.chi2_contingency(np.histogram2d(label, appearance, bins=2)[0]).pvalue > 0.01
    assert appearance.mean() == pytest.approx(0.4, abs=0.04)
    # A half agrees by construction; of the other half, 0.4^2 + 0.6^2 agree by chance.
    label, appearance = labels_and_appearance(0.5)
    assert np.mean(label == appearance) == pytest.approx(0.5 + 0.5 * 0.52, abs=0.03)


def test_shared_signal_does_not_apply_to_the_target(tmp_path: Path) -> None:
    target = make(tmp_path, "dm", target="dm", shared_signal=0.0, cases=6)
    assert target == make(tmp_path, "dm", target="dm", shared_signal=1.0, cases=6)
    auxiliary = make(tmp_path, "dm", target="sfm", shared_signal=0.0, cases=6)
    truth = np.genfromtxt(auxiliary.root / "truth.csv", delimiter=",", names=True, dtype=None)
    assert not np.array_equal(truth["malignant"], truth["looks_malignant"])
    labels = {view.case_id: view.label for view in auxiliary.views}
    assert [labels[name] for name in truth["case"]] == truth["malignant"].tolist()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cases", 0),
        ("target_cases", 0),
        ("seed", -1),
        ("difficulty", 1.5),
        ("difficulty", float("nan")),
        ("shared_signal", -0.5),
        ("test_fraction", -0.1),
        ("malignant_fraction", 2.0),
    ],
)
def test_invalid_parameters_give_a_one_line_error(field: str, value: float) -> None:
    c = config.default()
    c.data.phantom[field] = value
    with pytest.raises(
        InputError, match=f"config.data.phantom.{field}={value} is invalid: "
    ) as caught:
        config.validate(c)
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'tomo' is invalid: expected sfm, ddsm, dm"):
        make(tmp_path, "tomo")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_gives_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        make(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_job_reads_the_output_of_the_tool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cases", "4", "--seed", "3", "--out", str(tmp_path / "out")]
    assert run_command(make_phantom, *arguments) == 0
    specs = capsys.readouterr().out.splitlines()[1:]
    settings = ingest.read_settings(config.default().data.to_dict(), tmp_path)
    for spec, kind in zip(specs, RECEPTORS, strict=True):
        rois = ingest.load(spec, tmp_path / "shards", *settings)
        assert rois.manifest["counts"]["cases"] == 4, kind
    few = [*arguments[:-1], str(tmp_path / "few"), "--target-cases", "6"]
    assert run_command(make_phantom, *few) == 0 and capsys.readouterr()
    tables = {kind: tmp_path / "few" / kind / "truth.csv" for kind in RECEPTORS}
    cases = {k: np.genfromtxt(p, delimiter=",", names=True, dtype=None) for k, p in tables.items()}
    assert {k: len(set(v["case"])) for k, v in cases.items()} == {"sfm": 6, "ddsm": 4, "dm": 4}
    assert run_command(make_phantom, *arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert run_command(make_phantom, *arguments, "--difficulty", "3") == 2
    assert "--difficulty=3.0 is invalid: expected a number in [0, 1]" in capsys.readouterr().err
