"""Ingest: the audit, unusable images, resuming and several workers."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kit.command import run_command
from kit.dicom import for_processing, write_dicom
from test_imaging import write_pgm

from mtl_jax import config
from mtl_jax.commands import make_shards
from mtl_jax.data import extract_rois, ingest, reference_standard
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging import gray_mapping
from mtl_jax.imaging.resample import to_pixel_size
from mtl_jax.imaging.roi import RoiSettings, lesion_roi
from mtl_jax.io import command_line
from mtl_jax.types import InputError, LesionView, RoiSet

ROOT = Path(__file__).resolve().parents[1]
ROI = RoiSettings()
COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,truth_source,pixel_um,box,centre"
ROWS = (
    "mine,P1,1,CC,a.pgm,malignant,biopsy,100,60;60;90;90,",
    "mine,P2,1,CC,b.pgm,benign,followup,100,60;60;90;90,",
    "mine,P3,1,CC,c.pgm,benign,birads,100,60;60;90;90,",
    "mine,P4,1,CC,d.pgm,benign,,100,,80;80",
    "mine,P5,1,CC,e.pgm,malignant,simulated,100,60;60;90;90,",
    "mine,P6,1,CC,e.pgm,unproven,,100,60;60;90;90,",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a manifest of six rows and its five images."""
    home = tmp_path / "images"
    home.mkdir()
    rng = np.random.default_rng(5)
    for name in "abcde":
        write_pgm(home / f"{name}.pgm", rng.integers(0, 4096, (200, 220)), 4095)
    return write_manifest(home, ROWS)


def write_manifest(home: Path, rows: tuple[str, ...]) -> Path:
    (home / "m.csv").write_text("\n".join((COLUMNS, *rows)) + "\n")
    return home


def load(home: Path, **rules: object) -> RoiSet:
    default_rules = {"pseudonymise": False, "truth_policy": "birads", "unusable": "leave_out"}
    rules = default_rules | rules
    spec, cache = f"manifest:{home}/m.csv", home.parent / "cache"
    return ingest.load(spec, cache, ROI, {}, ingest.Rules(**rules))


