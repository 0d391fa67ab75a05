"""The phantom's images, measured on generated files against physics and the literature."""

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
from mtl_jax.phantom import case
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
    """The images of a kind, without the masks and crops."""
    found = [pydicom.dcmread(path) for path in sorted((home / kind).rglob("*.dcm"))]
    return [header for header in found if header.ImageType[0] == "ORIGINAL"]


def log_exposure(header: pydicom.Dataset, kind: str) -> np.ndarray:
    """What falls in proportion to thickness, up to a factor: OD of a film, ln of raw counts."""
    stored = header.pixel_array.astype(np.float64)
    return stored if kind != "dm" else -np.log(np.maximum(stored, 1))


@pytest.mark.parametrize("kind", RECEPTORS)
def test_headers_say_what_the_pixels_are(home: Path, kind: str) -> None:
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


def test_films_keep_within_the_optical_densities_of_theirs(home: Path) -> None:
    """0 to 4.0 and 0 to 3.6, by the scanners' own curves."""
    for kind, od, top in (
        ("sfm", lambda gray: (4095 - gray) / 1000, 4.0),
        ("ddsm", lambda gray: (gray - 4096.99) / -1009.01, 3.6),
    ):
        found = np.concatenate(
            [od(h.pixel_array.astype(float)).ravel() for h in headers(home, kind)]
        )
        assert 0 < found.min() and found.max() < top
        assert 1.0 < np.median(found) < 2.0 and np.ptp(np.percentile(found, (1, 99))) > 0.5


@pytest.mark.parametrize("kind", RECEPTORS)
def test_files_have_the_power_spectrum_of_mammograms(home: Path, kind: str) -> None:
    """1/f^3 (Burgess et al. 2001) from 0.15 to 1 cycles a mm, above it noise begins to count."""
    pixel_mm = RECEPTORS[kind].pixel_mm
    logs = []
    for header in headers(home, kind):
        frequency, found = radial(
            power(log_exposure(header, kind), pixel_mm), pixel_mm, (0.15, 1.0)
        )
        logs.append(np.log(found))
    slope = stats.linregress(np.log(frequency), np.mean(logs, axis=0)).slope
    assert -slope == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("kind", ["sfm", "ddsm"])
def test_film_noise_is_quantum_mottle_and_grain(kind: str) -> None:
    """NPS at low frequency: (slope of the H&D curve)^2 (log10 e)^2 / quanta + grain x OD."""
    film = RECEPTORS[kind]
    rng = np.random.default_rng(0)
    found, expected, densities = [], [], []
    for exposure in (-0.25, 0.0, 0.25):
        quanta = film.quanta * 10**exposure
        fluence = np.full((512, 512), quanta, np.float32)
        measured = []
        for _ in range(3):
            od = (film.gray_at_0 - film.read(rng, fluence).astype(float)) / film.gray_per_od
            # One wide ring of low frequencies, where the screen blurs little.
            measured += list(radial(power(od, film.pixel_mm), film.pixel_mm, (0.1, 0.6), 1)[1])
        found.append(np.mean(measured))
        step = 1e-3
        bounds = film.density(np.array([quanta * 10**-step, quanta * 10**step]))
        gradient = (bounds[1] - bounds[0]) / (2 * step)
        densities.append(float(film.density(np.array(quanta))))
        scanner = film.scanner_od**2 + (film.scanner_light / np.log(10) * 10 ** densities[-1]) ** 2
        expected.append(
            (gradient * np.log10(np.e)) ** 2 / quanta
            + film.grain * densities[-1]
            + scanner * film.pixel_mm**2
        )
    assert np.all(np.diff(densities) > 0.3)
    assert_allclose(found, expected, rtol=0.12)


def test_film_noise_weighs_more_where_the_film_is_dark() -> None:
    """Beyond the curve's middle its slope falls, but little light passes the scanner."""
    film = RECEPTORS["ddsm"]
    noise = []
    for exposure in (0.0, 1.0):
        fluence = np.full((256, 256), film.quanta * 10**exposure, np.float32)
        noise.append(film.read(np.random.default_rng(0), fluence).std() / film.gray_per_od)
    assert noise[1] > 1.3 * noise[0]


def test_detector_noise_is_that_of_its_quanta() -> None:
    """Variance over squared mean, at low frequency, is 1 / quanta: halved by twice the exposure."""
    detector = RECEPTORS["dm"]
    rng = np.random.default_rng(0)
    for quanta in (0.5 * detector.quanta, detector.quanta, 2 * detector.quanta):
        gray = detector.read(rng, np.full((512, 512), quanta, np.float32)).astype(float)
        relative = power(gray / gray.mean(), detector.pixel_mm)
        _, measured = radial(relative, detector.pixel_mm, (0.1, 0.5), 3)
        assert measured.mean() == pytest.approx(1 / quanta, rel=0.12)


