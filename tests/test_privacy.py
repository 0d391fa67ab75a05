"""No patient name from headers, tables or file names is in any output."""

import csv
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit.dicom import write_dicom
from pydicom.datadict import DicomDictionary
from test_imaging import write_pgm

from mtl_jax.config import default
from mtl_jax.data import ingest, privacy
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.report import tables
from mtl_jax.report.read_workdir import WorkFolder
from mtl_jax.types import Collection, InputError, RoiSet

ROOT = Path(__file__).resolve().parents[1]
ROI = RoiSettings()
COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,centre,notes"
TEXT = dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC"), "Zaphod Hospital")
VALUES = TEXT | {
    **{"PN": "Zaphod^Beeblebrox", "AE": "ZAPHOD", "CS": "ZAPHOD", "UR": "http://zaphod.example"},
    **{"DA": "19420311", "DT": "19420311074211", "TM": "074211", "AS": "042Y"},
    "UI": "1.2.999.42424242",
}
# The reader goes by these; a planted word would make the image another one.
NEEDED = (
    *("PhotometricInterpretation", "SOPClassUID", "TransferSyntaxUID", "ImageType", "Modality"),
    *("PresentationIntentType", "PixelIntensityRelationship", "PresentationLUTShape"),
    *("VOILUTFunction", "LossyImageCompression", "ViewPosition", "ImageLaterality", "Laterality"),
    *("RescaleType", "SpecificCharacterSet", "PixelSpacingCalibrationType", "BurnedInAnnotation"),
    *(
        "ConversionType",
        "PixelPresentation",
        "VolumetricProperties",
        "RedPaletteColorLookupTableUID",
    ),
)
PLANTED = ("zaphod", "beeblebrox", "19420311", "42424242", "trillian", "mcmillan", "marvin")
PLANTED += ("prefect", "dent", "slartibart", "magrathea")


