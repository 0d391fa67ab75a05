"""Draw and measure the phantom for docs/phantom.md.

    python tools/make_phantom_figures.py --cases 60 --out docs

All measurements are on generated files, read by the same code as other collections. The images are
simulated: not evidence about patients.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from phantom_spectra import power, radial
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage, stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from mtl_jax import config
from mtl_jax.data import ingest
from mtl_jax.data.sources import mini_mias
from mtl_jax.imaging.read_image import read_image
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.phantom.appearance import (
    DESCRIPTORS,
    amount_of_nuisance,
    sample_mass,
    sample_projection,
    sample_severity,
)
from mtl_jax.phantom.case import simulate_case
from mtl_jax.phantom.collection import Parameters, plan_cases
from mtl_jax.phantom.receptor import RECEPTORS, Film
from mtl_jax.types import InputError, RoiSet

TILES, TILE, MARGIN = 7, 112, 92  # of the montage, in pixels
GRAYS = 32  # levels of its pictures, so that the file is small
COLOURS = {"sfm": "#3f8fd2", "ddsm": "#d9822b", "dm": "#2f9e7b"}
MM_PER_PIXEL = 0.2  # for the measurement of contrast
BAND = (0.15, 1.0)  # 1/mm; below, leakage of the 32 mm window, above, noise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases", type=int, default=60, help="cases per collection (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--out", type=paths.path, required=True, help="folder of the figures")
    parser.add_argument(
        "--films", type=paths.expand_user, help="folder of mini-MIAS; also measure its masses"
    )
    args = parser.parse_args(arguments)
    matplotlib.use("agg")
    plt.rcParams |= {"font.size": 9, "svg.hashsalt": "phantom", "axes.spines.top": False}
    plt.rcParams |= {"axes.spines.right": False, "figure.constrained_layout.use": True}
    c = config.default()
    c.data.phantom.cases, c.data.phantom.seed = args.cases, args.seed
    config.validate(c)
    atomic.make_folder(args.out)
    with tempfile.TemporaryDirectory() as folder:
        flat, raw = (_rois(c, Path(folder), correct) for correct in (True, False))
        draw_montage(raw, args.out / "phantom-montage.png")
        draw_correction(raw, flat, args.out / "phantom-correction.png")
        draw_spectra(Path(folder), args.out / "phantom-spectra.svg")
    draw_curves(args.out / "phantom-curves.svg")
    print_observers(c.data.phantom.difficulty)
    draw_lesions(c, args.out / "phantom-lesions.svg")
    if args.films:
        measure_films(args.films)
    return 0


def _rois(c: config.ConfigDict, folder: Path, correct: bool) -> dict[str, RoiSet]:
    c.data.background.correct = correct
    settings = ingest.read_settings(c.data.to_dict(), folder)
    return {kind: ingest.load(f"phantom:{kind}", folder, *settings) for kind in RECEPTORS}


def _pixels(rois: RoiSet) -> np.ndarray:
    """Return the pixels (n, 128, 128) in 12-bit gray levels."""
    return np.concatenate(rois.shards) * float(rois.manifest["gray_per_count"])


def draw_montage(rois: dict[str, RoiSet], path: Path) -> None:
    """Draw the first ROIs of each collection and class, one per case, each in its own window."""
    canvas = Image.new("L", (MARGIN + TILES * TILE, 2 * len(rois) * TILE), 255)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=15)
    for row, (kind, label) in enumerate((k, t) for k in rois for t in (0, 1)):
        index, gray = rois[kind].index, _pixels(rois[kind])
        rows = np.flatnonzero(index["label"] == label)
        first = rows[np.unique(index["case_id"][rows], return_index=True)[1]]
        for column, roi in enumerate(first[:TILES]):
            low, high = np.percentile(gray[roi], (1, 99.7))
            shade = np.rint(np.clip((gray[roi] - low) / (high - low), 0, 1) * (GRAYS - 1))
            tile = Image.fromarray(np.uint8(shade * (255 / (GRAYS - 1))))
            corner = MARGIN + column * TILE, row * TILE
            canvas.paste(tile.resize((TILE - 2, TILE - 2), Image.Resampling.BOX), corner)
        pen.text((4, row * TILE + TILE / 2 - 20), kind, 0, font)
        pen.text((4, row * TILE + TILE / 2), ("benign", "malignant")[label], 0, font)
    canvas.quantize(GRAYS).save(path, optimize=True)


def draw_correction(raw: dict[str, RoiSet], flat: dict[str, RoiSet], path: Path) -> None:
    """Draw the same ROIs before correction, in one window, and after it, in units of their
    collection's standard deviation, with histograms of their gray."""
    figure, axes = plt.subplots(2, 7, figsize=(8.6, 2.9), width_ratios=[*[1] * 6, 1.3])
    for row, by_kind in enumerate((raw, flat)):
        for number, (kind, rois) in enumerate(by_kind.items()):
            gray = _pixels(rois)
            if row:
                gray = (gray - gray.mean()) / gray.std()
            limits = (-4, 4) if row else (0, 4095)
            for column, roi in enumerate(np.flatnonzero(rois.index["label"] == 0)[[1, 5]]):
                axis = axes[row, 2 * number + column]
                axis.imshow(gray[roi], "gray", vmin=limits[0], vmax=limits[1])
                axis.set_axis_off()
                if not row and not column:
                    axis.set_title(kind, loc="left", fontsize=9)
            means = gray.mean((1, 2))
            print(
                f"{kind}: mean gray {'after' if row else 'before'} {means.mean():.2f}"
                f" (sd over ROIs {means.std(ddof=1):.2f}, n {len(means)})"
            )
            share, edges = np.histogram(gray, np.linspace(*limits, 60), density=True)
            axes[row, 6].stairs(share, edges, color=COLOURS[kind], label=kind)
        axes[row, 6].set_yticks([])
        axes[row, 6].set_xlabel("standard deviations" if row else "12-bit gray")
    axes[0, 6].legend(frameon=False, fontsize=7, handlelength=1)
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})
    with Image.open(path) as picture:
        indexed = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    indexed.save(path, optimize=True)


