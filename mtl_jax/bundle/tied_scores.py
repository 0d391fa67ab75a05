"""Note lesions that a network gives one score."""

from collections import Counter
from collections.abc import Sequence

from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore

MIN_LESIONS = 10
MAX_FRACTION = 0.2  # of the lesions with one score


def describe(model: Model, lesions: Sequence[LesionScore]) -> str:
    """Return a note if more than a fifth of at least ten lesions have one score, otherwise ''.

    The usual cause is a layer F4 without any positive output (ReLU), after which the score depends
    on no pixel. The note counts the training lesions of `model` for which it is so.
    """
    if len(lesions) < MIN_LESIONS:
        return ""
    score, n_equal = Counter(lesion.score for lesion in lesions).most_common(1)[0]
    if n_equal <= MAX_FRACTION * len(lesions):
        return ""
    n_flagged = sum(bool(lesion.flags) for lesion in lesions if lesion.score == score)
    flagged = f", of which {n_flagged} are flagged" if n_flagged else ""
    features = model.reference.features
    n_inactive = int((features == 0).all(1).sum())
    cause = f"; all outputs of F4 are 0 for {n_inactive} of {len(features)} training lesions"
    return (
        f"{n_equal} of {len(lesions)} scores are equal ({score:.6f}): the network does not"
        f" distinguish these lesions{flagged}{cause if n_inactive else ''}"
    )
