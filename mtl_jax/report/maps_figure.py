"""Draw an ROI with its integrated gradients and the feature maps of each layer."""

import numpy as np
from markupsafe import Markup

from mtl_jax.report import roi_images
from mtl_jax.report.analysis_results import Maps
from mtl_jax.report.figure_style import ReportFigure, svg_element
from mtl_jax.report.phrases import approach_name

TILE, GAP, LABEL = 72, 3, 34
LEFT = 150  # width of the ROI and its gradients


def maps_figure(approach: str, maps: Maps, row: int) -> ReportFigure:
    """Draw one ROI of `maps`.

    The ROI is above its integrated gradients on the left; on the right each row shows the strongest
    feature maps of a layer, projected to pixels.
    """
    layers, count = maps.maps.shape[1:3]
    width = LEFT + LABEL + count * (TILE + GAP)
    height = max(layers * (TILE + GAP), 2 * (LEFT + 18))
    parts = [
        _image(maps.picture[row], 0, 20, LEFT - 8),
        _text(0, 14, "ROI"),
        _image(roi_images.diverging_colours(_scale(maps.integrated[row])), 0, 40 + LEFT, LEFT - 8),
        _text(0, 34 + LEFT, "gradients"),
    ]
    for i, layer in enumerate(maps.layer):
        top = i * (TILE + GAP)
        parts.append(_text(LEFT + 2, top + TILE / 2 + 6, str(layer)))
        for k in range(count):
            x = LEFT + LABEL + k * (TILE + GAP)
            image = roi_images.signed_gray(_scale(maps.maps[row, i, k]))
            parts.append(_image(image, x, top, TILE))
    label_name = "malignant" if maps.label[row] else "benign"
    label = f"{approach_name(approach)}: feature maps of a {label_name} ROI, {maps.kind[row]}"
    svg = svg_element(label, f"0 0 {width:g} {height:g}", Markup("").join(parts), "maps")
    rows = [
        (maps.roi_id[row], maps.kind[row], int(maps.label[row]), layer, k + 1, int(feature))
        for i, layer in enumerate(maps.layer)
        for k, feature in enumerate(maps.feature[row, i])
    ]
    columns = ("roi_id", "kind", "label", "layer", "rank", "map")
    return ReportFigure(f"maps-{approach}-{row + 1}", svg, columns, rows)


def _scale(values: np.ndarray) -> np.ndarray:
    """Divide by the 99.5th percentile, so that a single pixel does not determine the scale."""
    return values.astype(float) / (np.percentile(np.abs(values), 99.5) or 1.0)


def _image(gray: np.ndarray, x: float, y: float, side: float) -> Markup:
    return Markup('<image x="{:g}" y="{:g}" width="{:g}" height="{:g}" href="{}"/>').format(
        x, y, side, side, roi_images.data_url(gray, 75)
    )


def _text(x: float, y: float, text: str) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" font-size="17" fill="currentColor">{}</text>').format(
        x, y, text
    )
