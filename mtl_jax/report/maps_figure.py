"""Draws what a network saw of an ROI: the ROI, its gradients, the maps of each layer."""

import numpy as np
from markupsafe import Markup

from mtl_jax.report import roi_images
from mtl_jax.report.analysis_results import Maps
from mtl_jax.report.figure_style import ReportFigure, element

TILE, GAP, LABEL = 72, 3, 34
LEFT = 150  # width of the ROI and its gradients


def maps_figure(approach: str, found: Maps, row: int) -> ReportFigure:
    """ROI number `row` of `found`: to the left the ROI over its integrated gradients, to the
    right the strongest maps of each layer, a layer a row, projected back to the pixels."""
    layers, count = found.maps.shape[1:3]
    width = LEFT + LABEL + count * (TILE + GAP)
    height = max(layers * (TILE + GAP), 2 * (LEFT + 18))
    parts = [
        _image(found.picture[row], 0, 20, LEFT - 8),
        _text(0, 14, "roi"),
        _image(roi_images.diverging(_bounded(found.integrated[row])), 0, 40 + LEFT, LEFT - 8),
        _text(0, 34 + LEFT, "gradients"),
    ]
    for i, layer in enumerate(found.layer):
        top = i * (TILE + GAP)
        parts.append(_text(LEFT + 2, top + TILE / 2 + 6, str(layer)))
        for k in range(count):
            x = LEFT + LABEL + k * (TILE + GAP)
            shown = roi_images.signed_gray(_bounded(found.maps[row, i, k]))
            parts.append(_image(shown, x, top, TILE))
    truth = "malignant" if found.label[row] else "benign"
    label = f"{approach.upper()}: maps of a {truth} ROI, {found.kind[row]}"
    svg = element(label, f"0 0 {width:g} {height:g}", Markup("").join(parts), "maps")
    rows = [
        (found.roi_id[row], found.kind[row], int(found.label[row]), layer, k + 1, int(feature))
        for i, layer in enumerate(found.layer)
        for k, feature in enumerate(found.feature[row, i])
    ]
    columns = ("roi_id", "kind", "label", "layer", "rank", "map")
    return ReportFigure(f"maps-{approach}-{row + 1}", svg, columns, rows)


def _bounded(values: np.ndarray) -> np.ndarray:
    """`values` over their 99.5th percentile, so that a single pixel does not hide all others."""
    return values.astype(float) / (np.percentile(np.abs(values), 99.5) or 1.0)


def _image(gray: np.ndarray, x: float, y: float, side: float) -> Markup:
    return Markup('<image x="{:g}" y="{:g}" width="{:g}" height="{:g}" href="{}"/>').format(
        x, y, side, side, roi_images.data_url(gray, 75)
    )


def _text(x: float, y: float, text: str, size: float = 17) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" font-size="{:g}" fill="currentColor">{}</text>').format(
        x, y, size, text
    )
