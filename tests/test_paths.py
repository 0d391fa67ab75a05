"""`~` in options, config fields and sources, where a shell does not expand it."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax import config
from mtl_jax.data import privacy
from mtl_jax.io import paths
from mtl_jax.types import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder; the current folder is another one."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset HOME and let the system not know the user, as in many containers."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_home_folders_of_the_user_and_of_another_user(home: Path) -> None:
    assert paths.expand_user("~") == str(home)
    assert paths.expand_user("~/a/~b") == f"{home}/a/~b"
    root = pwd.getpwuid(0)
    assert paths.expand_user(f"~{root.pw_name}/w") == f"{root.pw_dir}/w"
    for text in ("", "a/~", "./~x", "/~", "shipped", "C:\\films"):
        assert paths.expand_user(text) == text
    assert paths.expand_source("shards:~/s:1") == f"shards:{home}/s:1"
    assert paths.expand_source("phantom:sfm") == "phantom:sfm"
    assert paths.path("~/runs") == home / "runs"


def test_an_unknown_home_folder_is_a_one_line_error(
    homeless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^~/runs: the home folder is unknown .*set HOME"):
        paths.path("~/runs")
    monkeypatch.setenv("HOME", "")  # which would make /runs of it
    with pytest.raises(InputError, match="the home folder is unknown"):
        paths.expand_source("manifest:~/m.csv")
    with pytest.raises(InputError, match=r"no user 'nobody-here'.*\./~nobody-here/x for a name"):
        paths.expand_user("~nobody-here/x")
    with pytest.raises(InputError, match="empty"):
        paths.path("")


def test_the_key_without_a_home_names_the_variable(
    homeless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(privacy.KEY_VARIABLE)
    with pytest.raises(InputError, match="HOME is not set.*set MTL_JAX_KEY_FILE to a file"):
        privacy.load_key()
    monkeypatch.setenv(privacy.KEY_VARIABLE, "~/key")
    with pytest.raises(InputError, match="^MTL_JAX_KEY_FILE=~/key: the home folder is unknown"):
        privacy.key_path()


def test_the_key_may_be_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(privacy.KEY_VARIABLE, "~/keys/mine")
    assert privacy.key_path() == home / "keys" / "mine"
    monkeypatch.setenv(privacy.KEY_VARIABLE, "")
    assert privacy.key_path() == home / ".config" / "mtl_jax" / "key"


def test_every_setting_with_a_path_is_recorded_expanded(home: Path) -> None:
    c = config.default()
    c.weights, c.data.cache, c.data.crosswalk = "~/w", "~/cache", "~/pairs.csv"
    c.data.cmmd.boxes, c.pretraining.images = "~/boxes.csv", "folder:~/photos"
    c.data.sources = ("manifest:~/m.csv", "phantom:dm", "tfds:~/tfds/x/1.0.0")
    config.expand_paths(c)
    written = json.dumps(c.to_dict())
    assert "~" not in written
    assert c.data.sources == (f"manifest:{home}/m.csv", "phantom:dm", f"tfds:{home}/tfds/x/1.0.0")
    assert (c.weights, c.data.crosswalk) == (f"{home}/w", f"{home}/pairs.csv")
    assert (c.data.cmmd.boxes, c.pretraining.images) == (
        f"{home}/boxes.csv",
        f"folder:{home}/photos",
    )
    before = config.default()
    config.expand_paths(before)
    expected = config.default()
    expected.data.cache = os.environ["MTL_JAX_CACHE"]
    assert before.to_dict() == expected.to_dict()


def test_commands_write_only_below_the_home_folder(home: Path) -> None:
    rng = np.random.default_rng(5)
    rows = ["dataset,patient_id,lesion_id,view,image_path,box,pixel_um,bits,truth,truth_source"]
    for patient, truth in enumerate(("malignant", "benign")):
        np.save(home / f"{patient}.npy", rng.integers(0, 4096, (300, 280), dtype=np.uint16))
        rows.append(f"own,P{patient},1,CC,{patient}.npy,90;80;140;130,150,12,{truth},biopsy")
    (home / "m.csv").write_text("\n".join(rows) + "\n")
    for command in (
        ("tools/make_shards.py", "manifest:~/m.csv", "--out=~/shards"),
        ("tools/verify_shards.py", "~/shards/own"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    assert (home / "shards" / "own" / "index.csv").is_file()
    (home / "mine.py").write_text((ROOT / "configs" / "sttl.py").read_text())
    done = run(
        "-m",
        "mtl_jax.main",
        "--config",
        "~/mine.py:demo",
        "--workdir=~/runs/x",
        "--config.data.sources=('shards:~/nothing',)",
        "--config.data.cache=~/cache",
    )
    assert done.returncode == 2 and f"{home}/nothing" in done.stderr, done.stderr
    assert not list(Path.cwd().iterdir())


def run(*words: str) -> subprocess.CompletedProcess:
    """Run a command of the checkout in the current folder."""
    words = tuple(str(ROOT / word) if word.startswith("tools/") else word for word in words)
    names = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], env=names, capture_output=True, text=True)
