"""Scores as Structured Reports: valid, complete, and through a real PACS and back."""

import csv
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pydicom
import pytest
from kit import orthanc
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing as ForProcessing

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import score

from mtl_jax import bundle
from mtl_jax.bundle import ranges
from mtl_jax.models import alexnet
from mtl_jax.phantom.collection import Parameters, write

pytest.importorskip("highdicom", reason="the [sr] extra is not installed")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights: what matters here is what becomes of its scores."""
    folder = tmp_path_factory.mktemp("untrained") / "model"
    rng = np.random.default_rng(0)
    ids = np.array(["a", "b"])
    reference = bundle.Reference(
        np.array(["dm", "dm"]),
        ids,
        ids,
        np.int32([0, 1]),
        np.float32([0.4, 0.6]),
        rng.random((2, 100)).astype(np.float32),
    )
    counts = rng.integers(-4000, 4000, (3, 128, 128)).astype(np.int16)
    sides = np.full((3, 2), 100.0)
    limits = ranges.of_training(ranges.measure(counts, sides, np.zeros(3), sides / 10), ["DM"])
    background = {"correct": True, "along_mm": 3.2, "depth_mm": 1.6}
    unit = {"a": 1.0, "b": 0.0}
    about = {
        "made_with": "mtl_jax test",
        "use": "For research only, not for clinical use.",
        "phantom": True,
        "run": {
            **{"id": "sttl-C1-test-seed0", "approach": "sttl", "tasks": ["dm"]},
            **{"input_mean": {"dm": 0.0}, "input_std": {"dm": 1000.0}},
        },
        "network": {"outputs": 2, "lrn": False},
        "preprocessing": {"background": background},
        "calibration": {
            "method": "made up",
            "view": unit,
            "lesion": unit | {"prevalence": 0.5, "checks": []},
        },
        "operating_points": [],
        "no_calibration": None,
        "out_of_fold": "made up",
        "reference_scores": {"dm": "made up"},
        "training": {"dm": limits},
        "far": 1e9,
    }
    params = jax.tree.map(np.asarray, alexnet.init(alexnet.AlexNet(), jax.random.key(0)))
    bundle.save(bundle.Model(about, params, reference), "made up", folder)
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write(folder, Parameters("dm", 2, 3, 0.3, 1.0, 0.5, 0.4))
    return folder


def lesions(path: Path, phantom: Path, rename: dict[str, str] | None = None) -> Path:
    """The phantom's manifest, its images under other names."""
    with (phantom / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image_path"] = (rename or {}).get(row["image_path"], row["image_path"])
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def run(model: Path, images: Path, table: Path, out: Path) -> dict:
    command = [model, images, "--lesions", table, "--out", out, "--sr", "--no-evidence"]
    assert score.main([*map(str, command)]) == 0
    return json.loads((out / "scores.json").read_text())


def items(content: pydicom.Dataset) -> list[pydicom.Dataset]:
    """Every content item below this one."""
    found = []
    for item in content.get("ContentSequence", []):
        found += [item, *items(item)]
    return found


def test_a_report_holds_score_region_and_research_only(
    untrained: Path, phantom: Path, tmp_path: Path
) -> None:
    said = run(untrained, phantom, phantom / "manifest.csv", tmp_path / "out")
    reports = [pydicom.dcmread(path) for path in sorted((tmp_path / "out/sr").iterdir())]
    assert len(reports) == 2  # a patient, a study
    views = {v["image"]: (v, lesion) for lesion in said["lesions"] for v in lesion["views"]}
    headers = {
        str(pydicom.dcmread(phantom / name, stop_before_pixels=True).SOPInstanceUID): name
        for name in views
    }
    seen = 0
    for report in reports:
        found = items(report)
        regions = [item for item in found if item.ValueType == "SCOORD"]
        scores = [
            float(item.MeasuredValueSequence[0].NumericValue)
            for item in found
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "SCORE"
        ]
        assert len(regions) == len(scores) > 0
        for region, value in zip(regions, scores, strict=True):
            image = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            view, _ = views[headers[image]]
            top, left, bottom, right = view["box"]
            corners = np.reshape(region.GraphicData, (-1, 2))
            assert corners.min(0).tolist() == [left, top]
            assert corners.max(0).tolist() == [right, bottom]
            assert value == pytest.approx(view["score"], rel=1e-8)
            seen += 1
        text = "\n".join(str(item.TextValue) for item in found if item.ValueType == "TEXT")
        assert "Research use only" in text and "mtl_jax sttl-C1-test-seed0" in text
        assert report.VerificationFlag == "UNVERIFIED"
        # Every image that is referred to is in the evidence, as viewers demand.
        evidence = {
            str(one.ReferencedSOPInstanceUID)
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        }
        referred = {
            str(one.ReferencedSOPInstanceUID)
            for item in found
            for one in item.get("ReferencedSOPSequence", [])
        }
        assert evidence == referred and evidence <= set(headers)
    assert seen == len(views)
    # The same scores make the same report: sent twice, a PACS keeps one.
    run(untrained, phantom, phantom / "manifest.csv", tmp_path / "again")
    again = [pydicom.dcmread(path) for path in sorted((tmp_path / "again/sr").iterdir())]
    assert [r.SOPInstanceUID for r in again] == [r.SOPInstanceUID for r in reports]


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(untrained: Path, phantom: Path, tmp_path: Path) -> None:
    run(untrained, phantom, phantom / "manifest.csv", tmp_path / "out")
    for path in (tmp_path / "out" / "sr").iterdir():
        ended = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        said = ended.stdout + ended.stderr
        assert "ComprehensiveSR" in said and "Error" not in said, said


def test_a_picture_has_no_report(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from PIL import Image

    Image.fromarray(np.full((400, 400), 99, np.uint8)).save(tmp_path / "a.png")
    table = tmp_path / "lesions.csv"
    table.write_text("image_path,lesion_id,box,pixel_um\na.png,1,100;100;200;200,100\n")
    command = [untrained, tmp_path / "a.png", "--lesions", table, "--out", tmp_path / "out", "--sr"]
    assert score.main([*map(str, command)]) == 2
    said = capsys.readouterr().err
    assert "DICOM images only" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not orthanc.PROGRAM, reason="Orthanc (apt-get install orthanc) is not here")
def test_from_a_pacs_and_back(untrained: Path, phantom: Path, tmp_path: Path) -> None:
    pytest.importorskip("pynetdicom", reason="the [sr] extra is not installed")
    images = sorted(phantom.glob("*.dcm"))
    direct = run(untrained, phantom, phantom / "manifest.csv", tmp_path / "direct")
    headers = {path.name: pydicom.dcmread(path, stop_before_pixels=True) for path in images}
    with warnings.catch_warnings(), orthanc.running(tmp_path / "orthanc") as server:
        server.store(images)
        studies = {str(header.StudyInstanceUID) for header in headers.values()}
        classes = {header.SOPClassUID for header in headers.values()}
        assert classes == {ForProcessing}
        pulled = [
            path
            for number, study in enumerate(sorted(studies))
            for path in server.fetch(study, classes, tmp_path / "pulled" / str(number))
        ]
        assert len(pulled) == len(images)
        names = {name: f"{header.SOPInstanceUID}.dcm" for name, header in headers.items()}
        table = lesions(tmp_path / "lesions.csv", phantom, names)
        said = run(untrained, tmp_path / "pulled", table, tmp_path / "out")
        assert [lesion["score"] for lesion in said["lesions"]] == [
            lesion["score"] for lesion in direct["lesions"]
        ]
        reports = sorted((tmp_path / "out" / "sr").iterdir())
        server.store(reports)
        # Each report now stands beside its images, and comes back as it was sent.
        for path in reports:
            sent = pydicom.dcmread(path)
            found = [
                json.loads(server.get(f"/instances/{one}/tags?simplify"))
                for one in json.loads(server.get("/instances"))
            ]
            own = [tags for tags in found if tags["StudyInstanceUID"] == sent.StudyInstanceUID]
            kept = {tags["SOPInstanceUID"] for tags in own}
            assert sent.SOPInstanceUID in kept
            for study in sent.CurrentRequestedProcedureEvidenceSequence:
                for series in study.ReferencedSeriesSequence:
                    for one in series.ReferencedSOPSequence:
                        assert one.ReferencedSOPInstanceUID in kept
            (report,) = (tags for tags in own if tags["Modality"] == "SR")
            assert "Research use only" in report["SeriesDescription"]
            assert report["ContentSequence"]
