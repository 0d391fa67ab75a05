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
from flax.traverse_util import flatten_dict, path_aware_map
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import weights
from mtl_jax.models import registry
from mtl_jax.types import InputError

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_stage_of_vit_s16_equals_timm(tmp_path: Path) -> None:
    reference = read_reference("vit_s16")
    converted = convert(make_state("vit_s16"), tmp_path)
    assert converted.metadata["backbone"] == "vit_s16"
    stages = ("norm_pre", *references.VIT_STAGES[1:4], "norm")
    outputs = stage_outputs("vit_s16", converted.params, 224)
    for ours, theirs in zip(outputs.values(), stages, strict=True):
        assert relative_difference(ours[reference["tokens"]], reference[theirs]) < TOLERANCE
        assert np.linalg.norm(ours) == pytest.approx(reference[f"{theirs}.norm"], rel=TOLERANCE)
    class_token = registry.build("vit_s16").flatten(outputs["C5"][None])[0]
    np.testing.assert_array_equal(class_token, outputs["C5"][0])


def test_the_epsilon_of_vit_s16_is_that_of_timm(tmp_path: Path) -> None:
    """With small tokens the epsilon of the normalizations changes the output by 2%."""
    reference = read_reference("vit_s16")
    params = convert(make_state("vit_s16"), tmp_path).params

    def scale(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
        is_residual = path[0] == "C1" or path[-1] in ("scale1", "scale2")
        return array * np.float32(reference["small.scale"]) if is_residual else array

    outputs = stage_outputs("vit_s16", path_aware_map(scale, params), 224)["C5"]
    assert relative_difference(outputs[reference["tokens"]], reference["small.norm"]) < TOLERANCE


def test_vit_s16_without_layer_scale_has_factors_of_one(tmp_path: Path) -> None:
    state = {key: array for key, array in make_state("vit_s16").items() if "gamma" not in key}
    state |= {"mask_token": np.zeros((1, 384), "f4"), "head.weight": np.zeros((9, 384), "f4")}
    converted = convert(state, tmp_path)
    scales = [
        array
        for path, array in flatten_dict(converted.params).items()
        if path[-1] in ("scale1", "scale2")
    ]
    assert len(scales) == 24 and all((scale == 1).all() for scale in scales)
    assert converted.metadata["left_out"][0].startswith("head, mask_token dropped")


def test_a_vit_with_some_factors_of_layer_scale_is_rejected(tmp_path: Path) -> None:
    """A source has all of them or none: with ones in place of the others it would be another."""
    state = make_state("vit_s16")
    del state["blocks.4.ls1.gamma"]
    with pytest.raises(InputError, match="missing blocks.4.ls1.gamma"):
        convert(state, tmp_path)


def test_a_vit_of_another_patch_size_is_rejected_in_one_line(tmp_path: Path) -> None:
    """Patches of 14 pixels and positions of 518-pixel images, as in DINOv2."""
    state = make_state("vit_s16")
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"][..., :14, :14].copy()
    state["pos_embed"] = np.zeros((1, 1370, 384), np.float32)
    with pytest.raises(InputError) as error:
        convert(state, tmp_path)
    message = str(error.value)
    assert "\n" not in message and "not a checkpoint of vit_s16" in message
    assert "patch_embed.proj.weight has shape (384, 3, 14, 14)" in message
    assert "pos_embed has shape (1, 1370, 384), expected (1, 197, 384)" in message
