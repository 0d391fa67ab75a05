"""Simulate image receptors: two screen-film systems with their scanners and a digital detector.

Fluence is the number of absorbed x-ray quanta per square mm; NPS is the noise power spectrum.
Films: a characteristic (H&D) curve of mean gradient 3.1 (sfm) and 2.9 (ddsm) between OD 0.25 and 2
above base and fog, less than the 3.8 of the late Min-R 2000 (Meeson et al. 2001, Br. J. Radiol. 74
825); screen blur and quantum mottle before the film, grain after it (Barnes & Chakraborty 1982,
Radiology 145 815; Nishikawa & Yaffe 1985, Med. Phys. 12 32); then a laser scanner linear in optical
density (OD). Digital: as Vedantham et al. 2000, Med. Phys. 27 558 (CsI on amorphous silicon,
0.1 mm). Quanta, grain and scanner noise are round numbers of that order and were not fitted.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft, ndimage

PADDING = 16  # pixels of reflection padding against periodic borders of the Fourier transform


@dataclass(frozen=True)
class Film:
    """A screen-film system and its scanner. Stored gray falls with OD: dense tissue is bright."""

    modality = "SFM"
    pixel_mm: float
    bits: int
    base_fog: float  # OD of base and fog
    max_od: float  # largest OD
    gradient: float  # largest slope of OD against log10 exposure
    target_od: float  # OD of the automatic exposure control
    quanta: float  # absorbed by the screen per square mm at that OD
    mtf50: float  # spatial frequency (1/mm) at which the MTF of the screen is 0.5
    grain: float  # NPS of film grain in mm^2 at OD 1; it is proportional to OD
    scanner_mm: float  # standard deviation of the scanner's point spread
    scanner_od: float  # electronic noise of the scanner, in OD
    scanner_light: float  # noise of the transmitted light relative to that at OD 0
    gray_at_0: float  # stored gray at OD 0
    gray_per_od: float

    def to_optical_density(self, fluence: np.ndarray) -> np.ndarray:
        """Return the OD of the film by its H&D curve, a logistic function of log10 exposure."""
        od_range = self.max_od - self.base_fog
        slope = 4 * self.gradient / od_range  # the largest slope of a logistic function is 1/4
        log_ratio = math.log(od_range / (self.target_od - self.base_fog) - 1)
        # The decadic logarithm as a natural one, which NumPy computes faster.
        log_exposure = np.log(fluence / np.float32(self.quanta)) / np.float32(np.log(10))
        return self.base_fog + od_range / (1 + np.exp(log_ratio - slope * log_exposure))

    def acquire(self, rng: np.random.Generator, fluence: np.ndarray) -> np.ndarray:
        """Return stored gray (H, W) uint16 of `fluence` (H, W), quanta per square mm."""
        quanta = absorb_quanta(rng, fluence, self.pixel_mm, self.mtf50)
        od = self.to_optical_density(np.maximum(quanta, 1.0)).astype(np.float32)
        noise = rng.standard_normal((2, *od.shape), dtype=np.float32)
        od += noise[0] * np.sqrt(np.float32(self.grain / self.pixel_mm**2) * od)
        od = ndimage.gaussian_filter(od, self.scanner_mm / self.pixel_mm, truncate=3)
        # Dark film transmits little light: the noise in OD is 10^OD times larger.
        light = np.float32(self.scanner_light / np.log(10)) * np.exp(np.float32(np.log(10)) * od)
        od += noise[1] * np.sqrt(np.float32(self.scanner_od**2) + light**2)
        return quantize(self.gray_at_0 - self.gray_per_od * od, self.bits)


@dataclass(frozen=True)
class Detector:
    """A digital detector, linear in exposure: dense tissue is dark."""

    modality = "DM"
    pixel_mm: float
    bits: int
    quanta: float  # absorbed per square mm at the target of the automatic exposure control
    mtf50: float  # spatial frequency (1/mm) at which the MTF of the scintillator is 0.5
    electronic: float  # electronic noise of a pixel, in quanta
    gain: float  # gray levels per quantum absorbed in a pixel
    offset: float  # gray without exposure

    def acquire(self, rng: np.random.Generator, fluence: np.ndarray) -> np.ndarray:
        """Return stored gray (H, W) uint16 of `fluence` (H, W), quanta per square mm."""
        quanta = absorb_quanta(rng, fluence, self.pixel_mm, self.mtf50)
        quanta *= np.float32(self.pixel_mm**2)
        quanta += np.float32(self.electronic) * rng.standard_normal(quanta.shape, dtype=np.float32)
        return quantize(self.offset + self.gain * quanta, self.bits)


# sfm: a Lumiscan 85, OD = 4.095 - gray / 1000. ddsm: older film on a Lumisys 200 as DDSM calibrated
# it, OD = (gray - 4096.99) / -1009.01.
RECEPTORS: dict[str, Film | Detector] = {
    "sfm": Film(
        pixel_mm=0.05,
        bits=12,
        base_fog=0.18,
        max_od=4.0,
        gradient=4.6,
        target_od=1.6,
        quanta=2.5e5,
        mtf50=5.0,
        grain=1.0e-6,
        scanner_mm=0.03,
        scanner_od=0.004,
        scanner_light=1.0e-5,
        gray_at_0=4095.0,
        gray_per_od=1000.0,
    ),
    "ddsm": Film(
        pixel_mm=0.05,
        bits=12,
        base_fog=0.22,
        max_od=3.6,
        gradient=4.0,
        target_od=1.3,
        quanta=1.8e5,
        mtf50=4.0,
        grain=2.0e-6,
        scanner_mm=0.035,
        scanner_od=0.010,
        scanner_light=4.0e-5,
        gray_at_0=4096.99,
        gray_per_od=1009.01,
    ),
    "dm": Detector(
        pixel_mm=0.1, bits=14, quanta=3.0e5, mtf50=4.3, electronic=6.0, gain=0.8, offset=0.0
    ),
}


def absorb_quanta(
    rng: np.random.Generator, fluence: np.ndarray, pixel_mm: float, mtf50: float
) -> np.ndarray:
    """Return `fluence` with quantum noise, blurred by a phosphor and a pixel.

    The noise is Poisson noise, approximated by a normal distribution, and is blurred with the
    signal. The MTF of the phosphor is 1 / (1 + (f/mtf50)^2).
    """
    noise = rng.standard_normal(fluence.shape, dtype=np.float32)
    quanta = fluence + noise * np.sqrt(fluence * np.float32(1 / pixel_mm**2))
    padded = np.pad(quanta, PADDING, mode="symmetric")
    spectrum = fft.rfft2(padded)
    spectrum *= _mtf(padded.shape, pixel_mm, mtf50)
    return fft.irfft2(spectrum, padded.shape)[PADDING:-PADDING, PADDING:-PADDING]


@cache
def _mtf(shape: tuple[int, int], pixel_mm: float, mtf50: float) -> np.ndarray:
    row, column = fft.fftfreq(shape[0], pixel_mm)[:, None], fft.rfftfreq(shape[1], pixel_mm)
    aperture = np.sinc(row * pixel_mm) * np.sinc(column * pixel_mm)
    return (aperture / (1 + (row**2 + column**2) / mtf50**2)).astype(np.float32)


def quantize(values: np.ndarray, bits: int) -> np.ndarray:
    """Return `values` as stored gray, rounded and clipped to `bits`."""
    return np.clip(np.rint(values), 0, (1 << bits) - 1).astype(np.uint16)
