"""From what a digitizer or detector stored to density on one 12-bit scale, bright where dense.

Reads no file; which curve a film needs is for its source to say.

Polarity: dense tissue stops x-rays, so film behind it stays clear (low optical density, OD) and a
detector behind it counts little. Every curve here therefore falls with OD, or with exposure, so
that gray rises with density, and films from different digitizers share 0.001 OD a gray level.
"""

from collections.abc import Callable

import numpy as np

from mtl_jax.types import InputError

TOP = 4095.0  # 12 bits
OD_PER_LEVEL = 0.001
DDSM_OD = (0.05, 3.0)  # film base and darkest useful film, as heathusf clips DDSM


def from_od(od: np.ndarray) -> np.ndarray:
    """Gray float32 = 4095 - OD / 0.001, kept within 0 to 4095: OD 0 is 4095, OD 4.095 is 0.

    The scale of a digitizer linear in OD at 0.001 a level (Lumiscan 85, University of Michigan).
    """
    return np.clip(TOP - od / OD_PER_LEVEL, 0.0, TOP).astype(np.float32)


def ddsm_dba(gray: np.ndarray, bits: int) -> np.ndarray:
    """DBA M2100 ImageClear (cases A): OD = (log10 GL - 4.80662) / -1.07553, GL of 16 bits.

    GL 0 has no logarithm and counts as 1: darker than any film. Source: DDSM calibration pages.
    """
    _need_bits("ddsm_dba", bits, 16)
    od = (np.log10(np.maximum(gray, 1.0)) - 4.80662) / -1.07553
    return from_od(np.clip(od, *DDSM_OD))


def ddsm_howtek_mgh(gray: np.ndarray, bits: int) -> np.ndarray:
    """Howtek 960 (cases A): OD = 3.789 - 0.00094568 GL, 12 bits. DDSM calibration pages."""
    _need_bits("ddsm_howtek_mgh", bits, 12)
    return from_od(np.clip(3.789 - 0.00094568 * gray, *DDSM_OD))


def ddsm_lumisys(gray: np.ndarray, bits: int) -> np.ndarray:
    """Lumisys 200 (cases B and C): OD = (GL - 4096.99) / -1009.01, 12 bits.

    Source: DDSM calibration pages; the maker's nominal curve is OD = 3.6 - (GL - 495) / 1000.
    """
    _need_bits("ddsm_lumisys", bits, 12)
    return from_od(np.clip((gray - 4096.99) / -1009.01, *DDSM_OD))


def ddsm_howtek_ismd(gray: np.ndarray, bits: int) -> np.ndarray:
    """Howtek of ISMD (cases D): OD = 3.96604095240593 - 0.00099055807612 GL, 12 bits.

    Source: DDSM calibration pages.
    """
    _need_bits("ddsm_howtek_ismd", bits, 12)
    return from_od(np.clip(3.96604095240593 - 0.00099055807612 * gray, *DDSM_OD))


def lumiscan(gray: np.ndarray, bits: int) -> np.ndarray:
    """Lumiscan, linear over OD 0 to 4.0: OD = 4.095 - GL / 1000 at 12 bits.

    Other depths are scaled to 12 bits first. Source: the maker's nominal curve.
    """
    return from_od(np.clip(_linear_od(gray, bits), 0.0, 4.0))


def lumisys(gray: np.ndarray, bits: int) -> np.ndarray:
    """Lumisys, linear over OD 0 to 3.6: OD = 3.6 - (GL - 495) / 1000 = 4.095 - GL / 1000, 12 bits.

    Other depths are scaled to 12 bits first. Source: the maker's nominal curve (DDSM pages).
    """
    return from_od(np.clip(_linear_od(gray, bits), 0.0, 3.6))


def raw_dm(gray: np.ndarray, bits: int) -> np.ndarray:
    """Raw detector, linear in exposure E: 4095 - a ln(max(E, 1)), a = 4095 / ln(2^bits - 1).

    The simple inverse logarithm (Burgess 2004), float32 0 to 4095: full exposure (air) is 0, none
    is 4095. `a` is fixed by the bit depth, never fitted to an image, so that images compare. For
    files that are not DICOM: of a DICOM the reader has already taken it where the header asks.
    """
    if bits < 2:
        raise InputError(f"curve raw_dm needs at least 2 bits, not {bits}")
    a = TOP / np.log((1 << bits) - 1)
    return np.clip(TOP - a * np.log(np.maximum(gray, 1.0)), 0.0, TOP).astype(np.float32)


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
    return (TOP - gray * (TOP / ((1 << bits) - 1))) * OD_PER_LEVEL


def _need_bits(curve: str, bits: int, need: int) -> None:
    """A calibration is in gray levels as scanned: fewer bits were rescaled, and lost it."""
    if bits < need:
        raise InputError(f"curve {curve} is for {need}-bit gray as scanned, not {bits}-bit")
