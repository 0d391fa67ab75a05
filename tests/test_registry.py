"""Mistakes in a backbone of one's own: one line that names the module, before any training."""

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import pytest

from mtl_jax import config
from mtl_jax.experiments import stages
from mtl_jax.models import registry
from mtl_jax.models.backbone import Backbone, KeyMap, layer_keys
from mtl_jax.models.base import Convolution, Network
from mtl_jax.training.setup import reject_unknown_entries
from mtl_jax.types import InputError


class Small(Network):
    stages = ("C1", "C2")

    def stage(self, name: str) -> nn.Module:
        return Convolution(4, 3, stride=2, gray=name == "C1", name=name)

    def flatten(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2))


class ThreeChannels(Small):
    def stage(self, name: str) -> nn.Module:
        return nn.Conv(4, (3, 3), name=name) if name == "C1" else super().stage(name)


class Renamed(Small):
    stages = ("stem", "C2")


class Failing(Small):
    def stage(self, name: str) -> nn.Module:
        raise KeyError(name)


KEYS = layer_keys({"C1": "conv1", "C2": "conv2"})
BACKBONE = Backbone(Small, "Small", "", "", (KeyMap("PyTorch", KEYS),), "", "", "none")


def check(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    module = ModuleType("my_backbone")
    module.BACKBONE = dataclasses.replace(BACKBONE, **changes)
    monkeypatch.setitem(sys.modules, "my_backbone", module)
    monkeypatch.setitem(config.BACKBONES, "small", "my_backbone")
    registry.check("small")


def test_a_complete_backbone_of_two_stages_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch)
    folded = {path: name for path, name in KEYS.items() if path.endswith("kernel")}
    check(monkeypatch, key_maps=(KeyMap("norm", folded, norms={"C1": "bn1", "C2": "bn2"}),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": ThreeChannels}, "fails for an ROI of 1 channels.*Convolution.gray=True"),
        ({"network": Renamed}, "stages .*stem.* are invalid: expected C1, C2"),
        ({"network": Failing}, "fails for an ROI of 3 channels.*KeyError"),
        ({"key_maps": KeyMap("PyTorch", KEYS)}, "key_maps is invalid: expected a tuple"),
        (
            {"key_maps": (KeyMap("P", KEYS | {"C9/kernel": "conv9.weight"}),)},
            "key map 'P' names C9/kernel; the network has C1/bias",
        ),
        (
            {"key_maps": (KeyMap("P", layer_keys({"C1": "conv1"})),)},
            "key map 'P' does not name C2/bias",
        ),
        (
            {"key_maps": (KeyMap("P", KEYS, norms={"C1/conv": "bn1"}),)},
            "key map 'P' names C1/conv/bias",
        ),
    ],
)
def test_an_incomplete_backbone_is_rejected(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=f"backbone 'small' .my_backbone.*{message}") as error:
        check(monkeypatch, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be imported .No module named"),
        ("def f(:", "cannot be imported .*invalid syntax"),
        ("x = 1", "does not define"),
    ],
)
def test_a_module_without_its_object_is_rejected(
    text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"mine_{len(message)}"
    if text:
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setitem(config.BACKBONES, "mine", name)
    with pytest.raises(InputError, match=f"module {name} of 'mine' .config.BACKBONES.*{message}"):
        registry.get("mine")
    monkeypatch.setitem(config.STAGE_MODULES, "mine", name)
    with pytest.raises(InputError, match=f"module {name} of 'mine' .config.STAGE.*{message}"):
        stages.get("mine")
    with pytest.raises(InputError, match="config.STAGE_MODULES has no 'unknown'"):
        stages.get("unknown")


@pytest.mark.parametrize("field", ["loss", "optimizer", "schedule", "writers"])
def test_a_name_without_an_entry_is_rejected(field: str) -> None:
    train = config.default().train
    reject_unknown_entries(train)
    train[field] = ("mine",) if field == "writers" else "mine"
    with pytest.raises(InputError, match=f"config.train.{field}='mine' has no entry"):
        reject_unknown_entries(train)
