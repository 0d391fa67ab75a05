"""Predict the probability of malignancy: the mean over the eight orientations of each ROI."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.training import devices, orientations
from mtl_jax.training.dataset import BatchSource, Dataset, make_batch
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.objective import malignancy_probability
from mtl_jax.training.prefetch import is_on_host, prefetch
from mtl_jax.types import Params

BATCH_ROIS = 32
FEATURE_LAYER, OUTPUT_LAYER = "F4", "F5"
MeanOfEight = Callable[[Params, BatchSource, jax.Array], tuple[jax.Array, jax.Array]]


def predict(
    network: Network,
    params: Params,
    dataset: Dataset,
    frozen: tuple[str, ...] = (),
    rois: range | None = None,
) -> np.ndarray:
    """Return the probability of malignancy (n,) float32 of ROIs, averaged over eight orientations.

    Activations of the `frozen` layers are cached for equal weights. `rois` None: all.
    """
    # Moving the weights of a replica to the first device is cheaper than moving the ROIs to it.
    params = jax.device_put(params, jax.local_devices()[0])
    return Predictor(network, dataset, frozen)(params, rois)


class Predictor:
    """`predict` for ROIs of `dataset`, called repeatedly during a training run.

    The activations of the `frozen` layers are looked up in the first call only: all parameters must
    have the same weights in these layers.
    """

    def __init__(self, network: Network, dataset: Dataset, frozen: tuple[str, ...] = ()) -> None:
        self._network, self._dataset, self._frozen = network, dataset, frozen
        self._sources: dict[jax.Device, tuple[BatchSource, str]] = {}  # replicas have a device each

    def __call__(self, params: Params, rois: range | None = None) -> np.ndarray:
        return self.start(params, rois)()

    def start(self, params: Params, rois: range | None = None) -> Callable[[], np.ndarray]:
        """Begin to predict, and return a function that waits for the probabilities.

        The parameters may be donated meanwhile. A source on the host is predicted at once: its
        batches would fill the device.
        """
        device = devices.device_of(params)
        params = jax.device_put(params, device)  # at once, not at every call
        if device not in self._sources:
            source, first = cached_source(self._network, params, self._dataset, self._frozen)
            placed = source if is_on_host(source) else jax.device_put(source, device)
            self._sources[device] = placed, first
        source, first = self._sources[device]
        rois = range(self._dataset.count) if rois is None else rois
        batches = _dispatch(self._network, params, source, first, rois)
        scores = (scores for scores, _ in (_fetch(batches) if is_on_host(source) else batches))
        pending = list(scores)
        return lambda: np.concatenate(jax.device_get(pending))[: len(rois)]


def predict_with_features(
    network: Network, params: Params, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of `predict` and the features F4 (n, 100), averaged as well."""
    count = int(dataset.count)
    batches = _fetch(_dispatch(network, params, dataset, "C1", range(count)))
    scores, features = zip(*batches, strict=True)
    return np.concatenate(scores)[:count], np.concatenate(features)[:count]


def _dispatch(
    network: Network, params: Params, source: BatchSource, first: str, rois: range
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Yield scores and features of BATCH_ROIS ROIs at a time; the last batch repeats its last ROI.

    `first` is the layer that receives the source's images.
    """
    compute = _mean_of_eight(network, first)
    for subset, indices in prefetch(source, _batch_indices(rois)):
        yield compute(params, subset, indices)


def _fetch(
    batches: Iterator[tuple[jax.Array, jax.Array]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches on the host; one is fetched while the next is computed."""
    pending = []
    for batch in batches:
        pending.append(batch)
        if len(pending) > 1:
            yield jax.device_get(pending.pop(0))
    yield from jax.device_get(pending)


def _batch_indices(rois: range) -> Iterator[np.ndarray]:
    """Yield the indices of all orientations of `rois` in batches of one shape, for one program."""
    for begin in rois[::BATCH_ROIS]:
        batch_rois = np.minimum(begin + np.arange(BATCH_ROIS), rois[-1])
        yield (batch_rois[:, None] * orientations.COUNT + np.arange(orientations.COUNT)).ravel()


@functools.cache
def _mean_of_eight(network: Network, first: str) -> MeanOfEight:
    """Return `make_mean_of_eight` compiled."""
    return devices.jit(make_mean_of_eight(network, first))


def make_mean_of_eight(network: Network, first: str) -> MeanOfEight:
    """Return a function for the mean scores and features over each eight indices."""

    def mean(rows: jax.Array) -> jax.Array:
        return rows.reshape(-1, orientations.COUNT, *rows.shape[1:]).mean(1)

    def compute(
        params: Params, source: BatchSource, indices: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        batch = make_batch(source, indices, jnp.ones(len(indices)))
        features = network.apply({"params": params}, batch.image, first, FEATURE_LAYER)
        logits = network.apply({"params": params}, features, OUTPUT_LAYER)
        return mean(malignancy_probability(logits, batch.task)), mean(features)

    return compute
