"""AlexNet compared with Table 3 of the paper and with convolutions in SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from mtl_jax.imaging import read_image, roi
from mtl_jax.models import alexnet, response_norm
from mtl_jax.models.max_pool import max_pool
from mtl_jax.models.response_norm import Normalization
from mtl_jax.types import InputError

GEOMETRY = {"C1": (4, 2, True), "C2": (1, 2, True), "C3": (1, 1, False)}
GEOMETRY |= {"C4": (1, 1, False), "C5": (1, 1, True)}


def scipy_layer(x: np.ndarray, layer: dict, stride: int, pad: int, pool: bool) -> np.ndarray:
    """Return one convolution layer of `x` (h, w, c) in float64."""
    x = np.pad(x.astype(np.float64), ((pad, pad), (pad, pad), (0, 0)))
    kernel = layer["kernel"].astype(np.float64)
    maps = [
        sum(correlate2d(x[..., i], kernel[..., i, o], "valid") for i in range(x.shape[-1]))
        for o in range(kernel.shape[-1])
    ]
    y = np.maximum(np.stack(maps, -1)[::stride, ::stride] + layer["bias"], 0)
    if pool:
        size = (len(y) - 3) // 2 + 1
        y = np.array(
            [
                [y[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(size)]
                for i in range(size)
            ]
        )
    return y


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_get(alexnet.init(alexnet.AlexNet(), jax.random.key(3)))


def test_table_3(params: dict) -> None:
    """10,446 nodes and maps of 31, 15, 7 and 3 pixels."""
    assert sum(len(layer["bias"]) for layer in params.values()) == 10_446
    assert tuple(params) == alexnet.LAYERS
    x, sizes = jnp.zeros((1, 128, 128, 3)), []
    for name in ("C1", "C2", "C3", "C4", "C5"):
        x = alexnet.forward(params, x, name, name)
        sizes.append(x.shape[1:])
    assert sizes == [(15, 15, 64), (7, 7, 192), (7, 7, 384), (7, 7, 256), (3, 3, 256)]
    assert params["F1"]["kernel"].shape == (3 * 3 * 256, 4096)
    # The map of C1 before pooling.
    assert (128 + 2 * 2 - 11) // 4 + 1 == 31


def test_every_layer_matches_scipy_with_imagenet_weights_and_a_mammogram(
    params: dict, shared: object
) -> None:
    film, bits = read_image.read_image(shared / "data" / "mini_mias" / "mdb028.pgm")
    gray, _ = roi.crop(roi.to_12_bit(film, bits), (1023 - 314 + 0.5, 338.5))
    x = np.repeat(((gray - gray.mean()) / gray.std())[..., None], 3, -1).astype(np.float32)
    with np.load(shared / "weights" / "alexnet_imagenet_conv.npz") as archive:
        for i in range(1, 6):
            params[f"C{i}"] = {p: archive[f"conv{i}/{p}"] for p in ("kernel", "bias")}
    expected = x
    for name, geometry in GEOMETRY.items():
        expected = scipy_layer(expected, params[name], *geometry)
        ours = np.asarray(alexnet.forward(params, x[None], "C1", name)[0])
        assert np.linalg.norm(ours - expected) < 1e-5 * np.linalg.norm(expected), name
    flat = expected.ravel()  # row, column, channel
    for name in ("F1", "F2", "F3", "F4", "F5"):
        flat = flat @ params[name]["kernel"].astype(np.float64) + params[name]["bias"]
        flat = flat if name == "F5" else np.maximum(flat, 0)
        ours = np.asarray(alexnet.forward(params, x[None], "C1", name)[0])
        assert np.linalg.norm(ours - flat) < 1e-5 * np.linalg.norm(flat), name


def test_applying_layers_in_two_calls_equals_one_call(params: dict) -> None:
    x = jax.random.normal(jax.random.key(0), (2, 128, 128, 3))
    expected = alexnet.forward(params, x)
    for split in ("C1", "C4", "C5", "F1", "F4"):
        next_layer = alexnet.LAYERS[alexnet.LAYERS.index(split) + 1]
        output = alexnet.forward(params, alexnet.forward(params, x, last=split), first=next_layer)
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


SETTINGS = (
    Normalization(),
    Normalization(size=3, scale=0.04, power=0.5, offset=1.0),
    Normalization(size=7, scale=0.3, power=1.2, offset=0.7),
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_local_response_normalization_matches_its_formula(settings: Normalization) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 9)).astype(np.float32)
    half, expected = settings.size // 2, np.empty(x.shape)
    for k in range(9):
        total = (np.float64(x[..., max(k - half, 0) : k + half + 1]) ** 2).sum(-1)
        divisor = (settings.offset + settings.scale * total) ** settings.power
        expected[..., k] = x[..., k] / divisor
    output = response_norm.local_response_normalization(x, settings)
    np.testing.assert_allclose(output, expected, rtol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_local_response_normalization_and_its_gradient_match_pytorch(
    settings: Normalization,
) -> None:
    """PyTorch divides alpha by the number of channels, as cuda-convnet2 does in definitions."""
    torch = pytest.importorskip("torch")
    alpha = settings.scale * settings.size
    norm = torch.nn.LocalResponseNorm(settings.size, alpha, settings.power, settings.offset)
    x = 3 * np.random.default_rng(1).normal(size=(2, 3, 4, 11)).astype(np.float32)
    theirs_in = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    theirs = norm(theirs_in)
    apply = functools.partial(response_norm.local_response_normalization, settings=settings)
    ours, backward = jax.vjp(apply, jnp.asarray(x))
    np.testing.assert_allclose(ours, theirs.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-5)
    gradient = np.random.default_rng(2).normal(size=ours.shape).astype(np.float32)
    theirs.backward(torch.tensor(gradient.transpose(0, 3, 1, 2).copy()))
    expected = theirs_in.grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(backward(jnp.asarray(gradient))[0], expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_is_normalized_in_float32() -> None:
    """The result is rounded once: its error is at most half a unit in the last place."""
    settings = Normalization(size=9, scale=0.02, power=0.75, offset=1.0)
    x = jnp.asarray(np.random.default_rng(3).normal(size=(1, 9, 9, 32)), jnp.bfloat16)
    output = response_norm.local_response_normalization(x, settings)
    assert output.dtype == jnp.bfloat16
    padded = np.pad(np.float64(x), ((0, 0), (0, 0), (0, 0), (4, 4)))
    total = sum(padded[..., k : k + 32] ** 2 for k in range(9))
    exact = np.float64(x) / (1 + 0.02 * total) ** 0.75
    np.testing.assert_allclose(np.float64(output), exact, rtol=2.0**-8 * 1.001)


def test_lrn_changes_only_networks_that_have_it(params: dict) -> None:
    x = jax.random.normal(jax.random.key(0), (1, 128, 128, 3))
    with_lrn = alexnet.forward(params, x, last="C1", lrn=True)
    assert not np.allclose(with_lrn, alexnet.forward(params, x, last="C1"))
    identity = Normalization(scale=0.0, power=1.0, offset=1.0)  # divides by 1
    output = alexnet.forward(params, x, last="C2", lrn=(identity, identity))
    np.testing.assert_array_equal(output, alexnet.forward(params, x, last="C2"))


def test_lrn_true_means_the_settings_of_the_paper() -> None:
    """cuda-convnet2's layers-imagenet-1gpu: scale 1e-4 over 5 maps, pow 0.75, minDiv 2."""
    for layer, settings in response_norm.layer_settings(True).items():
        assert settings[:4] == (5, pytest.approx(1e-4 / 5), 0.75, 2.0)
        assert settings.before_rectifier == (layer == "C1")
    assert alexnet.conv_padding("C1", True) == (0, 3) and alexnet.conv_padding("C1", False) == (
        2,
        2,
    )


