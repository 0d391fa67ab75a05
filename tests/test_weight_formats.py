"""Weight files of PyTorch, safetensors and cuda-convnet2: valid files convert bit-identical, others
are rejected in one line.

Where a library writes the file, its forward pass is the reference.
"""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import handmade_pth as made
import numpy as np
import pytest
import weight_files as files
from kit.command import run_command
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import weights
from mtl_jax.commands import convert_weights
from mtl_jax.models import alexnet
from mtl_jax.types import InputError
from mtl_jax.weights.convert import detect_format

ROOT = Path(__file__).resolve().parents[1]
LAYERS = files.layers()
IMAGE = np.random.default_rng(1).standard_normal((1, 64, 64, 3), np.float32)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def assert_same_params(found: weights.Weights, layers: files.Layers = LAYERS) -> None:
    assert list(found.params) == list(layers)
    for layer, leaves in layers.items():
        for leaf, values in leaves.items():
            assert found.params[layer][leaf].dtype == np.float32
            np.testing.assert_array_equal(found.params[layer][leaf], values, err_msg=layer)


def assert_same_activations(found: weights.Weights, theirs: np.ndarray) -> None:
    """Compare C5 with `theirs` (1, 1, 1, 256), computed by the library that wrote the file."""
    ours = np.asarray(alexnet.forward(found.params, IMAGE, "C1", "C5"))
    assert ours.shape == theirs.shape and theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max(), rtol=0)


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1500
    return message


def torch_names(layers: files.Layers = LAYERS) -> dict[str, np.ndarray]:
    """Return the state dict of `layers` with torchvision's names."""
    state = {}
    for layer, number in zip(layers, (0, 3, 6, 8, 10), strict=True):
        kernel = layers[layer]["kernel"].transpose(3, 2, 0, 1)
        state[f"features.{number}.weight"] = np.ascontiguousarray(kernel)
        state[f"features.{number}.bias"] = layers[layer]["bias"]
    return state


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_files_written_by_pytorch_and_safetensors(form: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: bench)")
    from safetensors.torch import save_file

    modules: list[object] = []
    for name, (stride, pad, pool) in files.STRIDE_PAD_POOL.items():
        rows, _, channels, filters = files.SHAPES[name]
        modules += [torch.nn.Conv2d(channels, filters, rows, stride, pad), torch.nn.ReLU()]
        modules += [torch.nn.MaxPool2d(3, 2)] if pool else []
        with torch.no_grad():
            kernel = LAYERS[name]["kernel"].transpose(3, 2, 0, 1)
            modules[-3 if pool else -2].weight.copy_(torch.tensor(kernel))
            modules[-3 if pool else -2].bias.copy_(torch.tensor(LAYERS[name]["bias"]))
    net = torch.nn.Sequential()
    net.features = torch.nn.Sequential(*modules)
    path = tmp_path / "alexnet"
    if form == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    found = weights.convert(path)
    assert_same_params(found)
    assert found.metadata["lrn"] is False and found.metadata["left_out"] == []
    with torch.no_grad():
        theirs = net.features(torch.tensor(IMAGE.transpose(0, 3, 1, 2))).numpy()
    assert_same_activations(found, theirs.transpose(0, 2, 3, 1))


def test_names_of_timm_and_hugging_face(tmp_path: Path) -> None:
    """They are torchvision's names with a prefix; float16 converts exactly to float32."""
    for prefix in ("", "model.", "alexnet.", "backbone.net."):
        state = {f"{prefix}{k}": v.astype(np.float16) for k, v in torch_names().items()}
        found = weights.convert(written(tmp_path / "model", safetensors_bytes(state)))
        rounded = LAYERS["C3"]["kernel"].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found.params["C3"]["kernel"], rounded)


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    "extra",
    [
        {"features.1.running_mean": 64, "features.1.running_var": 64},
        {"features.4.weight": 192, "features.4.bias": 192, "features.4.running_var": 192},
        {"features.12.weight": 256},
        {"lrn.alpha": 1},
        {"features.0.stride": 2},
        {"features.6.weight_mask": 384},
    ],
)
def test_arrays_that_the_network_lacks_are_rejected(extra: dict[str, int], tmp_path: Path) -> None:
    state = torch_names() | {name: np.ones(size, np.float32) for name, size in extra.items()}
    message = one_line(lambda: weights.convert(written(tmp_path / "f", safetensors_bytes(state))))
    assert all(f"unexpected {name}" in message for name in extra)
    assert ("batch normalization" in message) == any("running" in name for name in extra)
    assert "checkpoint of alexnet" in message
    named = {f"conv{k[1]}/{leaf}": a for k, layer in LAYERS.items() for leaf, a in layer.items()}
    content = npz(named | {"bn1/gamma": np.ones(64, np.float32)})
    assert "has batch norm" in one_line(lambda: weights.convert(written(tmp_path / "g", content)))


def test_alexnet_with_batch_normalization_is_rejected(tmp_path: Path) -> None:
    """Each convolution is followed by normalization, rectifier and, in three layers, a pool."""
    state, number = {}, 0
    for layer, arrays in LAYERS.items():
        state[f"features.{number}.weight"] = arrays["kernel"].transpose(3, 2, 0, 1).copy()
        state[f"features.{number}.bias"] = arrays["bias"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"features.{number + 1}.{part}"] = np.ones_like(arrays["bias"])
        number += 4 if files.STRIDE_PAD_POOL[layer][2] else 3
    message = one_line(lambda: weights.convert(written(tmp_path / "f", safetensors_bytes(state))))
    assert "names: has batch normalization" in message


