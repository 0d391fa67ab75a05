"""Sample how a mass looks: its severity, the descriptors that follow it, and what a view shows.

Of the 1,696 rows of masses in CBIS-DDSM's tables, 54% of the malignant and 11% of the benign ones
are irregular, 38% and 19% ill-defined, 46% and 5% spiculated: a malignant mass shows some of the
descriptors, seldom all, and benign masses imitate some. The rates here are similar
(docs/phantom.md).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtl_jax.phantom.mass import Mass

DESCRIPTORS = ("irregularity", "indistinctness", "spiculation", "distortion")
SEPARATION = 6.0  # of the classes in severity at difficulty 0, in standard deviations
FULL_NUISANCE = 0.4  # the difficulty from which the nuisance is complete
HIDDEN = 0.15  # probability that a view hides a descriptor, whatever the other view shows
NOISE = 0.08  # standard deviation of a descriptor
WEAK, IMITATION = (1.0, 6.0), (1.5, 2.0)  # beta distributions, of mean 0.14 and 0.43
DIAMETER_MM = (5.0, 30.0)


class Presentation(NamedTuple):
    """How the masses of a collection show their severity.

    `follows` is the probability that each of `DESCRIPTORS` follows the severity. Otherwise it is
    weak, whatever the class, except the `imitated` one, which is then often strong.
    """

    follows: tuple[float, float, float, float]
    imitated: str


# The collections differ in which descriptors show the class, so that transfer is partial.
PRESENTATIONS = {
    "sfm": Presentation((0.70, 0.20, 0.75, 0.40), "indistinctness"),
    "ddsm": Presentation((0.75, 0.65, 0.20, 0.40), "spiculation"),
    "dm": Presentation((0.20, 0.60, 0.70, 0.55), "irregularity"),
}


def sample_severity(rng: np.random.Generator, malignant: bool, difficulty: float) -> float:
    """Return how malignant a lesion is, 0 to 1; the classes differ in nothing else.

    Before the logistic function it is normal, and the class means differ by 6 (1 - difficulty)^2
    standard deviations, so the largest possible AUC is Phi(6 (1 - difficulty)^2 / sqrt(2)).
    """
    shift = SEPARATION * (1 - difficulty) ** 2 * (0.5 if malignant else -0.5)
    return float(1 / (1 + np.exp(-1.2 * (shift + rng.standard_normal()))))


def amount_of_nuisance(difficulty: float) -> float:
    """Return 0 at difficulty 0, rising to 1 at the default difficulty, and 1 beyond.

    It scales how often a descriptor does not follow the severity or is hidden, the tissue above and
    below the mass, and the error of the mark.
    """
    return min(1.0, difficulty / FULL_NUISANCE)


def sample_mass(rng: np.random.Generator, kind: str, severity: float, nuisance: float) -> Mass:
    """Return a mass of a collection, of whose descriptors at least one follows the severity.

    Its size does not depend on the severity. A mass with an indistinct margin is thicker, which
    makes the contrast of both classes equal. Diameters are log-normal around 15 mm, within 5 to
    30 mm, in the range of the masses of mini-MIAS (docs/phantom.md); they were not fitted.
    """
    follows_rate, imitated = PRESENTATIONS[kind]
    follows = rng.random(4) >= nuisance * (1 - np.array(follows_rate))
    first = rng.integers(4)  # drawn always, so that later values do not depend on it
    if not follows.any():
        follows[first] = True
    is_imitated = np.array(DESCRIPTORS) == imitated
    unrelated = np.where(is_imitated, rng.beta(*IMITATION, 4), rng.beta(*WEAK, 4))
    values = np.where(follows, severity, unrelated) + NOISE * rng.standard_normal(4)
    values = np.clip(values, 0, 1).tolist()
    diameter_mm = float(np.clip(15 * np.exp(0.38 * rng.standard_normal()), *DIAMETER_MM))
    aspect = float(rng.uniform(1.0, 1.6))
    flatness = float(rng.uniform(0.6, 0.95))  # by compression, and along the ray
    halo = bool(rng.random() < 0.35)
    indistinctness = values[DESCRIPTORS.index("indistinctness")]
    thickness_mm = flatness * diameter_mm / aspect * (1 + 0.8 * indistinctness)
    return Mass(diameter_mm, aspect, thickness_mm, halo, *values)


def sample_projection(rng: np.random.Generator, mass: Mass, nuisance: float) -> Mass:
    """Return the mass as one view shows it; less than 0.4 of a hidden descriptor remains."""
    hidden = rng.random(4) < nuisance * HIDDEN
    remaining = np.where(hidden, rng.uniform(0, 0.4, 4), 1.0).tolist()
    parts = zip(DESCRIPTORS, remaining, strict=True)
    return replace(mass, **{name: getattr(mass, name) * part for name, part in parts})
