"""Weights from ONNX, Keras, Caffe and cuda-convnet2: honest files to the bit, hostile ones refused.

Where a library writes the file it writes it here, and its own forward pass is the reference.
"""

import importlib.util
import json
import os
import pickle
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import handmade_pth as made
import numpy as np
import pytest
import weight_files as files
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import weights
from mtl_jax.models import alexnet
from mtl_jax.nouns import InputError
from mtl_jax.weights import keras_file
from mtl_jax.weights.convnet_file import GRAY_PER_UNIT

ROOT = Path(__file__).resolve().parents[1]
LAYERS = files.layers()
IMAGE = np.random.default_rng(1).standard_normal((1, 64, 64, 3), np.float32)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def same_numbers(found: weights.Weights, of: files.Layers = LAYERS) -> None:
    assert list(found.params) == list(of)
    for layer, leaves in of.items():
        for leaf, values in leaves.items():
            assert found.params[layer][leaf].dtype == np.float32
            np.testing.assert_array_equal(found.params[layer][leaf], values, err_msg=layer)


def same_activations(found: weights.Weights, theirs: np.ndarray) -> None:
    """`theirs` (1, 1, 1, 256), computed by the library that wrote the file."""
    ours = np.asarray(alexnet.forward(found.params, IMAGE, "C1", "C5"))
    assert ours.shape == theirs.shape and theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max(), rtol=0)


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1500
    return message


@pytest.fixture
def honest(tmp_path: Path) -> dict[str, Path]:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    pytest.importorskip("h5py", reason="h5py is not installed (extra: formats)")
    onnx.save(files.onnx_model(LAYERS), tmp_path / "net.onnx")
    files.keras_h5(LAYERS, tmp_path / "net.h5")
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "net.h5", keras_file.WEIGHTS)
    return {
        "onnx": tmp_path / "net.onnx",
        "keras h5": tmp_path / "net.h5",
        "keras zip": tmp_path / "net.keras",
        "caffe npy": written(tmp_path / "net.npy", files.caffe(LAYERS)),
        "cuda-convnet2": written(tmp_path / "90.1", files.convnet(LAYERS)),
    }


def test_onnx_files_give_the_numbers_and_activations_of_their_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    from onnx.reference import ReferenceEvaluator

    model = files.onnx_model(LAYERS)
    onnx.save(model, tmp_path / "net.onnx")
    found = weights.convert(tmp_path / "net.onnx")
    assert found.card["format"] == "onnx, torchvision names"
    same_numbers(found)
    (theirs,) = ReferenceEvaluator(model).run(None, {"image": IMAGE.transpose(0, 3, 1, 2)})
    same_activations(found, theirs.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_files_that_pytorch_and_safetensors_wrote(form: str, tmp_path: Path) -> None:
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
    same_numbers(found)
    with torch.no_grad():
        theirs = net.features(torch.tensor(IMAGE.transpose(0, 3, 1, 2))).numpy()
    same_activations(found, theirs.transpose(0, 2, 3, 1))


KERAS = """
import sys, warnings
warnings.simplefilter("ignore")
import keras, numpy as np
sys.path.insert(0, sys.argv[1])
import weight_files as files
L = keras.layers
model = keras.Sequential([keras.Input((64, 64, 3))])
for name, (stride, pad, pool) in files.STRIDE_PAD_POOL.items():
    rows, _, _, filters = files.SHAPES[name]
    model.add(L.ZeroPadding2D(pad))
    model.add(L.Conv2D(filters, rows, stride, activation="relu"))
    if pool:
        model.add(L.MaxPooling2D(3, 2))
convolutions = [layer for layer in model.layers if isinstance(layer, L.Conv2D)]
for layer, leaves in zip(convolutions, files.layers().values(), strict=True):
    layer.set_weights([leaves["kernel"], leaves["bias"]])
model.save("net.keras")
model.save("net.h5")
model.save_weights("net.weights.h5")
image = np.random.default_rng(1).standard_normal((1, 64, 64, 3), np.float32)
np.save("theirs.npy", model.predict(image, verbose=0))
"""


def test_files_that_keras_wrote(tmp_path: Path) -> None:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed (extra: bench)")
    subprocess.run(
        [sys.executable, "-c", KERAS, str(ROOT / "tests")],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=300,
    )
    theirs = np.load(tmp_path / "theirs.npy")
    for name, kind in (("net.keras", "zip"), ("net.h5", "h5"), ("net.weights.h5", "h5")):
        found = weights.convert(tmp_path / name)
        assert found.card["format"] == f"keras {kind}, conv1..conv5 names"
        same_numbers(found)
    same_activations(found, theirs)


def test_every_other_honest_file(honest: dict[str, Path]) -> None:
    for kind, path in honest.items():
        unnamed = path.rename(path.with_name("weights.bin"))  # told by content
        found = weights.convert(unnamed)
        assert found.card["format"].startswith(kind)
        if kind == "cuda-convnet2":
            kernel = LAYERS["C1"]["kernel"] * GRAY_PER_UNIT
            same_numbers(found, {**LAYERS, "C1": {**LAYERS["C1"], "kernel": kernel}})
            assert found.card["lrn"] is True and found.card["input"]["range"] == [0, 255]
        else:
            same_numbers(found)
            assert found.card["lrn"] is False


def test_pickles_of_python_3_are_read_as_those_of_python_2(tmp_path: Path) -> None:
    layer = {"type": "conv", "groups": [1]}
    listed = [{"type": "cmrnorm"}, {"type": "cmrnorm"}]
    for name, leaves in LAYERS.items():
        rows, _, channels, filters = leaves["kernel"].shape
        weights_of = leaves["kernel"].transpose(2, 0, 1, 3).reshape(-1, filters)
        sizes = {"name": f"conv{name[1]}", "channels": [channels], "filterSize": [rows]}
        listed.append({**layer, **sizes, "weights": [weights_of], "biases": leaves["bias"]})
    for protocol in (2, 4):
        content = pickle.dumps({"model_state": {"layers": listed}}, protocol=protocol)
        found = weights.convert(written(tmp_path / "1.1", content))
        np.testing.assert_array_equal(found.params["C5"]["kernel"], LAYERS["C5"]["kernel"])


def test_names_of_timm_and_hugging_face(tmp_path: Path) -> None:
    """Torchvision's, behind a beginning that all have; half precision widens without loss."""
    torch_names = dict(zip(files.SHAPES, (0, 3, 6, 8, 10), strict=True))
    for prefix in ("", "model.", "alexnet.", "backbone.net."):
        state = {}
        for layer, number in torch_names.items():
            kernel = LAYERS[layer]["kernel"].astype(np.float16).transpose(3, 2, 0, 1)
            state[f"{prefix}features.{number}.weight"] = np.ascontiguousarray(kernel)
            state[f"{prefix}features.{number}.bias"] = LAYERS[layer]["bias"].astype(np.float16)
        found = weights.convert(written(tmp_path / "model", safetensors_bytes(state)))
        rounded = LAYERS["C3"]["kernel"].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found.params["C3"]["kernel"], rounded)


