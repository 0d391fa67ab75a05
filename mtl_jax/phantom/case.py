"""One simulated case: a lesion in the breast in one or two views.

Attenuation is that at 20 keV (Johns & Yaffe 1987, Phys. Med. Biol. 32 675), compressed thickness
within 59 +- 16 mm and density that of a dense part of the breast, which has 19 % in the mean (Yaffe
et al. 2009, Med. Phys. 36 5437).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mtl_jax.phantom.mass import Mass, render_mass
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.phantom.tissue import make_tissue

FAT, GLAND, CARCINOMA = 0.0456, 0.0802, 0.0844  # linear attenuation a mm at 20 keV
SCATTER = 0.15  # of the primary quanta, behind an antiscatter grid
SIDE_MM = 32.0  # of an image: the ROI of 25.6 mm and room for where the lesion lies in it
GRID_MM = 0.1  # at which tissue and masses are made; 1/f^3 leaves nothing to see below it
TWO_VIEWS = 0.7  # share of the cases
# Distance of the classes in severity, in standard deviations, at difficulty 0.
SEPARATION = 6.0
DIAMETER_MM = (5.0, 30.0)


class View(NamedTuple):
    """One image of a case: CC or MLO, stored gray (H, W) uint16, the mass's body (H, W) bool."""

    view: str
    stored: np.ndarray
    body: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the body in stored pixels, half open."""
        rows, columns = np.flatnonzero(self.body.any(1)), np.flatnonzero(self.body.any(0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


class Breast(NamedTuple):
    """What the views of one case share, beside the mass."""

    laterality: str
    compressed_mm: float
    density: float  # fibroglandular share around the lesion
    contrast_mm: float  # standard deviation of the fibroglandular thickness
    exposure: float  # log10 of the exposure over what the automatic exposure aims at


class Case(NamedTuple):
    breast: Breast
    mass: Mass
    views: tuple[View, ...]


def sample_severity(rng: np.random.Generator, malignant: bool, difficulty: float) -> float:
    """Return how malignant a lesion looks, 0 to 1: the only thing that differs between the classes.

    Normal before it is squashed, the classes 6 (1 - difficulty)^2 standard deviations apart, so no
    reader can beat an AUC of Phi(6 (1 - difficulty)^2 / sqrt(2)).
    """
    shift = SEPARATION * (1 - difficulty) ** 2 * (0.5 if malignant else -0.5)
    return float(1 / (1 + np.exp(-1.2 * (shift + rng.standard_normal()))))


def simulate_case(kind: str, seed: int, number: int, malignant: bool, difficulty: float) -> Case:
    """Case `number` of the phantom `kind`: a function of the arguments alone.

    `malignant` is what the mass looks like, as far as `difficulty` (0 apart ... 1 alike) lets it.
    """
    shared, *own = (make_generator(kind, seed, number, part) for part in range(3))
    mass = sample_mass(shared, sample_severity(shared, malignant, difficulty))
    breast = Breast(
        laterality="LR"[shared.integers(2)],
        compressed_mm=float(shared.uniform(40, 62)),
        density=float(0.08 + 0.5 * shared.beta(2.0, 3.0)),
        contrast_mm=float(shared.uniform(1.6, 4.0)),
        exposure=float(0.05 * shared.standard_normal()),
    )
    names = ("CC", "MLO") if shared.random() < TWO_VIEWS else (("CC", "MLO")[shared.integers(2)],)
    views = tuple(
        _view(rng, kind, name, mass, breast) for name, rng in zip(names, own, strict=False)
    )
    return Case(breast, mass, views)


def make_generator(kind: str, seed: int, number: int, part: int) -> np.random.Generator:
    """Random numbers of one part of one case: no case depends on another, or on the order."""
    key = (list(RECEPTORS).index(kind), number, part)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def sample_mass(rng: np.random.Generator, severity: float) -> Mass:
    """Cues that follow the severity loosely, each in its own way; size and contrast do not.

    Diameters are log-normal about 15 mm, within 5 to 30 mm. Where the margin is indistinct the mass
    is thicker, as much as keeps contrast alike in both classes. Both were set so that diameter and
    contrast lie in the range of the masses of mini-MIAS (docs/phantom.md); nothing was fitted.
    """
    cues = np.clip(severity + 0.12 * rng.standard_normal(4), 0, 1)
    diameter_mm = float(np.clip(15 * np.exp(0.38 * rng.standard_normal()), *DIAMETER_MM))
    aspect = float(rng.uniform(1.0, 1.6))
    flat = rng.uniform(0.6, 0.95)  # compression and the unseen axis
    halo = bool(rng.random() < 0.35)
    thickness_mm = float(flat * diameter_mm / aspect * (1 + 0.8 * cues[1]))
    return Mass(diameter_mm, aspect, thickness_mm, halo, *(float(c) for c in cues))


def _view(rng: np.random.Generator, kind: str, name: str, mass: Mass, breast: Breast) -> View:
    receptor = RECEPTORS[kind]
    pixels = round(SIDE_MM / GRID_MM)
    drawn = render_mass(rng, mass, pixels, GRID_MM)
    gland = make_tissue(
        rng, pixels, GRID_MM, breast.compressed_mm, breast.density, breast.contrast_mm
    )
    gland = ndimage.map_coordinates(gland, drawn.sources, order=1, mode="mirror")
    # The mass takes the place of the mixture of fat and gland that would be there.
    solid = GLAND + (CARCINOMA - GLAND) * mass.indistinctness
    share = gland / np.float32(breast.compressed_mm)
    displaced = np.float32(FAT) + np.float32(GLAND - FAT) * share
    beam = np.float32(GLAND - FAT) * gland + drawn.thickness * (np.float32(solid) - displaced)
    aimed = (GLAND - FAT) * breast.compressed_mm * breast.density
    primary = np.exp(np.float32(aimed) - beam)
    fluence = (primary + np.float32(SCATTER) * primary.mean()) / np.float32(1 + SCATTER)
    fluence *= np.float32(receptor.quanta * 10**breast.exposure)
    body = drawn.body
    scale = round(GRID_MM / receptor.pixel_mm)
    if scale > 1:
        fluence = ndimage.zoom(fluence, scale, order=1, mode="nearest", grid_mode=True)
        body = body.repeat(scale, 0).repeat(scale, 1)
    return View(name, receptor.read(rng, fluence), body)