def test_unknown_layer_name_is_rejected_with_the_valid_names() -> None:
    with pytest.raises(InputError, match="C1, C2, C3, C4, C5, F1"):
        alexnet.AlexNet().layers_between("C1", "C9")


def test_one_gray_channel_equals_three_equal_channels(params: dict) -> None:
    """The output and the gradient of the kernel are equal."""
    gray = jax.random.normal(jax.random.key(0), (2, 128, 128, 1))
    images = gray, jnp.repeat(gray, 3, -1)

    def total(params: dict, x: jax.Array) -> jax.Array:
        return (alexnet.forward(params, x, last="C1") ** 2).sum()

    one, three = (jax.jit(jax.value_and_grad(total))(params, x) for x in images)
    np.testing.assert_allclose(one[0], three[0], rtol=1e-6)
    ours, theirs = one[1]["C1"]["kernel"], three[1]["C1"]["kernel"]
    assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize("shape", [(2, 31, 31, 3), (1, 15, 7, 2), (2, 8, 6, 1), (1, 3, 3, 1)])
def test_max_pool_and_its_gradient_match_pytorch(shape: tuple[int, ...]) -> None:
    """With ties, on sizes that the windows cover completely or not."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    theirs_in = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    theirs = torch.nn.functional.max_pool2d(theirs_in, 3, 2)
    ours, backward = jax.vjp(max_pool, jnp.asarray(x))
    np.testing.assert_array_equal(ours, theirs.detach().numpy().transpose(0, 2, 3, 1))
    gradient = rng.integers(-9, 9, ours.shape).astype(np.float32)
    theirs.backward(torch.tensor(gradient.transpose(0, 3, 1, 2).copy()))
    expected = theirs_in.grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(backward(jnp.asarray(gradient))[0], expected)
