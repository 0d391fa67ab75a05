"""Structured Reports: valid, complete, and exchanged with a PACS."""

import csv
import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from kit import orthanc
from kit.command import run_command
from kit.dicom import write_dicom
from kit.untrained import make_untrained
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing as ForProcessing
from pydicom.uid import SecondaryCaptureImageStorage

from mtl_jax import config
from mtl_jax.commands import score
from mtl_jax.phantom.collection import Parameters, write_collection

pytest.importorskip("highdicom", reason="the [sr] extra is not installed")

pytestmark = pytest.mark.usefixtures("narrow_alexnet")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_untrained(tmp_path_factory.mktemp("untrained") / "model")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_collection(folder, Parameters("dm", 2, 3, 0.3, 1.0, 0.5, 0.4))
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the digitized films that docs/tutorial.md makes and scores."""
    folder, c = tmp_path_factory.mktemp("films"), config.default().data.phantom
    fractions = c.difficulty, 1.0, c.test_fraction, c.malignant_fraction
    write_collection(folder, Parameters("sfm", 4, 7, *fractions))
    return folder


def lesions(path: Path, phantom: Path, rename: dict[str, str] | None = None) -> Path:
    """Write the manifest of the phantom with other image names."""
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
    command.append("--keep-ids")
    assert run_command(score, *command) == 0
    return json.loads((out / "scores.json").read_text())


def items(content: pydicom.Dataset) -> list[pydicom.Dataset]:
    """Return all content items below this one."""
    found = []
    for item in content.get("ContentSequence", []):
        found += [item, *items(item)]
    return found


def test_a_report_holds_score_roi_and_research_only(
    untrained: Path, phantom: Path, tmp_path: Path
) -> None:
    said = run(untrained, phantom, phantom / "manifest.csv", tmp_path / "out")
    reports = [pydicom.dcmread(path) for path in sorted((tmp_path / "out/sr").iterdir())]
    assert len(reports) == 2  # one study per patient
    views = {v["image"]: (v, lesion) for lesion in said["lesions"] for v in lesion["views"]}
    headers = {
        str(pydicom.dcmread(phantom / name, stop_before_pixels=True).SOPInstanceUID): name
        for name in views
    }
    seen = 0
    for report in reports:
        found = items(report)
        rois = [item for item in found if item.ValueType == "SCOORD"]
        scores = [
            float(item.MeasuredValueSequence[0].NumericValue)
            for item in found
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "SCORE"
        ]
        assert len(rois) == len(scores) > 0
        for roi, value in zip(rois, scores, strict=True):
            image = roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            view, _ = views[headers[image]]
            top, left, bottom, right = view["box"]
            corners = np.reshape(roi.GraphicData, (-1, 2))
            assert corners.min(0).tolist() == [left, top]
            assert corners.max(0).tolist() == [right, bottom]
            assert value == pytest.approx(view["score"], rel=1e-8)
            seen += 1
        text = "\n".join(str(item.TextValue) for item in found if item.ValueType == "TEXT")
        assert "Research use only" in text and "mtl_jax sttl-C1-test-seed0" in text
        assert report.VerificationFlag == "UNVERIFIED"
        # Every referenced image is in the evidence, as viewers require.
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
    # The same scores give the same report, so that a PACS stores it once.
    run(untrained, phantom, phantom / "manifest.csv", tmp_path / "again")
    again = [pydicom.dcmread(path) for path in sorted((tmp_path / "again/sr").iterdir())]
    assert [r.SOPInstanceUID for r in again] == [r.SOPInstanceUID for r in reports]


def test_digitized_films_have_reports_without_an_invented_pixel_size(
    untrained: Path, films: Path, tmp_path: Path
) -> None:
    """Films are secondary captures with NominalScannedPixelSpacing and no PixelSpacing."""
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in films.glob("*.dcm")]
    assert {image.SOPClassUID for image in images} == {SecondaryCaptureImageStorage}
    assert not any("PixelSpacing" in image or "ImagerPixelSpacing" in image for image in images)
    said = run(untrained, films, films / "manifest.csv", tmp_path / "out")
    paths = sorted((tmp_path / "out" / "sr").iterdir())
    reports = [pydicom.dcmread(path) for path in paths]
    studies = {str(image.StudyInstanceUID) for image in images}
    assert {str(report.StudyInstanceUID) for report in reports} == studies
    content = [item for report in reports for item in items(report)]
    rois = [item for item in content if item.ValueType == "SCOORD"]
    assert len(rois) == len(images) == sum(len(lesion["views"]) for lesion in said["lesions"])
    referred = {
        str(roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for roi in rois
    }
    assert referred == {str(image.SOPInstanceUID) for image in images}
    names = {item.ConceptNameCodeSequence[0].CodeMeaning for item in content}
    assert not [name for name in names if "Spacing" in name]
    if shutil.which("dciodvfy"):
        for path in paths:
            ended = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
            assert "Error" not in ended.stdout + ended.stderr


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(untrained: Path, phantom: Path, tmp_path: Path) -> None:
    run(untrained, phantom, phantom / "manifest.csv", tmp_path / "out")
    for path in (tmp_path / "out" / "sr").iterdir():
        ended = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        said = ended.stdout + ended.stderr
        assert "ComprehensiveSR" in said and "Error" not in said, said


def test_images_that_are_not_dicom_are_rejected(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from PIL import Image

    Image.fromarray(np.full((400, 400), 99, np.uint8)).save(tmp_path / "a.png")
    table = tmp_path / "lesions.csv"
    table.write_text("image_path,lesion_id,box,pixel_um\na.png,1,100;100;200;200,100\n")
    command = [untrained, tmp_path / "a.png", "--lesions", table, "--out", tmp_path / "out", "--sr"]
    assert run_command(score, *command) == 2
    said = capsys.readouterr().err
    assert "DICOM images only" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


FILM = np.random.default_rng(5).integers(300, 3000, (320, 300)).astype(np.uint16)


def film(path: Path, **tags: object) -> Path:
    """Write a digital mammogram of the left breast with these tags (None removes a tag)."""
    named = {"StudyInstanceUID": "1.2.826.0.1.7.1", "SeriesInstanceUID": "1.2.826.0.1.7.2"}
    named["SOPInstanceUID"] = "1.2.826.0.1.7.3"
    named |= {"ImageLaterality": "L", "ViewPosition": "MLO", "ImagerPixelSpacing": [0.085, 0.085]}
    return write_dicom(path, FILM, **(named | tags))


def reported(
    model: Path, folder: Path, cells: dict[str, str] | None = None, **tags: object
) -> pydicom.Dataset:
    """Return the report on one lesion, for these tags and these cells of the table."""
    film(folder / "a.dcm", **tags)
    row = {"image_path": "a.dcm", "patient_id": "P", "lesion_id": "1", "box": "90;80;170;190"}
    row |= cells or {}
    table = folder / "lesions.csv"
    table.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    run(model, folder / "a.dcm", table, folder / "out")
    (path,) = (folder / "out" / "sr").iterdir()
    return pydicom.dcmread(path)


def sides(report: pydicom.Dataset) -> list[str]:
    concepts = [item for item in items(report) if item.ValueType == "CODE"]
    meanings = [item.ConceptCodeSequence[0].CodeMeaning for item in concepts]
    return [meaning for meaning in meanings if meaning in ("Left", "Right")]


@pytest.mark.parametrize(
    ("tags", "cells", "expected"),
    [
        ({}, {}, ["Left"]),
        ({"ImageLaterality": None, "Laterality": "R"}, {}, ["Right"]),
        ({"ImageLaterality": None}, {"laterality": "R"}, ["Right"]),
        # A left breast rotated by 180 degrees has the orientation of a right one.
        ({"ImageLaterality": None, "PatientOrientation": ["P", "FL"]}, {}, []),
        ({"ImageLaterality": "B"}, {}, []),
        ({"ImageLaterality": "L", "Laterality": "R"}, {}, []),
    ],
)
def test_laterality_is_reported_only_if_certain(
    untrained: Path,
    tmp_path: Path,
    tags: dict[str, object],
    cells: dict[str, str],
    expected: list[str],
) -> None:
    assert sides(reported(untrained, tmp_path, cells, **tags)) == expected


@pytest.mark.parametrize(
    ("tags", "listed"),
    [
        ({"PatientOrientation": ["A", "FR"]}, True),
        ({}, False),
        ({"PatientOrientation": ""}, False),
        ({"PatientOrientation": "MLO"}, False),  # as CBIS-DDSM writes it
        ({"PatientOrientation": ["A", "FR"], "ImagerPixelSpacing": None}, False),
        ({"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}, False),
        (
            {
                "SOPClassUID": SecondaryCaptureImageStorage,
                "PatientOrientation": ["A", "FR"],
                "ImagerPixelSpacing": None,
                "NominalScannedPixelSpacing": [0.085, 0.085],
            },
            False,
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR"}, False),
    ],
)
def test_missing_attributes_are_not_in_the_report(
    untrained: Path, tmp_path: Path, tags: dict[str, object], listed: bool
) -> None:
    report = reported(untrained, tmp_path, {"pixel_um": "85"}, **tags)
    names = [item.ConceptNameCodeSequence[0].CodeMeaning for item in items(report)]
    assert ("Image Library" in names) == listed
    assert len(report.CurrentRequestedProcedureEvidenceSequence) == 1
    (roi,) = (item for item in items(report) if item.ValueType == "SCOORD")
    assert np.reshape(roi.GraphicData, (-1, 2)).max(0).tolist() == [190, 170]
    if shutil.which("dciodvfy"):
        path = next((tmp_path / "out" / "sr").iterdir())
        ended = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert "Error" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("tags", "cells", "words"),
    [
        ({"StudyInstanceUID": None}, {}, "a.dcm: StudyInstanceUID is missing"),
        ({"PatientSex": "W"}, {}, "field PatientSex is invalid by the DICOM standard"),
        ({"PatientBirthDate": "in 1950"}, {}, "field PatientBirthDate"),
        ({}, {"laterality": "R"}, "a.dcm: laterality R, but the header states L"),
    ],
)
def test_invalid_headers_are_rejected_before_scoring(
    untrained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, object],
    cells: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr("mtl_jax.bundle.scoring.score", None)  # must not be called
    with warnings.catch_warnings(), pytest.raises(AssertionError):
        warnings.simplefilter("ignore")  # of pydicom, about the invalid values
        reported(untrained, tmp_path, cells, **tags)
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_probability_has_its_prevalence(untrained: Path, tmp_path: Path) -> None:
    report = reported(untrained, tmp_path)
    measured = {
        item.ConceptNameCodeSequence[0].CodeValue: item
        for item in items(report)
        if item.ValueType == "NUM"
    }
    (holds_at,) = measured["111047"].ContentSequence
    assert holds_at.ConceptNameCodeSequence[0].CodeValue == "PREVALENCE"
    assert float(holds_at.MeasuredValueSequence[0].NumericValue) == 37.5
    assert holds_at.RelationshipType == "HAS PROPERTIES"
    (lesion,) = json.loads((tmp_path / "out" / "scores.json").read_text())["lesions"]
    assert lesion["prevalence"] == 0.375


def test_changed_content_changes_the_instance_uid(untrained: Path, tmp_path: Path) -> None:
    """Of two reports with one SOP Instance UID a PACS would keep the first."""
    changes = [
        ({}, {}),
        ({}, {"box": "91;81;169;189"}),  # the same centre, and so the same score
        ({}, {"lesion_id": "2"}),
        ({"PatientName": "Other"}, {}),
        ({"ImageLaterality": None}, {}),
        ({"PatientOrientation": ["A", "FR"]}, {}),
    ]
    made = []
    for number, (tags, cells) in enumerate(changes):
        report = reported(untrained, tmp_path / str(number), cells, **tags)
        made.append(str(report.SOPInstanceUID))
        assert report.file_meta.MediaStorageSOPInstanceUID == report.SOPInstanceUID
        assert report.ContentDate and report.ContentTime
    assert len(set(made)) == len(made)
    assert reported(untrained, tmp_path / "again").SOPInstanceUID == made[0]


@pytest.mark.skipif(
    not orthanc.PROGRAM, reason="Orthanc is not installed (apt-get install orthanc)"
)
@pytest.mark.slow  # starts a PACS
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
        # Each report is in the study of its images and is returned unchanged.
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
