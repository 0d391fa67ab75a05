"""Conversion of weights, the folder with metadata, Gabor filters in C1, and the tool."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import handmade_pth
import numpy as np
import pytest
import weight_files
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import weights
from mtl_jax.types import InputError, Params
from mtl_jax.weights import find_weights, npz_file
from mtl_jax.weights.metadata import hash_params

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "weights" / "alexnet_imagenet_conv.npz"
# torchvision's alexnet: (out, in, row, column) and (out, in)
SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
}
CONNECTED = {"classifier.4": (4096, 4096), "classifier.6": (1000, 4096)}


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = rng.standard_normal(shape, np.float32)
        state[f"{name}.bias"] = rng.standard_normal(shape[0], np.float32)
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return random_state(SHAPES)


@pytest.fixture(scope="module")
def converted(state: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    source = write_bytes(folder / "alexnet.pth", handmade_pth.valid_files(state)["zip"])
    weights.save(weights.convert(source), folder / "alexnet")
    return folder / "alexnet"


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def to_hwio(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.replace("weight", "kernel"): np.moveaxis(a, (0, 1), (-1, -2)) if a.ndim == 4 else a
        for name, a in arrays.items()
    }


def are_equal(ours: Params, theirs: Params) -> bool:
    return list(ours) == list(theirs) and all(
        ours[layer][leaf].dtype == theirs[layer][leaf].dtype
        and ours[layer][leaf].shape == theirs[layer][leaf].shape
        and ours[layer][leaf].tobytes() == theirs[layer][leaf].tobytes()
        for layer in theirs
        for leaf in ("kernel", "bias")
    )


def error_line(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_format_gives_the_same_parameters(
    state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Give all files one name, because the format is recognized by content."""
    layers = [f"C{i}" for i in range(1, 6)]
    layer_names = dict(zip(SHAPES, layers, strict=True))
    named = {
        f"{layer_names[k.rpartition('.')[0]]}/{k.rpartition('.')[2]}": a for k, a in state.items()
    }
    lpips = {k.replace("C", "conv", 1): a for k, a in to_hwio(named).items()}
    parallel = {k.replace("features.", "features.module."): a for k, a in state.items()}
    contents = {
        "torch zip, torchvision": handmade_pth.valid_files(state)["zip"],
        "torch legacy, torchvision": handmade_pth.valid_files(state)["legacy"],
        "safetensors, torchvision": safetensors_bytes(parallel),
        "npz, conv1..conv5": npz_bytes(lpips),
        "npz, mtl_jax": npz_bytes(to_hwio(named)),
    }
    for kind, content in contents.items():
        loaded = weights.convert(write_bytes(tmp_path / "weights.bin", content))
        assert loaded.metadata["format"] == f"{kind} names"
        assert list(loaded.params) == layers
        for name, layer in layer_names.items():
            kernel = loaded.params[layer]["kernel"]
            assert kernel.flags.c_contiguous and kernel.dtype == np.float32
            source = state[f"{name}.weight"]
            assert kernel[2, 1, 0, 5] == source[5, 0, 2, 1]
            np.testing.assert_array_equal(np.einsum("hwio->oihw", kernel), source)
            np.testing.assert_array_equal(loaded.params[layer]["bias"], state[f"{name}.bias"])


