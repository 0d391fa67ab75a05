"""What a trained network says of ROIs: the mean over the eight orientations of each."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import LAYERS, Network
from mtl_jax.training import devices, orientations
from mtl_jax.training.dataset import BatchSource, Dataset, make_batch
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.prefetch import prefetch
from mtl_jax.training.steps import malignancy_probability
from mtl_jax.types import Params

BATCH_ROIS = 32


def predict(
    network: Network,
    params: Params,
    pool: Dataset,
    frozen: tuple[str, ...] = (),
    rois: range | None = None,
) -> np.ndarray:
    """Probability of malignant (n,) float32 of each of `rois` of `pool` (None: of all), averaged
    over the eight.

    What the layers in `frozen` give is kept in memory for others with the same weights in them.
    """
    rois = range(len(pool.label)) if rois is None else rois
    return _scores(network, params, *cached_source(network, params, pool, frozen), rois)


class Predictor:
    """`predict` for all ROIs of `pool`, again and again as a training goes on.

    What the `frozen` layers give is looked up at the first call alone: all parameters have the
    same ones.
    """

    def __init__(self, network: Network, pool: Dataset, frozen: tuple[str, ...] = ()) -> None:
        self._network, self._pool, self._frozen = network, pool, frozen
        self._source: tuple[BatchSource, str] | None = None

    def __call__(self, params: Params) -> np.ndarray:
        if self._source is None:
            self._source = cached_source(self._network, params, self._pool, self._frozen)
        return _scores(self._network, params, *self._source, range(len(self._pool.label)))


def predict_with_features(
    network: Network,
    params: Params,
    pool: Dataset,
    layer: str = "F4",
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict`, and what `layer` (F1 to F4) gives (n, width) float32, averaged alike."""
    count = len(pool.label)
    parts = _look(network, params, pool, "C1", layer, range(count))
    scores, features = zip(*parts, strict=True)
    return np.concatenate(scores)[:count], np.concatenate(features)[:count]


def _scores(
    network: Network, params: Params, source: BatchSource, first: str, rois: range
) -> np.ndarray:
    parts = _look(network, params, source, first, "F4", rois)
    return np.concatenate([scores for scores, _ in parts])[: len(rois)]


def _look(
    network: Network,
    params: Params,
    source: BatchSource,
    first: str,
    layer: str,
    rois: range,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and features of BATCH_ROIS ROIs after another, the last ones repeated.
    `first` is the layer that the source's images go into."""
    compute = _means_of_eight(network, first, layer)
    working = []  # one batch is taken back when the next is on its way: no more are held
    for near, indices in prefetch(source, _indices(rois)):
        working.append(compute(params, near, indices))
        if len(working) > 1:
            yield jax.device_get(working.pop(0))
    yield from jax.device_get(working)


def _indices(rois: range) -> Iterator[np.ndarray]:
    """All orientations of `rois`, in one shape, so that one compiled program scores
    everything."""
    for begin in rois[::BATCH_ROIS]:
        some = np.minimum(begin + np.arange(BATCH_ROIS), rois[-1])
        yield (some[:, None] * orientations.COUNT + np.arange(orientations.COUNT)).ravel()


@functools.cache
def _means_of_eight(
    network: Network, first: str, layer: str
) -> Callable[[Params, BatchSource, jax.Array], tuple[jax.Array, jax.Array]]:
    """The scores and features of consecutive ROIs, compiled: the indices are eight for each."""
    after = LAYERS[LAYERS.index(layer) + 1]

    def mean(rows: jax.Array) -> jax.Array:
        return rows.reshape(-1, orientations.COUNT, *rows.shape[1:]).mean(1)

    def compute(
        params: Params, source: BatchSource, indices: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        batch = make_batch(source, indices, jnp.ones(len(indices)))
        found = network.apply({"params": params}, batch.image, first, last=layer)
        logits = network.apply({"params": params}, found, first=after)
        return mean(malignancy_probability(logits, batch.task)), mean(found)

    return devices.jit(compute)
