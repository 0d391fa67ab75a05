"""How the images of a collection were acquired: the columns of the paper's Table 1.

The facts are those that the publishers state, and the devices those of the images where they are
known; an unknown value is 'not stated'.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from mtl_jax.data import shards
from mtl_jax.types import RoiSet

NOT_STATED = "not stated"
MAX_DEVICES = 5  # that are listed
NOT_APPLICABLE = "not applicable"  # optical density of a digital detector


class Acquisition(NamedTuple):
    """Device or digitizer, years, gray-level range in bits, optical density range."""

    device: str = NOT_STATED
    years: str = NOT_STATED
    bits: str = NOT_STATED
    optical_density: str = NOT_STATED


# DDSM's digitizers and bits: its .ics files and calibration pages; years: Samala et al. 2017,
# Table 1. mini-MIAS: its README. INbreast: Moreira et al. 2012.
DIGITIZERS = "DBA M2100, Howtek 960 and Lumisys 200 digitizers"
PUBLISHED: dict[str, Acquisition] = {
    "ddsm": Acquisition(DIGITIZERS, "1988–1999", "12, DBA 16", "0–3.6, by digitizer"),
    "cbis_ddsm": Acquisition(f"{DIGITIZERS}; which one is not stated", "1988–1999", "16"),
    "mini_mias": Acquisition("Joyce-Loebl microdensitometer", NOT_STATED, "8", "0–3.2"),
    "inbreast": Acquisition("Siemens digital detector", NOT_STATED, "14", NOT_APPLICABLE),
    "vindr_mammo": Acquisition(optical_density=NOT_APPLICABLE),
    "cmmd": Acquisition(optical_density=NOT_APPLICABLE),
    "cdd_cesm": Acquisition(bits="8", optical_density=NOT_APPLICABLE),
    "phantom": Acquisition("simulated", NOT_APPLICABLE, "simulated", "simulated"),
}


def describe(rois: RoiSet) -> dict[str, str]:
    """Return the fields of `Acquisition` and `pixel_um`, for the paper's Table 1."""
    recorded: Mapping[str, str] = rois.manifest.get("acquisition", {})
    acquisition = Acquisition(**{k: v for k, v in recorded.items() if k in Acquisition._fields})
    facts = acquisition._asdict() | {"pixel_um": _format_pixel_um(rois)}
    return facts | ({"device": _count_devices(rois)} if shards.DEVICE in rois.index else {})


def _count_devices(rois: RoiSet) -> str:
    """Return the most frequent devices with their number of views, and how many others there are.

    A collection may name each device by its serial number.
    """
    devices = Counter(str(device) or NOT_STATED for device in rois.index[shards.DEVICE])
    named = [f"{device} ({count})" for device, count in devices.most_common(MAX_DEVICES)]
    others = len(devices) - len(named)
    return ", ".join(named + ([f"{others} others"] if others else []))


def _format_pixel_um(rois: RoiSet) -> str:
    """Return the pixel spacing as '50 × 50', or its range if the images differ."""
    sizes = []
    for column in ("pixel_um_row", "pixel_um_col"):
        if column not in rois.index or not len(rois):
            return NOT_STATED
        values = rois.index[column]
        low, high = float(values.min()), float(values.max())
        sizes.append(f"{low:g}" if low == high else f"{low:g}–{high:g}")
    return " × ".join(sizes)