def tags() -> dict[str, str]:
    """Return a value with a planted name for every DICOM tag that holds a string."""
    result = {}
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in VALUES and keyword and keyword not in NEEDED and 0x0008 <= tag >> 16 < 0x7FE0:
            result[keyword] = VALUES[kind]
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of good and bad images with patient names in every possible place."""
    home = tmp_path_factory.mktemp("Magrathea") / "Zaphod_Beeblebrox"
    gray = np.random.default_rng(4).integers(0, 4096, (300, 280)).astype(np.uint16)
    good = write_dicom(home / "Trillian McMillan" / "19420311.dcm", gray, **tags())
    write_dicom(home / "Arthur Dent" / "1.2.999.42424242.dcm", gray[::-1].copy(), **tags())
    bad = write_dicom(home / "Marvin" / "Prefect.dcm", gray, **tags(), SamplesPerPixel=3)
    (bad.parent / "half.dcm").write_bytes(good.read_bytes()[:-5000])
    write_pgm(home / "Marvin" / "Slartibart.pgm", gray, 4095)
    os.truncate(home / "Marvin" / "Slartibart.pgm", 100)
    rows = (
        "mine,Trillian McMillan,Prefect-1,CC,Trillian McMillan/19420311.dcm,malignant,100,150;140,",
        "mine,Dent,1,CC,Arthur Dent/1.2.999.42424242.dcm,benign,100,150;140,seen by Dr Zaphod",
        "mine,Dent,2,CC,Arthur Dent/1.2.999.42424242.dcm,benign,100,900;140,",
        "mine,Marvin,1,CC,Marvin/Prefect.dcm,benign,100,150;140,",
        "mine,Marvin,2,CC,Marvin/half.dcm,benign,100,150;140,",
        "mine,Marvin,3,CC,Marvin/Slartibart.pgm,benign,100,150;140,",
        "mine,Marvin Slartibart,3,CC,Marvin/Slartibart.pgm,unproven,100,150;140,",
    )
    (home / "m.csv").write_text("\n".join((COLUMNS, *rows)) + "\n")
    return home


def find_planted_names(text: bytes) -> list[str]:
    readable = re.sub(rb"base64,[\w+/=]+", b"", text).lower()  # any letters occur in an image
    return [name for name in PLANTED if name.encode() in readable]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_planted_names_are_in_no_output(home: Path, tmp_path: Path, workers: int) -> None:
    assert len(tags()) > 1500
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_shards.py", f"manifest:{home}/m.csv"]
        + ["--out", out, "--workers", str(workers)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) == 8  # six of the shards, the contact sheet and the lock
    for path in written:
        assert not find_planted_names(path.read_bytes()), path
        assert not find_planted_names(str(path.relative_to(out)).encode())
    assert not find_planted_names(done.stdout.encode())
    # Only messages about files to correct name files.
    errors = done.stderr.splitlines()
    assert len(errors) == 7 and all(
        line.startswith("mtl_jax: mine: left out:") for line in errors[:4]
    )
    # Two patients with the same PatientID in their headers, and the items left out.
    assert "1 PatientIDs of the headers are listed under several cases" in errors[4]
    assert not find_planted_names("\n".join(errors[4:]).encode())
    quoted = ("Zaphod^", "Hospital", "ZAPHOD", "zaphod.", "074211", "042Y")
    assert not any(value in done.stderr for value in quoted)
    with (out / "mine" / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["decision"] == "left out" for row in rows] == [False, False, *[True] * 5]
    assert all(row["reason"] for row in rows)
    assert rows[6]["reason"] == "truth unproven" and rows[5]["reason"].startswith("truncated")


def make(home: Path, out: Path, **rules: object) -> RoiSet:
    settings = ingest.Rules(unusable="leave_out", **rules)
    return ingest.make_shards(f"manifest:{home}/m.csv", out, ROI, {}, settings)


def test_a_patient_has_one_pseudonym_for_one_key(
    home: Path, tmp_path: Path, pseudonym_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(home, tmp_path / "a")
    assert stat.S_IMODE(pseudonym_key.stat().st_mode) == 0o600
    secret = pseudonym_key.read_text().strip()
    assert len(bytes.fromhex(secret)) == 32
    second = home.with_name("second")
    second.mkdir(exist_ok=True)
    write_pgm(second / "x.pgm", np.arange(90_000).reshape(300, 300) % 4096, 4095)
    row = "other,Dent,1,CC,x.pgm,benign,100,150;140,"
    (second / "m.csv").write_text(f"{COLUMNS}\n{row}\n")
    other = make(second, tmp_path / "a")
    assert other.index["case_id"][0] == first.index["case_id"][1] != first.index["case_id"][0]
    assert first.index["image"][0].endswith(".dcm") and len(first.index["image"][0]) == 16
    for path in (tmp_path / "a").rglob("*.*"):
        assert secret.encode() not in path.read_bytes()

    # The table beside the key maps back to the ids; only its owner can read it.
    made = first.manifest["fingerprint"][:12]
    table = pseudonym_key.with_name(f"lookup-mine-{made}.csv")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    with table.open(newline="") as file:
        lines = [(row["kind"], row["pseudonym"], row["original"]) for row in csv.DictReader(file)]
    assert ("case", first.index["case_id"][0], "Trillian McMillan") in lines
    image = "Trillian McMillan/19420311.dcm"
    assert ("image", first.index["image"][0].removesuffix(".dcm"), image) in lines

    monkeypatch.setenv(privacy.KEY_VARIABLE, str(tmp_path / "other" / "key"))
    another = make(home, tmp_path / "b")
    assert not set(first.index["case_id"]) & set(another.index["case_id"])
    np.testing.assert_array_equal(first.shards[0], another.shards[0])
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700
    with pytest.raises(InputError, match="contains shards made from other data"):
        make(home, tmp_path / "a")


def test_ids_are_unchanged_if_requested_and_no_key_is_created(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(privacy.KEY_VARIABLE, str(tmp_path / "key"))
    rois = make(home, tmp_path / "out", pseudonymise=False)
    assert list(rois.index["case_id"]) == ["Trillian McMillan", "Dent"]
    assert str(home.parent) not in (tmp_path / "out" / "mine" / "manifest.json").read_text()
    # Original names, but no UIDs, which are in one file name and in every header.
    assert rois.index["image"][0] == "Trillian McMillan/19420311.dcm"
    assert rois.index["image"][1].startswith("Arthur Dent/uid-")
    for path in (tmp_path / "out").rglob("*.*"):
        assert b"42424242" not in path.read_bytes()
    options = {"phantom": {"folder": tmp_path / "cache", "cases": 2, "seed": 0, "difficulty": 0.4}}
    options["phantom"] |= {"test_fraction": 0.5, "malignant_fraction": 0.5}
    options["phantom"] |= {"target": "sfm", "target_cases": None, "shared_signal": 1.0}
    phantom = ingest.load("phantom:sfm", tmp_path / "cache", ROI, options)
    assert phantom.index["case_id"][0] == "sfm-00000"
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("content", [None, b"short", b"\xff" * 70])
def test_a_key_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    monkeypatch.setenv(privacy.KEY_VARIABLE, str(path))
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: "):
        privacy.load_key()


def test_a_key_in_a_folder_that_cannot_be_written_is_named_before_any_work(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/version has more than 64 characters and is in a folder that nobody can write."""
    if not Path("/proc/version").exists():
        pytest.skip("no /proc on this system")
    monkeypatch.setenv(privacy.KEY_VARIABLE, "/proc/version")
    message = (
        f"/proc: the original ids of the pseudonyms cannot be written.*set {privacy.KEY_VARIABLE}"
    )
    with pytest.raises(InputError, match=f"{message}.*--keep-ids"):
        ingest.load(f"manifest:{home}/m.csv", tmp_path / "cache", ROI, {})
    assert not (tmp_path / "cache").exists()
    names = privacy.Pseudonyms(privacy.load_key())
    names.case("Müller")
    with pytest.raises(InputError, match="/proc/lookup-mine-0123.csv: the original ids of the"):
        names.save_lookup("mine", "0123")
    privacy.Pseudonyms(None).check_lookup()


