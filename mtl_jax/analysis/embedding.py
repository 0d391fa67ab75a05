"""t-SNE of a table of features: the best of several random starts."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding

# Settings of Samala et al. 2017 (section 3.3 and Figure 5) that are not in the config.
LEARNING_RATE, MOMENTUM = 500.0, 0.5
EARLY_ITERATIONS = 250  # with exaggerated attraction, as in van der Maaten and Hinton 2008


class Embedding(NamedTuple):
    """A t-SNE embedding: the start with the lowest cost."""

    points: np.ndarray  # (n, 2) float32
    costs: np.ndarray  # (n_init,) of all starts
    perplexity: float  # lower than the given one if there are few points


def embed(
    features: np.ndarray, perplexity: float, iterations: int, n_init: int, seed: int
) -> Embedding:
    """Return a t-SNE embedding of `features` (n, d), n >= 7; the same input gives the same points.

    Of `n_init` random starts with the seeds `seed`, `seed` + 1 and so on, the one with the lowest
    cost, a Kullback-Leibler divergence in nats, is kept, as in the paper (van der Maaten and Hinton
    2008; the Barnes-Hut approximation of openTSNE).
    """
    # Imported here, because it takes a second and few commands draw an embedding.
    from openTSNE import TSNE
    from openTSNE.affinity import PerplexityBasedNN

    # A higher perplexity needs more neighbours than there are (3 per unit of perplexity).
    perplexity = min(perplexity, (len(features) - 1) / 3)
    early = min(EARLY_ITERATIONS, iterations // 2)

    def fit(start: int) -> "TSNEEmbedding":
        return TSNE(
            learning_rate=LEARNING_RATE,
            early_exaggeration_iter=early,
            early_exaggeration=12,
            n_iter=iterations - early,
            initial_momentum=MOMENTUM,
            final_momentum=MOMENTUM,
            initialization="random",
            negative_gradient_method="bh",
            n_jobs=1,  # several threads per start would add in no fixed order
            random_state=seed + start,
        ).fit(affinities=deepcopy(affinities))  # fit scales them in place

    with warnings.catch_warnings(), ThreadPoolExecutor() as threads:
        warnings.simplefilter("ignore", RuntimeWarning)  # equal features have distance 0
        # Computed before the threads start: matrix products that run at the same time may round
        # differently, and t-SNE amplifies small differences.
        affinities = PerplexityBasedNN(
            np.asarray(features, np.float64), perplexity, method="exact", n_jobs=1
        )
        embeddings = list(threads.map(fit, range(n_init)))
    costs = np.array([float(points.kl_divergence) for points in embeddings])
    return Embedding(np.asarray(embeddings[int(costs.argmin())], np.float32), costs, perplexity)
