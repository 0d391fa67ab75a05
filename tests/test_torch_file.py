"""The reader of PyTorch files: valid files, files written by PyTorch, and malicious files."""

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import handmade_pth as made
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mtl_jax.types import InputError
from mtl_jax.weights.convert import READERS, convert, detect_format

FORMS = ("zip", "legacy")
SMALL = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.bias": np.array([0.1, -0.0, np.pi], np.float32),
}
ONE = {"x": made.TensorEntry("0", 6, (2, 3), (3, 1))}
SIX = np.arange(6, dtype="<f4").tobytes()


def read(path: Path) -> dict[str, np.ndarray]:
    return READERS[detect_format(path)](path).arrays


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1500
    return message


def written(folder: Path, content: bytes) -> Path:
    path = folder / "net.pth"
    path.write_bytes(content)
    return path


def both_forms(state: object, block: bytes, count: int) -> dict[str, bytes]:
    return {
        "zip": made.zip_file(state, {"0": block}),
        "legacy": made.legacy_file(state, {"0": (count, block)}),
    }


@pytest.mark.parametrize("form", FORMS)
def test_valid_files_are_read_bit_identical(form: str, tmp_path: Path) -> None:
    arrays = read(written(tmp_path, made.valid_files(SMALL)[form]))
    assert list(arrays) == list(SMALL)
    for name, array in SMALL.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_strides_and_offset(form: str, tmp_path: Path) -> None:
    entries = {
        "transposed": made.TensorEntry("0", 6, (3, 2), (1, 3)),
        "last": made.TensorEntry("0", 6, (2,), (1,), offset=4),
        "one": made.TensorEntry("0", 6, (), (), offset=5),
    }
    arrays = read(written(tmp_path, both_forms(entries, SIX, 6)[form]))
    assert arrays["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["last"].tolist() == [4, 5]
    assert arrays["one"].tolist() == 5


@pytest.mark.parametrize("form", FORMS)
def test_state_dict_inside_a_training_checkpoint(form: str, tmp_path: Path) -> None:
    state = {"epoch": 90, "arch": "alexnet", "state_dict": ONE}
    arrays = read(written(tmp_path, both_forms(state, SIX, 6)[form]))
    assert arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.hub", "load_state_dict_from_url"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("os.torch", "FloatStorage"),
    ],
)
def test_code_is_rejected_by_name_and_not_executed(
    form: str, module: str, name: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    state = {**ONE, "y": made.call(module, name, (f"touch {marker}",))}
    path = written(tmp_path, both_forms(state, SIX, 6)[form])
    message = one_line(lambda: convert(path))
    assert f"{module}.{name}" in message and "no code was executed" in message
    assert not marker.exists()


def test_code_in_a_bare_pickle_of_protocol_4(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = f"touch {marker}".encode()
    text = b"\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c" + bytes([len(command)]) + command
    path = written(tmp_path, b"\x80\x04" + text + b"\x85R.")
    assert "posix.system" in one_line(lambda: convert(path))
    assert not marker.exists()


@pytest.mark.parametrize("opcode", [b"i", b"o", b"\x81", b"\x82\x01", b"P1\n"])
def test_other_call_opcodes_are_rejected(opcode: bytes, tmp_path: Path) -> None:
    state = {"x": made.MARK + made.global_name("torch", "FloatStorage") + b")" + opcode}
    if opcode == b"i":
        state = {"x": made.MARK + b"ios\nsystem\n"}
    one_line(lambda: convert(written(tmp_path, made.zip_file(state, {}))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "entry",
    [
        made.TensorEntry("0", 10**12, (10**6, 10**6), (10**6, 1)),  # 4 TB
        made.TensorEntry("0", 6, (10**6, 10**6), (0, 0)),  # one value, repeated
        made.TensorEntry("0", 6, (7,), (1,)),
        made.TensorEntry("0", 6, (2, 3), (4, 1)),
        made.TensorEntry("0", 6, (3,), (1,), offset=4),
        made.TensorEntry("0", 6, (3,), (-1,), offset=2),
        made.TensorEntry("0", 6, (-3,), (1,)),
        made.TensorEntry("0", 6, (2, 3), (1,)),
        made.TensorEntry("0", -6, (2, 3), (3, 1)),
        made.TensorEntry("0", 6, (2, 3), (3, 1), kind="BFloat16Storage"),
        made.TensorEntry("1", 6, (2, 3), (3, 1)),  # no such storage
    ],
)
def test_invalid_sizes_and_strides_are_rejected(
    form: str, entry: made.TensorEntry, tmp_path: Path
) -> None:
    path = written(tmp_path, both_forms({"x": entry}, SIX, 6)[form])
    assert str(path) in one_line(lambda: read(path))


def test_two_descriptions_of_one_storage_are_rejected(tmp_path: Path) -> None:
    state = {**ONE, "y": made.TensorEntry("0", 3, (3,), (1,), kind="DoubleStorage")}
    path = written(tmp_path, made.zip_file(state, {"0": SIX}))
    assert "two descriptions" in one_line(lambda: read(path))


def test_zip_bombs_are_rejected(tmp_path: Path) -> None:
    count = 5_000_000
    state = {"x": made.TensorEntry("0", count, (count,), (1,))}
    bomb = made.zip_file(state, {"0": bytes(4 * count)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "compressed" in one_line(lambda: read(written(tmp_path, bomb)))


@pytest.mark.parametrize("form", FORMS)
def test_every_truncated_file_is_rejected_in_one_line(form: str, tmp_path: Path) -> None:
    content = made.valid_files(SMALL)[form]
    for size in range(0, len(content), 7):
        path = written(tmp_path, content[:size])
        one_line(lambda path=path: read(path))


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_read_or_rejected_in_one_line(
    form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = made.valid_files(SMALL)[form]
    folder = tmp_path_factory.mktemp("damaged")

    @given(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=3))
    @example(position=152, change=b"\\")  # a bad escape in the text of an old opcode
    def damage(position: int, change: bytes) -> None:
        path = written(folder, content[:position] + change + content[position + len(change) :])
        try:
            read(path)
        except InputError as error:
            assert "\n" not in str(error)

    damage()


@pytest.mark.parametrize(
    "state",
    [
        [1, 2],
        {"x": 3},
        {3: made.TensorEntry("0", 6, (6,), (1,))},
        7,
        {"epoch": 3, "optimizer": {"a": 1}},
    ],
)
def test_content_without_state_dict_is_rejected(state: object, tmp_path: Path) -> None:
    path = written(tmp_path, made.zip_file(state, {"0": SIX}))
    assert "has no state dict" in one_line(lambda: read(path))


OTHER = {"x": made.TensorEntry("1", 6, (2, 3), (3, 1))}


def checkpoint(state: dict, form: str, tmp_path: Path) -> Path:
    return written(
        tmp_path,
        made.zip_file(state, {"0": SIX, "1": SIX[::-1]})
        if form == "zip"
        else made.legacy_file(state, {"0": (6, SIX), "1": (6, SIX[::-1])}),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("state", "notes"),
    [
        (
            {"model": ONE, "optimizer": {"state": {"0": OTHER}}},
            "'model'; other entries left out: opt",
        ),
        ({"epoch": 7, "model_state_dict": ONE, "y": OTHER["x"]}, "left out: epoch, y"),
        ({"net": ONE, "ema": OTHER}, "'net'; other entries left out: ema"),
        ({"state_dict": ONE, "state_dict_ema": OTHER}, "other entries left out: state_dict_ema"),
        ({"model": {"state_dict": ONE, "epoch": 1}, "y": OTHER["x"]}, "'model'"),
        ({"backbone": ONE, "config": {"depth": 18}, "y": OTHER["x"]}, "'backbone'"),
        ({"model": {"depth": 18}, "state_dict": ONE, "y": OTHER["x"]}, "'state_dict'"),
        ({"state_dict": ONE, "model": ONE, "y": OTHER["x"]}, "'state_dict'"),
        ({**ONE, "epoch": 3, "y": OTHER["x"]}, "entries that are not tensors left out: epoch"),
    ],
)
def test_state_dict_under_the_names_of_training_scripts(
    form: str, state: dict, notes: str, tmp_path: Path
) -> None:
    path = checkpoint(state, form, tmp_path)
    source = READERS[detect_format(path)](path)
    assert source.arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert set(source.arrays) <= {"x", "y"} and notes in "; ".join(source.left_out)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"model": ONE, "state_dict": OTHER}, "several state dicts (state_dict, model)"),
        ({"teacher": ONE, "student": OTHER}, "several state dicts (teacher, student)"),
        ({"net": {"generator": ONE, "critic": OTHER}, "y": OTHER["x"]}, "(generator, critic)"),
        ({"a.weight": ONE["x"], "ema": OTHER}, "layers beside the state dict 'ema'"),
        ({"model": {**ONE, "a.scale": 0.5}, "y": OTHER["x"]}, "has a.scale, which is not a tensor"),
    ],
)
def test_ambiguous_checkpoints_are_rejected(
    form: str, state: dict, expected: str, tmp_path: Path
) -> None:
    path = checkpoint(state, form, tmp_path)
    message = one_line(lambda: read(path))
    assert expected in message and "save only the network's" in message and "damaged" not in message


class TestAgainstTorch:
    """Files written by PyTorch."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("key", ["model", "model_state_dict", "net", "state_dict"])
    def test_training_checkpoint_with_other_entries(
        self, form: str, key: str, tmp_path: Path
    ) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: bench)")
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2))
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
        net[0](torch.randn(1, 3, 5, 5)).sum().backward()
        optimizer.step()
        content = {
            key: net.state_dict(),
            "ema": {name: value + 1 for name, value in net.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": schedule.state_dict(),
            "args": argparse.Namespace(lr=0.1, path=None),
            "best": np.float64(0.7),
            "loss": torch.tensor(0.3),
        }
        path = tmp_path / "net.pth"
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
        source = READERS[detect_format(path)](path)
        assert source.left_out == (
            f"taken from the entry {key!r}; other entries left out: ema, optimizer, "
            "lr_scheduler, args, best, loss",
        )
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(source.arrays[name], tensor.numpy())

    @pytest.mark.parametrize("form", FORMS)
    def test_tensors_of_all_dtypes_and_strides(self, form: str, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: bench)")
        base = torch.randn(5, 6, 7)
        state = {
            "plain": base,
            "transposed": base.permute(2, 0, 1),
            "part": base[1:4, ::2, 3],
            "parameter": torch.nn.Parameter(torch.randn(3, 4)),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "half": torch.randn(4).half(),
            "double": torch.randn(4).double(),
            "long": torch.arange(5),
            "bool": torch.tensor([True, False]),
        }
        path = tmp_path / "net.pth"
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
        arrays = read(path)
        assert list(arrays) == list(state)
        for name, tensor in state.items():
            expected = tensor.detach().numpy()
            assert arrays[name].dtype == expected.dtype
            np.testing.assert_array_equal(arrays[name], expected)

    @pytest.mark.parametrize("form", FORMS)
    def test_network_gives_the_same_activations(self, form: str, tmp_path: Path) -> None:
        """Each layer in PyTorch equals the layer in NumPy with the converted kernel."""
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: bench)")
        torch.manual_seed(1)
        conv, linear, gap = torch.nn.Conv2d, torch.nn.Linear, torch.nn.Identity
        features = torch.nn.Sequential(
            *(conv(3, 64, 11, 4, 2), gap(), gap(), conv(64, 192, 5, 1, 2), gap(), gap()),
            *(conv(192, 384, 3, 1, 1), gap(), conv(384, 256, 3, 1, 1), gap()),
            conv(256, 256, 3, 1, 1),
        )
        classifier = torch.nn.Sequential(
            *(gap(), linear(2304, 4096), gap(), gap(), linear(4096, 4096), gap()),
            linear(4096, 1000),
        )
        net = torch.nn.ModuleDict({"features": features, "classifier": classifier})
        path = tmp_path / "net.pth"
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
        params = convert(path, fc="keep").params
        assert list(params) == ["C1", "C2", "C3", "C4", "C5", "F1", "F2", "F3"]
        with torch.no_grad():
            for i, layer in zip((0, 3, 6, 8, 10), ("C1", "C2", "C3", "C4", "C5"), strict=True):
                module = features[i]
                x = torch.randn(1, module.in_channels, 23, 23)
                theirs = module(x)[0].permute(1, 2, 0).numpy()
                ours = convolve(
                    x[0].permute(1, 2, 0).numpy(), params[layer], module.stride[0], module.padding
                )
                assert relative_error(ours, theirs) < 1e-5
            x = torch.randn(2, 256, 3, 3)
            for i, layer in zip((1, 4, 6), ("F1", "F2", "F3"), strict=True):
                theirs = classifier[i](x.flatten(1))
                rows = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
                ours = rows.flatten(1).numpy() @ params[layer]["kernel"] + params[layer]["bias"]
                assert relative_error(ours, theirs.numpy()) < 1e-5
                x = theirs


def convolve(
    x: np.ndarray, layer: dict[str, np.ndarray], stride: int, padding: tuple[int, int]
) -> np.ndarray:
    """Return the cross-correlation of x (row, column, channel) in double precision."""
    kernel = layer["kernel"].astype(float)
    padded = np.pad(x.astype(float), ((padding[0],) * 2, (padding[1],) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], (0, 1))
    windows = windows[::stride, ::stride]
    return np.einsum("rcihw,hwio->rco", windows, kernel, optimize=True) + layer["bias"]


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
