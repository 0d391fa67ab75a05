"""The cache: where it is, what it holds, and that clearing it deletes nothing else."""

import os
import pwd
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from kit.command import run_command

from mtl_jax import config
from mtl_jax.commands import cache as command
from mtl_jax.data import cache, ingest
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io import atomic, user_folders
from mtl_jax.types import InputError

ROI = RoiSettings(correct=False)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MTL_JAX_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_folder_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_variables: None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folders.cache() == tmp_path / ".cache" / "mtl_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: to be ignored
    assert user_folders.cache() == tmp_path / ".cache" / "mtl_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_folders.cache() == tmp_path / "xdg" / "mtl_jax"
    monkeypatch.setenv("MTL_JAX_CACHE", "~/mine")
    assert user_folders.cache() == tmp_path / "mine"
    c = config.default()
    assert c.data.cache is None
    config.expand_paths(c)
    assert c.data.cache == str(tmp_path / "mine")
    c.data.cache = "cache"
    config.expand_paths(c)
    assert c.data.cache == "cache"


def test_an_unknown_home_is_one_line_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, no_variables: None
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(InputError, match="set MTL_JAX_CACHE or config.data.cache to a folder"):
        config.expand_paths(config.default())
    assert user_folders.checkpoints() == [Path("checkpoints")]
    c = config.default()
    c.data.cache = "/elsewhere"
    config.expand_paths(c)


def test_a_new_cache_is_private_and_an_impossible_one_rejected(tmp_path: Path) -> None:
    folder = user_folders.create_cache(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/x: the cache cannot be created .*MTL_JAX_CACHE"):
        user_folders.create_cache(tmp_path / "file" / "x")


def test_shards_in_the_old_folder_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache" / "empty").mkdir(parents=True)
    assert user_folders.old_cache_note() == ""
    (tmp_path / "cache" / "empty" / "manifest.json").write_text("{}")
    assert "--config.data.cache=cache" in user_folders.old_cache_note()
    monkeypatch.setenv("MTL_JAX_CACHE", "cache")
    assert user_folders.old_cache_note() == ""


def make_cache(folder: Path) -> None:
    """Make two small collections in `folder`, and beside them what a job writes there."""
    films = folder.parent / "films"
    films.mkdir()
    rng = np.random.default_rng(0)
    rows = ["dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"]
    for name in ("ours", "dr-x"):
        for number, truth in enumerate(("malignant", "benign")):
            file = f"{name}{number}.npy"
            np.save(films / file, rng.integers(0, 4096, (300, 300), np.uint16))
            rows.append(f"{name},P{number},1,CC,{file},{truth},200,50;50;120;120")
        (films / "m.csv").write_text("\n".join(rows) + "\n")
        ingest.load(f"manifest:{films}/m.csv", folder, ROI, {})
        rows = rows[:1]
    for name in ("phantom-0123456789ab", ".ours.images", ".ours-0123456789ab.partial-7", "frozen"):
        (folder / name).mkdir()
    (folder / "phantom-0123456789ab" / atomic.CHECKSUMS).write_text("0" * 2_000_000)
    (folder / ".ours.images" / "abc.kept").write_text("")
    (folder / "frozen" / f"{'0' * 32}.npy").write_text("")
    for name in ("ours", "dr-x"):
        sheets = folder / "contact_sheets" / f"{name}-0123456789ab"
        sheets.mkdir(parents=True)
        (sheets / "page_001.html").write_text("")
    (folder / ".cbis_ddsm-places-5.json").write_text("{}")


def test_the_cache_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_cache(tmp_path / "cache")
    kinds = sorted((e.collection, e.kind, e.locked) for e in cache.list_entries(tmp_path / "cache"))
    assert kinds == [
        ("", "activations", ""),
        ("cbis_ddsm", "lesion positions", ""),
        ("dr-x", "ROIs", "dr-x"),
        ("dr-x", "contact sheets", ""),
        ("ours", "ROIs", "ours"),
        ("ours", "contact sheets", ""),
        ("ours", "unfinished", "ours"),
        ("ours", "unfinished", "ours"),
        ("phantom", "simulated images", "phantom-0123456789ab"),
    ]
    assert command.main(["--folder", str(tmp_path / "cache")]) == 0
    out = capsys.readouterr().out
    assert "phantom-0123456789ab" in out and "2.0 MB" in out and "9 entries" in out
    assert command.main(["--folder", str(tmp_path / "nowhere")]) == 0
    assert "nowhere: 0 entries" in capsys.readouterr().out


def test_clearing_deletes_the_named_entries_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache"
    make_cache(folder)
    kept = ("mine.txt", "notes/a.txt", "compiled/mine.py", "other-0123456789ab/x.csv")
    for name in kept:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "manifest.json").write_text("{}")
    (folder / "link-0123456789ab").symlink_to(tmp_path / "precious")
    (folder / "phantom-0123456789ab" / "link").symlink_to(tmp_path / "precious")

    assert command.main(["--folder", str(folder), "--clear", "ours"]) == 0
    assert capsys.readouterr().out.count("deleted ") == 4
    assert not (folder / "contact_sheets" / "ours-0123456789ab").exists()
    assert {e.collection for e in cache.list_entries(folder)} == {
        "",
        "cbis_ddsm",
        "dr-x",
        "phantom",
    }
    with pytest.raises(InputError, match="--clear ours: .* has no such entry; expected one of"):
        command.main(["--folder", str(folder), "--clear", "ours"])

    assert command.main(["--folder", str(folder), "--clear", "contact_sheets"]) == 0
    assert [path.name for path in (folder / "contact_sheets").iterdir()] == []
    assert command.main(["--folder", str(folder), "--clear"]) == 0
    assert cache.list_entries(folder) == []
    assert command.main(["--folder", str(folder), "--clear"]) == 0
    assert "nothing to delete" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: the cache is not a folder; set MTL_JAX_CACHE"):
        command.main(["--folder", str(tmp_path / "file")])
    assert all((folder / name).read_text() == "mine" for name in kept)
    assert (tmp_path / "precious" / "manifest.json").is_file()
    assert (folder / "link-0123456789ab").is_symlink()


def test_an_entry_is_deleted_when_its_writer_has_finished(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache")
    (entry,) = (e for e in cache.list_entries(tmp_path / "cache") if e.locked == "dr-x")
    thread = threading.Thread(target=cache.delete, args=(entry,))
    with atomic.lock(tmp_path / "cache" / "dr-x"):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and entry.path.is_dir()
    thread.join(10)
    assert not entry.path.exists()
    cache.delete(entry)  # deleted meanwhile


@pytest.mark.skipif(os.geteuid() == 0, reason="root can delete anything")
def test_what_cannot_be_deleted_is_one_line(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache")
    (tmp_path / "cache").chmod(0o500)
    status = run_command(command, "--folder", tmp_path / "cache", "--clear", "phantom")
    (tmp_path / "cache").chmod(0o700)
    assert status == 2


def test_shards_are_found_again_where_the_cache_was_moved(tmp_path: Path) -> None:
    """Check a source that writes its images into the cache: the folder is no part of the shards."""
    c = config.default()
    c.data.phantom.cases, c.data.target = 1, "sfm"
    digests = []
    for name in ("one", "two"):
        settings = ingest.read_settings(c.data.to_dict(), tmp_path / name)
        rois = ingest.load("phantom:sfm", tmp_path / name, *settings)
        digests.append(rois.manifest["fingerprint"])
        if name == "one":
            (tmp_path / "one").rename(tmp_path / "two")
    assert digests[0] == digests[1]
    assert len(list((tmp_path / "two").glob("sfm-*"))) == 1
