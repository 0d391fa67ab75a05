"""t-SNE of a table of features, the best of several starts."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import NamedTuple

import numpy as np
from openTSNE import TSNE, TSNEEmbedding
from openTSNE.affinity import PerplexityBasedNN

# The settings of Samala et al. 2017 (section 3.3 and Figure 5) that no config changes.
LEARNING_RATE, MOMENTUM = 500.0, 0.5
EARLY = 250  # iterations with exaggerated attraction, as in van der Maaten and Hinton 2008


class Embedding(NamedTuple):
    """points (n, 2) float32 of the start with the lowest cost, costs (starts,) of all starts, and
    the perplexity, which few points make smaller than what was asked."""

    points: np.ndarray
    costs: np.ndarray
    perplexity: float


def embed(
    features: np.ndarray,
    perplexity: float,
    iterations: int,
    starts: int,
    seed: int,
) -> Embedding:
    """t-SNE (van der Maaten and Hinton 2008; Barnes-Hut, by openTSNE) of `features` (n, d), n >= 7.

    `starts` random starts, seeded `seed`, `seed` + 1 and so on; the lowest cost, a Kullback-Leibler
    divergence in nats, is kept, as in the paper. The same input gives the same points.
    """
    # Above this a point would have more neighbours than there are (3 for each of perplexity).
    perplexity = min(perplexity, (len(features) - 1) / 3)
    early = min(EARLY, iterations // 2)

    def one(start: int) -> TSNEEmbedding:
        return TSNE(
            learning_rate=LEARNING_RATE,
            early_exaggeration_iter=early,
            early_exaggeration=12,
            n_iter=iterations - early,
            initial_momentum=MOMENTUM,
            final_momentum=MOMENTUM,
            initialization="random",
            negative_gradient_method="bh",
            n_jobs=1,  # several threads in one start add in no fixed order; one each do
            random_state=seed + start,
        ).fit(affinities=deepcopy(near))  # it scales them in place

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", RuntimeWarning)  # equal features lie at distance 0
        # Once, and not in the threads: products of matrices that run at the same time may round
        # otherwise, and t-SNE makes much of little.
        near = PerplexityBasedNN(
            np.asarray(features, np.float64), perplexity, method="exact", n_jobs=1
        )
        made = list(pool.map(one, range(starts)))
    costs = np.array([float(points.kl_divergence) for points in made])
    return Embedding(np.asarray(made[int(costs.argmin())], np.float32), costs, perplexity)
