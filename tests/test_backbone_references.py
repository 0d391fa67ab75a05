"""ResNet-50 and ViT-S/16 compared with outputs of timm (tools/make_backbone_references.py)."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import jax
import make_backbone_references as references
import numpy as np
import pytest
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import weights
from mtl_jax.models import registry

FOLDER = Path(__file__).parent / "references"
# A twentieth of the difference that the GELU by tanh makes; 20 times the rounding in float32.
TOLERANCE = 1e-5


def read_reference(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def make_state(name: str) -> dict[str, np.ndarray]:
    keys = json.loads((FOLDER / "keys.json").read_text())[name]
    shapes = {key: tuple(shape) for key, shape in keys}
    return references.make_state(shapes, int(read_reference(name)["seed"]))


def convert(state: dict[str, np.ndarray], folder: Path) -> weights.Weights:
    (folder / "source").write_bytes(safetensors_bytes(state))
    return weights.convert(folder / "source")


def stage_outputs(name: str, params: Any, size: int) -> dict[str, np.ndarray]:
    """Return the output of each stage for the image of the references."""
    network = registry.build(name)
    x, outputs = references.make_image(size).transpose(0, 2, 3, 1), {}
    for stage in network.stages:
        apply = jax.jit(partial(network.apply, first=stage, last=stage))
        x = apply({"params": params}, x)
        outputs[stage] = np.asarray(x[0])
    return outputs


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def test_every_stage_of_resnet50_equals_timm(tmp_path: Path) -> None:
    reference = read_reference("resnet50")
    converted = convert(make_state("resnet50"), tmp_path)
    assert converted.metadata["backbone"] == "resnet50"
    outputs = stage_outputs("resnet50", converted.params, 128)
    for ours, theirs in zip(outputs.values(), references.RESNET_STAGES, strict=True):
        channels = ours.transpose(2, 0, 1)[reference[f"{theirs}.channels"]]
        values = channels[:, *reference["positions"].T].T
        assert relative_difference(values, reference[theirs]) < TOLERANCE
        assert np.linalg.norm(ours) == pytest.approx(reference[f"{theirs}.norm"], rel=TOLERANCE)
    pooled = registry.build("resnet50").flatten(outputs["C5"][None])[0]
    assert relative_difference(pooled, reference["pooled"]) < TOLERANCE
