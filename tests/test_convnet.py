"""Checkpoints of cuda-convnet2: the forward pass by its formulas; other networks are rejected."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import weight_files as files

from mtl_jax import weights
from mtl_jax.models import alexnet, registry
from mtl_jax.types import InputError
from mtl_jax.weights.convnet_file import GRAY_PER_UNIT

ROOT = Path(__file__).resolve().parents[1]
LAYERS = files.layers()
IMAGE = 57.6 * np.random.default_rng(2).standard_normal((128, 128, 3))
StoredLayers = dict[str, dict[str, Any]]


def written(tmp_path: Path, stored: StoredLayers | list[Any]) -> Path:
    path = tmp_path / "90.1"
    path.write_bytes(files.convnet_file(stored))
    return path


def strong_norm(size: int, scale: float, power: float, offset: float) -> dict[str, Any]:
    """Return settings so strong that a change of one of them changes the output."""
    return {"size": size, "scale": scale, "pow": power, "minDiv": offset, "blocked": False}


def reference(stored: StoredLayers, last: str) -> np.ndarray:
    """Return the output (h, w, c) of layer `last` for IMAGE, by the formulas of cuda-convnet2."""
    layer = stored[last]
    if layer["type"] == "data":
        return IMAGE
    x = reference(stored, layer["inputs"][0])
    if layer["type"] == "conv":
        return convolve(x, layer)
    if layer["type"] == "neuron":
        return np.maximum(x, 0)
    if layer["type"] == "pool":
        return max_pool(x)
    half = layer["size"] // 2  # kFCNorm in cudaconv2: `size` channels from f - size/2 on
    total = np.stack(
        [
            (x[..., max(f - half, 0) : f - half + layer["size"]] ** 2).sum(-1)
            for f in range(x.shape[-1])
        ],
        -1,
    )
    return x * (layer["minDiv"] + layer["scale"] * total) ** -layer["pow"]


def convolve(x: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """Convolve at modulesX = 1 + ceil((2 padding + size - filterSize) / stride) positions."""
    (rows,), (stride,), pad = layer["filterSize"], layer["stride"], -layer["padding"][0]
    count = 1 + int(np.ceil((2 * pad + len(x) - rows) / stride))
    end_pad = max(stride * (count - 1) + rows - pad - len(x), 0)
    x = np.pad(x, ((pad, end_pad), (pad, end_pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (rows, rows), (0, 1))
    windows = windows[::stride, ::stride][:count, :count]  # (row, column, in, y, x)
    flat = windows.reshape(count, count, -1)
    return flat @ np.float64(layer["weights"][0]) + np.float64(layer["biases"][:, 0])


def max_pool(x: np.ndarray) -> np.ndarray:
    size = int(np.ceil((len(x) - 3) / 2)) + 1
    return np.array(
        [
            [x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(size)]
            for i in range(size)
        ]
    )


def output(converted: weights.Weights, last: str) -> np.ndarray:
    network = registry.build("alexnet", 2, converted.metadata["lrn"])
    image = np.float32(IMAGE[None] / GRAY_PER_UNIT)
    return np.asarray(network.apply({"params": converted.params}, image, last=last))[0]


def assert_same_function(converted: weights.Weights, stored: StoredLayers) -> None:
    for last, stored_last in (("C1", "pool1_neuron"), ("C2", "pool2"), ("C5", "pool3_neuron")):
        expected = reference(stored, stored_last)
        difference = np.linalg.norm(output(converted, last) - expected)
        assert difference < 2e-5 * np.linalg.norm(expected), last


@pytest.mark.parametrize(
    "norms",
    [
        None,
        (strong_norm(3, 4e-3, 0.6, 1.5), strong_norm(7, 2e-2, 1.1, 1.0)),
        (strong_norm(5, 1e-4, 0.75, 1.0), strong_norm(5, 1e-4, 0.75, 2.0)),
    ],
)
def test_network_matches_the_formulas_of_cuda_convnet2(
    norms: tuple[dict[str, Any], ...] | None, tmp_path: Path
) -> None:
    """The scale is that in the file; C1 has no padding and is normalized before its rectifier."""
    stored = files.convnet_layers(LAYERS)
    for name, settings in zip(("rnorm1", "rnorm2"), norms or (), strict=False):
        stored[name] |= settings
    converted = weights.convert(written(tmp_path, stored))
    assert_same_function(converted, stored)
    for layer, name in (("C1", "rnorm1"), ("C2", "rnorm2")):
        lrn, norm = converted.metadata["lrn"][layer], stored[name]
        assert lrn["scale"] == norm["scale"] and lrn["size"] == norm["size"]
        assert (lrn["power"], lrn["offset"]) == (norm["pow"], norm["minDiv"])
    assert (
        converted.metadata["lrn"]["C1"]["before_rectifier"]
        and converted.metadata["lrn"]["C1"]["padding"] == 0
    )
    assert converted.metadata["left_out"][0] == "fully connected layers left out: fc4096a, fc1000"
    weights.save(converted, tmp_path / "folder")
    loaded = weights.load(tmp_path / "folder")
    assert json.loads(json.dumps(converted.metadata)) == loaded.metadata
    np.testing.assert_array_equal(output(loaded, "C2"), output(converted, "C2"))


def test_order_and_padding_are_those_of_the_file(tmp_path: Path) -> None:
    """A rectifier before C1's normalization, and a padding of 1."""
    stored = files.convnet_layers(LAYERS)
    stored["rnorm1"] |= strong_norm(5, 5e-2, 0.75, 1.0)
    stored["conv1"]["padding"] = [-1]
    stored["pool1"]["neuron"], stored["conv1"]["neuron"] = "", "relu"
    neuron = stored.pop("pool1_neuron")
    stored["conv1_neuron"] = neuron | {"name": "conv1_neuron", "inputs": ["conv1"]}
    stored["rnorm1"]["inputs"], stored["conv2"]["inputs"] = ["conv1_neuron"], ["pool1"]
    converted = weights.convert(written(tmp_path, stored))
    assert converted.metadata["lrn"]["C1"]["before_rectifier"] is False
    expected = reference(stored, "pool1")
    assert np.linalg.norm(output(converted, "C1") - expected) < 1e-5 * np.linalg.norm(expected)
    other_order = stored | {"rnorm1": {**stored["rnorm1"], "inputs": ["conv1"]}}
    changed = reference(other_order, "pool1") - expected  # another order gives another output
    assert np.linalg.norm(changed) > 1e-2 * np.linalg.norm(expected)