def test_two_towers_are_refused_with_the_reason(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    half = {**LAYERS["C2"], "kernel": LAYERS["C2"]["kernel"][:, :, :32]}
    towers = {**LAYERS, "C2": half}
    onnx.save(files.onnx_model(towers, groups=2), tmp_path / "zoo.onnx")
    contents = {
        "zoo.onnx": (tmp_path / "zoo.onnx").read_bytes(),
        "bvlc_alexnet.npy": files.caffe(towers),
        "90.1": files.convnet(LAYERS, groups=2),
    }
    for name, content in contents.items():
        path = written(tmp_path / name, content)
        assert "2 groups of kernels" in one_line(lambda path=path: weights.convert(path))
    path = written(tmp_path / "1.1", files.convnet(LAYERS, rnorm=1))
    assert "1 layers of local response" in one_line(lambda: weights.convert(path))


def test_truncated_files(honest: dict[str, Path]) -> None:
    for path in honest.values():
        whole = path.read_bytes()
        for size in (len(whole) // 1000, len(whole) // 3, len(whole) - 1000):
            written(path, whole[:size])
            assert str(path) in one_line(lambda path=path: weights.convert(path))


def test_any_damage_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    pytest.importorskip("h5py", reason="h5py is not installed (extra: formats)")
    few = {
        name: {"kernel": layer["kernel"].ravel()[:8].reshape(1, 1, 2, 4), "bias": layer["bias"][:4]}
        for name, layer in LAYERS.items()
    }
    onnx.save(files.onnx_model(few, check=False), tmp_path / "net.onnx")
    files.keras_h5(few, tmp_path / "net.h5")
    written(tmp_path / "net.npy", files.caffe(few))
    written(tmp_path / "90.1", files.convnet(few))
    rng = np.random.default_rng(0)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), rng.choice([1, 3, 10])):
                damaged[place] = rng.integers(256)
            written(path, bytes(damaged))
            one_line(lambda path=path: weights.convert(path))