@pytest.mark.parametrize("divisor", [57.6, 128, 255])
def test_first_kernels_for_gray_levels_of_0_to_255_are_rejected(
    divisor: float, tmp_path: Path
) -> None:
    small = {**LAYERS, "C1": {**LAYERS["C1"], "kernel": LAYERS["C1"]["kernel"] / divisor}}
    small["C1"]["kernel"] = small["C1"]["kernel"].astype(np.float32)
    named = {f"conv{k[1]}/{leaf}": a for k, layer in small.items() for leaf, a in layer.items()}
    for content in (npz(named), safetensors_bytes(torch_names(small))):
        message = one_line(lambda c=content: weights.convert(written(tmp_path / "f", c)))
        assert "0 to 255" in message and "multiply them by 57.6" in message
    random = torch_names()  # C1 is N(0, 0.01), as initialized by Krizhevsky et al. 2012
    rng = np.random.default_rng(0)
    random["features.0.weight"] = np.float32(0.01 * rng.standard_normal((64, 3, 11, 11)))
    weights.convert(written(tmp_path / "f", safetensors_bytes(random)))


def test_unsupported_formats_are_rejected_with_the_supported_ones(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = np.array([Run(f"touch {marker}")], dtype=object)
    out = io.BytesIO()
    np.save(out, code, allow_pickle=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("config.json", "{}")
        opened.writestr("model.weights.h5", b"\x89HDF")
    contents = {
        "Keras": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "Keras archive": archive.getvalue(),
        "ONNX": b"\x08\x08\x12\x07pytorch" + bytes(99),
        "Caffe": out.getvalue(),
        "Caffe or TensorFlow": b"\x0a\x07AlexNet" + bytes(99),
        "not a weights file": b"GGUF" + bytes(99),
    }
    for name, content in contents.items():
        path = written(tmp_path / "weights.bin", content)
        message = one_line(lambda path=path: weights.convert(path))
        assert name in message and "torch.save(model.state_dict(), FILE)" in message
        assert ".safetensors" in message and ".npz" in message and "cuda-convnet2" in message
    assert not marker.exists()


def test_pickles_of_python_3_are_read(tmp_path: Path) -> None:
    stored = files.convnet_layers(LAYERS)
    for protocol in (2, 4):
        content = pickle.dumps({"model_state": {"layers": stored}}, protocol=protocol)
        found = weights.convert(written(tmp_path / "1.1", content))
        np.testing.assert_array_equal(found.params["C5"]["kernel"], LAYERS["C5"]["kernel"])


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "90.1"
    content = files.convnet(LAYERS)
    for size in (len(content) // 1000, len(content) // 3, len(content) - 1000):
        written(path, content[:size])
        assert str(path) in one_line(lambda: weights.convert(path))
    small_layers = {
        name: {"kernel": layer["kernel"].ravel()[:8].reshape(1, 1, 2, 4), "bias": layer["bias"][:4]}
        for name, layer in LAYERS.items()
    }
    content, rng = files.convnet(small_layers), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), rng.choice([1, 3, 10])):
            damaged[position] = rng.integers(256)
        written(path, bytes(damaged))
        one_line(lambda: weights.convert(path))


def malicious_pickles(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}"
    call = made.call("posix", "system", (command,))
    large_array = files.array((10**6, 10**6), b"few")
    layers = files.text("conv1") + b"](" + large_array + large_array + b"e"
    return {
        "code in a checkpoint": files.convnet(LAYERS, extra=call),
        "code instead of a checkpoint": pickle.dumps(Run(command), protocol=4),
        "an invalid size in a checkpoint": b"\x80\x02}(" + layers + b"u.",
    }


class Run:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_code_and_invalid_sizes_in_pickles_are_rejected(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name, content in malicious_pickles(marker).items():
        path = written(tmp_path / "file", content)
        message = one_line(lambda path=path: weights.convert(path))
        expected = "posix.system" if name.startswith("code") else "states 1000000000000 values"
        assert expected in message, name
        assert not marker.exists()
    layers: list[object] = []
    for _ in range(60):
        layers = [layers, layers]  # 2**60 lists unless shared ones are converted once
    bomb = pickle.dumps({"model_state": {"layers": layers}}, protocol=2)
    assert "damaged" in one_line(lambda: weights.convert(written(tmp_path / "file", bomb)))
    content = files.convnet(LAYERS, extra=b"coptions\nx\n(" + files.text("a") + b"tR")
    found = weights.convert(
        written(tmp_path / "file", content)
    )  # classes of cuda-convnet2 are skipped
    assert list(found.params) == list(LAYERS)


def test_safetensors_of_every_length_of_the_header_are_recognized(tmp_path: Path) -> None:
    """The length of the header comes first: one in 32 begins with the byte of a pickle."""
    first_bytes = set()
    for length in range(0, 256, 8):
        content = safetensors_bytes({"a": np.zeros(1, "f4")}, {"note": "x" * length})
        first_bytes.add(content[0])
        assert detect_format(written(tmp_path / "file", content)) == "safetensors"
    assert 0x80 in first_bytes


def test_invalid_sizes_in_safetensors_are_rejected(tmp_path: Path) -> None:
    for shape, size in (([10**6, 10**6], 4), ([10**6, 10**6], 4 * 10**12)):
        entry = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
        header = json.dumps(entry).encode()
        content = len(header).to_bytes(8, "little") + header + b"\0" * 4
        path = written(tmp_path / "file", content)
        assert "damaged .safetensors" in one_line(lambda path=path: weights.convert(path))


def test_tool_rejects_in_one_line_and_writes_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in malicious_pickles(tmp_path / "ran").items():
        path = written(tmp_path / "file", content)
        assert run_command(convert_weights, path, "--output", tmp_path / "out") == 2, name
        messages = capsys.readouterr()
        assert messages.out == "" and messages.err.count("\n") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
