"""Model bundles: scores equal to those of the run, and one-line errors for invalid input."""

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from kit import small_head, trained
from kit.command import run_command
from kit.dicom import digitized_film, write_dicom
from PIL import Image

import mtl_jax
from mtl_jax import bundle
from mtl_jax.bundle import model_card, onnx_graph, stablehlo
from mtl_jax.bundle.build import build_model
from mtl_jax.commands import export, score
from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import read_image
from mtl_jax.models import response_norm
from mtl_jax.models.base import init
from mtl_jax.models.response_norm import Normalization
from mtl_jax.types import InputError

pytestmark = pytest.mark.usefixtures("small_alexnet")
FILM = np.tile(np.linspace(400, 3000, 300), (300, 1)).astype(int)
BOX = "120;120;180;180"


class ExportedBundles(NamedTuple):
    """Bundles exported from runs that were then deleted, with their shards."""

    model: Path  # calibrated
    uncalibrated: Path  # not calibrated
    fold_model: Path  # a run of the cross-validation
    films: Path
    scores: dict[str, float]  # of the run, by ROI id


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> ExportedBundles:
    folder = tmp_path_factory.mktemp("bundle")
    runs = trained.train(folder)
    out_of_fold = ["--out-of-fold", str(runs.cross_validation)]
    assert run_command(export, runs.run, "--output", folder / "model", *out_of_fold) == 0
    assert run_command(export, runs.run, "--output", folder / "uncalibrated") == 0
    fold_run = sorted((runs.cross_validation / "runs").iterdir())[0]
    assert run_command(export, fold_run, "--output", folder / "of_fold") == 0
    films = folder / "films"
    shutil.copytree(runs.films, films)
    with (runs.run / "scores.csv").open() as file:
        scores = {row["roi_id"]: float(row["score"]) for row in csv.DictReader(file)}
    shutil.rmtree(runs.test)
    shutil.rmtree(runs.cross_validation)
    shutil.rmtree(folder / "cache")
    return ExportedBundles(
        folder / "model", folder / "uncalibrated", folder / "of_fold", films, scores
    )