@pytest.mark.parametrize("kind", RECEPTORS)
def test_receptors_blur_a_wave_by_their_mtf(kind: str) -> None:
    """A half of the contrast at the stated frequency, but for the pixel's own aperture."""
    receptor = RECEPTORS[kind]
    size, waves = 400, round(400 * receptor.pixel_mm * receptor.blur)
    frequency = waves / (400 * receptor.pixel_mm)
    phase = 2 * np.pi * waves * (np.arange(size) + 0.5) / size
    fluence = np.float32(receptor.quanta * (1 + 0.1 * np.sin(phase)))
    gray = receptor.read(np.random.default_rng(0), np.tile(fluence, (size, 1))).astype(float)
    if isinstance(receptor, Film):
        od = (receptor.gray_at_0 - gray.mean(0)) / receptor.gray_per_od
        spread = np.exp(-2 * (np.pi * frequency * receptor.scanner_mm) ** 2)
        slope = np.diff(receptor.density(receptor.quanta * np.array([0.99, 1.01])))[0] / 0.02
        wave = (od - od.mean()) / (slope * spread)
    else:
        wave = gray.mean(0) / gray.mean() - 1
    inner = slice(40, -40)  # within, so that mirroring at the border does not count
    design = np.stack([np.sin(phase), np.cos(phase), np.ones(size)], 1)[inner]
    amplitude = np.hypot(*np.linalg.lstsq(design, wave[inner], rcond=None)[0][:2])
    expected = 0.1 * np.sinc(frequency * receptor.pixel_mm) / 2
    assert amplitude == pytest.approx(expected, rel=0.08)


def test_gray_rises_with_density_on_film_and_falls_on_the_raw_detector() -> None:
    for kind, receptor in RECEPTORS.items():
        rng, gray = np.random.default_rng(0), []
        for gland_mm in (-10, -5, 0, 5, 10):
            fluence = receptor.quanta * np.exp(-0.0346 * gland_mm)
            gray.append(receptor.read(rng, np.full((64, 64), fluence, np.float32)).mean())
        steps = np.diff(gray)
        assert np.all(steps < 0) if kind == "dm" else np.all(steps > 0), kind


def test_diameters_are_log_normal_within_5_to_30_mm(home: Path) -> None:
    """The mean of that law is 15 exp(0.38^2 / 2) = 16.1, a little less for what lies above 30. The
    file's box has the diameter."""
    rng = np.random.default_rng(0)
    drawn = np.array([case.sample_mass(rng, 0.5).diameter_mm for _ in range(4000)])
    assert drawn.min() >= 5 and drawn.max() <= 30
    assert drawn.mean() == pytest.approx(16.1, abs=0.4)
    table = np.genfromtxt(home / "dm" / "truth.csv", delimiter=",", names=True, dtype=None)
    stated = dict(zip(table["case"], table["diameter_mm"], strict=True))
    for line in (home / "dm" / "manifest.csv").read_text().splitlines()[1:]:
        cells = line.split(",")
        top, left, bottom, right = map(int, cells[7].split(";"))
        longest = 0.1 * max(bottom - top, right - left)
        assert 0.7 * stated[cells[2]] - 0.3 < longest < stated[cells[2]] + 0.3


def test_rois_of_the_three_are_separable_before_correction_and_not_after(
    tmp_path: Path,
) -> None:
    """By their mean gray, standardized by collection as training does, over half its deviation."""
    c = config.default()
    c.data.phantom.cases = 14
    found = {}
    for correct in (False, True):
        c.data.background.correct = correct
        how = ingest.read_settings(c.data.to_dict(), tmp_path)
        sets = [ingest.load(f"phantom:{kind}", tmp_path, *how) for kind in RECEPTORS]
        means = [np.concatenate(rois.shards).mean((1, 2)) for rois in sets]
        within = np.sqrt(np.mean([one.var() for one in means]))
        found[correct] = np.std([one.mean() for one in means]) / within
    assert found[False] > 1.5 and found[True] < 0.7


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not here")
def test_dciodvfy_finds_no_error(home: Path, tmp_path: Path) -> None:
    def errors(path: Path) -> list[str]:
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        return [line for line in said.stderr.splitlines() if line.startswith("Error")]

    paths = [path for kind in RECEPTORS for path in sorted((home / kind).rglob("*.dcm"))[:8]]
    assert len(paths) == 24 and not [said for path in paths for said in errors(path)]
    for keyword in ("ImageLaterality", "ImagerPixelSpacing"):  # it does find errors
        header = headers(home, "dm")[0]
        delattr(header, keyword)
        header.save_as(tmp_path / "broken.dcm")
        assert errors(tmp_path / "broken.dcm")