def test_transposed_and_misnamed_layers(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    turned = {**LAYERS["C3"], "kernel": LAYERS["C3"]["kernel"].transpose(0, 1, 3, 2)}
    faulty = {**LAYERS, "C3": turned}
    model = files.onnx_model(LAYERS)
    kernel = np.ascontiguousarray(turned["kernel"].transpose(3, 2, 0, 1))
    model.graph.initializer[4].CopyFrom(onnx.numpy_helper.from_array(kernel, "t4"))
    onnx.save(model, tmp_path / "net.onnx")
    files.keras_h5(faulty, tmp_path / "net.h5")
    written(tmp_path / "net.npy", files.caffe(faulty))
    for name in ("net.onnx", "net.h5", "net.npy"):
        assert "has shape" in one_line(lambda name=name: weights.convert(tmp_path / name))
    named = {f"C{9 - i}": layer for i, layer in enumerate(LAYERS.values())}
    written(tmp_path / "net.npy", files.caffe(named))
    written(tmp_path / "1.1", files.convnet(named))
    for name in ("net.npy", "1.1"):
        assert "conv9" in one_line(lambda name=name: weights.convert(tmp_path / name))


def hostile_pickles(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}"
    call = made.call("posix", "system", (command,))
    code = pickle.dumps(Run(command), protocol=4)
    header = files.caffe({})[:128]
    claim = files.array((10**6, 10**6), b"few")
    layers = files.text("conv1") + b"](" + claim + claim + b"e"
    return {
        "code in a checkpoint": files.convnet(LAYERS, extra=call),
        "code instead of a checkpoint": code,
        "code in an array file": header + code,
        "a claim in an array file": header + b"\x80\x02}(" + layers + b"u.",
        "a claim in a checkpoint": b"\x80\x02}(" + layers + b"u.",
    }


class Run:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_code_in_pickles_is_refused_by_name_and_false_claims_too(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for what, content in hostile_pickles(marker).items():
        path = written(tmp_path / "file", content)
        message = one_line(lambda path=path: weights.convert(path))
        said = "posix.system" if what.startswith("code") else "claims 1000000000000 numbers"
        assert said in message, what
        assert not marker.exists()
    evil = files.convnet(LAYERS, extra=b"coptions\nx\n(" + files.text("a") + b"tR")
    same = weights.convert(written(tmp_path / "file", evil))  # its own classes are passed over
    assert list(same.params) == list(LAYERS)


def test_false_claims_in_safetensors(tmp_path: Path) -> None:
    for shape, size in (([10**6, 10**6], 4), ([10**6, 10**6], 4 * 10**12)):
        claim = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
        header = json.dumps(claim).encode()
        content = len(header).to_bytes(8, "little") + header + b"\0" * 4
        path = written(tmp_path / "claim", content)
        assert "damaged .safetensors" in one_line(lambda path=path: weights.convert(path))


def test_false_claims_and_bombs_in_onnx_and_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: formats)")
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: formats)")
    model = files.onnx_model(LAYERS)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([10**6, 10**6])
    onnx.save(model, tmp_path / "claim.onnx")
    model = files.onnx_model(LAYERS)
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="secret")
    with h5py.File(tmp_path / "claim.h5", "w") as file:
        file.create_dataset("conv1/kernel", (10**4, 10**4, 100, 100), "f4", chunks=(1, 1, 9, 9))
    with h5py.File(tmp_path / "zeros.h5", "w") as file:  # 400 MB of nothing
        zeros = file.create_dataset(
            "conv1/kernel", (1000, 1000, 10, 10), "f4", chunks=(1000, 1000, 1, 1), compression=9
        )
        zeros[:, :, 0, 0] = 0
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["conv1"] = h5py.ExternalLink("/etc/hostname", "/")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        raw = [(str(tmp_path / "link.h5"), 0, 100)]
        file.create_dataset("conv1/kernel", (5, 5), "f4", external=raw)
    expected = {
        "claim.onnx": "claims 1000000000000 numbers",
        "apart.onnx": "in another file",
        "claim.h5": "claims 1000000000000 numbers",
        "zeros.h5": "claims 100000000 numbers",
        "link.h5": "points elsewhere",
        "other.h5": "in another file",
    }
    for name, part in expected.items():
        assert part in one_line(lambda name=name: weights.convert(tmp_path / name)), name
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(keras_file.WEIGHTS, bytes(2_000_000))
    monkeypatch.setattr(keras_file, "MOST_BYTES", 1_000_000)
    assert "unpacks to 2000000" in one_line(lambda: weights.convert(tmp_path / "bomb.keras"))


def test_the_tool_refuses_in_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "convert_weights.py"))["main"]
    for what, content in hostile_pickles(tmp_path / "ran").items():
        path = written(tmp_path / "file", content)
        assert tool([str(path), "--output", str(tmp_path / "out")]) == 2, what
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
