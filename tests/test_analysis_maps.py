"""Deconvolution against SciPy, integrated gradients against their sum, planted things found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from mtl_jax import weights
from mtl_jax.analysis import deconvolution, gradients
from mtl_jax.analysis.conv_chain import convolution_chain
from mtl_jax.models import alexnet
from mtl_jax.models.response_norm import Lrn, Normalization
from mtl_jax.types import Params

SIZE = (128, 128)
NETWORK = alexnet.AlexNet()
LINKS = convolution_chain(NETWORK)


@pytest.fixture(scope="module")
def params() -> Params:
    found = dict(alexnet.init(alexnet.AlexNet(), jax.random.key(0)))
    found["C1"] = jax.tree.map(jnp.asarray, weights.make_analytic().params["C1"])
    return found


def test_back_through_c1_is_scipys_transposed_convolution(params: Params) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((11, 11, 3, 4)).astype(np.float32)
    y = rng.standard_normal((31, 31, 4)).astype(np.float32)
    ours = np.asarray(
        deconvolution.transposed_convolution(jnp.asarray(y), jnp.asarray(kernel), LINKS[0], SIZE)
    )
    # The transpose of stride 4: values four apart; of correlation: convolution; of padding: a crop.
    apart = np.zeros((121, 121, 4))
    apart[::4, ::4] = y
    whole = np.zeros((132, 132, 3))
    for channel in range(3):
        for k in range(4):
            full = signal.convolve2d(apart[..., k], kernel[:, :, channel, k], mode="full")
            whole[: full.shape[0], : full.shape[1], channel] += full
    np.testing.assert_allclose(ours, whole[2:130, 2:130], atol=2e-4)
    # And a map of the real network, alone.
    image = jnp.asarray(rng.standard_normal((*SIZE, 3)), jnp.float32)
    passed = deconvolution.forward(params, image, LINKS)
    ours = np.asarray(deconvolution.project(params, passed, LINKS[:1], 5, SIZE))
    apart = np.zeros((121, 121))
    apart[::4, ::4] = passed.maps["C1"][..., 5]
    filters = np.asarray(params["C1"]["kernel"], np.float64)[..., 5]
    theirs = np.stack([signal.convolve2d(apart, filters[..., c]) for c in range(3)], -1)
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours[:129, :129], theirs[2:130, 2:130], atol=1e-4)


STRONG = (Normalization(3, 0.2, 0.6, 1.0, True, 1), Normalization(7, 0.1, 1.1, 1.5))


@pytest.mark.parametrize("lrn", [False, True, STRONG])
def test_the_way_forward_is_the_networks_own(params: Params, lrn: Lrn) -> None:
    image = np.random.default_rng(1).standard_normal((*SIZE, 3)).astype(np.float32)
    passed = deconvolution.forward(
        params, jnp.asarray(image), convolution_chain(alexnet.AlexNet(lrn=lrn))
    )
    for layer, switches in passed.switches.items():
        pooled = deconvolution.max_pool(passed.maps[layer])[0]
        theirs = alexnet.forward(params, image[None], last=layer, lrn=lrn)[0]
        np.testing.assert_allclose(pooled, theirs, atol=1e-4)
        assert switches.shape == pooled.shape
    theirs = alexnet.forward(params, image[None], last="C4", lrn=lrn)[0]
    np.testing.assert_allclose(passed.maps["C4"], theirs, atol=1e-4)


def test_unpooling_puts_values_where_they_were_largest() -> None:
    x = np.zeros((5, 5, 1), np.float32)
    x[1, 1], x[3, 4], x[4, 0] = 3, 2, 1
    pooled, switch = deconvolution.max_pool(jnp.asarray(x))
    assert pooled[..., 0].tolist() == [[3, 0], [1, 2]]
    back = np.asarray(deconvolution.max_unpool(pooled, switch, (5, 5)))
    np.testing.assert_array_equal(back, x)
    # The middle pixel is the largest of all four windows: what they return is added.
    x = np.zeros((5, 5, 1), np.float32)
    x[2, 2] = 1
    pooled, switch = deconvolution.max_pool(jnp.asarray(x))
    assert np.asarray(deconvolution.max_unpool(pooled, switch, (5, 5)))[2, 2, 0] == 4


@pytest.mark.parametrize("what", ["edge", "blob"])
def test_a_planted_thing_lights_up_where_it_stands(params: Params, what: str) -> None:
    row, column = np.mgrid[:128, :128]
    at = (40, 84)
    if what == "blob":
        gray = 4 * np.exp(-((row - at[0]) ** 2 + (column - at[1]) ** 2) / (2 * 4.0**2))
    else:  # a short upright edge
        gray = 4.0 * ((column >= at[1]) & (column < at[1] + 12) & (abs(row - at[0]) < 12))
    for layer, (_, maps) in deconvolution.strongest_maps(NETWORK, params, gray, 6).items():
        for found in maps if layer in ("C1", "C2") else maps[:1]:
            weight = np.abs(found) ** 2
            if weight.sum() == 0:
                continue
            middle = [(weight * axis).sum() / weight.sum() for axis in (row, column)]
            assert np.hypot(middle[0] - at[0], middle[1] - at[1]) < 16, layer
    # Elsewhere nothing: half the ROI away from it holds less than a tenth.
    far = np.hypot(row - at[0], column - at[1]) > 48
    weight = np.abs(deconvolution.strongest_maps(NETWORK, params, gray, 6)["C1"][1]) ** 2
    assert weight[:, far].sum() < 0.1 * weight.sum()


def test_integrated_gradients_add_up_to_the_change(params: Params) -> None:
    network = alexnet.AlexNet(outputs=4)
    own = alexnet.init(network, jax.random.key(3))
    gray = np.random.default_rng(4).standard_normal(SIZE).astype(np.float32)
    for task in (0, 1):
        odds = gradients.log_odds(network, own, jnp.stack([gray, 0 * gray]), task)
        found = gradients.integrated_gradients(network, own, gray, task, 64)
        assert found.shape == SIZE
        assert found.sum() == pytest.approx(float(odds[0] - odds[1]), rel=0.02, abs=1e-3)
