"""A simulated mass, from round and sharp to spiculated, in mm of dense tissue along the ray.

It knows the severity of a mass, not its label, and no detectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mtl_jax.data.sources.phantom_tissue import fibre, strands, texture


@dataclass(frozen=True)
class Mass:
    """What both views of one lesion share. The three cues run from 0 (benign look) to 1."""

    diameter_mm: float
    aspect: float  # long axis over short axis
    gain_mm: float  # dense tissue gained on the thickest ray
    irregularity: float
    indistinctness: float
    spiculation: float


def draw(
    rng: np.random.Generator, mass: Mass, pixels: int, pixel_mm: float
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """One view: (pixels, pixels) float32 mm gained, and the box of its body, half open, in pixels.

    The centre lies within 2 mm of the middle; orientation, outline and spicules are the view's own.
    """
    centre = pixels / 2 + rng.uniform(-2, 2, 2) / pixel_mm
    row, column = np.ogrid[:pixels, :pixels]
    y = ((row - centre[0]) * pixel_mm).astype(np.float32)
    x = ((column - centre[1]) * pixel_mm).astype(np.float32)
    distance, angle = np.hypot(y, x), np.arctan2(y, x)

    outline = _outline(rng, mass)(angle)
    edge = outline * (1 + 0.16 * mass.irregularity * texture(rng, pixels, pixel_mm))
    depth = np.clip(1 - (distance / np.maximum(edge, 0.5)) ** 2, 0, 1)
    # The ray through an ellipsoid falls off as a square root; an infiltrating rim falls off slower.
    body = depth ** (0.5 + 0.6 * mass.indistinctness)
    margin_mm = 0.12 + 0.9 * mass.indistinctness
    body = ndimage.gaussian_filter(body, margin_mm / pixel_mm)
    gain = mass.gain_mm * body
    gain += _spicules(rng, mass, centre, pixels, pixel_mm)

    inside = distance < outline
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return gain.astype(np.float32), box


def _outline(rng: np.random.Generator, mass: Mass) -> Callable[[np.ndarray], np.ndarray]:
    """Radius in mm as a function of the angle: an oval with lobes."""
    turn = rng.uniform(0, np.pi)
    aspect = 1 + (mass.aspect - 1) * rng.uniform(0.6, 1.0)
    order = np.arange(2, 10)
    size = (0.03 + 0.10 * mass.irregularity) * rng.rayleigh(1.0, order.size) * 2 / order
    phase = rng.uniform(0, 2 * np.pi, order.size)
    samples = np.linspace(-np.pi, np.pi, 721)
    oval = (mass.diameter_mm / 2) / np.hypot(
        np.cos(samples - turn) / np.sqrt(aspect), np.sin(samples - turn) * np.sqrt(aspect)
    )
    lobes = np.sum(size[:, None] * np.cos(order[:, None] * samples + phase[:, None]), axis=0)
    radius = oval * np.exp(lobes)
    return lambda angle: np.interp(angle, samples, radius).astype(np.float32)


def _spicules(
    rng: np.random.Generator, mass: Mass, centre: np.ndarray, pixels: int, pixel_mm: float
) -> np.ndarray:
    """Fibres that leave the body outward, thinning; number, length and strength grow together."""
    radius = mass.diameter_mm / 2
    paths, strengths = [], []
    for _ in range(rng.poisson(1 + 30 * mass.spiculation)):
        angle = rng.uniform(0, 2 * np.pi)
        start = centre + 0.6 * radius / pixel_mm * np.array([np.sin(angle), np.cos(angle)])
        length = 0.4 * radius + rng.gamma(3, 0.5 + 1.2 * mass.spiculation)
        path = fibre(rng, start, angle + 0.25 * rng.standard_normal(), length / pixel_mm, 0.5)
        paths.append(path)
        strength = rng.uniform(0.4, 1.0) * (0.4 + 4.2 * mass.spiculation)
        strengths.append(strength * np.linspace(1, 0, len(path)) ** 0.7)
    return strands(paths, strengths, 0.22 / pixel_mm, (pixels, pixels))
