"""t-SNE of a table of features, the best of several starts. Knows no network and no file."""

import warnings
from typing import NamedTuple

import numpy as np
from openTSNE import TSNE

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
    learning_rate: float,
    iterations: int,
    momentum: float,
    starts: int,
    seed: int,
) -> Embedding:
    """t-SNE (van der Maaten and Hinton 2008; Barnes-Hut, by openTSNE) of `features` (n, d), n >= 7.

    `starts` random starts, seeded `seed`, `seed` + 1 and so on; the lowest cost, a Kullback-Leibler
    divergence in nats, is kept, as in the paper. The same input gives the same points.
    """
    # Above this a point would have more neighbours than there are (3 for each of perplexity).
    perplexity = min(perplexity, (len(features) - 1) / 3)
    best, costs = np.zeros((len(features), 2), np.float32), []
    for start in range(starts):
        tsne = TSNE(
            perplexity=perplexity,
            learning_rate=learning_rate,
            early_exaggeration_iter=min(EARLY, iterations // 2),
            early_exaggeration=12,
            n_iter=iterations - min(EARLY, iterations // 2),
            initial_momentum=momentum,
            final_momentum=momentum,
            initialization="random",
            neighbors="exact",
            negative_gradient_method="bh",
            n_jobs=1,  # several threads add in no fixed order
            random_state=seed + start,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # equal features lie at distance 0
            points = tsne.fit(np.asarray(features, np.float64))
        costs.append(float(points.kl_divergence))
        if costs[-1] <= min(costs):
            best = np.asarray(points, np.float32)
    return Embedding(best, np.array(costs), perplexity)
