"""Draw the figure of the README: from a phantom image to an ROC curve.

    python tools/make_flow_figure.py --work runs/demo --output docs/flow.svg

The image is simulated by this tool; the curve is that of the finished phantom job in --work.
"""

import argparse
import base64
import io
import sys

import numpy as np
from PIL import Image

from mtl_jax.imaging.gray_mapping import raw_dm
from mtl_jax.imaging.resample import to_pixel_size
from mtl_jax.imaging.roi import GRAY_PER_COUNT, RoiSettings, lesion_roi
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.phantom.case import simulate_case
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.report import read_workdir, roc_curves
from mtl_jax.types import ROI_PIXELS

KIND, CASE = "dm", 3  # a malignant, conspicuous mass
WIDTH, HEIGHT, MIDDLE, SIDE = 890, 176, 66, 124
FLAT = 296  # x of the corrected ROI
INK = "#747d88"  # readable on white and on near black
FROZEN, TRAINED, CURVE = "#3f8fd2", "#d9822b", "#2f9e7b"
# The output of each layer: name, rows and columns of a feature map (or 0), number of maps.
LAYERS = (("C1", 31, 64), ("C2", 15, 192), ("C3", 7, 384), ("C4", 7, 256), ("C5", 7, 256)) + (
    ("F1", 0, 4096), ("F2", 0, 4096), ("F3", 0, 1000), ("F4", 0, 100), ("F5", 0, 2))  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=paths.path, required=True, help="folder of a finished job")
    parser.add_argument("--output", type=paths.path, required=True, help="the SVG to write")
    args = parser.parse_args(arguments)
    work = read_workdir.read(args.work)
    svg = draw(roc_curves.curves(work, "lesion")[0])
    atomic.make_folder(args.output.parent)
    atomic.write_text(args.output, svg)
    print(f"{args.output}: {len(svg) / 1000:.0f} kB")
    return 0


def draw(curve: roc_curves.Curve) -> str:
    gray, centre, raw, flat = _rois()
    top = MIDDLE - SIDE / 2
    scale = SIDE / gray.shape[0]
    corner = [(int(np.floor(middle - ROI_PIXELS / 2 + 0.5))) * scale for middle in centre]
    low, high = np.percentile(gray, (1, 99.7))
    parts = [
        _picture("image", gray, low, high, 0, top, SIDE),
        f'<rect x="{corner[1]:.1f}" y="{top + corner[0]:.1f}" width="{ROI_PIXELS * scale:.1f}" '
        f'height="{ROI_PIXELS * scale:.1f}" fill="none" stroke="{TRAINED}" stroke-width="1.6"/>',
        _caption(SIDE / 2, "image as stored", "(here a phantom)"),
        _arrow(SIDE),
        _picture("roi", raw, low, high, 148, top, SIDE),
        _caption(210, "ROI, 128 × 128", "pixels of 200 µm"),
        _arrow(148 + SIDE),
        _picture("flat", flat, *np.percentile(flat, (1, 99.7)), FLAT, top, SIDE),
        _caption(FLAT + SIDE / 2, "background", "corrected"),
        _arrow(FLAT + SIDE),
        *_orientations(444),
        _caption(516, "eight flips", "and rotations"),
        _arrow(588),
        *_network(612),
        _arrow(738),
        *_roc(curve, 768),
        _caption(824, "mean of the eight,", "ROC curve"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
        f'font-size="14" fill="{INK}">\n<title>From an image to an ROC curve</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _rois() -> tuple[np.ndarray, tuple[float, float], np.ndarray, np.ndarray]:
    """Return the image (H, W) in 12-bit gray at 200 um, the lesion centre, and its ROI before and
    after background correction."""
    receptor = RECEPTORS[KIND]
    view = simulate_case(KIND, 0, CASE, malignant=True, difficulty=0.0).views[0]
    box, pixel_um = view.box, 1000 * receptor.pixel_mm
    values = raw_dm(view.stored, receptor.bits)
    gray = to_pixel_size(values, (pixel_um, pixel_um))
    ratio = RoiSettings().pixel_um / pixel_um
    centre = ((box[0] + box[2]) / 2 / ratio, (box[1] + box[3]) / 2 / ratio)
    raw, flat = (
        lesion_roi(gray, centre, RoiSettings(correct=correct))[0] * GRAY_PER_COUNT
        for correct in (False, True)
    )
    return gray, centre, raw, flat


def _picture(
    name: str, gray: np.ndarray, low: float, high: float, x: float, y: float, side: float
) -> str:
    shade = np.clip((gray - low) / (high - low), 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255 * shade))).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<image id="{name}" x="{x}" y="{y:g}" width="{side}" height="{side}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )


def _orientations(x: float) -> list[str]:
    """Return the flat ROI in its eight orientations, in two rows, all from one image."""
    tile, gap = 34, 2.6
    tiles = []
    for number in range(8):
        column, row = number % 4, number // 4
        middle_x = x + column * (tile + gap) + tile / 2
        middle_y = MIDDLE + (row - 0.5) * (tile + gap)
        rows, columns = 1 - 2 * (number & 1), 1 - (number & 2)
        swap = number >> 2
        a, b, c, d = (0, rows, columns, 0) if swap else (columns, 0, 0, rows)
        turn = f"matrix({a} {b} {c} {d} 0 0) scale({tile / SIDE:.4f})"
        tiles.append(
            f'<use href="#flat" transform="translate({middle_x:.1f} {middle_y:.1f}) {turn} '
            f'translate({-FLAT - SIDE / 2:g} {-MIDDLE})"/>'
        )
    return tiles


def _network(x: float) -> list[str]:
    """Return a bar per layer: height for the map size, width for the number of maps; frozen layers
    are blue."""
    bars, left = [], x
    for name, side, count in LAYERS:
        height = 8 + 3.2 * side if side else 8 + 20 * np.log10(count / 2)
        width = 3.5 + count / 45 if side else 5.0
        colour = FROZEN if name == "C1" else TRAINED
        bars.append(
            f'<rect x="{left:.1f}" y="{MIDDLE - height / 2:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="1.2" fill="{colour}"/>'
        )
        left += width + 5.5
    return [
        *bars,
        f'<text x="{x - 2}" y="151" fill="{FROZEN}" font-weight="600">C1 frozen,</text>',
        f'<text x="{x - 2}" y="169" fill="{TRAINED}" font-weight="600">C2 to F5 trained</text>',
    ]


def _roc(curve: roc_curves.Curve, x: float) -> list[str]:
    side, bottom = 112.0, MIDDLE + 56
    points = " ".join(
        f"{x + f * side:.1f},{bottom - t * side:.1f}"
        for f, t in zip(curve.fpf, curve.tpf, strict=True)
    )
    return [
        f'<path d="M{x} {bottom - side}V{bottom}H{x + side}" fill="none" stroke="{INK}"/>',
        f'<path d="M{x} {bottom}L{x + side} {bottom - side}" stroke="{INK}" opacity=".5"/>',
        f'<polyline points="{points}" fill="none" stroke="{CURVE}" stroke-width="2.4"/>',
    ]


def _caption(x: float, *lines: str) -> str:
    return "".join(
        f'<text x="{x:g}" y="{151 + 18 * i}" text-anchor="middle">{line}</text>'
        for i, line in enumerate(lines)
    )


def _arrow(x: float) -> str:
    return (
        f'<path d="M{x + 6:g} {MIDDLE}h12m-4 -4l4 4l-4 4" fill="none" stroke="{INK}" '
        'stroke-width="1.5"/>'
    )


if __name__ == "__main__":
    sys.exit(command_line.run(main))