def draw_spectra(folder: Path, path: Path) -> None:
    """Draw power spectra of the generated images, and noise spectra of uniform exposures."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.2))
    for kind, receptor in RECEPTORS.items():
        logs, slopes = [], []
        for image in sorted(_images(folder, kind)):
            gray = read_image(image)[0].astype(np.float64)
            # Thousandths of OD to OD; of dm, 12-bit levels of the logarithm back to ln exposure.
            unit = 1e-3 if isinstance(receptor, Film) else np.log(2**receptor.bits - 1) / 4095
            spectrum = power(gray * unit, receptor.pixel_mm)
            top = 0.5 / receptor.pixel_mm
            frequency, radial_power = radial(spectrum, receptor.pixel_mm, (0.08, top), 30)
            logs.append(np.log(radial_power))
            band, band_power = radial(spectrum, receptor.pixel_mm, BAND)
            slopes.append(-stats.linregress(np.log(band), np.log(band_power)).slope)
        left.loglog(frequency, np.exp(np.mean(logs, 0)), color=COLOURS[kind], label=kind)
        error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
        print(f"{kind}: spectrum exponent {np.mean(slopes):.3f} +- {error:.3f} (n {len(slopes)})")
        for exposure, style in ((-0.3, ":"), (0.0, "-"), (0.3, "--")):
            frequency, noise_power = _noise(kind, exposure)
            label = f"{kind}, exposure x {10**exposure:.1f}" if kind == "sfm" else None
            right.loglog(frequency, noise_power, style, color=COLOURS[kind], label=label)
    reference = np.array(BAND)
    left.loglog(reference, 0.0005 * reference**-3.0, "k--", lw=1, label=r"$1/f^{3}$")
    left.set(xlabel="spatial frequency (1/mm)", ylabel="power (mm², OD or ln exposure)")
    right.set(xlabel="spatial frequency (1/mm)", ylabel="noise power (mm², OD or relative)")
    left.set_title("images", loc="left")
    right.set_title("noise alone", loc="left")
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=7)
    _save(figure, path)


def _images(folder: Path, kind: str) -> list[Path]:
    """Return the generated images of a collection below `folder`."""
    for home in sorted(folder.glob("phantom-*")):
        table = home / "manifest.csv"
        if kind == "ddsm" and not table.exists():
            return [path for view in ("CC", "MLO") for path in home.glob(f"*_{view}/*/*/*.dcm")]
        if table.exists() and f"\n{kind}," in table.read_text(encoding="utf-8"):
            return sorted(home.glob("*.dcm"))
    raise InputError(f"{folder}: no images of {kind}")


def _noise(kind: str, exposure: float) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and noise power at a uniform exposure, mean of eight."""
    receptor, rng = RECEPTORS[kind], np.random.default_rng(0)
    fluence = np.full((320, 320), receptor.quanta * 10**exposure, np.float32)
    total = 0.0
    for _ in range(8):
        gray = receptor.acquire(rng, fluence).astype(np.float64)
        signal = gray / (receptor.gray_per_od if isinstance(receptor, Film) else gray.mean())
        total = total + power(signal, receptor.pixel_mm) / 8
    return radial(total, receptor.pixel_mm, (0.2, 0.5 / receptor.pixel_mm), 24)


