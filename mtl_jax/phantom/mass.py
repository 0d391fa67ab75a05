"""A simulated mass, from round and sharp to spiculated, and how it pulls on the tissue around
it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mtl_jax.phantom.tissue import make_fibers, make_texture, render_fibers

SPICULE_MM = 0.16  # standard deviation of a spicule's cross-section


@dataclass(frozen=True)
class Mass:
    """What both views of one lesion share. The four cues run from 0 (benign look) to 1."""

    diameter_mm: float  # the longest
    aspect: float  # long axis over short axis
    thickness_mm: float  # along the thickest ray
    halo: bool  # a thin rim of fat, where the margin is circumscribed
    irregularity: float
    indistinctness: float
    spiculation: float
    distortion: float


class RenderedMass(NamedTuple):
    """One view: thickness (H, W) float32 mm of mass; body (H, W) bool; and from where the tissue at
    each pixel was pulled, (2, H, W) float32 rows and columns."""

    thickness: np.ndarray
    body: np.ndarray
    sources: np.ndarray


def render_mass(rng: np.random.Generator, mass: Mass, pixels: int, pixel_mm: float) -> RenderedMass:
    """Return one view. The centre lies within 2 mm of the middle, nearer where the mass is large;
    orientation, outline and spicules are the view's own."""
    room = np.clip(pixels * pixel_mm / 2 - 0.5 - mass.diameter_mm / 2, 0.1, 2.0)
    samples, radius, middle = _outline(rng, mass)
    centre = pixels / 2 + (rng.uniform(-room, room, 2) - middle) / pixel_mm
    axis = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    y = (axis[:, None] - np.float32(centre[0])) * np.float32(pixel_mm)
    x = (axis[None, :] - np.float32(centre[1])) * np.float32(pixel_mm)
    distance, angle = np.hypot(y, x), np.arctan2(y, x)

    outline = np.interp(angle.ravel(), samples, radius).astype(np.float32).reshape(angle.shape)
    ragged = make_texture(rng, pixels, pixel_mm)
    edge = outline * np.clip(1 + np.float32(0.22 * mass.irregularity) * ragged, 0.3, 1.8)
    depth = np.clip(1 - (distance / edge) ** 2, 0, 1)
    # The ray through an ellipsoid falls off as a square root; an infiltrating rim falls off slower.
    profile = depth ** np.float32(0.5 + 0.7 * mass.indistinctness)
    margin_mm = 0.1 + 0.9 * mass.indistinctness
    profile = ndimage.gaussian_filter(profile, margin_mm / pixel_mm, truncate=3)
    grain = 1 + np.float32(0.06 + 0.10 * mass.irregularity) * ragged
    thickness = np.float32(mass.thickness_mm) * profile * np.clip(grain, 0.5, 1.5)
    if mass.halo:
        ring = np.exp(-0.5 * ((distance - outline - 0.5) / np.float32(0.35)) ** 2)
        thickness -= np.float32(1.1 * (1 - mass.indistinctness)) * ring
    thickness += _spicules(rng, mass, centre, samples, radius, pixels, pixel_mm)

    # Scarring draws tissue in: what is seen at r was at r (1 + k exp(-(r/s)^2)), so that around
    # the mass structures are stretched along the radius and crowded across it.
    reach = np.float32(min(3 + 0.5 * mass.diameter_mm, 9.0))
    pull = np.float32(0.5 * mass.distortion) * np.exp(-((distance / reach) ** 2)) / pixel_mm
    sources = np.stack([axis[:, None] - 0.5 + pull * y, axis[None, :] - 0.5 + pull * x])
    return RenderedMass(
        thickness.astype(np.float32), distance < outline, sources.astype(np.float32)
    )


def _outline(rng: np.random.Generator, mass: Mass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an oval with lobes, as long as the mass's diameter: angles, the radius in mm at each,
    and the middle (row, column) of its box."""
    turn = rng.uniform(0, np.pi)
    aspect = 1 + (mass.aspect - 1) * rng.uniform(0.6, 1.0)
    order = np.arange(2, 11)
    size = (0.025 + 0.14 * mass.irregularity) * rng.rayleigh(1.0, order.size) * 2 / order
    phase = rng.uniform(0, 2 * np.pi, order.size)
    samples = np.linspace(-np.pi, np.pi, 721)
    oval = 1 / np.hypot(np.cos(samples - turn), np.sin(samples - turn) * aspect)
    lobes = np.sum(size[:, None] * np.cos(order[:, None] * samples + phase[:, None]), axis=0)
    radius = oval * np.exp(lobes)
    points = radius[:-1] * np.exp(1j * samples[:-1])
    longest = max(np.ptp((points * np.exp(1j * t)).real) for t in np.linspace(0, np.pi, 37))
    radius *= mass.diameter_mm / longest
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
    """Fibres that leave the body outward, thinning; number, length and strength grow together."""
    count = rng.poisson(1 + 34 * mass.spiculation)
    angle = rng.uniform(-np.pi, np.pi, count)
    begin = 0.75 * np.interp(angle, samples, radius)
    start = centre + (begin / pixel_mm)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    length = begin / 3 + rng.gamma(2.5, 0.5 + 0.10 * mass.diameter_mm * mass.spiculation, count)
    position, along = make_fibers(
        rng, start, angle + 0.22 * rng.standard_normal(count), length / pixel_mm, 0.55
    )
    strength = rng.uniform(0.3, 1.0, (count, 1)) * (0.3 + 2.8 * mass.spiculation)
    strength = strength * np.clip(1 - along, 0, 1) ** 0.7 * np.clip(8 * along, 0, 1)
    return render_fibers(position, strength, SPICULE_MM / pixel_mm, (pixels, pixels))
