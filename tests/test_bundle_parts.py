"""Calibration, training ranges and attribution maps, compared with cases computed by hand."""

import copy
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from finished_work import make_folder
from flax.traverse_util import unflatten_dict
from kit.small_head import SmallHead
from kit.untrained import make_untrained
from PIL import Image
from scipy.special import expit, logit

from mtl_jax import bundle, config, old_names, roc
from mtl_jax.bundle import (
    build,
    calibration,
    images,
    out_of_fold,
    probabilities,
    scoring,
    training_ranges,
)
from mtl_jax.bundle.reliability import reliability_figure
from mtl_jax.data.extract_rois import crop_rois
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.io import atomic
from mtl_jax.models import base
from mtl_jax.phantom import case as phantom
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import InputError, LesionView

pytestmark = pytest.mark.usefixtures("small_alexnet")
OLD_KEYS = {new: old for old, new in old_names.KEYS.items()}  # of version 0.1.0
RNG = np.random.default_rng(0)


def simulate_labels(n: int, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with probability expit(a logit(score) + b), and the scores."""
    scores = RNG.uniform(0.02, 0.98, n)
    return (RNG.random(n) < expit(a * logit(scores) + b)).astype(int), scores


def test_fit_recovers_the_curve_of_simulated_labels() -> None:
    labels, scores = simulate_labels(40_000, 0.6, -0.8)
    a, b = calibration.fit(labels, scores)
    assert (a, b) == pytest.approx((0.6, -0.8), abs=0.05)
    assert calibration.apply(1.0, 0.0, scores) == pytest.approx(scores)
    # With separable classes the maximum likelihood is infinite; Platt's targets prevent that.
    a, b = calibration.fit([0, 0, 1, 1], [0.1, 0.2, 0.8, 1.0])
    assert np.isfinite([a, b]).all() and a > 0


def test_calibration_of_a_fold_does_not_use_the_fold() -> None:
    labels, scores = simulate_labels(200, 1.0, 0.0)
    fold = np.arange(200) % 4
    case = np.arange(200).astype(str)
    before = calibration.cross_fit(calibration.LabelledScores(labels, scores, case, fold))
    turned = np.where(fold == 2, 1 - labels, labels)
    after = calibration.cross_fit(calibration.LabelledScores(turned, scores, case, fold))
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert (before[fold != 2] != after[fold != 2]).all()


def test_assess_distinguishes_good_and_bad_calibration() -> None:
    labels, scores = simulate_labels(600, 1.0, 0.0)
    cases = np.repeat(np.arange(300), 2).astype(str)
    good = calibration.assess("here", labels, scores, cases)
    bad = calibration.assess("here", labels, calibration.apply(1.0, 2.0, scores), cases)
    assert good["expected_error"] < 2.5 * good["if_perfect"]
    assert bad["expected_error"] > 4 * bad["if_perfect"] and bad["ci_low"] > good["ci_high"]
    assert good["ci_low"] < good["expected_error"] < good["ci_high"]
    assert sum(good["count"]) == 600 and len(good["count"]) == 10
    # By hand: two bins, each half malignant, predicted 0.25 and 0.75: an error of 0.25 in both.
    p = [0.25] * 10 + [0.75] * 10
    few = calibration.assess("here", [0, 1] * 10, p, np.arange(20).astype(str))
    assert few["expected_error"] == pytest.approx(0.25)


def test_performance_at_a_given_threshold() -> None:
    point = roc.at_threshold([0, 0, 0, 1, 1], [0.1, 0.5, 0.9, 0.5, 0.2], 0.5)
    assert (point.sensitivity, point.specificity) == pytest.approx((1 / 2, 1 / 3))
    assert point.sensitivity_interval[0] < 0.5 < point.sensitivity_interval[1]


def test_values_outside_the_training_range_are_flagged() -> None:
    counts = RNG.integers(-1000, 1000, (5, 128, 128)).astype(np.int16)
    sizes = np.full((5, 2), 100.0)
    limits = training_ranges.training_limits(
        training_ranges.measure(counts, sizes, np.zeros(5), sizes / 10), ["DM"] * 5
    )
    same = training_ranges.measure(counts, sizes, np.zeros(5), sizes / 10)
    assert training_ranges.range_flags(limits, same, ["DM", "", "DM", "DM", "DM"]) == [[]] * 5
    other = training_ranges.measure(counts[:1] * 3, sizes[:1] / 2, np.array([0.25]), sizes[:1])
    (found,) = training_ranges.range_flags(limits, other, ["SFM"])
    assert [word.split(":")[0].split(" ")[0] for word in found] == [
        *("pixel", "contrast", "fraction", "box", "modality")
    ]
    assert "pixel size 50 um: training range 100 to 100" in found
    upside_down = training_ranges.measure(counts - np.int16(900), sizes, np.zeros(5), sizes / 10)
    assert all(
        "brightness" in flag[0]
        for flag in training_ranges.range_flags(limits, upside_down, [""] * 5)
    )


def test_far_distance_is_a_percentile_of_nearest_distances() -> None:
    line = np.array([[0.0], [1.0], [3.0], [103.0]], np.float32)
    nearest = [1.0, 1.0, 2.0, 100.0]
    assert training_ranges.far_distance(line) == pytest.approx(np.percentile(nearest, 99), rel=1e-5)
    assert training_ranges.far_distance(line[:1]) == 0.0


def test_reliability_figure_has_a_point_per_bin() -> None:
    check = calibration.assess("a <b>", [0, 1] * 20, np.linspace(0.01, 0.99, 40), np.arange(40))
    drawn = str(reliability_figure([check]))
    assert drawn.count("<circle") == len(check["count"]) == 4 and "a &lt;b&gt;" in drawn
    assert reliability_figure([]) is None


def spot_finder() -> bundle.Model:
    """Return a model with parameters set by hand, whose score rises with bright small spots.

    C1 has one filter, a spot minus its surroundings; one unit of each later layer passes its output
    on; F1 sums the map.
    """
    shapes = base.param_shapes(SmallHead())
    params = unflatten_dict(
        {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}, sep="/"
    )
    row, column = np.mgrid[-5:6, -5:6]
    spot = np.exp(-(row**2 + column**2) / (2 * 2.0**2))
    params["C1"]["kernel"][:, :, :, 0] = (spot - spot.mean())[..., None] / 10
    params["C1"]["bias"][0] = -1.5  # tissue stays below the threshold
    for layer in ("C2", "C3", "C4", "C5"):
        middle = params[layer]["kernel"].shape[0] // 2
        params[layer]["kernel"][middle, middle, 0, 0] = 1.0
    params["F1"]["kernel"].reshape(3, 3, 256, -1)[:, :, 0, 0] = 1.0
    for layer in ("F2", "F3", "F4"):
        params[layer]["kernel"][0, 0] = 1.0
    params["F5"]["kernel"][0] = [-1.0, 1.0]
    run = {"tasks": ["dm"], "input_mean": {"dm": 0.0}, "input_std": {"dm": 1000.0}}
    about = {"run": run, "network": {"outputs": 2, "lrn": False}}
    empty = np.zeros(0, str)
    none = np.zeros(0, np.float32)
    return bundle.Model(about, params, bundle.Reference(empty, empty, empty, none, none, none))


def test_attribution_map_locates_a_planted_spot() -> None:
    """Phantom lesions with a spot of 1.2 mm at a random position: the maximum of the map is within
    1 mm of the spot, and the image is orange there."""
    model, rng = spot_finder(), np.random.default_rng(1)
    row, column = np.mgrid[:128, :128]
    hits = []
    for number in range(5):
        tissue = lesion_roi(phantom.simulate_case("sfm", 5, number, False, 0.3).views[0])
        at = rng.integers(24, 104, 2)
        spot = 9000 * np.exp(-((row - at[0]) ** 2 + (column - at[1]) ** 2) / (2 * 3.0**2))
        counts = np.clip(tissue + spot, -32768, 32767).astype(np.int16)
        found = scoring.attribution_map(model, counts)
        peak = np.array(np.unravel_index(np.argmax(images.smooth_map(found)), found.shape))
        picture = np.asarray(Image.open(io.BytesIO(images.attribution_png(counts, found))), float)
        orange = picture[..., 0] - picture[..., 2]  # two image pixels for one of the map
        is_orange = orange[tuple(2 * at)] > np.percentile(orange, 95)
        hits.append(np.abs(peak - at).max() <= 5 and is_orange)
        assert found.sum() > scoring.attribution_map(model, tissue).sum() + 0.1
    assert np.mean(hits) == 1.0, f"hit rate {np.mean(hits):.2f} of {len(hits)}"


def scored(pixels: np.ndarray, boxes: object = ((40, 30, 60, 50),), **given: object) -> np.ndarray:
    model = spot_finder()
    model.about["preprocessing"] = RoiSettings(correct=False).record()
    return model.score(pixels, boxes, **({"pixel_um": 200} | given))


FILM = RNG.integers(0, 4096, (90, 80)).astype(np.uint16)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"bits": 0}, "bits=0 is invalid for uint16 pixels.*1 to 16"),
        ({"bits": -1}, "bits=-1"),
        ({"bits": 20}, "bits=20"),
        ({"bits": "12"}, "bits='12'"),
        ({"bits": 12.0}, "bits=12.0"),
        ({"bits": True}, "bits=True"),
        ({"pixel_um": (200, 200, 200)}, "one number or"),
        ({"pixel_um": "fine"}, "one number or"),
        ({"pixel_um": float("nan")}, "expected two positive numbers"),
        ({"boxes": (40, 30, 60, 50)}, "box 40 is invalid: expected a list of"),
        ({"boxes": [(40, 30, 60)]}, "a list of .top, left"),
        ({"boxes": [(40, 30, 60, "x")]}, "a list of .top, left"),
        ({"boxes": [(40, 30, 60, np.inf)]}, "finite"),
    ],
)
def test_invalid_arguments_are_named(given: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        scored(FILM, **given)


def test_a_box_whose_roi_has_one_gray_value_is_named() -> None:
    film = np.pad(FILM, ((0, 200), (0, 200)))
    with pytest.raises(InputError, match="^the box 240;230;260;250: all pixels of the ROI"):
        scored(film, [(40, 30, 60, 50), (240, 230, 260, 250)], bits=12)
    with pytest.raises(InputError, match="^all pixels of the ROI have one gray value .0 of 4095.:"):
        scored(film, [(240, 230, 260, 250)], bits=12)


def test_bits_are_treated_as_in_the_ingest() -> None:
    with pytest.raises(InputError, match="bits=12 is invalid for uint8 pixels"):
        scored((FILM >> 4).astype(np.uint8), bits=12)
    expected = scored(FILM, bits=12)
    for bits in (np.int64(12), np.uint8(12)):
        assert scored(FILM, bits=bits) == expected
    assert scored(FILM.astype(np.float64)) == scored(FILM.astype("f4"), bits=12) == expected
    assert scored(FILM, np.array([[40, 30, 60, 50]]), bits=12, pixel_um=np.array([200, 200.0]))


def test_notes_of_the_ingest_are_warnings() -> None:
    with pytest.warns(UserWarning, match="12 of 16 bits") as warned:
        assert len(scored(FILM, [(40, 30, 60, 50), (20, 30, 40, 50)])) == 2
    assert len(warned) == 1


def test_an_image_coarser_than_the_rois_is_rejected_unless_the_model_interpolates() -> None:
    model = spot_finder()
    box = [(40, 30, 60, 50)]
    for roi in (RoiSettings(correct=False), RoiSettings(51.2, correct=False)):
        model.about["preprocessing"] = roi.record()
        reason = (
            f"^pixels of 500 um are coarser than those of the model's ROIs, {roi.pixel_um:g} um:"
            " use the image at its original resolution, or a model that was trained with"
        )
        with pytest.raises(InputError, match=reason):
            model.score(FILM, box, pixel_um=500, bits=12)
    model.about["preprocessing"] = RoiSettings(upsample=True, correct=False).record()
    with pytest.warns(UserWarning, match="coarser than those of the ROI and were interpolated"):
        assert model.score(FILM, box, pixel_um=500, bits=12).shape == (1,)


def test_an_assumed_pixel_size_is_warned_of_once_and_recorded(tmp_path: Path) -> None:
    model = bundle.load(make_untrained(tmp_path / "model"))
    boxes = [(40, 30, 60, 50)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = model.score(FILM, boxes, pixel_um=200, bits=12)
    assert model.assumptions == []
    with pytest.warns(UserWarning) as warned:
        assumed = [model.score(FILM, boxes, bits=12) for _ in range(2)]
    assert [str(warning.message) for warning in warned] == [
        "pixel_um was not given: 200 um was assumed; pass the pixel size in um"
    ]
    assert model.assumptions == ["pixel_um was not given: 200 um was assumed"]
    # Still an array of numbers, as for the given pixel size.
    assert all(type(scores) is np.ndarray and scores == given for scores in assumed)
    with pytest.warns(UserWarning, match="200 um was assumed"):
        bundle.load(tmp_path / "model").score(FILM, boxes, bits=12)


def test_a_model_states_what_it_is(tmp_path: Path) -> None:
    model = bundle.load(make_untrained(tmp_path / "model"))
    assert repr(model) == (
        "<mtl_jax model sttl-C1-test-seed0: alexnet, frozen C1, trained on 2 lesions of dm,"
        " calibrated, phantom model>"
    )
    model.about["calibration"], model.about["phantom"] = None, False
    assert repr(model).endswith("2 lesions of dm, not calibrated>")


def lesion_roi(view: phantom.View) -> np.ndarray:
    """Return the ROI (128, 128) int16 of a phantom film."""
    receptor = RECEPTORS["sfm"]
    lesion = LesionView(
        *("sfm", Path("film"), tuple(map(float, view.box)), "c", "1", "CC", "L", "SFM"),
        *(0, "simulated", (1000 * receptor.pixel_mm,) * 2, ""),
    )
    return crop_rois(StoredImage(view.stored, receptor.bits), [lesion], RoiSettings()).rois[0]


def test_model_card_omits_single_folds_and_rejected_fits() -> None:
    common = {"study": "sttl", "task": "t", "unit": "view", "status": "ok"}
    rows = [
        common | {"method": method, "estimator": kind, "auc": auc, "status": status}
        for kind, auc in (("mean over folds", 0.47), ("pooled over folds", 0.6), ("one fold", 0.7))
        for method, status in (("empirical", "ok"), ("proper", "ok"))
    ]
    rows.append(rows[3] | {"unit": "lesion", "status": "boundary"})
    rows.append(rows[2] | {"unit": "lesion"})
    found = build.model_card_aucs(rows + [rows[0] | {"study": "mttl"}], "sttl", "C1")
    # Fits are left out if the empirical AUC is below 0.5 or their status is boundary.
    assert found == [rows[0], rows[2], rows[3], rows[7]]
    with pytest.raises(InputError, match="earlier version"):
        build.model_card_aucs([common | {"method": "empirical"}], "sttl", "C1")


def study_of(folder: Path, kind: str, match_steps: bool = False) -> out_of_fold.Study:
    """Return a synthetic finished study of single-task learning with provenance."""
    found = out_of_fold.read_study(make_folder(folder, kind, ("sttl",), analysed=False))
    found.folds["collections"] = {"sfm": "content"}
    for run in found.results["runs"]:
        train = {"learning_rate": 0.001, "match_steps": match_steps, "task_weights": ["x:2"]}
        train["batch_size"] = 128
        train["epochs"] = 300 + (run["fold"] or 0) if match_steps else 200
        run |= {"heads": "shared", "task_weights": [], "target_cases": None, "split": 1}
        run["provenance"] = {
            "weights": {"name": "shipped"},
            "precision": {"matmul": None, "train": "float32"},
            "settings": {
                "train": train,
                "model": {"dropout": 0.5, "initialization": "he", "backbone": "alexnet"},
            },
        }
    return found


@pytest.mark.parametrize("match_steps", [False, True])
def test_cross_validation_with_other_settings_is_rejected(
    tmp_path: Path, match_steps: bool
) -> None:
    study = study_of(tmp_path / "test", "test", match_steps)
    crossed = study_of(tmp_path / "crossed", "cross_validation", match_steps)
    (record,) = study.results["runs"]

    def rejected(**changed: object) -> str:
        """Return the error for a cross-validation with these settings in place of the run's."""
        other = copy.deepcopy(crossed)
        for run in other.results["runs"]:
            made = run["provenance"]
            for section in (made["precision"], *made["settings"].values()):
                section |= {k: v for k, v in changed.items() if k in section and k != "epochs"}
        other.config["train"]["epochs"] = changed.get("epochs", 200)
        try:
            held = out_of_fold.find_scores(record, study, other)
        except InputError as error:
            return str(error)
        assert held is not None and set(held.fold.tolist()) == {0, 1, 2}
        return ""

    assert rejected() == ""
    assert rejected(task_weights=["y:3"]) == ""  # the task weights of the runs are equal
    for field, value, words in (
        ("epochs", 20, "train.epochs is 20, not 200"),
        ("backbone", "vgg16", "model.backbone is 'vgg16', not 'alexnet'"),
        ("batch_size", 64, "train.batch_size is 64, not 128"),
        ("learning_rate", 0.1, "train.learning_rate is 0.1, not 0.001"),
        ("dropout", 0.0, "model.dropout is 0.0, not 0.5"),
        ("initialization", "krizhevsky2012", "model.initialization is 'krizhevsky2012', not"),
        ("train", "bfloat16", "precision.train is 'bfloat16', not 'float32'"),
    ):
        said = rejected(**{field: value})
        assert words in said and "with the same settings" in said and "\n" not in said


def test_cross_validation_with_other_cases_or_weights_is_rejected(tmp_path: Path) -> None:
    study = study_of(tmp_path / "test", "test")
    crossed = study_of(tmp_path / "crossed", "cross_validation")
    (record,) = study.results["runs"]

    def rejection(other: out_of_fold.Study) -> str:
        with pytest.raises(InputError) as rejected:
            out_of_fold.find_scores(record, study, other)
        assert "\n" not in str(rejected.value) and "crossed" in str(rejected.value)
        return str(rejected.value)

    fewer = copy.deepcopy(crossed)
    left_out = fewer.folds["train"].pop()
    assert f"such as {left_out}, are in only one of them" in rejection(fewer)
    # The case is listed, but its tables contain no score of it.
    unscored = copy.deepcopy(crossed)
    for one in (unscored, study):
        one.folds["train"].append("case-0")
    assert "1 of its training cases, such as case-0, have no score" in rejection(unscored)
    study.folds["train"].pop()
    tested = copy.deepcopy(crossed)
    tested.folds["train"].append(study.folds["test"][0])
    assert "are in the run's test set" in rejection(tested)

    other_weights = copy.deepcopy(crossed)
    other_weights.results["runs"][1]["provenance"]["weights"] = {"name": "random"}
    assert "started from other weights" in rejection(other_weights)
    for part in ("weights", "settings", "precision"):
        silent = copy.deepcopy(crossed)
        del silent.results["runs"][0]["provenance"][part]
        assert "earlier version" in rejection(silent)
    other_network = copy.deepcopy(crossed)
    for run in other_network.results["runs"]:
        run["network"] = "C1-C3"
    assert "no run of sttl on sfm with network C1" in rejection(other_network)
    no_folds = copy.deepcopy(crossed)
    del no_folds.folds["train"]
    assert "'train' is missing" in rejection(no_folds)


def test_a_multi_task_run_needs_the_same_cases_of_the_other_collections(tmp_path: Path) -> None:
    study = study_of(tmp_path / "test", "test")
    crossed = study_of(tmp_path / "crossed", "cross_validation")
    (record,) = study.results["runs"]
    for one in (record, *crossed.results["runs"]):
        one["tasks"] = ["sfm", "ddsm"]
    for one in (study, crossed):
        one.folds["collections"]["ddsm"] = "content"
    assert out_of_fold.find_scores(record, study, crossed) is not None
    crossed.folds["never_learned"]["ddsm"] = ["ddsm-007"]
    with pytest.raises(InputError, match="other cases of ddsm"):
        out_of_fold.find_scores(record, study, crossed)


def test_work_folders_of_version_0_1_0_are_not_exported(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", "test", ("sttl",), analysed=False)
    stored = json.loads((folder / "config.json").read_text())
    stored["model"][OLD_KEYS["backbone"]] = stored["model"].pop("backbone")
    (folder / "config.json").write_text(json.dumps(stored))
    (run_folder,) = (folder / "runs").iterdir()
    with pytest.raises(InputError, match="0.1.0") as rejected:
        build.build_model(run_folder)
    assert "\n" not in str(rejected.value)


def test_bundles_of_version_0_1_0_give_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backbone other than the default, which a bundle without the key would get."""
    monkeypatch.setitem(config.BACKBONES, "other", "kit.small_network")
    folder = make_untrained(tmp_path / "model", backbone="other")
    expected = bundle.load(folder)
    about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    for section in ("network", "weights"):
        about[section][OLD_KEYS["backbone"]] = about[section].pop("backbone")
    about["training"]["dm"][OLD_KEYS["rois"]] = about["training"]["dm"].pop("rois")
    (folder / "bundle.json").write_text(json.dumps(about), encoding="utf-8")
    atomic.write_checksums(folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = bundle.load(folder)
    boxes = [(20, 20, 60, 60), (40, 30, 60, 50)]
    scores = model.score(FILM, boxes, 200, bits=12)
    np.testing.assert_array_equal(scores, expected.score(FILM, boxes, 200, bits=12))
    assert model.about == expected.about and model.network == expected.network
    # The digest of SHA256SUMS is the device id of Structured Reports.
    assert model.sha256 == atomic.file_sha256(folder / atomic.CHECKSUMS)
    assert contents == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("scores", [[0.9, 0.7, 0.4, 0.1], [0.3] * 4, [np.nan] * 4])
def test_calibration_without_positive_slope_is_rejected(scores: list[float]) -> None:
    labels = np.array([0, 0, 1, 1] * 5)
    ids = np.arange(20).astype(str)
    columns = (ids, ids, ids, ids, np.full(20, "sfm"), labels, np.tile(scores, 5))
    held = out_of_fold.OutOfFoldScores(out_of_fold.Scores(*columns), np.arange(20) % 2, "2 folds")
    assert "do not rise with malignancy" in probabilities.slope_error(held)
    risen = columns[:6] + (0.2 + 0.5 * labels + 0.01 * np.arange(20),)
    assert probabilities.slope_error(held._replace(scores=out_of_fold.Scores(*risen))) == ""
    assert probabilities.slope_error(None) == ""
