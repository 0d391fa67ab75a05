"""Weight folders and work folders that version 0.1.0 wrote."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from mtl_jax import config, old_names, weights
from mtl_jax.io import atomic, workdir
from mtl_jax.models import registry
from mtl_jax.models.base import init
from mtl_jax.types import InputError
from mtl_jax.weights import metadata
from mtl_jax.weights.folder import TIMESTAMP_FILES


@pytest.mark.parametrize("backbone", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_a_weight_folder_loads_with_the_same_parameters(tmp_path: Path, backbone: str) -> None:
    network = registry.build(backbone)
    params = jax.device_get(init(network, jax.random.key(0)))
    convolutions = {name: value for name, value in params.items() if name.startswith("C")}
    made = weights.Weights(convolutions, _metadata(convolutions, backbone))
    weights.save(made, tmp_path / "w")
    card = json.loads((tmp_path / "w" / "card.json").read_text())
    old_key = next(old for old, new in old_names.KEYS.items() if new == "backbone")
    card[old_key] = card.pop("backbone")
    (tmp_path / "w" / "card.json").write_text(json.dumps(card))
    atomic.write_checksums(tmp_path / "w", TIMESTAMP_FILES)
    before = {path: path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.is_file()}
    loaded = weights.load(tmp_path / "w")
    assert loaded.metadata["backbone"] == backbone
    jax.tree.map(np.testing.assert_array_equal, loaded.params, made.params)
    assert before == {path: path.read_bytes() for path in before}


def _metadata(params: dict, backbone: str) -> dict:
    return metadata.make_metadata(
        params,
        backbone=backbone,
        name="test",
        source="x.pth",
        sha256="0" * 64,
        file_format="torch",
        input_stats=metadata.UNNORMALIZED_INPUT,
        lrn=False,
        note="",
    )


@pytest.mark.parametrize("field", [*old_names.FIELDS, *old_names.REMOVED])
def test_a_work_folder_is_rejected_in_one_line(tmp_path: Path, field: str) -> None:
    written = config.default().to_dict()
    *sections, name = field.split(".")
    section = written
    for part in sections:
        section = section.setdefault(part, {})
    section[name] = 1
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match="mtl_jax 0.1.0 wrote this work folder .* --workdir"):
        workdir.reject_other_config(tmp_path, config.default().to_dict())


def test_the_present_config_is_no_old_one(tmp_path: Path) -> None:
    workdir.reject_old(tmp_path, config.default().to_dict())
