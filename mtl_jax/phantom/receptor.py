"""From x-rays behind the breast to stored gray levels: two screen-film systems with their scanners
and a digital detector.

Fluence is in x-ray quanta that the receptor absorbs a square mm; NPS is the noise power spectrum.
Films: a characteristic (H&D) curve of mean gradient 3.1 (sfm) and 2.9 (ddsm) between OD 0.25 and 2
above base and fog, less than the 3.8 of the late Min-R 2000 (Meeson et al. 2001, Br. J. Radiol. 74
825); screen blur and quantum mottle before the film, grain after it (Barnes & Chakraborty 1982,
Radiology 145 815; Nishikawa & Yaffe 1985, Med. Phys. 12 32); then a laser scanner linear in optical
density (OD). Digital: as Vedantham et al. 2000, Med. Phys. 27 558 (CsI on amorphous silicon,
0.1 mm). Numbers of quanta, grain and scanner noise are round ones of that order, fitted to nothing.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft, ndimage

EDGE = 16  # pixels mirrored around an image while it is blurred, so that no border meets another


@dataclass(frozen=True)
class Film:
    """A screen-film system and its scanner. Gray falls with OD: bright where dense."""

    modality = "SFM"
    pixel_mm: float
    bits: int
    fog: float  # OD of base and fog
    max_od: float  # largest OD
    gradient: float  # largest slope of OD against log10 exposure
    target_od: float  # OD that the automatic exposure aims at
    quanta: float  # absorbed by the screen at that OD
    blur: float  # spatial frequency (1/mm) at which the screen's MTF is a half
    grain: float  # NPS of film grain, mm^2 for OD 1; it grows in proportion to OD
    scanner_mm: float  # standard deviation of the scanner's point spread
    scanner_od: float  # noise of the scanner's electronics
    scanner_light: float  # noise of its transmitted light, of that through OD 0
    gray_at_0: float  # stored gray at OD 0
    gray_per_od: float

    def density(self, fluence: np.ndarray) -> np.ndarray:
        """OD of the film by its H&D curve, a logistic in log10 exposure."""
        span = self.max_od - self.fog
        steep = 4 * self.gradient / span  # a logistic is steepest at its middle: a quarter
        middle = np.log10(self.quanta) + np.log(span / (self.target_od - self.fog) - 1) / steep
        return self.fog + span / (1 + np.exp(-steep * (np.log10(fluence) - middle)))

    def read(self, rng: np.random.Generator, fluence: np.ndarray) -> np.ndarray:
        """Stored gray (H, W) uint16 of `fluence` (H, W), the mean number of quanta a square mm."""
        quanta = blur_quanta(
            add_quantum_noise(rng, fluence, self.pixel_mm), self.pixel_mm, self.blur
        )
        od = self.density(np.maximum(quanta, 1.0)).astype(np.float32)
        noise = rng.standard_normal((2, *od.shape), dtype=np.float32)
        od += noise[0] * np.sqrt(np.float32(self.grain / self.pixel_mm**2) * od)
        od = ndimage.gaussian_filter(od, self.scanner_mm / self.pixel_mm, truncate=3)
        # Through dark film little light arrives: its noise weighs 10^OD times in OD.
        light = np.float32(self.scanner_light / np.log(10)) * np.float32(10) ** od
        od += noise[1] * np.hypot(np.float32(self.scanner_od), light)
        return quantize(self.gray_at_0 - self.gray_per_od * od, self.bits)


@dataclass(frozen=True)
class Detector:
    """A digital detector, linear in exposure. Gray rises with exposure: dark where dense."""

    modality = "DM"
    pixel_mm: float
    bits: int
    quanta: float  # absorbed where the automatic exposure aims
    blur: float  # spatial frequency (1/mm) at which the scintillator's MTF is a half
    electronic: float  # noise of a pixel's electronics, in quanta
    gain: float  # gray levels a quantum absorbed in a pixel
    offset: float  # gray without exposure

    def read(self, rng: np.random.Generator, fluence: np.ndarray) -> np.ndarray:
        """Stored gray (H, W) uint16 of `fluence` (H, W), the mean number of quanta a square mm."""
        quanta = blur_quanta(
            add_quantum_noise(rng, fluence, self.pixel_mm), self.pixel_mm, self.blur
        )
        quanta *= np.float32(self.pixel_mm**2)
        quanta += np.float32(self.electronic) * rng.standard_normal(quanta.shape, dtype=np.float32)
        return quantize(self.offset + self.gain * quanta, self.bits)


# sfm: a Lumiscan 85, OD = 4.095 - gray / 1000. ddsm: older film on a Lumisys 200 as DDSM calibrated
# it, OD = (gray - 4096.99) / -1009.01.
RECEPTORS: dict[str, Film | Detector] = {
    "sfm": Film(
        pixel_mm=0.05,
        bits=12,
        fog=0.18,
        max_od=4.0,
        gradient=4.6,
        target_od=1.6,
        quanta=2.5e5,
        blur=5.0,
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
        fog=0.22,
        max_od=3.6,
        gradient=4.0,
        target_od=1.3,
        quanta=1.8e5,
        blur=4.0,
        grain=2.0e-6,
        scanner_mm=0.035,
        scanner_od=0.010,
        scanner_light=4.0e-5,
        gray_at_0=4096.99,
        gray_per_od=1009.01,
    ),
    "dm": Detector(
        pixel_mm=0.1, bits=14, quanta=3.0e5, blur=4.3, electronic=6.0, gain=0.8, offset=0.0
    ),
}


def add_quantum_noise(rng: np.random.Generator, fluence: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Return `fluence` with Poisson noise, as the normal law that it is near at hundreds of
    quanta."""
    noise = rng.standard_normal(fluence.shape, dtype=np.float32)
    return fluence + noise * np.sqrt(fluence * np.float32(1 / pixel_mm**2))


def blur_quanta(image: np.ndarray, pixel_mm: float, half: float) -> np.ndarray:
    """Return `image` (H, W) float32 through the MTF 1 / (1 + (f/half)^2) of a phosphor and a
    square pixel.

    Quanta are blurred with the signal, so that quantum noise has the MTF's colour.
    """
    padded = np.pad(image, EDGE, mode="symmetric")
    spectrum = fft.rfft2(padded)
    spectrum *= _transfer(padded.shape, pixel_mm, half)
    return fft.irfft2(spectrum, padded.shape)[EDGE:-EDGE, EDGE:-EDGE]


@cache
def _transfer(shape: tuple[int, int], pixel_mm: float, half: float) -> np.ndarray:
    row, column = fft.fftfreq(shape[0], pixel_mm)[:, None], fft.rfftfreq(shape[1], pixel_mm)
    aperture = np.sinc(row * pixel_mm) * np.sinc(column * pixel_mm)
    return (aperture / (1 + (row**2 + column**2) / half**2)).astype(np.float32)


def quantize(values: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.rint(values), 0, (1 << bits) - 1).astype(np.uint16)