def test_a_table_of_pseudonyms_that_is_there_needs_no_folder_to_write_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(privacy.KEY_VARIABLE, str(tmp_path / "key"))
    names = privacy.Pseudonyms(privacy.load_key())
    names.case("Müller")
    path = names.save_lookup("mine", "0123")
    assert "case," in path.read_text(encoding="utf-8") and "Müller" in path.read_text("utf-8")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(privacy, "_write_private", fail)
    assert names.save_lookup("mine", "0123") == path
    names.case("Schmidt")
    with pytest.raises(InputError, match="Permission denied"):
        names.save_lookup("mine", "0123")


def test_only_names_are_removed_from_texts(home: Path) -> None:
    result = SOURCES["manifest"](f"{home}/m.csv")
    result = replace(result, left_out=(("Ford/Left-Breast", "x"),))
    names = privacy.CollectionNames(result, b"k" * 32)
    assert names.text("3 of 12 rows: the box of MCMILLAN_2 is at 19420311") == (
        "3 of 12 rows: the box of [hidden]_2 is at [hidden]"
    )
    assert names.text(f"{home}/x.csv: no such file; Ford") == "x.csv: no such file; [hidden]"
    assert names.failure("cannot be read (bad 'Zed'); mend it") == "cannot be read; mend it"
    assert names.failure("colour ('Zed)') or \"Zed\"") == "colour or "
    assert names.text("series 1.2.840.5.6 in 1.2 of 3.4.5") == "series [hidden] in 1.2 of 3.4.5"
    plain = privacy.CollectionNames(result, None)
    same = [plain.text(f"{place}1.2.840.5.6{end}") for place in ("", "x/") for end in ("", ".dcm")]
    assert same == [place + same[0] + end for place in ("", "x/") for end in ("", ".dcm")]
    assert same[0].startswith("uid-")
    assert plain.failure(f"{home}/x: bad (Ford)") == "x: bad (Ford)"


def test_words_on_a_pixel_size_are_written_only_with_original_ids(home: Path) -> None:
    """Text of the user may name a patient; header fields and fixed texts do not."""
    result = SOURCES["manifest"](f"{home}/m.csv")
    hidden, plain = (
        privacy.CollectionNames(result, b"k" * 32),
        privacy.CollectionNames(result, None),
    )
    for text, written in (
        ("Ford's film 12", privacy.SPACING_FROM_TABLE),
        ("PixelSpacing", "PixelSpacing"),
    ):
        view = replace(result.views[0], spacing_source=text)
        assert hidden.view(view).spacing_source == written
        assert plain.view(view).spacing_source == text


def test_the_report_names_no_folder_of_this_machine() -> None:
    config = default().to_dict()
    config["weights"] = "/home/trillian/weights"
    config["data"]["sources"] = (
        "manifest:/home/dent/m.csv",
        "mini_mias:../dent/mias/",
        "phantom:dm",
    )
    config["data"]["cache"] = "/scratch/dent/cache"
    config["data"]["crosswalk"] = "/home/dent/pairs.csv"
    shown = tables.setting_rows(WorkFolder(config, *[{}] * 7))
    assert not find_planted_names(str(shown).encode())
    values = {field: value for field, value, _ in shown}
    assert values["data.sources"] == "manifest:m.csv, mini_mias:mias, phantom:dm"
    assert values["data.crosswalk"] == "pairs.csv"
    assert values["data.cache"] == "cache" and values["weights"] == "weights"


def test_a_collection_states_whether_its_ids_are_public(tmp_path: Path) -> None:
    assert Collection("x", tmp_path, ()).public_ids is False
