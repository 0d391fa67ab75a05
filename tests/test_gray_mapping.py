"""Test the gray curves of digitizers and detectors: known values, polarity, bounds."""

import math

import numpy as np
import pytest

from mtl_jax.imaging.gray_mapping import CURVES, apply_curve, from_od, raw_dm
from mtl_jax.types import InputError

BITS = {"ddsm_dba": 16, "raw_dm": 14}


def to_gray(curve: str, values: np.ndarray, bits: int) -> np.ndarray:
    return raw_dm(values, bits) if curve == "raw_dm" else apply_curve(curve, values, bits)


def od(curve: str, gray: float) -> float:
    """Return the optical density of 12-bit gray."""
    return 4.095 - 0.001 * float(apply_curve(curve, np.array([gray]), BITS.get(curve, 12))[0])


@pytest.mark.parametrize(
    ("curve", "gray", "expected"),
    [
        # The step wedge of the DDSM's calibration pages: 55722 was measured as OD 0.04.
        ("ddsm_dba", 55722, (math.log10(55722) - 4.80662) / -1.07553),
        ("ddsm_dba", 55722, 0.0563),
        ("ddsm_dba", 1000, 1.67975),  # (3 - 4.80662) / -1.07553
        ("ddsm_dba", 0, 3.0),  # no logarithm: darkest
        ("ddsm_howtek_mgh", 2000, 1.89764),  # 3.789 - 1.89136
        ("ddsm_howtek_mgh", 0, 3.0),  # 3.789, clipped
        ("ddsm_howtek_mgh", 4000, 0.05),  # 0.00628, clipped
        ("ddsm_lumisys", 2000, 2.07827),  # 2096.99 / 1009.01
        ("ddsm_lumisys", 4095, 0.05),  # 0.00197, clipped
        ("ddsm_howtek_ismd", 2000, 1.98492),  # 3.96604 - 1.98112
    ],
)
def test_curves_give_the_optical_density_of_their_equation(
    curve: str, gray: float, expected: float
) -> None:
    assert od(curve, gray) == pytest.approx(expected, abs=6e-5)


def test_raw_detector_inverse_logarithm_at_known_exposures() -> None:
    # Air, one count, none, and the geometric mean, which is half-way.
    gray = raw_dm(np.array([16383, 1, 0, math.sqrt(16383)]), 14)
    np.testing.assert_allclose(gray, [0, 4095, 4095, 2047.5], atol=1e-3)
    # Halving the exposure always adds the same gray: ln 2 times 4095 / ln 16383.
    steps = np.diff(raw_dm(np.array([8000, 4000, 2000, 1000]), 14))
    np.testing.assert_allclose(steps, math.log(2) * 4095 / math.log(16383), rtol=1e-5)


@pytest.mark.parametrize("curve", [*CURVES, "raw_dm"])
def test_curves_are_monotonic_and_within_12_bits(curve: str) -> None:
    bits = BITS.get(curve, 12)
    gray = to_gray(curve, np.arange(1 << bits, dtype=np.float32), bits)
    assert gray.dtype == np.float32
    assert 0 <= gray.min() and gray.max() <= 4095
    # Dense tissue has a low optical density on film and a low exposure on a detector.
    steps = np.diff(gray) * (-1 if curve == "raw_dm" else 1)
    assert (steps >= 0).all() and (steps > 0).mean() > 0.7


def test_a_dense_mass_is_brighter_than_fat_by_every_curve() -> None:
    for curve in (*CURVES, "raw_dm"):
        mass, fat = (2600, 1500) if curve != "raw_dm" else (300, 3000)
        gray = to_gray(curve, np.array([mass, fat], np.float32), BITS.get(curve, 12))
        assert gray[0] > gray[1], curve


@pytest.mark.parametrize(("curve", "bits"), [("ddsm_lumisys", 8), ("ddsm_dba", 12)])
def test_fewer_bits_than_calibrated_are_rejected(curve: str, bits: int) -> None:
    with pytest.raises(InputError, match=f"{curve}.*{bits}"):
        to_gray(curve, np.zeros(3), bits)


def test_one_gray_level_is_0_001_optical_density() -> None:
    np.testing.assert_allclose(
        from_od(np.array([0, 0.001, 1.0, 4.095, 9])), [4095, 4094, 3095, 0, 0], atol=1e-3
    )