@pytest.fixture(scope="module")
def model(bundles: ExportedBundles) -> bundle.Model:
    return mtl_jax.load(bundles.model)


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def run_rejected(capsys: pytest.CaptureFixture, arguments: list[object]) -> str:
    """Return the one-line error of tools/score.py."""
    capsys.readouterr()
    assert run_command(score, *arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "Traceback" not in output.err
    return output.err


def test_bundle_without_the_run_gives_the_scores_of_the_run(
    bundles: ExportedBundles, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with (bundles.films / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    lesions = write_csv(tmp_path / "lesions.csv", rows)
    command = [bundles.model, bundles.films, "--lesions", lesions]
    assert run_command(score, *command, "--out", tmp_path / "out", "--keep-ids") == 0
    output = capsys.readouterr().out
    assert "research only" in output and "phantom" in output
    result = json.loads((tmp_path / "out" / "scores.json").read_text())
    views = {}
    for lesion in result["lesions"]:
        for view in lesion["views"]:
            views[f"sfm/{lesion['case_id']}/{lesion['lesion_id']}/{view['view']}"] = view["score"]
        assert lesion["score"] == pytest.approx(np.mean([v["score"] for v in lesion["views"]]))
    assert views.keys() == bundles.scores.keys() and len(views) > 5
    assert np.ptp(list(views.values())) > 1e-3
    max_difference = max(abs(views[name] - value) for name, value in bundles.scores.items())
    assert max_difference <= 1e-6, max_difference
    # The tables have the same scores; the page has all images and makes no requests.
    with (tmp_path / "out" / "views.csv").open() as file:
        assert [float(r["score"]) for r in csv.DictReader(file)] == list(views.values())
    with (tmp_path / "out" / "lesions.csv").open() as file:
        assert [r["lesion_id"] for r in csv.DictReader(file)] == [
            lesion["lesion_id"] for lesion in result["lesions"]
        ]
    page = (tmp_path / "out" / "scores.html").read_text()
    assert page.count('src="data:image/png') == 2 * len(views) and "://" not in page
    with Image.open(tmp_path / "out" / result["lesions"][0]["views"][0]["roi"]) as picture:
        assert picture.size == (256, 256)


def test_load_and_score_in_python(bundles: ExportedBundles, model: bundle.Model) -> None:
    with (bundles.films / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if row["split"] == "test")
    name = f"sfm/{row['patient_id']}/{row['lesion_id']}/{row['view']}"
    pixels, bits = read_image(bundles.films / row["image_path"])
    box = tuple(float(edge) for edge in row["bbox"].split(";"))
    size = dicom.read_spacing(bundles.films / row["image_path"])[0]
    scores = model.score(pixels, [box, box], pixel_um=size, bits=bits)
    assert scores.shape == (2,) and scores[0] == scores[1]
    assert abs(scores[0] - bundles.scores[name]) <= 1e-6
    with pytest.raises(InputError, match="inside"):
        model.score(pixels, [(0, 0, 10, pixels.shape[1] + 1)], pixel_um=size)
    with pytest.raises(InputError, match="float"):
        model.score(pixels.astype(int), [box], pixel_um=size)
    with pytest.raises(InputError, match="expected one of sfm"):
        model.score(pixels, [box], pixel_um=size, bits=bits, task="dm")
    assert model.score(pixels, [], pixel_um=size).shape == (0,)


def test_flipped_bit_in_each_file_is_rejected(
    bundles: ExportedBundles, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(bundles.uncalibrated, copy)
    manifest = bundles.films / "manifest.csv"
    arguments = [copy, bundles.films, "--lesions", manifest, "--out", tmp_path / "out"]
    for path in sorted(copy.iterdir()):
        content = path.read_bytes()
        # The last byte of SHA256SUMS, a line end, holds no checksum.
        last = len(content) - (2 if path.name == "SHA256SUMS" else 1)
        for position in (0, len(content) // 2, last):
            flipped = bytes([content[position] ^ 1])
            path.write_bytes(content[:position] + flipped + content[position + 1 :])
            error = run_rejected(capsys, arguments)
            assert "damaged" in error and path.name in error or path.name == "SHA256SUMS"
        path.write_bytes(content)
    (copy / "extra").write_text("")
    with pytest.raises(InputError, match="'extra' is missing, new or changed"):
        bundle.load(copy)
    (copy / "extra").unlink()
    (copy / "card.md").unlink()
    with pytest.raises(InputError, match="card.md"):
        bundle.load(copy)
    with pytest.raises(InputError, match="not a model bundle"):
        bundle.load(tmp_path)


US = "1.2.840.10008.5.1.4.1.1.6.1"


@pytest.mark.parametrize(
    ("cells", "tags", "message"),
    [
        ({"box": "120;120;180;301"}, {}, "not inside the image of 300 rows and 300 columns"),
        ({"box": "-1;120;180;180"}, {}, "not inside the image"),
        ({"box": "180;120;120;180"}, {}, "bottom below top"),
        ({"box": "1;2;3"}, {}, "top;left;bottom;right"),
        ({"pixel_um": "10"}, {}, "is 50 x 50 um: the unit is probably wrong"),
        ({"pixel_um": "0"}, {}, "pixel_um"),
        ({}, {"NominalScannedPixelSpacing": None}, "pixel size of film.dcm is unknown"),
        ({}, {"NominalScannedPixelSpacing": [0.5, 0.5]}, "coarser"),
        ({}, {"NominalScannedPixelSpacing": [5e-5, 5e-5]}, "below 10 um"),
        ({}, {"NominalScannedPixelSpacing": [-0.05, 0.05]}, "pixel"),
        ({}, {"PhotometricInterpretation": "RGB"}, "colour"),
        ({}, {"Modality": "US"}, "not a mammogram"),
        ({}, {"SOPClassUID": US}, "not a mammogram"),
        ({"image_path": "other.dcm"}, {}, "no such image in"),
        ({"frame": "2"}, {}, "frame"),
        ({"bits": "8"}, {}, "does not fit 8 bits"),
        ({"lesion_id": ""}, {}, "lesion_id is empty"),
    ],
)
def test_invalid_input_is_rejected_in_one_line(
    bundles: ExportedBundles,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
    cells: dict[str, str],
    tags: dict[str, object],
    message: str,
) -> None:
    write_dicom(tmp_path / "in" / "film.dcm", FILM, **digitized_film(**tags))
    row = {"image_path": "film.dcm", "lesion_id": "1", "box": BOX} | cells
    lesions = write_csv(tmp_path / "lesions.csv", [row])
    out = tmp_path / "out"
    error = run_rejected(
        capsys, [bundles.uncalibrated, tmp_path / "in", "--lesions", lesions, "--out", out]
    )
    assert "lesions.csv line 2" in error and message in error
    assert not out.exists()


def test_colour_images_and_invalid_paths_are_rejected(
    bundles: ExportedBundles, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 300), (9, 99, 200)).save(tmp_path / "film.png")
    row = {"image_path": "film.png", "lesion_id": "1", "box": BOX, "pixel_um": "100"}
    lesions = write_csv(tmp_path / "lesions.csv", [row])
    arguments = [bundles.uncalibrated, tmp_path / "film.png", "--lesions", lesions, "--out"]
    assert "colour" in run_rejected(capsys, [*arguments, tmp_path / "out"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    Image.new("L", (300, 300), 99).save(tmp_path / "film.png")
    assert "not empty" in run_rejected(capsys, [*arguments, tmp_path / "full"])
    assert "expected one of sfm" in run_rejected(
        capsys, [*arguments, tmp_path / "out", "--task", "dm"]
    )
    assert "no such file" in run_rejected(
        capsys, [*arguments[:1], tmp_path / "no", *arguments[2:], tmp_path / "o"]
    )


def test_lesions_outside_the_training_range_are_flagged(
    bundles: ExportedBundles, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4096, (400, 400))
    write_dicom(tmp_path / "noise.dcm", noise, ImagerPixelSpacing=[0.07, 0.07])
    row = {"image_path": "noise.dcm", "lesion_id": "<b>&1</b>", "box": "0;0;300;300"}
    lesions = write_csv(tmp_path / "lesions.csv", [row])
    arguments = [bundles.model, tmp_path, "--lesions", lesions, "--out", tmp_path / "out"]
    assert run_command(score, *arguments, "--no-evidence", "--keep-ids") == 0
    (lesion,) = json.loads((tmp_path / "out" / "scores.json").read_text())["lesions"]
    flags = "\n".join(lesion["flags"])
    for word in ("pixel size 70 um", "contrast", "outside the image", "modality DM: trained on"):
        assert word in flags
    assert 0 < lesion["probability"] < 1 and lesion["views"][0]["evidence"] is None
    assert len(lesion["nearest"]) == 5
    page = (tmp_path / "out" / "scores.html").read_text()
    assert "<b>&1" not in page and "&lt;b&gt;&amp;1" in page


def test_bundle_without_out_of_fold_scores_is_uncalibrated(bundles: ExportedBundles) -> None:
    uncalibrated, calibrated = mtl_jax.load(bundles.uncalibrated), mtl_jax.load(bundles.model)
    assert (
        uncalibrated.about["calibration"] is None and uncalibrated.about["operating_points"] == []
    )
    assert np.isnan(uncalibrated.probability([0.5], "lesion")).all()
    assert "no out-of-fold scores" in (bundles.uncalibrated / "card.md").read_text()
    assert uncalibrated.about["reference_scores"] == {"sfm": "of lesions in the training set"}
    calibration = calibrated.about["calibration"]["lesion"]
    assert [check["on"] for check in calibration["checks"]][1] == "test set"
    assert calibrated.about["reference_scores"] == {"sfm": "out of fold"}
    card = (bundles.model / "card.md").read_text()
    assert "**For research only, not for clinical use.**" in card and "Phantom model" in card


def test_every_text_of_the_card_is_escaped(model: bundle.Model) -> None:
    """Add HTML and Markdown markup to every text of the bundle, including collection names."""
    markup = "<i>|*x*"

    def add_markup(value: object) -> object:
        if isinstance(value, dict):
            return {markup + k if k == "sfm" else k: add_markup(v) for k, v in value.items()}
        if isinstance(value, list):
            return [add_markup(item) for item in value]
        return markup + value if isinstance(value, str) else value

    about = add_markup(json.loads(json.dumps(model.about)))
    card = model_card.render_card(bundle.Model(about, model.params, model.reference))
    assert markup not in card and "<i>" not in card
    assert card.count("&lt;i&gt;\\|\\*x\\*") > 20


def test_model_card_of_a_cross_validation_run_has_no_test_set(bundles: ExportedBundles) -> None:
    about = mtl_jax.load(bundles.fold_model).about
    assert about["run"]["fold"] == 0 and about["operating_points"]
    assert all("test" not in point for point in about["operating_points"])
    rows = [
        line
        for line in (bundles.fold_model / "card.md").read_text().splitlines()
        if line.startswith(("| highest Youden", "| sensitivity 0"))
    ]
    assert len(rows) == len(about["operating_points"])
    assert all(row.endswith("| no test set |") for row in rows)


def test_percentiles_and_neighbours_match_hand_computed_values(model: bundle.Model) -> None:
    reference = model.reference
    benign = reference.score[reference.label == 0]
    assert model.percentile(2.0, 0) == 100 and model.percentile(-1.0, 1) == 0
    median = float(np.median(benign))
    expected = 100 * np.mean((benign < median) + 0.5 * (benign == median))
    assert model.percentile(median, 0) == pytest.approx(expected)
    first, *_ = model.nearest(reference.features[3])
    assert (first.lesion_id, first.case_id, first.distance) == (
        reference.lesion_id[3],
        reference.case_id[3],
        0,
    )


# Settings of normalization in which every number affects the result.
STRONG = (Normalization(3, 0.2, 0.6, 1.0, True, 0), Normalization(7, 0.1, 1.1, 1.5))


@pytest.fixture(scope="module")
def random_model(model: bundle.Model) -> bundle.Model:
    """Return the model with random weights, two heads and scores spread over [0, 1]."""
    about = json.loads(json.dumps(model.about))
    about["network"] = {"outputs": 4, "lrn": response_norm.to_json(STRONG)}
    about["run"]["tasks"] = ["sfm", "dm"]
    about["run"]["input_mean"]["dm"], about["run"]["input_std"]["dm"] = 40.0, 900.0
    network = small_head.SmallHead(4, lrn=STRONG)
    params = init(network, jax.random.key(5))
    gray = (random_rois(8) - 40.0) / 900.0
    image = np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)
    logits = np.asarray(network.apply({"params": params}, image))
    params["F5"] = {
        "kernel": 2 * params["F5"]["kernel"] / logits.std(0),
        "bias": -2 * logits.mean(0) / logits.std(0),
    }
    return bundle.Model(about, jax.tree.map(np.asarray, params), model.reference)


def random_rois(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    scale = rng.uniform(200, 3000, (count, 1, 1))
    return (scale * rng.standard_normal((count, 128, 128))).astype(np.int16)


def test_bundles_of_earlier_versions_use_their_normalization(
    random_model: bundle.Model,
) -> None:
    """Check that 'lrn': true is 1e-4 times the sum of squares, after the ReLU."""
    about = {**random_model.about, "network": {"outputs": 4, "lrn": True}}
    network = bundle.Model(about, random_model.params, random_model.reference).network
    x = 9 * np.random.default_rng(0).standard_normal((1, 31, 31, 64)).astype(np.float32)
    kernel, bias = np.zeros((5, 5, 64, 192), np.float32), np.zeros(192, np.float32)
    kernel[2, 2, range(64), range(64)] = 1  # the first 64 maps equal the input
    params = {"C2": {"kernel": kernel, "bias": bias}}
    output = network.apply({"params": params}, x, "C2", "C2")[0, 0, 0, :64]
    rectified = np.maximum(np.pad(np.float64(x[0, :3, :3]), ((0, 0), (0, 0), (2, 2))), 0)
    total = sum(rectified[..., k : k + 64] ** 2 for k in range(5))
    expected = (rectified[..., 2:-2] / (2 + 1e-4 * total) ** 0.75).max((0, 1))
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    damaged = {**random_model.about, "network": {"outputs": 4, "lrn": {"C1": {}}}}
    with pytest.raises(ValueError, match="normalization"):
        _ = bundle.Model(damaged, random_model.params, random_model.reference).network


def test_stablehlo_agrees_for_any_batch(random_model: bundle.Model) -> None:
    program = jax.export.deserialize(bytearray(stablehlo.to_stablehlo(random_model, "dm")))
    assert program.platforms == ("cpu", "cuda")
    pixels = random_rois(3)
    scores = np.asarray(program.call(pixels.astype(np.float32)))
    np.testing.assert_allclose(scores, random_model.score_rois(pixels, "dm")[0], atol=1e-5)
    assert str(program.in_avals[0].shape[0]) == "n"


def test_onnx_agrees_under_onnxruntime(random_model: bundle.Model) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(onnx_graph.to_onnx(random_model, "dm"))
    pixels = random_rois(3)
    expected = random_model.score_rois(pixels, "dm")[0]
    assert np.ptp(expected) > 0.1
    for rows in (pixels, pixels[:1]):
        (scores,) = session.run(None, {"rois": rows.astype(np.float32)})
        np.testing.assert_allclose(scores, expected[: len(rows)], atol=1e-5)


def test_only_a_finished_unchanged_run_is_exported(
    capsys: pytest.CaptureFixture, tmp_path: Path, bundles: ExportedBundles
) -> None:
    assert run_command(export, tmp_path / "runs" / "a", "--output", tmp_path / "m") == 2
    assert "missing or damaged" in capsys.readouterr().err
    with pytest.raises(InputError, match="already exists"):
        bundle.save(mtl_jax.load(bundles.uncalibrated), "", bundles.uncalibrated)
    (tmp_path / "run.json").write_text(json.dumps({"approach": "sttl"}))
    with pytest.raises(InputError, match="not finished"):
        build_model(tmp_path)
