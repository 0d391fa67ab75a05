"""Simulate a case: a lesion in a breast in one or two views.

Attenuation is that at 20 keV (Johns & Yaffe 1987, Phys. Med. Biol. 32 675). The compressed
thickness is 40 to 62 mm (59 ± 16 mm in Yaffe et al. 2009, Med. Phys. 36 5437), and the density that
of a dense part of a breast, whose mean density is 19% (same source).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mtl_jax.phantom.appearance import (
    amount_of_nuisance,
    sample_mass,
    sample_projection,
    sample_severity,
)
from mtl_jax.phantom.mass import Mass, render_mass
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.phantom.tissue import make_overlap, make_tissue

FAT, GLAND, CARCINOMA = 0.0456, 0.0802, 0.0844  # linear attenuation in 1/mm at 20 keV
SCATTER = 0.15  # ratio of scattered to primary quanta behind an antiscatter grid
SIDE_MM = 32.0  # of an image: an ROI of 25.6 mm and the offset of the lesion
GRID_MM = 0.1  # pixel size of tissue and masses; 1/f^3 has no visible finer structure
TWO_VIEW_FRACTION = 0.7  # of the cases
MARK_MM = 1.5  # largest error of the place of a mark, in each direction


class View(NamedTuple):
    """An image of a case: CC or MLO, stored gray (H, W) uint16, mark of the mass (H, W) bool.

    `mass` is the mass as this view shows it.
    """

    view: str
    stored: np.ndarray
    mark: np.ndarray
    mass: Mass

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the mark in stored pixels, half open."""
        rows, columns = np.flatnonzero(self.mark.any(1)), np.flatnonzero(self.mark.any(0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


class Breast(NamedTuple):
    """Parameters of a breast that all views of a case share."""

    laterality: str
    compressed_mm: float
    density: float  # fibroglandular fraction around the lesion, without overlapping tissue
    contrast_mm: float  # standard deviation of the fibroglandular thickness
    exposure: float  # log10 of the ratio of the exposure to its target


class Case(NamedTuple):
    """A simulated case."""

    breast: Breast
    severity: float
    mass: Mass
    views: tuple[View, ...]


def simulate_case(kind: str, seed: int, number: int, malignant: bool, difficulty: float) -> Case:
    """Return case `number` of a collection of `kind`, a deterministic function of the arguments.

    `malignant` selects the distribution of the severity; `difficulty` is 0 (classes separated, no
    nuisance) to 1 (equal distributions).
    """
    shared_rng, *view_rngs = (make_generator(kind, seed, number, part) for part in range(3))
    severity = sample_severity(shared_rng, malignant, difficulty)
    nuisance = amount_of_nuisance(difficulty)
    mass = sample_mass(shared_rng, kind, severity, nuisance)
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
        _view(rng, kind, name, mass, breast, nuisance)
        for name, rng in zip(names, view_rngs, strict=False)
    )
    return Case(breast, severity, mass, views)


def make_generator(kind: str, seed: int, number: int, part: int) -> np.random.Generator:
    """Return random numbers of a part of a case, independent of other cases and of their order."""
    key = (list(RECEPTORS).index(kind), number, part)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _view(
    rng: np.random.Generator, kind: str, name: str, mass: Mass, breast: Breast, nuisance: float
) -> View:
    receptor = RECEPTORS[kind]
    pixels = round(SIDE_MM / GRID_MM)
    shown = sample_projection(rng, mass, nuisance)
    rendered = render_mass(rng, shown, pixels, GRID_MM)
    gland = make_tissue(
        rng, pixels, GRID_MM, breast.compressed_mm, breast.density, breast.contrast_mm
    )
    gland = ndimage.map_coordinates(gland, rendered.sources, order=1, mode="mirror")
    # The mass, and the tissue above and below it, displace a mixture of fat and gland. That tissue
    # hides the margin of the mass, and its ligaments cross it.
    attenuation = GLAND + (CARCINOMA - GLAND) * mass.indistinctness
    compressed_mm = np.float32(breast.compressed_mm)
    fraction = gland / compressed_mm
    displaced = np.float32(FAT) + np.float32(GLAND - FAT) * fraction
    absorption = np.float32(GLAND - FAT) * gland
    thickness = np.minimum(rendered.thickness, compressed_mm)
    absorption = absorption + thickness * (np.float32(attenuation) - displaced)
    overlap = np.float32(nuisance) * make_overlap(rng, pixels, GRID_MM)
    overlap = np.minimum(overlap, compressed_mm - thickness)
    absorption += overlap * (np.float32(GLAND) - displaced)
    target = (GLAND - FAT) * breast.compressed_mm * breast.density
    primary = np.exp(np.float32(target) - absorption)
    fluence = (primary + np.float32(SCATTER) * primary.mean()) / np.float32(1 + SCATTER)
    fluence *= np.float32(receptor.quanta * 10**breast.exposure)
    mark = _shift(rendered.body, nuisance * rng.uniform(-MARK_MM, MARK_MM, 2) / GRID_MM)
    if receptor.pixel_mm < GRID_MM:
        fluence = _halve_pixels(_halve_pixels(fluence).T).T
        mark = mark.repeat(2, 0).repeat(2, 1)
    return View(name, receptor.acquire(rng, fluence), mark, shown)


def _shift(body: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return `body` moved by about `pixels`, as far as it stays inside the image."""
    shift = []
    for axis, distance in enumerate(pixels):
        covered = np.flatnonzero(body.any(1 - axis))
        shift.append(
            int(np.clip(np.rint(distance), -covered[0], body.shape[axis] - 1 - covered[-1]))
        )
    return np.roll(body, shift, (0, 1))


def _halve_pixels(image: np.ndarray) -> np.ndarray:
    """Return `image` (H, W) with twice the rows, by linear interpolation."""
    padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
    quarter = np.float32(0.25) * padded
    middle = np.float32(0.75) * image
    return np.stack([middle + quarter[:-2], middle + quarter[2:]], 1).reshape(-1, image.shape[1])