def draw_curves(path: Path) -> None:
    """Draw H&D curves, the response of the detector, and modulation transfer functions."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.2, 2.7))
    exposure = np.logspace(-1.6, 1.4, 200)
    for kind, receptor in RECEPTORS.items():
        if isinstance(receptor, Film):
            od = receptor.to_optical_density(receptor.quanta * exposure)
            left.plot(np.log10(exposure), od, color=COLOURS[kind], label=kind)
            left.plot(0, receptor.target_od, "o", color=COLOURS[kind], ms=4)
        else:
            gray = receptor.gain * receptor.quanta * receptor.pixel_mm**2 * exposure
            middle.plot(exposure, np.minimum(gray, 2**receptor.bits - 1), color=COLOURS[kind])
        frequency = np.linspace(0, 0.5 / receptor.pixel_mm, 100)
        mtf = np.sinc(frequency * receptor.pixel_mm) / (1 + (frequency / receptor.mtf50) ** 2)
        if isinstance(receptor, Film):
            mtf = mtf * np.exp(-2 * (np.pi * frequency * receptor.scanner_mm) ** 2)
        right.plot(frequency, mtf, color=COLOURS[kind], label=kind)
    left.set(xlabel="log10 (exposure / target)", ylabel="optical density")
    middle.set(xlabel="exposure / target", ylabel="dm: stored gray")
    right.set(xlabel="spatial frequency (1/mm)", ylabel="MTF")
    left.legend(frameon=False)
    right.legend(frameon=False)
    _save(figure, path)


def print_observers(difficulty: float, count: int = 12_000) -> None:
    """Print the AUC of the severity, and of observers of the descriptors of a mass and of one view.

    The observers are fitted on one half of the simulated masses and evaluated on the other.
    """
    rng = np.random.default_rng(0)
    nuisance = amount_of_nuisance(difficulty)
    label = np.arange(count) % 2
    for kind in RECEPTORS:
        severity = [sample_severity(rng, bool(malignant), difficulty) for malignant in label]
        masses = [sample_mass(rng, kind, value, nuisance) for value in severity]
        views = [sample_projection(rng, mass, nuisance) for mass in masses]
        aucs = [roc_auc_score(label, severity)]
        half = count // 2
        for seen in (masses, views):
            values = np.array([[getattr(mass, name) for name in DESCRIPTORS] for mass in seen])
            model = HistGradientBoostingClassifier(max_iter=120, max_depth=4, random_state=0)
            model.fit(values[:half], label[:half])
            aucs.append(roc_auc_score(label[half:], model.decision_function(values[half:])))
            if seen is masses:
                rates = [
                    np.mean(values[label == k] > 0.5, axis=0).round(2).tolist() for k in (1, 0)
                ]
        print(
            f"{kind}: AUC of the severity {aucs[0]:.3f}, of the descriptors {aucs[1]:.3f}, of those"
            f" in one view {aucs[2]:.3f}; above 0.5, malignant {rates[0]}, benign {rates[1]}"
        )


def draw_lesions(c: config.ConfigDict, path: Path) -> None:
    """Draw histograms of diameter and contrast of the masses by class."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5))
    data, values = c.data.phantom, {0: [], 1: []}
    p = Parameters("sfm", data.cases, data.seed, data.difficulty, 1.0, 0.0, data.malignant_fraction)
    film = RECEPTORS["sfm"]
    for plan in plan_cases(p):
        case = simulate_case("sfm", data.seed, plan.number, plan.looks_malignant, data.difficulty)
        for view in case.views:
            gray = ndimage.zoom(view.stored, 0.25, order=1).astype(float) / film.gray_per_od
            mark = view.mark[::4, ::4][: gray.shape[0], : gray.shape[1]]
            centre = ndimage.center_of_mass(mark)
            contrast = _contrast(gray, *centre, case.mass.diameter_mm / 2 / MM_PER_PIXEL)
            values[int(plan.malignant)].append((case.mass.diameter_mm, contrast))
    names = ("longest diameter (mm)", "contrast in OD (sfm)")
    for column, (axis, name) in enumerate(zip(axes, names, strict=True)):
        parts = [np.array(values[label])[:, column] for label in (0, 1)]
        bins = np.histogram_bin_edges(np.concatenate(parts), 16)
        axis.hist(parts, bins, label=("benign", "malignant"), color=("#8fb8de", "#c0504d"))
        axis.set(xlabel=name, ylabel="views")
        for label, part in zip(("benign", "malignant"), parts, strict=True):
            _print_quartiles(f"{name}, {label}", part)
    axes[0].legend(frameon=False)
    _save(figure, path)


