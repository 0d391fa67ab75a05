"""Deconvolution compared with SciPy, the sum of integrated gradients, planted structures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kit.small_head import SmallHead
from kit.small_network import SmallAlexNet
from scipy import signal

from mtl_jax import weights
from mtl_jax.analysis import deconvolution, gradients
from mtl_jax.models import alexnet
from mtl_jax.models.response_norm import Lrn, Normalization
from mtl_jax.types import Params

SIZE = (128, 128)
NETWORK = SmallHead()
CONVS = NETWORK.convolution_chain()


@pytest.fixture(scope="module")
def params() -> Params:
    layers = dict(alexnet.init(NETWORK, jax.random.key(0)))
    layers["C1"] = jax.tree.map(jnp.asarray, weights.make_analytic().params["C1"])
    return layers


def test_the_transpose_of_c1_equals_scipys_convolution(params: Params) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((11, 11, 3, 4)).astype(np.float32)
    y = rng.standard_normal((31, 31, 4)).astype(np.float32)
    ours = np.asarray(
        deconvolution.transposed_convolution(jnp.asarray(y), jnp.asarray(kernel), CONVS[0], SIZE)
    )
    # Transposes: of stride 4, values four apart; of correlation, convolution; of padding, a crop.
    dilated = np.zeros((121, 121, 4))
    dilated[::4, ::4] = y
    expected = np.zeros((132, 132, 3))
    for channel in range(3):
        for k in range(4):
            full = signal.convolve2d(dilated[..., k], kernel[:, :, channel, k], mode="full")
            expected[: full.shape[0], : full.shape[1], channel] += full
    np.testing.assert_allclose(ours, expected[2:130, 2:130], atol=2e-4)
    # A single map of the network.
    image = jnp.asarray(rng.standard_normal((*SIZE, 3)), jnp.float32)
    passed = deconvolution.forward(params, image, CONVS)
    ours = np.asarray(deconvolution.project(params, passed, CONVS[:1], 5, SIZE))
    dilated = np.zeros((121, 121))
    dilated[::4, ::4] = passed.maps["C1"][..., 5]
    filters = np.asarray(params["C1"]["kernel"], np.float64)[..., 5]
    theirs = np.stack([signal.convolve2d(dilated, filters[..., c]) for c in range(3)], -1)
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours[:129, :129], theirs[2:130, 2:130], atol=1e-4)


STRONG = (Normalization(3, 0.2, 0.6, 1.0, True, 1), Normalization(7, 0.1, 1.1, 1.5))


@pytest.mark.parametrize("lrn", [False, True, STRONG])
def test_the_forward_pass_equals_that_of_the_network(params: Params, lrn: Lrn) -> None:
    image = np.random.default_rng(1).standard_normal((*SIZE, 3)).astype(np.float32)
    passed = deconvolution.forward(
        params, jnp.asarray(image), alexnet.AlexNet(lrn=lrn).convolution_chain()
    )
    for layer, switches in passed.switches.items():
        pooled = deconvolution.max_pool(passed.maps[layer])[0]
        theirs = alexnet.forward(params, image[None], last=layer, lrn=lrn)[0]
        np.testing.assert_allclose(pooled, theirs, atol=1e-4)
        assert switches.shape == pooled.shape
    theirs = alexnet.forward(params, image[None], last="C4", lrn=lrn)[0]
    np.testing.assert_allclose(passed.maps["C4"], theirs, atol=1e-4)


def test_unpooling_returns_values_to_the_position_of_the_maximum() -> None:
    x = np.zeros((5, 5, 1), np.float32)
    x[1, 1], x[3, 4], x[4, 0] = 3, 2, 1
    pooled, switch = deconvolution.max_pool(jnp.asarray(x))
    assert pooled[..., 0].tolist() == [[3, 0], [1, 2]]
    unpooled = np.asarray(deconvolution.max_unpool(pooled, switch, (5, 5)))
    np.testing.assert_array_equal(unpooled, x)
    # The middle pixel is the maximum of all four windows, whose values are added.
    x = np.zeros((5, 5, 1), np.float32)
    x[2, 2] = 1
    pooled, switch = deconvolution.max_pool(jnp.asarray(x))
    assert np.asarray(deconvolution.max_unpool(pooled, switch, (5, 5)))[2, 2, 0] == 4


@pytest.mark.parametrize("structure", ["edge", "blob"])
def test_the_maps_of_a_planted_structure_are_centered_on_it(params: Params, structure: str) -> None:
    row, column = np.mgrid[:128, :128]
    center = (40, 84)
    if structure == "blob":
        gray = 4 * np.exp(-((row - center[0]) ** 2 + (column - center[1]) ** 2) / (2 * 4.0**2))
    else:  # a short vertical edge
        gray = 4.0 * (
            (column >= center[1]) & (column < center[1] + 12) & (abs(row - center[0]) < 12)
        )
    for layer, (_, maps) in deconvolution.strongest_maps(NETWORK, params, gray, 6).items():
        for projection in maps if layer in ("C1", "C2") else maps[:1]:
            weight = np.abs(projection) ** 2
            if weight.sum() == 0:
                continue
            centroid = [(weight * axis).sum() / weight.sum() for axis in (row, column)]
            assert np.hypot(centroid[0] - center[0], centroid[1] - center[1]) < 16, layer
    # Pixels more than 48 from it have less than a tenth of the energy.
    far = np.hypot(row - center[0], column - center[1]) > 48
    weight = np.abs(deconvolution.strongest_maps(NETWORK, params, gray, 6)["C1"][1]) ** 2
    assert weight[:, far].sum() < 0.1 * weight.sum()


def test_integrated_gradients_sum_to_the_difference_of_the_log_odds() -> None:
    network = SmallAlexNet(outputs=4)
    params = alexnet.init(network, jax.random.key(3))
    gray = np.random.default_rng(4).standard_normal(SIZE).astype(np.float32)
    for task in (0, 1):
        odds = gradients.log_odds(network, params, jnp.stack([gray, 0 * gray]), task)
        attribution = gradients.integrated_gradients(network, params, gray, task, 64)
        assert attribution.shape == SIZE
        assert attribution.sum() == pytest.approx(float(odds[0] - odds[1]), rel=0.02, abs=1e-3)
