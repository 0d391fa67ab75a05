"""The output folder of a scoring is complete, or nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from kit.command import run_command
from kit.untrained import make_untrained

from mtl_jax.bundle import output, sr
from mtl_jax.commands import score
from mtl_jax.data import privacy
from mtl_jax.types import InputError

pytestmark = pytest.mark.usefixtures("narrow_alexnet")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command that scores one benign lesion, without --out."""
    folder = tmp_path_factory.mktemp("scored")
    gray = np.random.default_rng(7).integers(300, 3500, (300, 280)).astype(np.uint16)
    np.save(folder / "a.npy", gray)
    table = folder / "lesions.csv"
    table.write_text(
        "image_path,lesion_id,truth,box,pixel_um,bits\na.npy,1,benign,100;110;170;160,90,12\n"
    )
    model = make_untrained(folder / "model")
    return [*map(str, (model, folder / "a.npy", "--lesions", table)), "--no-evidence"]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_new_and_empty_folders_have_the_same_files(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")  # which cannot be replaced
    assert run_command(score, *command, "--out", tmp_path / "new" / "out") == 0
    assert run_command(score, *command, "--out", ".") == 0
    expected = {"lesions.csv", "views.csv", "scores.json", "scores.html", "evaluation.json"}
    for folder in (tmp_path / "new" / "out", tmp_path / "empty"):
        assert files(folder) == expected | {"pictures/0000-roi.png"}
        assert {path.name for path in folder.iterdir()} == expected | {"pictures"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    record = json.loads((tmp_path / "empty" / "evaluation.json").read_text())
    assert record == json.loads((tmp_path / "empty" / "scores.json").read_text())["evaluation"]
    out = capsys.readouterr().out
    assert "evaluated: 1 lesion with a reference standard, 0 malignant and 1 benign\n" in out
    assert "AUC: not defined\n" in out and "note: patients unknown: intervals by lesion" in out


def test_words_of_the_truth_are_named_by_classes(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table = Path(command[command.index("--lesions") + 1])
    german = tmp_path / "german.csv"
    german.write_text(table.read_text().replace("benign", "gutartig"))
    command = [str(german) if text == str(table) else text for text in command]
    assert run_command(score, *command, "--out", tmp_path / "a") == 0
    cure = "gutartig (1); name your words with --classes NEGATIVE,POSITIVE\n"
    assert cure in capsys.readouterr().out
    assert not (tmp_path / "a" / "evaluation.json").exists()
    # The words of the table may be anything, also names: no file has them.
    assert not any(b"gutartig" in path.read_bytes() for path in (tmp_path / "a").glob("*.*"))
    classes = ("--classes", "gutartig,bösartig")
    assert run_command(score, *command, *classes, "--out", tmp_path / "b") == 0
    assert "note: truth gutartig is benign and bösartig malignant" in capsys.readouterr().out
    assert ",benign," in (tmp_path / "b" / "lesions.csv").read_text()


@pytest.mark.parametrize(
    ("module", "name"), [(sr, "render"), (privacy.Pseudonyms, "save_lookup"), (output, "_json")]
)
def test_a_failure_leaves_nothing_behind(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    module: object,
    name: str,
) -> None:
    def fail(*_: object) -> None:
        raise InputError("disk full")

    monkeypatch.setattr(sr, "check", lambda *_: None)
    monkeypatch.setattr(sr, "render", lambda *_: {})
    monkeypatch.setattr(module, name, fail)
    assert run_command(score, *command, "--sr", "--out", tmp_path / "out") == 2
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr()
    assert said.err == "disk full\n" and said.out == ""


def test_a_folder_with_files_is_rejected_before_the_scoring(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr("mtl_jax.bundle.scoring.score", None)  # must not be called
    (tmp_path / "mine.txt").write_text("keep")
    assert run_command(score, *command, "--out", tmp_path) == 2
    assert "not empty; choose another --out" in capsys.readouterr().err
    assert files(tmp_path) == {"mine.txt"}
