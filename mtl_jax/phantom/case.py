"""Simulate a case: a lesion in a breast in one or two views.

Attenuation is that at 20 keV (Johns & Yaffe 1987, Phys. Med. Biol. 32 675). The compressed
thickness is within 59 ± 16 mm, and the density is that of a dense part of a breast, whose mean
density is 19% (Yaffe et al. 2009, Med. Phys. 36 5437).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mtl_jax.phantom.mass import Mass, render_mass
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.phantom.tissue import make_tissue

FAT, GLAND, CARCINOMA = 0.0456, 0.0802, 0.0844  # linear attenuation in 1/mm at 20 keV
SCATTER = 0.15  # ratio of scattered to primary quanta behind an antiscatter grid
SIDE_MM = 32.0  # of an image: an ROI of 25.6 mm and the offset of the lesion
GRID_MM = 0.1  # pixel size of tissue and masses; 1/f^3 has no visible finer structure
TWO_VIEW_FRACTION = 0.7  # of the cases
SEPARATION = 6.0  # of the classes in severity at difficulty 0, in standard deviations
DIAMETER_MM = (5.0, 30.0)


class View(NamedTuple):
    """An image of a case: CC or MLO, stored gray (H, W) uint16, body of the mass (H, W) bool."""

    view: str
    stored: np.ndarray
    body: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the body in stored pixels, half open."""
        rows, columns = np.flatnonzero(self.body.any(1)), np.flatnonzero(self.body.any(0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


class Breast(NamedTuple):
    """Parameters of a breast that all views of a case share."""

    laterality: str
    compressed_mm: float
    density: float  # fibroglandular fraction around the lesion
    contrast_mm: float  # standard deviation of the fibroglandular thickness
    exposure: float  # log10 of the ratio of the exposure to its target


class Case(NamedTuple):
    """A simulated case."""

    breast: Breast
    mass: Mass
    views: tuple[View, ...]


def sample_severity(rng: np.random.Generator, malignant: bool, difficulty: float) -> float:
    """Return how malignant a lesion looks, 0 to 1; the classes differ in nothing else.

    Before the logistic function it is normal, and the class means differ by 6 (1 - difficulty)^2
    standard deviations, so the largest possible AUC is Phi(6 (1 - difficulty)^2 / sqrt(2)).
    """
    shift = SEPARATION * (1 - difficulty) ** 2 * (0.5 if malignant else -0.5)
    return float(1 / (1 + np.exp(-1.2 * (shift + rng.standard_normal()))))


def simulate_case(kind: str, seed: int, number: int, malignant: bool, difficulty: float) -> Case:
    """Return case `number` of a collection of `kind`, a deterministic function of the arguments.

    `malignant` selects the distribution of the mass; `difficulty` is 0 (classes separated) to 1
    (equal distributions).
    """
    shared_rng, *view_rngs = (make_generator(kind, seed, number, part) for part in range(3))
    mass = sample_mass(shared_rng, sample_severity(shared_rng, malignant, difficulty))
    breast = Breast(
        laterality="LR"[shared_rng.integers(2)],
        compressed_mm=float(shared_rng.uniform(40, 62)),
        density=float(0.08 + 0.5 * shared_rng.beta(2.0, 3.0)),
        contrast_mm=float(shared_rng.uniform(1.6, 4.0)),
        exposure=float(0.05 * shared_rng.standard_normal()),
    )
    names = ["CC", "MLO"]
    if shared_rng.random() >= TWO_VIEW_FRACTION:
        names = [names[shared_rng.integers(2)]]
    views = tuple(
        _view(rng, kind, name, mass, breast) for name, rng in zip(names, view_rngs, strict=False)
    )
    return Case(breast, mass, views)


def make_generator(kind: str, seed: int, number: int, part: int) -> np.random.Generator:
    """Return random numbers of a part of a case, independent of other cases and of their order."""
    key = (list(RECEPTORS).index(kind), number, part)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def sample_mass(rng: np.random.Generator, severity: float) -> Mass:
    """Return a mass whose four image features are noisy copies of the severity.

    Size and contrast do not depend on it. Diameters are log-normal around 15 mm, within 5 to 30 mm.
    A mass with an indistinct margin is thicker, which makes the contrast of both classes equal.
    Diameters and contrasts are in the range of the masses of mini-MIAS (docs/phantom.md); they were
    not fitted.
    """
    features = np.clip(severity + 0.12 * rng.standard_normal(4), 0, 1)
    diameter_mm = float(np.clip(15 * np.exp(0.38 * rng.standard_normal()), *DIAMETER_MM))
    aspect = float(rng.uniform(1.0, 1.6))
    flatness = rng.uniform(0.6, 0.95)  # by compression, and along the ray
    halo = bool(rng.random() < 0.35)
    thickness_mm = float(flatness * diameter_mm / aspect * (1 + 0.8 * features[1]))
    return Mass(diameter_mm, aspect, thickness_mm, halo, *map(float, features))


def _view(rng: np.random.Generator, kind: str, name: str, mass: Mass, breast: Breast) -> View:
    receptor = RECEPTORS[kind]
    pixels = round(SIDE_MM / GRID_MM)
    rendered = render_mass(rng, mass, pixels, GRID_MM)
    gland = make_tissue(
        rng, pixels, GRID_MM, breast.compressed_mm, breast.density, breast.contrast_mm
    )
    gland = ndimage.map_coordinates(gland, rendered.sources, order=1, mode="mirror")
    # The mass displaces a mixture of fat and gland.
    attenuation = GLAND + (CARCINOMA - GLAND) * mass.indistinctness
    fraction = gland / np.float32(breast.compressed_mm)
    displaced = np.float32(FAT) + np.float32(GLAND - FAT) * fraction
    absorption = np.float32(GLAND - FAT) * gland
    absorption = absorption + rendered.thickness * (np.float32(attenuation) - displaced)
    target = (GLAND - FAT) * breast.compressed_mm * breast.density
    primary = np.exp(np.float32(target) - absorption)
    fluence = (primary + np.float32(SCATTER) * primary.mean()) / np.float32(1 + SCATTER)
    fluence *= np.float32(receptor.quanta * 10**breast.exposure)
    body = rendered.body
    scale = round(GRID_MM / receptor.pixel_mm)
    if scale > 1:
        fluence = ndimage.zoom(fluence, scale, order=1, mode="nearest", grid_mode=True)
        body = body.repeat(scale, 0).repeat(scale, 1)
    return View(name, receptor.acquire(rng, fluence), body)
