"""Simulate a mass, from circumscribed to spiculated, and the architectural distortion around it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mtl_jax.phantom.tissue import make_fibres, make_texture, render_fibres

SPICULE_MM = 0.16  # standard deviation of a spicule's cross-section


@dataclass(frozen=True)
class Mass:
    """A lesion, or what a view shows of it; the last four, its descriptors, are from 0 to 1."""

    diameter_mm: float  # longest
    aspect: float  # ratio of the long to the short axis
    thickness_mm: float  # along the thickest ray
    halo: bool  # a thin rim of fat around a circumscribed margin
    irregularity: float
    indistinctness: float
    spiculation: float
    distortion: float


class RenderedMass(NamedTuple):
    """One view of a mass.

    `thickness` (H, W) float32 mm, `body` (H, W) bool inside the outline, and `sources` (2, H, W)
    float32, the row and column from which distortion moved the tissue at each pixel.
    """

    thickness: np.ndarray
    body: np.ndarray
    sources: np.ndarray


def render_mass(rng: np.random.Generator, mass: Mass, pixels: int, pixel_mm: float) -> RenderedMass:
    """Return a view of a mass, at most 2 mm off the centre, with a random outline and spicules."""
    max_offset = np.clip(pixels * pixel_mm / 2 - 0.5 - mass.diameter_mm / 2, 0.1, 2.0)
    samples, radius, box_centre = _outline(rng, mass)
    offset = rng.uniform(-max_offset, max_offset, 2)
    centre = pixels / 2 + (offset - box_centre) / pixel_mm
    axis = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    y = (axis[:, None] - np.float32(centre[0])) * np.float32(pixel_mm)
    x = (axis[None, :] - np.float32(centre[1])) * np.float32(pixel_mm)
    distance, angle = np.hypot(y, x), np.arctan2(y, x)

    outline = np.interp(angle.ravel(), samples, radius).astype(np.float32).reshape(angle.shape)
    texture = make_texture(rng, pixels, pixel_mm)
    edge = outline * np.clip(1 + np.float32(0.22 * mass.irregularity) * texture, 0.3, 1.8)
    depth = np.clip(1 - (distance / edge) ** 2, 0, 1)
    # The profile of an ellipsoid is a square root; that of an infiltrating margin is flatter.
    profile = depth ** np.float32(0.5 + 0.7 * mass.indistinctness)
    margin_mm = 0.1 + 0.9 * mass.indistinctness
    profile = ndimage.gaussian_filter(profile, margin_mm / pixel_mm, truncate=3)
    grain = 1 + np.float32(0.06 + 0.10 * mass.irregularity) * texture
    thickness = np.float32(mass.thickness_mm) * profile * np.clip(grain, 0.5, 1.5)
    if mass.halo:
        ring = np.exp(-0.5 * ((distance - outline - 0.5) / np.float32(0.35)) ** 2)
        thickness -= np.float32(1.1 * (1 - mass.indistinctness)) * ring
    thickness += _spicules(rng, mass, centre, samples, radius, pixels, pixel_mm)

    # Distortion moves tissue from r (1 + k exp(-(r/s)^2)) to r, so that structures around the mass
    # are stretched along the radius and compressed across it.
    reach = np.float32(min(3 + 0.5 * mass.diameter_mm, 9.0))
    pull = np.float32(0.5 * mass.distortion) * np.exp(-((distance / reach) ** 2)) / pixel_mm
    sources = np.stack([axis[:, None] - 0.5 + pull * y, axis[None, :] - 0.5 + pull * x])
    return RenderedMass(
        thickness.astype(np.float32), distance < outline, sources.astype(np.float32)
    )


def _outline(rng: np.random.Generator, mass: Mass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angles, the radius in mm at each, and the centre of the box of an oval with lobes."""
    orientation = rng.uniform(0, np.pi)
    aspect = 1 + (mass.aspect - 1) * rng.uniform(0.6, 1.0)
    order = np.arange(2, 11)
    amplitude = (0.025 + 0.14 * mass.irregularity) * rng.rayleigh(1.0, order.size) * 2 / order
    phase = rng.uniform(0, 2 * np.pi, order.size)
    samples = np.linspace(-np.pi, np.pi, 721)
    oval = 1 / np.hypot(np.cos(samples - orientation), np.sin(samples - orientation) * aspect)
    lobes = np.sum(amplitude[:, None] * np.cos(order[:, None] * samples + phase[:, None]), axis=0)
    radius = oval * np.exp(lobes)
    points = radius[:-1] * np.exp(1j * samples[:-1])
    widths = [np.ptp((points * np.exp(1j * angle)).real) for angle in np.linspace(0, np.pi, 37)]
    radius *= mass.diameter_mm / max(widths)
    outline = np.stack([radius * np.sin(samples), radius * np.cos(samples)])
    return samples, radius, (outline.min(1) + outline.max(1)) / 2


def _spicules(
    rng: np.random.Generator,
    mass: Mass,
    centre: np.ndarray,
    samples: np.ndarray,
    radius: np.ndarray,
    pixels: int,
    pixel_mm: float,
) -> np.ndarray:
    """Return the thickness of the spicules; number, length and strength rise with spiculation."""
    count = rng.poisson(1 + 34 * mass.spiculation)
    angle = rng.uniform(-np.pi, np.pi, count)
    begin = 0.75 * np.interp(angle, samples, radius)
    start = centre + (begin / pixel_mm)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    length = begin / 3 + rng.gamma(2.5, 0.5 + 0.10 * mass.diameter_mm * mass.spiculation, count)
    position, along = make_fibres(
        rng, start, angle + 0.22 * rng.standard_normal(count), length / pixel_mm, 0.55
    )
    strength = rng.uniform(0.3, 1.0, (count, 1)) * (0.3 + 2.8 * mass.spiculation)
    strength = strength * np.clip(1 - along, 0, 1) ** 0.7 * np.clip(8 * along, 0, 1)
    return render_fibres(position, strength, SPICULE_MM / pixel_mm, (pixels, pixels))
