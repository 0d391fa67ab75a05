"""Map the stored values of a digitizer or detector to gray on one 12-bit scale.

The source of a film names its curve in CURVES. Dense tissue attenuates x-rays: the film behind it
has a low optical density (OD), and a detector behind it a low exposure. Every curve falls with OD
or exposure, so that gray rises with tissue density. Films of all digitizers share a scale of
0.001 OD per gray level.
"""

from collections.abc import Callable

import numpy as np

from mtl_jax.types import InputError

MAX_GRAY = 4095.0  # 12 bits
OD_PER_LEVEL = 0.001
DDSM_OD = (0.05, 3.0)  # film base and darkest useful film, as in heathusf's tools for DDSM


def from_od(od: np.ndarray) -> np.ndarray:
    """Return gray float32: 4095 at OD 0, one less for each 0.001 OD, clipped to 0 to 4095."""
    return np.clip(MAX_GRAY - od / OD_PER_LEVEL, 0.0, MAX_GRAY).astype(np.float32)


# Bit depth as scanned, and OD of the gray level GL, by the DDSM calibration pages.
CURVES: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    # DBA M2100 ImageClear (cases A); GL 0 has no logarithm and is set to 1, darker than any film.
    "ddsm_dba": (16, lambda gl: (np.log10(np.maximum(gl, 1.0)) - 4.80662) / -1.07553),
    # Howtek of ISMD (cases D).
    "ddsm_howtek_ismd": (12, lambda gl: 3.96604095240593 - 0.00099055807612 * gl),
    # Howtek 960 (cases A).
    "ddsm_howtek_mgh": (12, lambda gl: 3.789 - 0.00094568 * gl),
    # Lumisys 200 (cases B and C); the manufacturer's nominal curve is 3.6 - (GL - 495) / 1000.
    "ddsm_lumisys": (12, lambda gl: (gl - 4096.99) / -1009.01),
}


def apply_curve(curve: str, gray: np.ndarray, bits: int) -> np.ndarray:
    """Return the gray (float32, 0 to 4095) of a digitizer's stored values by one of CURVES.

    Fewer bits are an error: a calibration does not apply to rescaled gray levels.
    """
    if curve not in CURVES:
        raise InputError(f"no curve {curve!r}; expected one of {', '.join(sorted(CURVES))}")
    required, to_od = CURVES[curve]
    if bits < required:
        raise InputError(
            f"curve {curve} is for {required}-bit gray as scanned, not {bits}-bit: correct bits or"
            " curve"
        )
    return from_od(np.clip(to_od(gray), *DDSM_OD))


def raw_dm(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map a raw detector, linear in exposure E: 4095 - a ln(max(E, 1)), a = 4095 / ln(2^bits - 1).

    This is the simple inverse logarithm (Burgess 2004), float32 0 to 4095: full exposure (air) is
    0, no exposure is 4095. The bit depth fixes `a`, so that images are comparable.
    """
    a = MAX_GRAY / np.log((1 << bits) - 1)
    return np.clip(MAX_GRAY - a * np.log(np.maximum(gray, 1.0)), 0.0, MAX_GRAY).astype(np.float32)