def read_audit(home: Path) -> list[dict[str, str]]:
    (path,) = (home.parent / "cache").glob("*/audit.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_default_rules_equal_the_default_config() -> None:
    data = config.default().data.to_dict()
    roi, options, rules = ingest.read_settings(data, Path("phantom_folder"))
    assert rules == ingest.DEFAULT_RULES == ingest.Rules() and roi == RoiSettings()
    assert options["phantom"] == data["phantom"] | {
        "folder": Path("phantom_folder"),
        "target": "sfm",
    }
    assert options["mini_mias"] == data["mini_mias"]
    assert tuple(reference_standard.ACCEPTED) == config.TRUTH_POLICIES


@pytest.mark.parametrize(
    ("policy", "cases"),
    [
        ("biopsy", ["P1", "P5"]),
        ("biopsy_or_followup", ["P1", "P2", "P5"]),
        ("biopsy_followup_or_unstated", ["P1", "P2", "P4", "P5"]),
        ("birads", ["P1", "P2", "P3", "P4", "P5"]),
    ],
)
def test_policy_selects_reference_standards_and_lists_the_others(
    home: Path, policy: str, cases: list[str]
) -> None:
    rois = load(home, truth_policy=policy)
    assert list(rois.index["case_id"]) == cases
    excluded = dict(rois.manifest["left_out"])
    assert len(excluded) == 6 - len(cases) == rois.manifest["counts"]["left_out"]
    assert excluded["P6/1/CC"] == "truth unproven"
    if policy == "biopsy":
        assert excluded["P2/1/CC"] == "reference standard followup, not biopsy"
        assert excluded["P3/1/CC"] == "reference standard birads, not biopsy"
    if policy in ("biopsy", "biopsy_or_followup"):
        assert excluded["P4/1/CC"] == f"reference standard unstated, not {policy}"
    assert any(f"truth policy {policy}" in decision for decision in rois.manifest["decisions"])


def test_error_suggests_a_policy_that_accepts_the_lesions(home: Path) -> None:
    write_manifest(home, (ROWS[2], ROWS[2].replace("P3", "P7").replace("c.pgm", "a.pgm")))
    for policy in ("biopsy", "biopsy_or_followup", "biopsy_followup_or_unstated"):
        message = rf"='{policy}' accepts; the collection has birads \(2 .*truth_policy to 'birads'"
        with pytest.raises(InputError, match=message):
            load(home, truth_policy=policy)
    assert len(load(home)) == 2
    write_manifest(home, ROWS[1:2])
    with pytest.raises(InputError, match="to 'biopsy_or_followup'"):
        load(home, truth_policy="biopsy")
    write_manifest(home, ROWS[3:4])
    for policy in ("biopsy", "biopsy_or_followup"):
        with pytest.raises(InputError, match="to 'biopsy_followup_or_unstated'"):
            load(home, truth_policy=policy)
    with pytest.raises(InputError, match="data.truth_policy='x' is invalid"):
        load(home, truth_policy="x")


def test_existing_shards_are_checked_against_the_rules(home: Path) -> None:
    load(home)
    (folder,) = (path for path in (home.parent / "cache").iterdir() if path.name[0] != ".")

    def load_shards(**rules: object) -> RoiSet:
        settings = ingest.Rules(**rules)
        return ingest.load(f"shards:{folder}", home.parent / "cache", ROI, {}, settings)

    assert len(load_shards(truth_policy="birads")) == 5
    with pytest.raises(InputError, match="some ROIs have the reference standard birads"):
        load_shards()
    with pytest.raises(InputError, match="standard birads, unstated, which"):
        load_shards(truth_policy="biopsy_or_followup")
    with pytest.raises(InputError, match="standard birads, followup, unstated"):
        load_shards(truth_policy="biopsy")
    with pytest.raises(InputError, match="strict: 1 of the ROIs were corrected and 0 more"):
        load_shards(truth_policy="birads", strict=True)


def test_audit_has_one_row_per_lesion_view(home: Path) -> None:
    os.truncate(home / "b.pgm", 500)
    load(home, truth_policy="biopsy_followup_or_unstated")
    rows = read_audit(home)
    assert len(rows) == len(ROWS)
    result = {row["item"]: (row["decision"], row["reason"], row["image"]) for row in rows}
    truncated = "truncated: the PGM header states 88000 bytes of pixels, the file has "
    assert result.pop("P2/1/CC")[1].startswith(truncated)
    assert result == {
        "P1/1/CC": ("kept", "", "a.pgm"),
        "P3/1/CC": (
            "left out",
            "reference standard birads, not biopsy_followup_or_unstated",
            "c.pgm",
        ),
        "P4/1/CC": ("repaired", "centre only, extent not given", "d.pgm"),
        "P5/1/CC": ("kept", "", "e.pgm"),
        "P6/1/CC": ("left out", "truth unproven", ""),
    }


def test_unusable_image_is_excluded_and_counted_in_each_load(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete = load(home)
    assert capsys.readouterr().err == ""
    (home / "b.pgm").write_bytes(b"P5 truncated")
    (home / "c.pgm").unlink()
    write_manifest(home, (*ROWS[:2], ROWS[4]))  # the manifest must not list the deleted c.pgm
    rois = load(home)
    messages = capsys.readouterr().err
    assert "mine: left out: " in messages and f"{home}/b.pgm: " in messages
    assert "1 of 3 lesion views could not be used" in messages
    assert list(rois.index["case_id"]) == ["P1", "P5"]
    np.testing.assert_array_equal(rois.shards[0], complete.shards[0][[0, 4]])
    assert rois.manifest["counts"]["unusable"] == 1
    assert "1 lesion views could not be used" in rois.manifest["decisions"][-1]
    load(home)
    messages = capsys.readouterr().err  # from the cache: only the summary is repeated
    assert "1 of 3 lesion views could not be used" in messages and "b.pgm" not in messages
    for rules, setting in (
        ({"strict": True}, "strict=False"),
        ({"unusable": "reject"}, "unusable='leave_out'"),
    ):
        with pytest.raises(
            InputError,
            match=f"1 of 3 .* could not be used: see .*audit.csv. Correct .*config.data.{setting}",
        ):
            load(home, **rules)


def test_unusable_reject_raises_and_writes_no_shards(home: Path) -> None:
    os.truncate(home / "b.pgm", 500)
    with pytest.raises(InputError, match="1 of 5 .*used: .*b.pgm: truncated.*'leave_out'"):
        load(home, unusable="reject")
    assert not list((home.parent / "cache").glob("[!.]*"))


def test_strict_lists_corrections_and_unusable_images_with_their_count(home: Path) -> None:
    with pytest.raises(
        InputError, match="1 of 5 .*were corrected.*d.pgm: lesion 1 of case P4: cent"
    ):
        load(home, strict=True)
    write_manifest(home, (*ROWS[:3], ROWS[4]))
    os.truncate(home / "b.pgm", 500)
    os.truncate(home / "c.pgm", 500)
    with pytest.raises(
        InputError, match=r"2 of 4 .*\(1\) .*b.pgm: truncated.*; \(2\) .*c.pgm: .*; or set config"
    ):
        load(home, strict=True)
    assert not list((home.parent / "cache").glob("[!.]*"))


def test_collection_without_usable_images_is_rejected(home: Path) -> None:
    write_manifest(home, ROWS[:2])
    os.truncate(home / "a.pgm", 500)
    os.truncate(home / "b.pgm", 500)
    with pytest.raises(InputError, match="2 of 2 .*a.pgm: truncated"):
        load(home)


def test_magnification_view_is_excluded_and_listed(home: Path) -> None:
    for name, factor in (("a", "1.05"), ("b", "1.8")):
        tags = {"EstimatedRadiographicMagnificationFactor": factor}
        write_dicom(home / f"{name}.dcm", np.arange(44_000).reshape(200, 220) % 4096, **tags)
    write_manifest(home, tuple(row.replace(".pgm", ".dcm") for row in ROWS[:2]))
    rois = load(
        home, strict=True, unusable="reject"
    )  # a magnification view is neither corrected nor unusable
    assert list(rois.index["case_id"]) == ["P1"]
    counts = rois.manifest["counts"]
    assert (counts["rois"], counts["left_out"], counts["unusable"]) == (1, 1, 0)
    result = {row["item"]: (row["decision"], row["reason"]) for row in read_audit(home)}
    assert result["P2/1/CC"] == ("left out", extract_rois.MAGNIFIED)
    write_manifest(home, (ROWS[1].replace(".pgm", ".dcm"),))
    with pytest.raises(InputError, match="no lesion left: magnification view"):
        load(home)


def test_replaced_image_is_read_again(home: Path) -> None:
    content = (home / "b.pgm").read_bytes()
    os.truncate(home / "b.pgm", 500)
    assert len(load(home)) == 4
    (home / "b.pgm").write_bytes(content)
    assert len(load(home)) == 5


@pytest.mark.parametrize(
    "pixel_um",
    [(50.0, 50.0), (70.0, 85.0), (94.09, 94.09), (200.0, 200.0), (350.0, 400.0), (400.0, 150.0)],
)
@pytest.mark.parametrize("change", [{}, {"dark_is_dense": True}, {"curve": "ddsm_lumisys"}])
def test_part_of_an_image_gives_the_same_roi_as_the_full_image(
    tmp_path: Path, pixel_um: tuple[float, float], change: dict[str, object]
) -> None:
    rng = np.random.default_rng(7)
    stored = rng.integers(0, 4096, (700, 610))
    write_pgm(tmp_path / "x.pgm", stored, 4095)
    centres = ((350, 300), (3, 5), (690, 601), (350, 4))  # the last three ROIs extend outside
    views = [
        LesionView(
            **{"collection": "x", "image_path": tmp_path / "x.pgm", "case_id": "1"},
            **{"lesion_id": "1", "view": "CC", "laterality": "L", "modality": "SFM", "label": 1},
            **{"truth_source": "biopsy", "pixel_um": pixel_um, "spacing_source": "x"},
            box=(row, column, row, column),
            **change,
        )
        for row, column in centres
    ]
    coarser = max(pixel_um) > ROI.pixel_um
    roi = RoiSettings(38.4, upsample=True) if coarser else ROI
    result = extract_rois.extract(extract_rois.make_job(views, roi, 1, tmp_path / "kept"))
    assert result.errors == ("",) * 4
    gray = stored * 1.0
    if "curve" in change:
        gray = gray_mapping.apply_curve("ddsm_lumisys", gray.astype(np.float32), 12)
    gray = 4095 - gray if "dark_is_dense" in change else gray
    resampled = to_pixel_size(gray, pixel_um, roi.pixel_um, roi.upsample).clip(0, 4095)
    assert any("were interpolated" in note.text for note in result.notes[0]) == coarser
    for view, counts, outside_fraction in zip(views, result.rois, result.outside, strict=True):
        expected, fraction = lesion_roi(resampled, extract_rois.lesion_center(view, roi), roi)
        difference = np.abs(counts.astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.001  # rounding of halves
        assert outside_fraction == fraction


def test_bits_are_rejected_for_a_dicom_transformed_to_normalized_gray(tmp_path: Path) -> None:
    """Read as 14 bits, the 12-bit gray of a raw image would lose three quarters of its contrast."""
    gray = np.random.default_rng(4).integers(700, 900, (300, 300))
    path = write_dicom(tmp_path / "x.dcm", gray, bits=14, **for_processing())
    view = LesionView(
        **{"collection": "x", "image_path": path, "case_id": "1", "lesion_id": "1"},
        **{"view": "CC", "laterality": "L", "modality": "DM", "label": 1, "truth_source": "biopsy"},
        **{"pixel_um": (100.0, 100.0), "spacing_source": "x", "box": (140, 140, 160, 160)},
    )
    for bits, message in ((None, ""), (12, ""), (14, "bits 14 is invalid: the header defines")):
        job = extract_rois.make_job([replace(view, bits=bits)], ROI, 1, tmp_path / f"kept{bits}")
        assert extract_rois.extract(job).errors[0].startswith(message)
        assert bool(extract_rois.extract(job).errors[0]) == bool(message)


def test_unknown_curve_is_rejected(home: Path) -> None:
    (view,) = SOURCES["manifest"](f"{write_manifest(home, ROWS[:1])}/m.csv").views
    result = extract_rois.extract(
        extract_rois.make_job([replace(view, curve="x")], ROI, 1, home / "kept")
    )
    assert (
        result.errors[0].startswith("no curve 'x'; expected one of ddsm_dba")
        and not result.unreadable
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 24 large images, each with one lesion, every third with two."""
    home = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(6)
    rows = []
    for n in range(24):
        write_pgm(home / f"{n}.pgm", rng.integers(0, 4096, (1500, 1200)), 4095)
        rows.append(f"many,P{n},1,CC,{n}.pgm,{'malignant' if n % 2 else 'benign'},,50,,500;600")
    rows += [f"many,P{n},2,CC,{n}.pgm,benign,,50,,700;300" for n in range(0, 24, 3)]
    return write_manifest(home, tuple(rows))


def command(many: Path, out: Path, workers: int) -> list[str]:
    tool, spec = ROOT / "tools" / "make_shards.py", f"manifest:{many}/m.csv"
    return [sys.executable, str(tool), spec, "--out", str(out), "--workers", str(workers)]


def file_digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def uninterrupted(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(command(many, out, 1), check=True, capture_output=True)
    result = file_digests(out)
    names = ("audit.csv", "index.csv", "manifest.json", "manifest.sha256", "patients.csv")
    names += ("roi-00000.npy",)
    (sheet,) = [name for name in result if name.startswith("contact_sheets/many-")]
    assert list(result) == [sheet, *(f"many/{name}" for name in names)]
    return result


@pytest.mark.slow
def test_shards_of_two_workers_are_bit_identical(
    many: Path, uninterrupted: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run(command(many, tmp_path, 2), check=True, capture_output=True)
    assert file_digests(tmp_path) == uninterrupted


def start_ingest(many: Path, out: Path, finished: int) -> subprocess.Popen[str]:
    """Start an ingest with two workers and return it when `finished` images are done."""
    job = subprocess.Popen(
        command(many, out, 2), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    start_time = time.monotonic()
    while len(list((out / ".many.images").glob("*.kept"))) < finished:
        assert job.poll() is None and time.monotonic() - start_time < 120
        time.sleep(0.002)
    return job


def test_killed_ingest_resumes_bit_identically(
    many: Path, uninterrupted: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start_ingest(many, tmp_path, 8)
    job.kill()
    job.communicate()
    start_time = time.monotonic()
    while group_exists(job.pid):  # the workers must not outlive the job
        assert time.monotonic() - start_time < 20
        time.sleep(0.02)
    assert not (tmp_path / "many").exists()
    n_finished = len(list((tmp_path / ".many.images").glob("*.kept")))
    assert 8 <= n_finished < 24
    read_paths = []
    read_stored = extract_rois.read_stored
    monkeypatch.setattr(
        extract_rois, "read_stored", lambda *a: read_paths.append(a[0]) or read_stored(*a)
    )
    options = {"manifest": {"outside": False}}  # as in tools/make_shards.py
    sheets = tmp_path / "contact_sheets"
    spec = f"manifest:{many}/m.csv"
    ingest.make_shards(spec, tmp_path, ROI, options, contact_sheets=sheets)
    assert len(read_paths) == 24 - n_finished
    assert file_digests(tmp_path) == uninterrupted


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds a worker in /proc")
def test_killed_worker_gives_a_one_line_error(many: Path, tmp_path: Path) -> None:
    job = start_ingest(many, tmp_path, 2)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    workers = [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if " of 24 images" not in line]  # progress
    assert job.returncode == 2 and len(lines) == 1
    assert "many: a process that read images was killed" in lines[0]


def test_settings_of_make_shards(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"manifest:{many}/m.csv", "--out", str(tmp_path)]
    settings = ["--set", "background.correct=false", "--set", "pseudonymise=False"]
    assert run_command(make_shards, *arguments, *settings) == 0
    capsys.readouterr()
    manifest = json.loads((tmp_path / "many/manifest.json").read_text())
    assert manifest["imaging"]["background"]["correct"] is False
    assert "many/P0/1/CC" in (tmp_path / "many/index.csv").read_text()
    for setting, message in (
        ("mini_mias.clases=CIRC", "no field 'mini_mias.clases'; did you mean 'mini_mias.classes'?"),
        ("nonsense", "--set nonsense: expected FIELD=VALUE"),
        ("background=1", "no field 'background'"),
        ("workers=many", "expected int, got 'many'"),
        ("truth_policy=x", "--truth='x' is invalid"),
        ("background.correct=x", "expected bool"),
        ("roi.blank_mm=0.1", "--set roi.blank_mm=0.1 is invalid: expected 0, or a number >= 0.4"),
        ("test_fraction=2.0", "--set test_fraction=2.0 is invalid: expected a number in [0, 1)"),
    ):
        status = command_line.run(partial(make_shards.main, [*arguments, "--set", setting]))
        errors = capsys.readouterr().err
        assert status == 2 and message in errors and errors.count("\n") == 1


def test_advice_on_coarse_images_names_the_option() -> None:
    message = "or set config.data.roi.upsample=True to interpolate it"
    named = make_shards.name_flags(message, config.default().data)
    assert named == "or give --set roi.upsample=True to interpolate it"