def test_layers_in_a_list_connected_by_index(tmp_path: Path) -> None:
    stored = files.convnet_layers(LAYERS)
    names = list(stored)
    for layer in stored.values():
        if "inputs" in layer:
            layer["inputs"] = [names.index(name) for name in layer["inputs"]]
    converted = weights.convert(written(tmp_path, list(stored.values())))
    assert converted.metadata["lrn"]["C1"]["before_rectifier"] is True


def test_file_without_connections_is_assumed_to_be_the_one_gpu_network(
    tmp_path: Path,
) -> None:
    stored = {k: v for k, v in files.convnet_layers(LAYERS).items() if v["type"] != "neuron"}
    for layer in stored.values():
        layer.pop("inputs", None)
        layer.pop("neuron", None)
    converted = weights.convert(written(tmp_path, stored))
    assert any("does not connect the layers" in note for note in converted.metadata["left_out"])
    assert_same_function(converted, files.convnet_layers(LAYERS))


def change(layer: str, **options: Any) -> Callable[[StoredLayers], None]:
    return lambda stored: stored[layer].update(options)


def remove(layer: str, option: str) -> Callable[[StoredLayers], None]:
    return lambda stored: stored[layer].pop(option)


def norm_after_pool(stored: StoredLayers) -> None:
    stored["pool1"]["inputs"], stored["rnorm1"]["inputs"] = ["conv1"], ["pool1_neuron"]
    stored["conv2"]["inputs"] = ["rnorm1"]


