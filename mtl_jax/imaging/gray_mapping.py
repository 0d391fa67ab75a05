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


def ddsm_dba(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map DBA M2100 ImageClear (cases A): OD = (log10 GL - 4.80662) / -1.07553, 16 bits.

    GL 0 has no logarithm and is set to 1, darker than any film. Source: DDSM calibration pages.
    """
    _require_bits("ddsm_dba", bits, 16)
    od = (np.log10(np.maximum(gray, 1.0)) - 4.80662) / -1.07553
    return from_od(np.clip(od, *DDSM_OD))


def ddsm_howtek_mgh(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map Howtek 960 (cases A): OD = 3.789 - 0.00094568 GL, 12 bits.

    Source: DDSM calibration pages.
    """
    _require_bits("ddsm_howtek_mgh", bits, 12)
    return from_od(np.clip(3.789 - 0.00094568 * gray, *DDSM_OD))


def ddsm_lumisys(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map Lumisys 200 (cases B and C): OD = (GL - 4096.99) / -1009.01, 12 bits.

    Source: DDSM calibration pages. The manufacturer's nominal curve is
    OD = 3.6 - (GL - 495) / 1000.
    """
    _require_bits("ddsm_lumisys", bits, 12)
    return from_od(np.clip((gray - 4096.99) / -1009.01, *DDSM_OD))


def ddsm_howtek_ismd(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map Howtek of ISMD (cases D): OD = 3.96604095240593 - 0.00099055807612 GL, 12 bits.

    Source: DDSM calibration pages.
    """
    _require_bits("ddsm_howtek_ismd", bits, 12)
    return from_od(np.clip(3.96604095240593 - 0.00099055807612 * gray, *DDSM_OD))


def lumiscan(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map Lumiscan, linear over OD 0 to 4.0: OD = 4.095 - GL / 1000 at 12 bits.

    Other depths are scaled to 12 bits first. Source: the manufacturer's nominal curve.
    """
    return from_od(np.clip(_linear_od(gray, bits), 0.0, 4.0))


def lumisys(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map Lumisys, linear over OD 0 to 3.6: OD = 3.6 - (GL - 495) / 1000, 12 bits.

    Other depths are scaled to 12 bits first. Source: the manufacturer's nominal curve (DDSM pages).
    """
    return from_od(np.clip(_linear_od(gray, bits), 0.0, 3.6))


def raw_dm(gray: np.ndarray, bits: int) -> np.ndarray:
    """Map a raw detector, linear in exposure E: 4095 - a ln(max(E, 1)), a = 4095 / ln(2^bits - 1).

    This is the simple inverse logarithm (Burgess 2004), float32 0 to 4095: full exposure (air) is
    0, no exposure is 4095. The bit depth fixes `a`, so that images are comparable. The curve is for
    files that are not DICOM: the DICOM reader applies it itself if the header requires it.
    """
    if bits < 2:
        raise InputError(
            f"curve raw_dm requires at least 2 bits, not {bits}: correct bits or curve"
        )
    a = MAX_GRAY / np.log((1 << bits) - 1)
    return np.clip(MAX_GRAY - a * np.log(np.maximum(gray, 1.0)), 0.0, MAX_GRAY).astype(np.float32)


CURVES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "ddsm_dba": ddsm_dba,
    "ddsm_howtek_ismd": ddsm_howtek_ismd,
    "ddsm_howtek_mgh": ddsm_howtek_mgh,
    "ddsm_lumisys": ddsm_lumisys,
    "lumiscan": lumiscan,
    "lumisys": lumisys,
    "raw_dm": raw_dm,
}


def _linear_od(gray: np.ndarray, bits: int) -> np.ndarray:
    return (MAX_GRAY - gray * (MAX_GRAY / ((1 << bits) - 1))) * OD_PER_LEVEL


def _require_bits(curve: str, bits: int, required: int) -> None:
    """Raise InputError for fewer bits: a calibration does not apply to rescaled gray levels."""
    if bits < required:
        raise InputError(
            f"curve {curve} is for {required}-bit gray as scanned, not {bits}-bit: correct bits or"
            " curve"
        )
