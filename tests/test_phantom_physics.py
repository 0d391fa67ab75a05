"""Test the images of the phantoms against physics and the literature, on generated files."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mtl_jax import config
from mtl_jax.data import ingest
from mtl_jax.phantom.appearance import sample_mass
from mtl_jax.phantom.collection import Parameters, write_collection
from mtl_jax.phantom.receptor import RECEPTORS, Film

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from phantom_spectra import power, radial

CASES = 16
BITS = {"sfm": 12, "ddsm": 12, "dm": 14}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    for kind in RECEPTORS:
        (folder / kind).mkdir()
        write_collection(folder / kind, Parameters(kind, CASES, 2, 0.4, 1.0, 0.4, 0.5))
    return folder


def headers(home: Path, kind: str) -> list[pydicom.Dataset]:
    """Return the images of a kind without masks and crops."""
    files = [pydicom.dcmread(path) for path in sorted((home / kind).rglob("*.dcm"))]
    return [header for header in files if header.ImageType[0] == "ORIGINAL"]


def log_exposure(header: pydicom.Dataset, kind: str) -> np.ndarray:
    """Return gray that is linear in the thickness: stored gray of a film, -ln of raw counts."""
    stored = header.pixel_array.astype(np.float64)
    return stored if kind != "dm" else -np.log(np.maximum(stored, 1))


@pytest.mark.parametrize("kind", RECEPTORS)
def test_headers_describe_the_pixels(home: Path, kind: str) -> None:
    for header in headers(home, kind):
        assert header.BitsStored == BITS[kind] and header.BitsAllocated == 16
        assert header.QualityControlImage == "YES" and "PHANTOM" in str(header.PatientName)
        if kind == "dm":
            assert header.SOPClassUID.name.endswith("For Processing")
            assert header.PresentationIntentType == "FOR PROCESSING"
            assert header.PixelIntensityRelationship == "LIN"
            assert list(header.ImagerPixelSpacing) == [0.1, 0.1]
        else:
            assert header.SOPClassUID.name == "Secondary Capture Image Storage"
            assert header.ConversionType == "DF"
            assert list(header.NominalScannedPixelSpacing) == [0.05, 0.05]
        stored = header.pixel_array
        assert len(np.unique(stored)) > 200
        assert 0 < stored.min() and stored.max() < 2 ** BITS[kind] - 1


def test_films_are_within_the_optical_densities_of_their_scanners(home: Path) -> None:
    """0 to 4.0 and 0 to 3.6, by the calibration of the scanners."""
    for kind, to_od, max_od in (
        ("sfm", lambda gray: (4095 - gray) / 1000, 4.0),
        ("ddsm", lambda gray: (gray - 4096.99) / -1009.01, 3.6),
    ):
        od = np.concatenate(
            [to_od(h.pixel_array.astype(float)).ravel() for h in headers(home, kind)]
        )
        assert 0 < od.min() and od.max() < max_od
        assert 1.0 < np.median(od) < 2.0 and np.ptp(np.percentile(od, (1, 99))) > 0.5


@pytest.mark.parametrize("kind", RECEPTORS)
def test_files_have_the_power_spectrum_of_mammograms(home: Path, kind: str) -> None:
    """1/f^3 (Burgess et al. 2001) from 0.15 to 1 cycles per mm, above which there is noise."""
    pixel_mm = RECEPTORS[kind].pixel_mm
    log_spectra = []
    for header in headers(home, kind):
        frequency, spectrum = radial(
            power(log_exposure(header, kind), pixel_mm), pixel_mm, (0.15, 1.0)
        )
        log_spectra.append(np.log(spectrum))
    slope = stats.linregress(np.log(frequency), np.mean(log_spectra, axis=0)).slope
    assert -slope == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("kind", ["sfm", "ddsm"])
def test_film_noise_is_quantum_mottle_and_grain(kind: str) -> None:
    """NPS at low frequency: (slope of the H&D curve)^2 (log10 e)^2 / quanta + grain x OD."""
    film = RECEPTORS[kind]
    rng = np.random.default_rng(0)
    measured, expected, densities = [], [], []
    for exposure in (-0.25, 0.0, 0.25):
        quanta = film.quanta * 10**exposure
        fluence = np.full((512, 512), quanta, np.float32)
        spectrum = []
        for _ in range(3):
            od = (film.gray_at_0 - film.acquire(rng, fluence).astype(float)) / film.gray_per_od
            # One wide ring of low frequencies, where the MTF of the screen is near 1.
            spectrum += list(radial(power(od, film.pixel_mm), film.pixel_mm, (0.1, 0.6), 1)[1])
        measured.append(np.mean(spectrum))
        step = 1e-3
        bounds = film.to_optical_density(np.array([quanta * 10**-step, quanta * 10**step]))
        gradient = (bounds[1] - bounds[0]) / (2 * step)
        densities.append(float(film.to_optical_density(np.array(quanta))))
        scanner = film.scanner_od**2 + (film.scanner_light / np.log(10) * 10 ** densities[-1]) ** 2
        expected.append(
            (gradient * np.log10(np.e)) ** 2 / quanta
            + film.grain * densities[-1]
            + scanner * film.pixel_mm**2
        )
    assert np.all(np.diff(densities) > 0.3)
    assert_allclose(measured, expected, rtol=0.12)


def test_film_noise_is_larger_in_dark_film() -> None:
    """The slope of the H&D curve falls there, but dark film transmits little light."""
    film = RECEPTORS["ddsm"]
    noise = []
    for exposure in (0.0, 1.0):
        fluence = np.full((256, 256), film.quanta * 10**exposure, np.float32)
        noise.append(film.acquire(np.random.default_rng(0), fluence).std() / film.gray_per_od)
    assert noise[1] > 1.3 * noise[0]


def test_detector_noise_is_quantum_noise() -> None:
    """The relative NPS at low frequency is 1 / quanta."""
    detector = RECEPTORS["dm"]
    rng = np.random.default_rng(0)
    for quanta in (0.5 * detector.quanta, detector.quanta, 2 * detector.quanta):
        gray = detector.acquire(rng, np.full((512, 512), quanta, np.float32)).astype(float)
        relative = power(gray / gray.mean(), detector.pixel_mm)
        _, measured = radial(relative, detector.pixel_mm, (0.1, 0.5), 3)
        assert measured.mean() == pytest.approx(1 / quanta, rel=0.12)


@pytest.mark.parametrize("kind", RECEPTORS)
def test_receptors_blur_a_sine_wave_by_their_mtf(kind: str) -> None:
    """The contrast is halved at the stated frequency, apart from the aperture of the pixel."""
    receptor = RECEPTORS[kind]
    size, waves = 400, round(400 * receptor.pixel_mm * receptor.mtf50)
    frequency = waves / (400 * receptor.pixel_mm)
    phase = 2 * np.pi * waves * (np.arange(size) + 0.5) / size
    fluence = np.float32(receptor.quanta * (1 + 0.1 * np.sin(phase)))
    gray = receptor.acquire(np.random.default_rng(0), np.tile(fluence, (size, 1))).astype(float)
    if isinstance(receptor, Film):
        od = (receptor.gray_at_0 - gray.mean(0)) / receptor.gray_per_od
        spread = np.exp(-2 * (np.pi * frequency * receptor.scanner_mm) ** 2)
        slope = (
            np.diff(receptor.to_optical_density(receptor.quanta * np.array([0.99, 1.01])))[0] / 0.02
        )
        wave = (od - od.mean()) / (slope * spread)
    else:
        wave = gray.mean(0) / gray.mean() - 1
    inner = slice(40, -40)  # without the effect of reflection at the border
    design = np.stack([np.sin(phase), np.cos(phase), np.ones(size)], 1)[inner]
    amplitude = np.hypot(*np.linalg.lstsq(design, wave[inner], rcond=None)[0][:2])
    expected = 0.1 * np.sinc(frequency * receptor.pixel_mm) / 2
    assert amplitude == pytest.approx(expected, rel=0.08)


def test_gray_rises_with_density_on_film_and_falls_on_the_raw_detector() -> None:
    for kind, receptor in RECEPTORS.items():
        rng, gray = np.random.default_rng(0), []
        for gland_mm in (-10, -5, 0, 5, 10):
            fluence = receptor.quanta * np.exp(-0.0346 * gland_mm)
            gray.append(receptor.acquire(rng, np.full((64, 64), fluence, np.float32)).mean())
        steps = np.diff(gray)
        assert np.all(steps < 0) if kind == "dm" else np.all(steps > 0), kind


def test_diameters_are_log_normal_within_5_to_30_mm(home: Path) -> None:
    """Their mean is about 15 exp(0.38^2 / 2) = 16.1; boxes have the stated diameter."""
    rng = np.random.default_rng(0)
    diameters = np.array([sample_mass(rng, "sfm", 0.5, 1.0).diameter_mm for _ in range(4000)])
    assert diameters.min() >= 5 and diameters.max() <= 30
    assert diameters.mean() == pytest.approx(16.1, abs=0.4)
    table = np.genfromtxt(home / "dm" / "truth.csv", delimiter=",", names=True, dtype=None)
    stated = dict(zip(table["case"], table["diameter_mm"], strict=True))
    for line in (home / "dm" / "manifest.csv").read_text().splitlines()[1:]:
        cells = line.split(",")
        top, left, bottom, right = map(int, cells[7].split(";"))
        longest = 0.1 * max(bottom - top, right - left)
        assert 0.7 * stated[cells[2]] - 0.3 < longest < stated[cells[2]] + 0.3


@pytest.mark.slow
def test_background_correction_removes_the_differences_in_mean_gray_of_phantoms(
    tmp_path: Path,
) -> None:
    """Compare the deviation between phantoms with that within them."""
    c = config.default()
    c.data.phantom.cases = 14
    ratios = {}
    for correct in (False, True):
        c.data.background.correct = correct
        settings = ingest.read_settings(c.data.to_dict(), tmp_path)
        sets = [ingest.load(f"phantom:{kind}", tmp_path, *settings) for kind in RECEPTORS]
        means = [np.concatenate(rois.shards).mean((1, 2)) for rois in sets]
        within = np.sqrt(np.mean([values.var() for values in means]))
        ratios[correct] = np.std([values.mean() for values in means]) / within
    assert ratios[False] > 1.5 and ratios[True] < 0.7


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed"
)
def test_dciodvfy_finds_no_error(home: Path, tmp_path: Path) -> None:
    def errors(path: Path) -> list[str]:
        completed = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        return [line for line in completed.stderr.splitlines() if line.startswith("Error")]

    paths = [path for kind in RECEPTORS for path in sorted((home / kind).rglob("*.dcm"))[:8]]
    assert len(paths) == 24 and not [error for path in paths for error in errors(path)]
    for keyword in ("ImageLaterality", "ImagerPixelSpacing"):  # dciodvfy finds missing attributes
        header = headers(home, "dm")[0]
        delattr(header, keyword)
        header.save_as(tmp_path / "broken.dcm")
        assert errors(tmp_path / "broken.dcm")