def test_fully_connected_layers_are_kept_if_their_shapes_match(
    state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    connected = random_state(CONNECTED)
    f1 = {
        "classifier.1.weight": np.zeros((4096, 9216), np.float32),
        "classifier.1.bias": np.zeros(4096, np.float32),
    }
    path = write_bytes(tmp_path / "full", safetensors_bytes({**state, **f1, **connected}))
    dropped = weights.convert(path)
    assert list(dropped.params) == ["C1", "C2", "C3", "C4", "C5"]
    assert "F1, F2, F3 dropped" in dropped.metadata["left_out"][0]
    kept = weights.convert(path, fc="keep")
    assert list(kept.params) == ["C1", "C2", "C3", "C4", "C5", "F2", "F3"]
    assert kept.metadata["left_out"][0].startswith("F1 left out: its 9216 inputs")
    x = np.random.default_rng(1).standard_normal(4096)
    theirs = connected["classifier.6.weight"].astype(float) @ x
    np.testing.assert_allclose(x @ kept.params["F3"]["kernel"].astype(float), theirs)
    error_line(lambda: weights.convert(path, fc="all"))


def test_all_mismatches_are_in_one_line(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    invalid = dict(state)
    del invalid["features.0.bias"]
    invalid["features.3.weight"] = to_hwio(state)["features.3.kernel"]  # transposed
    invalid["features.6.weight"] = state["features.6.weight"].astype(np.float64)
    invalid["features.8.bias"] = np.full(256, np.nan, np.float32)
    invalid["features.12.weight\n"] = np.zeros(3, np.float32)
    path = write_bytes(tmp_path / "invalid.pth", npz_bytes(invalid))
    message = error_line(lambda: weights.convert(path))
    for part in (
        str(path),
        "missing features.0.bias",
        "features.3.weight has shape (5, 5, 64, 192), expected (192, 64, 5, 5)",
        "features.6.weight is float64, expected float32 or float16",
        "features.8.bias has values that are not finite",
        "unexpected 'features.12.weight\\n'",
    ):
        assert part in message


def test_converted_and_reloaded_weights_are_bit_equal(
    state: dict[str, np.ndarray], converted: Path
) -> None:
    loaded = weights.load(converted)
    source = converted.with_suffix(".pth")
    assert are_equal(loaded.params, weights.convert(source).params)
    assert loaded.metadata == weights.convert(source).metadata
    assert loaded.metadata["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert loaded.metadata["parameters"] == sum(array.size for array in state.values())
    assert all(type(a) is np.ndarray for layer in loaded.params.values() for a in layer.values())


def test_real_weights() -> None:
    if not REAL.exists():
        pytest.skip("the ImageNet weights are not beside the checkout")
    loaded = weights.convert(REAL)
    with np.load(REAL) as source:
        for i in range(1, 6):
            for leaf in ("kernel", "bias"):
                ours, theirs = loaded.params[f"C{i}"][leaf], source[f"conv{i}/{leaf}"]
                assert ours.tobytes() == theirs.tobytes()
    assert loaded.metadata["parameters"] == 2_469_696
    assert loaded.metadata["sha256"].startswith(
        "53ed7fbcd7440e8564d7f94c8f70a23bde3e5922fcb3e5284c"
    )
    assert loaded.metadata["lrn"] is False
    assert loaded.metadata["input"]["mean"] == [0.485, 0.456, 0.406]
    assert loaded.metadata["input"]["std"] == [0.229, 0.224, 0.225]


def test_damaged_folders_are_rejected(converted: Path, tmp_path: Path) -> None:
    assert "no such folder" in error_line(lambda: weights.load(tmp_path / "nowhere"))
    assert "no card.json" in error_line(lambda: weights.load(tmp_path))
    metadata_path = converted / "card.json"
    text = metadata_path.read_text()
    metadata = json.loads(text)
    damaged = {
        text[: len(text) // 2]: "not valid JSON",
        "[]": "not a JSON object",
        json.dumps({**metadata, "lrn": "no"}): "field lrn",
        json.dumps(
            {k: v for k, v in metadata.items() if k not in ("input", "name")}
        ): "name, input",
        json.dumps({**metadata, "input": {**metadata["input"], "std": [0, 1, 1]}}): "field input",
        json.dumps({**metadata, "arrays_sha256": "0" * 64}): "damaged: card.json",
        json.dumps({**metadata, "converter_version": 99}): "version 99",
        json.dumps(
            {**metadata, "shapes": {**metadata["shapes"], "C9": metadata["shapes"]["C1"]}}
        ): "C9",
        json.dumps({**metadata, "shapes": {"C1": metadata["shapes"]["C1"]}}): "missing C2",
        json.dumps({**metadata, "shapes": {"C1": {"kernel": 7, "bias": "x"}}}): "C1 has",
    }
    try:
        for content, part in damaged.items():
            metadata_path.write_text(content)
            message = error_line(lambda: weights.load(converted))
            assert str(converted) in message and part in message
        metadata_path.write_text(text)
        (converted / "params").rename(converted / "gone")
        assert "damaged" in error_line(lambda: weights.load(converted))
        (converted / "gone").rename(converted / "params")
    finally:
        metadata_path.write_text(text)


def test_folder_of_version_0_1_0_loads(converted: Path, tmp_path: Path) -> None:
    """Check that the file on disk, which its checksums describe, is not changed."""
    folder = tmp_path / "old"
    shutil.copytree(converted, folder)
    weight_files.rename_as_in_0_1_0(folder)
    content = (folder / "card.json").read_bytes()
    loaded = weights.load(folder)
    assert loaded.metadata == weights.load(converted).metadata
    assert are_equal(loaded.params, weights.load(converted).params)
    assert (folder / "card.json").read_bytes() == content
    (folder / "card.json").write_bytes(content + b"\n")
    assert "damaged: card.json" in error_line(lambda: weights.load(folder))


def test_flipped_bytes_of_the_parameters_are_detected(converted: Path) -> None:
    largest = max((converted / "params").rglob("*"), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    try:
        for position in (len(content) // 3, len(content) // 2):
            flipped = bytes([content[position] ^ 1])
            largest.write_bytes(content[:position] + flipped + content[position + 1 :])
            error_line(lambda: weights.load(converted))
    finally:
        largest.write_bytes(content)


def test_weights_with_mismatched_shapes_or_types_are_not_saved(
    converted: Path, tmp_path: Path
) -> None:
    valid = weights.load(converted)
    params = {**valid.params, "C2": {**valid.params["C2"], "kernel": valid.params["C1"]["kernel"]}}
    del params["C4"]
    message = error_line(
        lambda: weights.save(weights.Weights(params, valid.metadata), tmp_path / "out")
    )
    double = {**valid.params, "C1": {k: a.astype(float) for k, a in valid.params["C1"].items()}}
    out = weights.Weights(double, valid.metadata)
    assert "float64" in error_line(lambda: weights.save(out, tmp_path / "out"))
    assert "missing C4" in message and "'kernel': [11, 11, 3, 64]" in message
    changed = {**valid.params, "C1": {k: a + 1 for k, a in valid.params["C1"].items()}}
    with pytest.raises(ValueError, match="metadata were made for other"):
        weights.save(weights.Weights(changed, valid.metadata), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_only_converted_weights_are_replaced(converted: Path, tmp_path: Path) -> None:
    valid = weights.load(converted)
    weights.save(valid, tmp_path / "net")
    assert "--force" in error_line(lambda: weights.save(valid, tmp_path / "net"))
    weights.save(valid, tmp_path / "net", replace=True)
    assert are_equal(weights.load(tmp_path / "net").params, valid.params)
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "document.txt").write_text("not weights")
    error_line(lambda: weights.save(valid, documents, replace=True))
    assert [p.name for p in documents.iterdir()] == ["document.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["documents", "net"]


def test_files_without_weights_are_rejected(tmp_path: Path) -> None:
    contents = {
        b"": "not a weights file",
        b"This is a text file without weights.\n": "not a weights file",
        b"PK\x03\x04 truncated": "damaged",
        b"\xff" * 7 + b"\x7f{}": "safetensors",
        safetensors_bytes({"a": np.ones(9, np.float32)})[:-4]: "safetensors",
        npz_bytes({"a": np.ones(9, np.float32)}): "unknown parameter names",
        npz_bytes({"a": np.array([{}], object)}): "Python objects",
    }
    for content, part in contents.items():
        path = write_bytes(tmp_path / "file.pth", content)
        message = error_line(lambda path=path: weights.convert(path))
        assert str(path) in message and part in message
    assert "cannot be read" in error_line(lambda: weights.convert(tmp_path))
    assert "cannot be read" in error_line(lambda: weights.convert(tmp_path / "absent.pth"))


def test_archives_that_unpack_to_too_many_bytes_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        description = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(header, description)
        archive.writestr("C1/kernel.npy", header.getvalue() + bytes(2_000_000))
    path = write_bytes(tmp_path / "large.npz", out.getvalue())
    assert "states 1000000000000 values" in error_line(lambda: weights.convert(path))
    monkeypatch.setattr(npz_file, "MAX_BYTES", 1_000_000)
    assert path.stat().st_size < 10_000
    assert "more than 1000000" in error_line(lambda: weights.convert(path))


def test_gabor_kernels_have_zero_mean_and_he_scale() -> None:
    bank = weights.make_gabor_bank()
    assert bank.shape == (11, 11, 3, 64) and bank.dtype == np.float32
    assert np.abs(bank.sum((0, 1))).max() < 1e-5
    gray = np.random.default_rng(0).standard_normal((4000, 11, 11, 1)).repeat(3, axis=-1)
    output = np.maximum(gray.reshape(4000, -1) @ bank.reshape(-1, 64), 0)
    np.testing.assert_allclose((output**2).mean(0), 1, atol=0.15)  # 4000 draws: sd 0.035
    np.testing.assert_allclose((output**2).mean(), 1, atol=0.02)


def test_gabor_kernels_differ() -> None:
    flat = weights.make_gabor_bank().reshape(-1, 64).astype(float)
    unit = flat / np.linalg.norm(flat, axis=0)
    similarity = unit.T @ unit - np.eye(64)
    assert similarity.max() < 0.85
    assert weights.make_gabor_bank(96, 7, 1).shape == (7, 7, 1, 96)


def test_gabor_response_is_maximal_at_the_orientation_of_the_kernel() -> None:
    """Compare the energy over the four phases for gratings of all angles."""
    bank = weights.make_gabor_bank()[:, :, :, :60].reshape(11, 11, 3, 5, 3, 4).sum(2)
    row, column = np.mgrid[-5:6, -5:6]
    angles = np.radians(np.arange(0, 180, 4))
    for index, wavelength in enumerate((2.75, 4.4, 7.7)):
        across = column * np.cos(angles)[:, None, None] + row * np.sin(angles)[:, None, None]
        gratings = np.exp(2j * np.pi * across / wavelength)
        energy = (np.abs(np.einsum("ahw,hwop->aop", gratings, bank[:, :, :, index])) ** 2).sum(-1)
        assert np.degrees(angles[energy.argmax(0)]).tolist() == [0, 36, 72, 108, 144]
        assert (energy.min(0) < 0.1 * energy.max(0)).all()


def test_analytic_weights_state_that_they_are_not_pretrained() -> None:
    analytic = weights.make_analytic()
    assert list(analytic.params) == ["C1"]
    assert not analytic.params["C1"]["bias"].any()
    assert "Not pretrained" in analytic.metadata["note"] and analytic.metadata["lrn"] is False


def test_weights_by_name(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert are_equal(weights.find(str(converted)).params, weights.load(converted).params)
    assert weights.find("random").params == {} and list(weights.find("analytic").params) == ["C1"]
    monkeypatch.chdir(tmp_path)
    if find_weights.SHIPPED.is_dir():
        assert list(weights.find("shipped").params) == ["C1", "C2", "C3", "C4", "C5"]
    monkeypatch.setattr(find_weights, "SHIPPED", tmp_path / "formulas")
    assert "formulas does not exist; reinstall" in error_line(lambda: weights.find("shipped"))
    assert "no such folder" in error_line(lambda: weights.find("nowhere"))


def test_imagenet_weights_are_read_from_the_folder_of_the_conversion(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = error_line(lambda: weights.find("imagenet"))
    assert "mtl-jax convert --download" in missing and "\n" not in missing
    placeholder = weights.find_for_plan("imagenet", "alexnet")
    assert list(placeholder.params) == ["C1", "C2", "C3", "C4", "C5"]
    assert "do not exist yet" in placeholder.metadata["note"]
    with pytest.raises(
        InputError, match="no folder vgg16_imagenet in checkpoints or .*convert FILE$"
    ):
        weights.find("imagenet", "vgg16")
    shutil.copytree(converted, tmp_path / "checkpoints" / "alexnet_imagenet")
    for find in (weights.find, weights.find_for_plan):
        assert are_equal(find("imagenet", "alexnet").params, weights.load(converted).params)


def test_paper_preset_rejects_weights_not_pretrained_on_photographs(converted: Path) -> None:
    weights.require_photographs(weights.load(converted), "splits")
    for name in ("shipped", "random"):
        message = error_line(lambda n=name: weights.require_photographs(weights.find(n), "splits"))
        assert "no convolutions trained on photographs" in message and "'imagenet'" in message


def test_weight_folders_have_no_absolute_paths(converted: Path) -> None:
    """Check the shipped folder and a converted one."""
    shipped = Path(__file__).parents[1] / "checkpoints" / "formulas"
    paths = [p for folder in (converted, shipped) for p in folder.rglob("*") if p.is_file()]
    assert len(paths) > 10
    for path in paths:
        content = path.read_bytes()
        assert b"successful to" not in content and bytes(converted.parent) not in content, path


def test_half_precision_is_stored_only_if_exact(converted: Path, tmp_path: Path) -> None:
    exact = weights.load(converted)
    rounded = weights.round_to_half(exact.params)
    metadata = exact.metadata | {"arrays_sha256": hash_params(rounded)}
    weights.save(weights.Weights(rounded, metadata), tmp_path / "half", half=True)
    loaded = weights.load(tmp_path / "half")
    assert are_equal(loaded.params, rounded)
    half = exact.params["C2"]["kernel"].astype(np.float16)
    np.testing.assert_array_equal(loaded.params["C2"]["kernel"], half.astype(np.float32))
    size = sum(p.stat().st_size for p in (tmp_path / "half").rglob("*"))
    assert size < 5_000_000 < sum(p.stat().st_size for p in converted.rglob("*"))
    with pytest.raises(ValueError, match="half precision would change"):
        weights.save(exact, tmp_path / "lossy", half=True)
    assert [p.name for p in tmp_path.iterdir()] == ["half"]


@pytest.mark.usefixtures("no_compiled_programs")
def test_tool_converts_and_rejects(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    def tool(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools" / "convert_weights.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    write_bytes(tmp_path / "alexnet.pth", handmade_pth.valid_files(state)["zip"])
    done = tool("alexnet.pth", "--output", "out/alexnet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "11x11x3x64" in done.stdout and "2,469,696 parameters from alexnet.pth" in done.stdout
    assert list(weights.load(tmp_path / "out" / "alexnet").params) == ["C1", "C2", "C3", "C4", "C5"]
    again = tool("alexnet.pth", "--output", "out/alexnet")
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "exists" in again.stderr
    malicious = handmade_pth.call("os", "system", (f"touch {tmp_path / 'ran'}",))
    write_bytes(tmp_path / "malicious.pth", handmade_pth.zip_file({"x": malicious}, {}))
    rejected = tool("malicious.pth", "--output", "out/malicious")
    assert rejected.returncode == 2 and rejected.stderr.count("\n") == 1
    assert "os.system" in rejected.stderr and not (tmp_path / "ran").exists()
    assert not (tmp_path / "out" / "malicious").exists()
