"""Checkpoints that are damaged, partly written, of another run, or cannot be written."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from orbax.checkpoint import StandardCheckpointer

from mtl_jax.training import checkpoint
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.types import InputError, TrainState

SETTINGS = {"network": {"lrn": False}, "train": {"epochs": 4, "learning_rate": 0.001}}


def make_state(value: float) -> dict[str, Any]:
    params = {"F5": {"kernel": np.full((8, 2), value), "bias": np.zeros(2)}}
    return TrainState(np.int32(value), params, ({"trace": np.full(3, value)},))._asdict()


def save_three(folder: Path) -> Checkpoints:
    """Save checkpoints of epochs 1, 2 and 3."""
    checkpoints = Checkpoints(folder, SETTINGS)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, make_state(epoch))
    return checkpoints


def is_equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def test_the_latest_two_are_kept_and_the_newest_is_restored(tmp_path: Path) -> None:
    epoch, restored = save_three(tmp_path).resume(make_state(0))
    assert epoch == 3 and is_equal(restored, make_state(3))
    assert checkpoint.saved_epochs(tmp_path) == [2, 3]
    np.testing.assert_array_equal(
        checkpoint.read_params(tmp_path)["F5"]["kernel"], np.full((8, 2), 3)
    )


def test_a_changed_byte_in_any_file_is_reported_and_the_previous_checkpoint_is_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_three(tmp_path / "good")
    # The file in which Orbax writes times changes by itself; it does not affect the state.
    files = [p for p in (tmp_path / "good/3").rglob("*") if p.is_file() and p.stat().st_size]
    files = [
        p.relative_to(tmp_path / "good") for p in files if p.name not in checkpoint.CHANGING_FILES
    ]
    assert len(files) > 4
    rng = np.random.default_rng(0)
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", folder)
        flip_bit(folder / file, int(rng.integers((folder / file).stat().st_size)))
        epoch, restored = Checkpoints(folder, SETTINGS).resume(make_state(0))
        assert epoch == 2 and is_equal(restored, make_state(2)), file
        message = capfd.readouterr().err
        assert message.count("\n") == 1 and "checkpoint before" in message, message
        name = file.relative_to("3").as_posix()
        assert f"{folder}/3: damaged, " in message and (name in message or name == "SHA256SUMS")
        assert checkpoint.saved_epochs(folder) == [2]


@pytest.mark.parametrize("change", ["removed file", "removed folder", "emptied", "extra file"])
def test_a_changed_checkpoint_folder_is_damaged(
    change: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = save_three(tmp_path)
    if change == "removed folder":
        shutil.rmtree(tmp_path / "3")
    elif change == "emptied":
        shutil.rmtree(tmp_path / "3")
        (tmp_path / "3").mkdir()
    elif change == "removed file":
        next((tmp_path / "3/state").rglob("manifest.ocdbt")).unlink()
    else:
        (tmp_path / "3/state/more").write_text("x")
    epoch, restored = checkpoints.resume(make_state(0))
    assert epoch == 2 and is_equal(restored, make_state(2))
    assert capfd.readouterr().err.count(": damaged, ") == (change != "removed folder")


def test_training_starts_anew_if_all_checkpoints_are_damaged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = save_three(tmp_path)
    for epoch in (2, 3):
        flip_bit(tmp_path / str(epoch) / "card.json", 5)
    epoch, restored = checkpoints.resume(make_state(0))
    assert epoch == 0 and is_equal(restored, make_state(0))
    assert capfd.readouterr().err.count(": damaged, ") == 2
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.read_params(tmp_path)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"train": {"epochs": 5, "learning_rate": 0.001}}, "train.epochs is 4, not 5"),
        ({"network": {"lrn": True}}, "network.lrn is False, not True"),
        (
            {"weights": {"arrays_sha256": "ab" * 32}},
            r"weights.arrays_sha256 is None, not abababababab",
        ),
        ({"precision": {"matmul": "high"}}, "precision.matmul is 'highest', not 'high'"),
    ],
)
def test_another_config_network_weights_or_precision_is_rejected_with_the_difference(
    settings: dict, difference: str, tmp_path: Path
) -> None:
    save_three(tmp_path)
    with pytest.raises(InputError, match=f"of another training run: .*{difference}.*or delete"):
        Checkpoints(tmp_path, SETTINGS | settings).resume(make_state(0))
    assert checkpoint.saved_epochs(tmp_path) == [2, 3]


def set_version(monkeypatch: pytest.MonkeyPatch, jax_version: str) -> None:
    versions = checkpoint.software.versions() | {"jax": jax_version}
    monkeypatch.setattr(checkpoint.software, "versions", lambda: versions)


def test_another_version_is_rejected_unless_it_is_accepted_and_then_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version(monkeypatch, "0.0.1")
    save_three(tmp_path)
    assert checkpoint.versions_before(tmp_path) == []
    set_version(monkeypatch, "0.0.2")
    message = r"of another version: versions.jax is '0.0.1', not '0.0.2'; .*--accept_versions"
    with pytest.raises(InputError, match=message):
        Checkpoints(tmp_path, SETTINGS).resume(make_state(0))
    changed = SETTINGS | {"network": {"lrn": True}}
    with pytest.raises(InputError, match="of another training run: network.lrn"):
        Checkpoints(tmp_path, changed, accept_versions=True).resume(make_state(0))
    accepted = Checkpoints(tmp_path, SETTINGS, accept_versions=True)
    assert accepted.resume(make_state(0))[0] == 3
    assert [versions["jax"] for versions in checkpoint.versions_before(tmp_path)] == ["0.0.1"]
    accepted.save(4, make_state(4))
    assert [versions["jax"] for versions in checkpoint.versions_before(tmp_path)] == ["0.0.1"]
    for version in ("0.0.1", "0.0.2"):  # a mixed run is accepted by neither version alone
        set_version(monkeypatch, version)
        with pytest.raises(InputError, match="of another version"):
            Checkpoints(tmp_path, SETTINGS).resume(make_state(0))


def test_metadata_without_provenance_is_rejected(tmp_path: Path) -> None:
    save_three(tmp_path)
    for epoch in (2, 3):
        metadata = json.loads((tmp_path / str(epoch) / "card.json").read_text())
        for field in ("platform", "precision", "random", checkpoint.VERSIONS_BEFORE):
            del metadata[field]
        (tmp_path / str(epoch) / "card.json").write_text(json.dumps(metadata))
        checkpoint.atomic.write_checksums(tmp_path / str(epoch), checkpoint.CHANGING_FILES)
    with pytest.raises(InputError, match="of another training run: platform is None"):
        Checkpoints(tmp_path, SETTINGS, accept_versions=True).resume(make_state(0))


def test_a_failed_write_keeps_the_earlier_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = save_three(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StandardCheckpointer, "save", fail)
    with pytest.raises(InputError, match="/4: cannot be written .No space left.*free space on"):
        checkpoints.save(4, make_state(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    assert checkpoints.resume(make_state(0))[0] == 3


def test_files_of_a_killed_process_are_not_checkpoints(tmp_path: Path) -> None:
    checkpoints = save_three(tmp_path)
    (tmp_path / "3").rename(tmp_path / ".3.partial-1")
    shutil.copytree(tmp_path / "2", tmp_path / ".9.gone")
    assert checkpoints.resume(make_state(0))[0] == 2
    checkpoints.save(3, make_state(3))
    checkpoints.close(keep=3)
    assert [p.name for p in tmp_path.iterdir()] == ["3"]


@pytest.mark.usefixtures("no_compiled_programs")
def test_orbax_prints_nothing(tmp_path: Path) -> None:
    """Run a process that did not silence its log."""
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "import test_checkpoints as t; folder = Path(sys.argv[1]);"
        "t.save_three(folder); t.flip_bit(folder / '3/card.json', 3);"
        "print(t.Checkpoints(folder, t.SETTINGS).resume(t.make_state(0))[0])"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
    )
    assert process.stdout == "2\n", process.stderr
    assert process.stderr.count("\n") == 1 and "damaged, card.json" in process.stderr


def test_the_metadata_record_versions_and_settings(tmp_path: Path) -> None:
    save_three(tmp_path)
    metadata = json.loads((tmp_path / "3/card.json").read_text())
    assert metadata["versions"]["jax"] == jax.__version__
    assert metadata["train"] == SETTINGS["train"]
