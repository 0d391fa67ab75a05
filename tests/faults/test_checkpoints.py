"""A checkpoint that is damaged, half written, of another training, or not taken by the disk."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import StandardCheckpointer

from mtl_jax.training import checkpoint
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.types import InputError, TrainState

MADE_BY = {"network": {"lrn": False}, "train": {"epochs": 4, "learning_rate": 0.001}}


def state(value: float) -> TrainState:
    params = {"F5": {"kernel": jnp.full((8, 2), value), "bias": jnp.zeros(2)}}
    return TrainState(jnp.int32(value), params, ({"trace": jnp.full(3, value)},))


def stored(folder: Path) -> Checkpoints:
    """Checkpoints of epochs 1, 2 and 3 were saved."""
    checkpoints = Checkpoints(folder, MADE_BY)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, state(epoch))
    return checkpoints


def equal(a: TrainState, b: TrainState) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_the_latest_two_are_kept_and_the_newest_comes_back(tmp_path: Path) -> None:
    found = stored(tmp_path).resume(state(0))
    assert found[0] == 3 and equal(found[1], state(3))
    assert checkpoint.saved_epochs(tmp_path) == [2, 3]
    np.testing.assert_array_equal(
        checkpoint.read_params(tmp_path)["F5"]["kernel"], np.full((8, 2), 3)
    )


def test_a_flipped_byte_in_any_file_is_found_named_and_the_one_before_serves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "good")
    # Orbax's file of times says nothing of the numbers; it changes by itself.
    files = [p for p in (tmp_path / "good/3").rglob("*") if p.is_file() and p.stat().st_size]
    files = [
        p.relative_to(tmp_path / "good") for p in files if p.name not in checkpoint.CHANGING_FILES
    ]
    assert len(files) > 4
    rng = np.random.default_rng(0)
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", folder)
        flip(folder / file, int(rng.integers((folder / file).stat().st_size)))
        epoch, found = Checkpoints(folder, MADE_BY).resume(state(0))
        assert epoch == 2 and equal(found, state(2)), file
        said = capfd.readouterr().err
        assert said.count("\n") == 1 and "checkpoint before" in said, said
        name = file.relative_to("3").as_posix()
        assert f"{folder}/3: damaged, " in said and (name in said or name == "SHA256SUMS")
        assert checkpoint.saved_epochs(folder) == [2]


@pytest.mark.parametrize("how", ["removed file", "removed folder", "emptied", "extra file"])
def test_files_removed_under_us(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = stored(tmp_path)
    if how == "removed folder":
        shutil.rmtree(tmp_path / "3")
    elif how == "emptied":
        shutil.rmtree(tmp_path / "3")
        (tmp_path / "3").mkdir()
    elif how == "removed file":
        next((tmp_path / "3/state").rglob("manifest.ocdbt")).unlink()
    else:
        (tmp_path / "3/state/more").write_text("x")
    epoch, found = checkpoints.resume(state(0))
    assert epoch == 2 and equal(found, state(2))
    assert capfd.readouterr().err.count(": damaged, ") == (how != "removed folder")


def test_all_damaged_begins_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoints = stored(tmp_path)
    for epoch in (2, 3):
        flip(tmp_path / str(epoch) / "card.json", 5)
    epoch, found = checkpoints.resume(state(0))
    assert epoch == 0 and equal(found, state(0))
    assert capfd.readouterr().err.count(": damaged, ") == 2
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.read_params(tmp_path)


@pytest.mark.parametrize(
    ("made_by", "says"),
    [
        ({"train": {"epochs": 5, "learning_rate": 0.001}}, "train.epochs 4 there, 5 here"),
        ({"network": {"lrn": True}}, "network.lrn False there, True here"),
        (
            {"weights": {"arrays_sha256": "ab" * 32}},
            r"weights.arrays_sha256 None there, abababababab",
        ),
        ({"precision": {"matmul": "high"}}, "precision.matmul None there, 'high' here"),
    ],
)
def test_another_config_network_weights_or_precision_is_rejected_with_the_difference(
    made_by: dict, says: str, tmp_path: Path
) -> None:
    stored(tmp_path)
    with pytest.raises(InputError, match=f"of another training run: .*{says}.*or delete"):
        Checkpoints(tmp_path, MADE_BY | made_by).resume(state(0))
    assert checkpoint.saved_epochs(tmp_path) == [2, 3]


def set_version(monkeypatch: pytest.MonkeyPatch, jax_version: str) -> None:
    versions = checkpoint.software.versions() | {"jax": jax_version}
    monkeypatch.setattr(checkpoint.software, "versions", lambda: versions)


def test_another_version_is_rejected_unless_it_is_accepted_and_then_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version(monkeypatch, "0.0.1")
    stored(tmp_path)
    assert checkpoint.versions_before(tmp_path) == []
    set_version(monkeypatch, "0.0.2")
    says = r"of another version: versions.jax '0.0.1' there, '0.0.2' here; .*--accept_versions"
    with pytest.raises(InputError, match=says):
        Checkpoints(tmp_path, MADE_BY).resume(state(0))
    changed = MADE_BY | {"network": {"lrn": True}}
    with pytest.raises(InputError, match="of another training run: network.lrn"):
        Checkpoints(tmp_path, changed, accept_versions=True).resume(state(0))
    accepted = Checkpoints(tmp_path, MADE_BY, accept_versions=True)
    assert accepted.resume(state(0))[0] == 3
    assert [each["jax"] for each in checkpoint.versions_before(tmp_path)] == ["0.0.1"]
    accepted.save(4, state(4))
    assert [each["jax"] for each in checkpoint.versions_before(tmp_path)] == ["0.0.1"]
    for version in ("0.0.1", "0.0.2"):  # mixed for ever: neither goes on by itself
        set_version(monkeypatch, version)
        with pytest.raises(InputError, match="of another version"):
            Checkpoints(tmp_path, MADE_BY).resume(state(0))


def test_a_card_without_provenance_is_rejected(tmp_path: Path) -> None:
    stored(tmp_path)
    for epoch in (2, 3):
        card = json.loads((tmp_path / str(epoch) / "card.json").read_text())
        for field in ("platform", "precision", "random", checkpoint.VERSIONS_BEFORE):
            del card[field]
        (tmp_path / str(epoch) / "card.json").write_text(json.dumps(card))
        checkpoint.atomic.write_checksums(tmp_path / str(epoch), checkpoint.CHANGING_FILES)
    with pytest.raises(InputError, match="of another training run: platform None there"):
        Checkpoints(tmp_path, MADE_BY, accept_versions=True).resume(state(0))


def test_a_write_that_fails_half_way_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = stored(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StandardCheckpointer, "save", full)
    with pytest.raises(InputError, match="/4: cannot be written .No space left.*free space on"):
        checkpoints.save(4, state(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    assert checkpoints.resume(state(0))[0] == 3


def test_what_a_killed_process_left_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = stored(tmp_path)
    (tmp_path / "3").rename(tmp_path / ".3.partial-1")
    shutil.copytree(tmp_path / "2", tmp_path / ".9.gone")
    assert checkpoints.resume(state(0))[0] == 2
    checkpoints.save(3, state(3))
    checkpoints.close(keep=3)
    assert [p.name for p in tmp_path.iterdir()] == ["3"]


def test_orbax_says_nothing_of_its_own(tmp_path: Path) -> None:
    """In a process that did not silence its log."""
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "import test_checkpoints as t; place = Path(sys.argv[1]);"
        "t.stored(place); t.flip(place / '3/card.json', 3);"
        "print(t.Checkpoints(place, t.MADE_BY).resume(t.state(0))[0])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "2\n", ended.stderr
    assert ended.stderr.count("\n") == 1 and "damaged, card.json" in ended.stderr


def test_the_card_says_what_made_it(tmp_path: Path) -> None:
    stored(tmp_path)
    card = json.loads((tmp_path / "3/card.json").read_text())
    assert card["versions"]["jax"] == jax.__version__ and card["train"] == MADE_BY["train"]