def add_third_norm(stored: StoredLayers) -> None:
    extra = {"type": "cmrnorm", "name": "rnorm3", "inputs": ["conv3_neuron"], **files.NORM}
    stored["rnorm3"] = extra
    stored["conv4"]["inputs"] = ["rnorm3"]


def connect_in_cycle(stored: StoredLayers) -> None:
    stored["rnorm1"]["inputs"] = ["conv1", "pool1_neuron"]
    stored["conv2"]["inputs"] = []


def add_convolution(stored: StoredLayers) -> None:
    stored["conv6"] = stored["conv5"] | {"name": "conv6", "inputs": ["conv5"]}
    stored["pool3"]["inputs"] = ["conv6"]


def rename_convolutions(stored: StoredLayers) -> None:
    renamed = json.dumps({k: [v["name"], v.get("inputs")] for k, v in stored.items()})
    for key, (name, inputs) in json.loads(renamed.replace("conv", "stage")).items():
        layer = stored[key.replace("stage", "conv")]
        layer["name"] = name
        if inputs:
            layer["inputs"] = inputs


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change("conv1", stride=[3]), "conv1 has stride 3, expected 4"),
        (change("conv2", padding=[0]), "conv2 has padding 0, expected 2"),
        (change("conv4", groups=[2]), "conv4 has 2 groups of kernels"),
        (change("conv1", padding=[-4]), "padding 4, expected 0 to 3"),
        (change("conv3", sharedBiases=False), "a bias for every pixel"),
        (change("conv2", stride=[1, 1]), "expected one number"),
        (change("conv3", dilation=[2]), "conv3 has dilated kernels"),
        (change("conv3", randSparse=[True]), "conv3 uses random channels (randSparse)"),
        (change("pool1", pool="avg"), "pool avg, expected max pooling of size 3, stride 2"),
        (change("pool3", sizeX=2), "sizeX 2"),
        (change("pool2", stride=3), "stride 3"),
        (change("rnorm2", type="rnorm"), "conv2 is followed by relu, rnorm, pool, expected"),
        (change("rnorm1", type="cnorm"), "cnorm"),
        (change("rnorm1", blocked=True), "in blocks of channels"),
        (change("rnorm1", size=4), "size 4, expected an odd number"),
        (change("rnorm2", scale=-1e-4), "expected scale >= 0"),
        (change("rnorm2", minDiv=0.0), "offset 0"),
        (remove("rnorm1", "minDiv"), "rnorm1 does not state minDiv"),
        (remove("rnorm2", "scale"), "rnorm2 does not state scale"),
        (change("conv3_neuron", neuron={"type": "tanh", "params": {}}), "tanh"),
        (change("conv4_neuron", neuron={"type": "relu", "params": {"a": 0.1}}), "relu{'a': 0.1}"),
        (change("rnorm2", inputs=["conv1"]), "is the input of several layers"),
        (change("conv1", inputs=["conv5"]), "the input of conv1 is not the images"),
        (change("data", type="rgb2yuv"), "the input of conv1 is not the images"),
        (change("conv2", inputs=["nothing"]), "an input that is not in the file"),
        (norm_after_pool, "conv1 is followed by pool, relu, cmrnorm"),
        (add_third_norm, "conv3 is followed by relu, cmrnorm"),
        (add_convolution, "conv6 is an unexpected convolution"),
        (rename_convolutions, "its convolutions are stage1, stage2"),
        (connect_in_cycle, "its convolutions are"),
    ],
)
def test_another_network_is_rejected_with_layer_and_option(
    spoil: Callable[[StoredLayers], None], message: str, tmp_path: Path
) -> None:
    stored = files.convnet_layers(LAYERS)
    spoil(stored)
    path = written(tmp_path, stored)
    with pytest.raises(InputError) as caught:
        weights.convert(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def unconnected(*spoils: Callable[[StoredLayers], Any]) -> StoredLayers:
    stored = files.convnet_layers(LAYERS)
    for spoil in spoils:
        spoil(stored)
    for layer in stored.values():
        layer.pop("inputs", None)
    return stored


def test_file_without_connections_may_state_neurons(tmp_path: Path) -> None:
    converted = weights.convert(written(tmp_path, unconnected()))
    assert_same_function(converted, files.convnet_layers(LAYERS))


TANH = {"type": "tanh", "params": {}}


@pytest.mark.parametrize(
    ("spoils", "message"),
    [
        ((change("conv2", neuron="tanh"),), "conv2 has the neuron tanh, expected relu"),
        ((change("conv2_neuron", neuron=TANH),), "conv2_neuron has the neuron tanh"),
        (
            (change("conv3", neuron=""), lambda stored: stored.pop("conv3_neuron")),
            "4 rectified layers before the fully connected ones, expected 5",
        ),
        ((lambda stored: stored.pop("pool1"),), "it has 2 pools, expected 3"),
        (
            (lambda stored: stored.update(bn={"type": "bn", "name": "bn"}),),
            "type bn, which layers-imagenet-1gpu.cfg does not have",
        ),
        ((lambda stored: stored.update(x={"type": "blur", "name": "x"}),), "x is a layer of type"),
        ((lambda stored: stored.update(p={**stored["pool2"], "name": "p"}),), "it has 4 pools"),
    ],
)
def test_file_without_connections_of_another_network_is_rejected(
    spoils: tuple[Callable[[StoredLayers], Any], ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        weights.convert(written(tmp_path, unconnected(*spoils)))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_normalizations_is_rejected(count: int, tmp_path: Path) -> None:
    stored = {k: v for k, v in files.convnet_layers(LAYERS).items() if v["type"] != "neuron"}
    for layer in stored.values():
        layer.pop("inputs", None)
    for name in ("rnorm1", "rnorm2")[count:]:
        del stored[name]
    if count == 3:
        stored["rnorm3"] = {"type": "cmrnorm", "name": "rnorm3", **files.NORM}
    with pytest.raises(InputError, match=f"{count} layers of local response normalization"):
        weights.convert(written(tmp_path, stored))


def test_metadata_with_invalid_lrn_are_rejected(tmp_path: Path) -> None:
    converted = weights.convert(written(tmp_path, files.convnet_layers(LAYERS)))
    lrn = converted.metadata["lrn"]
    invalid = {
        "five times the correct scale": True,
        "field lrn missing or invalid": "yes",
        "field lrn missing": {"C1": lrn["C1"]},
        "field lrn": {**lrn, "C2": {**lrn["C2"], "offset": 0.0}},
        "field lrn m": {**lrn, "C2": {**lrn["C2"], "power": "0.75"}},
        "field lrn mi": {**lrn, "C1": {k: v for k, v in lrn["C1"].items() if k != "scale"}},
    }
    for message, value in invalid.items():
        metadata = {**converted.metadata, "lrn": value}
        with pytest.raises(InputError, match=message):
            weights.save(weights.Weights(converted.params, metadata), tmp_path / "out")


def test_tool_prints_the_lrn_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "convert_weights.py"))["main"]
    path = written(tmp_path, files.convnet_layers(LAYERS))
    assert tool([str(path), "--output", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "normalization  C1: size 5, scale 2e-05, power 0.75, offset 2.0" in output


def test_forward_with_lrn_true_matches_the_one_gpu_network(tmp_path: Path) -> None:
    converted = weights.convert(written(tmp_path, files.convnet_layers(LAYERS)))
    image = np.float32(IMAGE[None] / GRAY_PER_UNIT)
    paper_output = alexnet.forward(converted.params, image, last="C2", lrn=True)
    np.testing.assert_array_equal(jax.device_get(paper_output)[0], output(converted, "C2"))