def measure_films(folder: str) -> None:
    """Print diameters and contrasts of mini-MIAS, whose gray is linear in OD from 0 to 3.2."""
    values: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for view in mini_mias.read_collection(folder, classes=("CIRC", "SPIC", "MISC")).views:
        with Image.open(view.image_path) as film:
            gray = np.asarray(film, float) * 3.2 / 255
        top, left, bottom, right = view.box
        radius = (bottom - top) / 2
        contrast = _contrast(gray, (top + bottom) / 2, (left + right) / 2, radius)
        values[view.label].append((2 * radius * MM_PER_PIXEL, contrast))
    for label, name in enumerate(("benign", "malignant")):
        for column, quantity in enumerate(("diameter (mm)", "contrast in OD")):
            _print_quartiles(f"mini-MIAS, {quantity}, {name}", np.array(values[label])[:, column])


def _contrast(gray: np.ndarray, row: float, column: float, radius: float) -> float:
    """Return the mean gray in the inner half of a mass's circle minus that in a ring around it.

    The ring is half a radius wide. Gray is in OD and increases as that of the film decreases.
    """
    rows, columns = np.indices(gray.shape)
    distance = np.hypot(rows + 0.5 - row, columns + 0.5 - column) / radius
    return gray[distance < 0.5].mean() - gray[(distance > 1.1) & (distance < 1.6)].mean()


def _print_quartiles(name: str, values: np.ndarray) -> None:
    quartiles = np.percentile(values, (0, 25, 50, 75, 100))
    print(f"{name}: {np.round(quartiles, 2).tolist()} (n {len(values)})")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
