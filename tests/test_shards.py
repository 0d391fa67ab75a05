"""Shards are written atomically, read back exactly, reused, and rejected once changed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from kit.command import run_command
from test_imaging import write_pgm

from mtl_jax.commands import make_shards, verify_shards
from mtl_jax.data import extract_rois, ingest, shards
from mtl_jax.imaging.background import correct
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io import atomic
from mtl_jax.types import InputError

HERE = Path(__file__).resolve().parents[1]
ROI = RoiSettings()
OWN_IDS = ingest.Rules(pseudonymise=False)
COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,circle,polarity,bits"
ROWS = (
    "mine,P1,1,CC,a.pgm,malignant,100,300;320;20,bright_dense,",
    "mine,P1,1,CC,b.pgm,malignant,200,100;110;9,bright_dense,",
    "mine,P1,2,CC,a.pgm,benign,100,350;280;20,bright_dense,",
    "mine,P2,1,MLO,c.pgm,benign,200,20;150;5,dark_dense,8",
    "mine,P3,1,CC,c.pgm,unknown,200,20;150;5,,",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "images"
    home.mkdir()
    rng = np.random.default_rng(1)
    write_pgm(home / "a.pgm", rng.integers(0, 4096, (600, 620)), 4095)
    write_pgm(home / "b.pgm", rng.integers(0, 4096, (300, 310)), 4095)
    write_pgm(home / "c.pgm", rng.integers(0, 256, (250, 260)), 255)
    write_rows(home, ROWS)
    return home


def write_rows(home: Path, rows: tuple[str, ...], columns: str = COLUMNS) -> None:
    (home / "m.csv").write_text("\n".join((columns, *rows)) + "\n")


def load(home: Path, roi: RoiSettings = ROI) -> shards.RoiSet:
    return ingest.load(f"manifest:{home}/m.csv", home.parent / "cache", roi, {}, OWN_IDS)


def stored(path: Path) -> np.ndarray:
    """Return the pixels of a PGM without the reader under test."""
    _, _, size, maxval, pixels = path.read_bytes().split(b"\n", 4)
    columns, rows = (int(number) for number in size.split())
    return np.frombuffer(pixels, "u1" if maxval == b"255" else ">u2").reshape(rows, columns)


@pytest.mark.parametrize("corrected", [True, False])
def test_rois_equal_the_imaging_steps_applied_by_hand(home: Path, corrected: bool) -> None:
    rois = load(home, RoiSettings(correct=corrected))
    a = stored(home / "a.pgm").reshape(300, 2, 310, 2).mean((1, 3))
    c = (255.0 - stored(home / "c.pgm")) * 4095 / 255
    expected = [
        a[150 - 64 : 150 + 64, 160 - 64 : 160 + 64],
        stored(home / "b.pgm")[100 - 64 : 100 + 64, 110 - 64 : 110 + 64].astype(float),
        a[175 - 64 : 175 + 64, 140 - 64 : 140 + 64],
        np.concatenate([c[43::-1, 86:214], c[:84, 86:214]]),
    ]
    for roi, by_hand in zip(rois.shards[0], expected, strict=True):
        by_hand = correct(by_hand) if corrected else by_hand
        difference = roi * rois.manifest["gray_per_count"] - by_hand
        # Half a count for rounding, and float32 of the image: a few 1e-4 of a gray level.
        assert np.abs(difference).max() <= 0.0625 + 5e-4
    assert rois.shards[0].dtype == np.int16 and not rois.shards[0].flags.writeable


def test_index_and_manifest_record_the_ingest(home: Path) -> None:
    rois = load(home)
    assert rois.name == "mine" and len(rois) == 4
    assert list(rois.index) == list(shards.COLUMNS)
    assert list(rois.index["roi_id"]) == [
        *("mine/P1/1/CC", "mine/P1/1/CC-2", "mine/P1/2/CC", "mine/P2/1/MLO")
    ]
    np.testing.assert_array_equal(rois.index["label"], [1, 1, 0, 0])
    assert list(rois.index["image"]) == ["a.pgm", "b.pgm", "a.pgm", "c.pgm"]
    np.testing.assert_array_equal(rois.index["centre_row"], [150, 100, 175, 20])
    np.testing.assert_array_equal(rois.index["height_mm"], [4, 3.6, 4, 2])
    np.testing.assert_allclose(rois.index["outside"], [0, 0, 0, 44 / 128], atol=1e-6)
    assert rois.manifest["counts"] == {
        **{"images": 3, "rois": 4, "lesions": 3, "cases": 2},
        **{"malignant": 1, "benign": 2, "repaired": 0, "noted": 0},
        **{"left_out": 1, "unusable": 0, "constant": 0},
    }
    assert rois.manifest["left_out"] == [["P3/1/CC", "truth unknown"]]
    assert rois.manifest["imaging"] == ROI.record()
    # Shards may be published: they do not contain the folder where they were made.
    folder = next((home.parent / "cache").glob("[!.]*"))
    for name in ("manifest.json", "index.csv"):
        assert str(home.parent) not in (folder / name).read_text()


def test_shards_are_made_again_only_if_something_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    true_read = extract_rois.read_stored
    monkeypatch.setattr(
        extract_rois, "read_stored", lambda *a: read.append(a[0].name) or true_read(*a)
    )
    first = load(home)
    assert sorted(read) == ["a.pgm", "b.pgm", "c.pgm"]  # once each, with two lesions in a.pgm
    again = load(home)
    assert len(read) == 3
    np.testing.assert_array_equal(first.shards[0], again.shards[0])
    load(home, RoiSettings(correct=False))
    assert len(read) == 6
    write_rows(home, ROWS[:3])
    assert len(load(home)) == 3 and len(read) == 8
    os.utime(home / "a.pgm", ns=(0, 0))
    load(home)
    assert len(read) == 10
    assert len(list((home.parent / "cache").glob("[!.]*"))) == 4


def test_same_input_gives_the_same_bytes(home: Path) -> None:
    made = [ingest.make_shards(f"manifest:{home}/m.csv", home / out, ROI, {}) for out in "pq"]
    assert made[0].manifest == made[1].manifest
    for name in ("roi-00000.npy", "index.csv", "audit.csv", "manifest.json"):
        assert (home / "p/mine" / name).read_bytes() == (home / "q/mine" / name).read_bytes()
    opened = ingest.load(f"shards:{home}/p/mine", home / "cache", ROI, {})
    np.testing.assert_array_equal(opened.shards[0], made[0].shards[0])
    write_rows(home, ROWS[:2])
    with pytest.raises(InputError, match="contains shards made from other data"):
        ingest.make_shards(f"manifest:{home}/m.csv", home / "p", ROI, {})


def with_devices(rows: tuple[str, ...], devices: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{row},{device}" for row, device in zip(rows, devices, strict=True))


def test_devices_are_a_further_column_that_changes_no_other_byte(home: Path) -> None:
    """Without devices, also with an empty column, index.csv and its digest are as before there were
    any; with them the digest of the content is the same, so that finished studies stay valid."""
    columns = f"{COLUMNS},device"
    made = {}
    for name, devices in (("empty", [""] * 5), ("known", ["LUMISYS LASER", "=1+1", "", "b", "b"])):
        write_rows(home, with_devices(ROWS, tuple(devices)), columns)
        made[name] = ingest.make_shards(f"manifest:{home}/m.csv", home / name, ROI, {})
    write_rows(home, ROWS)
    made["none"] = ingest.make_shards(f"manifest:{home}/m.csv", home / "none", ROI, {})
    text = {name: (home / name / "mine" / "index.csv").read_text() for name in made}
    assert text["empty"] == text["none"]
    assert made["empty"].manifest == made["none"].manifest
    assert [line.rpartition(",")[0] for line in text["known"].splitlines()] == (
        text["none"].splitlines()
    )
    assert list(made["known"].index) == [*shards.COLUMNS, "device"]
    assert list(made["none"].index) == list(shards.COLUMNS)
    assert made["known"].index["device"].tolist() == ["LUMISYS LASER", "'=1+1", "", "b"]
    assert shards.content_digest(made["known"]) == shards.content_digest(made["none"])
    assert made["known"].manifest["fingerprint"] != made["none"].manifest["fingerprint"]


def test_a_changed_device_is_detected(home: Path) -> None:
    write_rows(home, with_devices(ROWS, ("a",) * 5), f"{COLUMNS},device")
    ingest.make_shards(f"manifest:{home}/m.csv", home / "out", ROI, {})
    path = home / "out" / "mine" / "index.csv"
    path.write_text(path.read_text().replace(",a\n", ",b\n"))
    with pytest.raises(InputError, match=r"index\.csv: wrong checksum"):
        shards.open_shards(path.parent)


def test_many_shards_keep_the_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(load(home).shards[0])
    monkeypatch.setattr(ingest, "SHARD_ROIS", 3)
    rois = ingest.make_shards(f"manifest:{home}/m.csv", home / "out", ROI, {}, OWN_IDS)
    assert [len(shard) for shard in rois.shards] == [3, 1]
    np.testing.assert_array_equal(np.concatenate(rois.shards), whole)


@pytest.mark.parametrize("name", ["roi-00000.npy", "index.csv", "audit.csv"])
def test_a_changed_byte_is_detected(home: Path, name: str) -> None:
    load(home)
    path = next((home.parent / "cache").glob("[!.]*")) / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: wrong checksum.*make the shards again"):
        load(home)


def edit(manifest: dict, *keys: str | int, value: object) -> dict:
    part = manifest
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    return manifest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((("format_version",), 1), "format version 1, expected 4; .*make the shards again"),
        ((("shards", 0, "rois"), 3), "4 ROIs, manifest.json says 3"),
        ((("shards", 0, "file"), "../../x.npy"), "the shards are not named roi-00000.npy"),
        ((("shards",), []), "index.csv has 4 rows, but the shards hold 0 ROIs"),
        ((("shards",), 7), "damaged"),
        ((("index",), {}), "damaged"),
    ],
)
def test_a_wrong_manifest_is_rejected(
    home: Path, change: tuple[tuple[str | int, ...], object], reason: str
) -> None:
    load(home)
    path = next((home.parent / "cache").glob("[!.]*")) / "manifest.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()), *change[0], value=change[1])))
    path.with_name(shards.MANIFEST_SHA256).write_text(
        f"{atomic.file_sha256(path)}  manifest.json\n"
    )
    with pytest.raises(InputError, match=reason):
        load(home)
    path.write_text("{")
    with pytest.raises(InputError, match="manifest.json: damaged"):
        load(home)


def test_a_missing_checksum_file_is_named(home: Path) -> None:
    load(home)
    path = next((home.parent / "cache").glob("[!.]*")) / shards.MANIFEST_SHA256
    path.unlink()
    with pytest.raises(InputError, match=r"manifest\.sha256: missing; delete the folder"):
        load(home)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b", "damaged"),
        ("a,b,1,CC,L,DM,x,biopsy,,i.dcm,70,70,tag,1,1,1,1,0,,", "damaged .*'x'"),
        ("a,b,1,CC,L,DM,0,biopsy,,i.dcm,70,70,tag,1,1,1,1,0,,,more", "damaged"),
    ],
)
def test_an_index_with_a_wrong_line_is_rejected(tmp_path: Path, line: str, reason: str) -> None:
    """Valid lines are read by column, with complete cells."""
    right = "r{0},c,1,CC,L,DM,1,biopsy,test,i.dcm,70,70.5,tag,1,1,1,1,0,{1},"
    lines = [",".join(shards.COLUMNS), *(right.format(i, "n" * i) for i in range(5))]
    path = tmp_path / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    index = shards._read_table(path)
    assert index["note"].tolist() == ["", "n", "nn", "nnn", "nnnn"]
    assert index["roi_id"].tolist() == ["r0", "r1", "r2", "r3", "r4"]
    assert index["label"].tolist() == [1] * 5 and index["pixel_um_col"].tolist() == [70.5] * 5
    # Shards made before notes existed lack the last column.
    path.write_text("\n".join(row.rpartition(",")[0] for row in lines) + "\n")
    older = shards._read_table(path)
    assert older["noted"].tolist() == [""] * 5 == index["noted"].tolist()
    assert older["note"].tolist() == index["note"].tolist()
    path.write_text("\n".join([*lines, line]) + "\n")
    with pytest.raises(InputError, match=reason):
        shards._read_table(path)
    path.write_text("a,b\n")
    with pytest.raises(InputError, match="its columns are not"):
        shards._read_table(path)


def test_a_failed_write_leaves_no_folder(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield np.zeros((1, 128, 128), np.int16)
        raise OSError("disk full")

    with pytest.raises(InputError, match="out: cannot be written .disk full"):
        shards.write(tmp_path / "out", "x", [], chunks(), {}, "")
    with pytest.raises(ValueError, match="index lines"):
        shards.write(tmp_path / "out", "x", [], iter([np.zeros((1, 128, 128), np.int16)]), {}, "")
    with pytest.raises(ValueError, match="not int16"):
        shards.write(tmp_path / "out", "x", [], iter([np.zeros((1, 128, 128))]), {}, "")
    assert not list(tmp_path.iterdir())


def test_the_slower_of_two_writers_keeps_the_existing_shards(home: Path) -> None:
    rois = load(home)
    folder = next((home.parent / "cache").glob("[!.]*"))
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    shards.write(folder, "mine", [], iter([]), dict(rois.manifest), "")
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.glob("[!.]*")] == [folder.name]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("mine,P1,1,CC,a.pgm,benign,100,700;320;20,,", "a.pgm: lesion 1 of case P1: .*outside the"),
        ("mine,P1,1,CC,a.pgm,benign,250,100;100;20,,", "a.pgm: lesion 1 of case P1: .*coarser"),
        ("mine,P1,1,CC,a.pgm,benign,100,300;320;20,,8", "a.pgm: lesion 1 of case P1: .*8 bits"),
        ("mine,P1,1,CC,a.pgm,unknown,100,300;320;20,,", "no lesion left .*truth unknown"),
    ],
)
def test_a_lesion_without_a_possible_roi_is_named(home: Path, row: str, reason: str) -> None:
    write_rows(home, (row,))
    with pytest.raises(InputError, match=reason):
        load(home)
    assert not list((home.parent / "cache").glob("[!.]*"))


def run_tool(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, HERE / "tools" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_tools(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tool(command: ModuleType, *arguments: object) -> tuple[int, str, str]:
        """Run the code of a tool in this process."""
        capsys.readouterr()
        status = run_command(command, *arguments)
        return status, *capsys.readouterr()

    out = tmp_path / "out"
    assert run_tool("make_shards.py", f"manifest:{home}/m.csv", "--out", out).returncode == 0
    ended = run_tool("verify_shards.py", tmp_path / "absent")
    assert ended.returncode == 2 and "no shards here" in ended.stderr
    status, text, errors = tool(verify_shards, out / "mine")
    assert (status, errors) == (0, "") and "mine, 4 ROIs in 1 shards, verified" in text
    os.truncate(out / "mine/roi-00000.npy", 1000)
    os.truncate(home / "b.pgm", 1000)
    # Only lesions of an unusable image are left out, with a message; --strict stops the ingest.
    status, text, errors = tool(make_shards, f"manifest:{home}/m.csv", "--out", tmp_path / "n")
    assert status == 0 and "mine: 1 left out: truncated" in text
    assert errors.count("\n") == 3 and "b.pgm: truncated" in errors
    failing = [
        tool(verify_shards, out / "mine"),
        tool(make_shards, f"manifest:{home}/m.csv", "--out", out),
        tool(make_shards, f"manifest:{home}/m.csv", "--out", tmp_path / "s", "--strict"),
        tool(make_shards, f"mini_mias:{tmp_path}/absent", "--out", out),
        tool(make_shards, f"mini_mias:{home}", "--out", out),
        tool(make_shards, "nomias:x", "--out", out),
        tool(verify_shards, tmp_path / "absent"),
    ]
    reasons = ("wrong checksum", "wrong checksum", "b.pgm: truncated", "no such folder")
    reasons += ("no Info.txt", "no source 'nomias'", "no shards here")
    for (status, text, errors), reason in zip(failing, reasons, strict=True):
        assert (status, text) == (2, "")
        assert reason in errors and errors.count("\n") == 1


def test_the_field_of_view_is_cropped_by_hand(home: Path) -> None:
    """At 51.2 mm a pixel is 400 um: 4x4 stored pixels of a.pgm."""
    rois = load(home, RoiSettings(51.2, correct=False))
    a = stored(home / "a.pgm").reshape(150, 4, 155, 4).mean((1, 3))
    counts = rois.shards[0][0] * rois.manifest["gray_per_count"]
    np.testing.assert_allclose(counts, a[75 - 64 : 75 + 64, 80 - 64 : 80 + 64], atol=0.07)
    assert rois.index["centre_row"][0] == 75 and rois.manifest["pixel_um"] == 400


def test_coarse_images_are_rejected_unless_upsampling_is_set(home: Path) -> None:
    with pytest.raises(InputError, match=r"b\.pgm.*coarser.*config\.data\.roi\.upsample=True"):
        load(home, RoiSettings(12.8))  # pixels of 100 um
    rois = load(home, RoiSettings(12.8, upsample=True))
    noted = rois.index["noted"].tolist()
    assert [("interpolated (200 x 200 um to 100 um)" in text) for text in noted] == [
        *(False, True, False, True)
    ]
    assert any("interpolated" in note["kind"] for note in rois.manifest["notes"])
    (audit,) = (home.parent / "cache").glob("mine-*/audit.csv")
    assert audit.read_text().count("were interpolated") == 2
    assert rois.manifest["imaging"]["upsample"] is True


@pytest.mark.parametrize(("field", "value"), [("extent_mm", 38.4), ("blank_mm", 5.0)])
def test_existing_shards_of_other_rois_are_rejected(home: Path, field: str, value: float) -> None:
    ingest.make_shards(f"manifest:{home}/m.csv", home / "p", ROI, {})
    other = RoiSettings(**{field: value})
    with pytest.raises(InputError, match=rf"made with config\.data\.roi\.{field}=.*has {value:g}"):
        ingest.load(f"shards:{home}/p/mine", home / "cache", other, {})
    made = ingest.make_shards(f"manifest:{home}/m.csv", home / "q", other, {})
    assert len(ingest.load(f"shards:{home}/q/mine", home / "cache", other, {})) == len(made)
