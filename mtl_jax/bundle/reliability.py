"""Draw the reliability diagram of a calibration as SVG."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

SIDE, MARGIN = 220, 34


def reliability_figure(checks: Sequence[dict[str, Any]]) -> Markup | None:
    """Return the fraction malignant over the mean probability of each bin; None without checks.

    `checks` are results of `calibration.assess`.
    """
    if not checks:
        return None
    parts = []
    for number, check in enumerate(checks):
        points = sorted(zip(check["predicted"], check["observed"], check["count"], strict=True))
        line = " ".join(f"{_x(p):.1f},{_y(o):.1f}" for p, o, _ in points)
        parts.append(Markup('<g class="r{}"><polyline points="{}"/>').format(number, line))
        for p, o, n in points:
            title = f"{check['on']}: predicted {p:.2f}, malignant {o:.2f} of {n}"
            circle = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>')
            parts.append(circle.format(_x(p), _y(o), title))
        parts.append(Markup("</g>"))
    ticks = Markup("").join(
        Markup('<text x="{}" y="{}">{}</text><text class="y" x="{}" y="{}">{}</text>').format(
            f"{_x(t):.0f}", SIDE + MARGIN - 16, t, MARGIN - 5, f"{_y(t) + 4:.0f}", t
        )
        for t in (0, 0.5, 1)
    )
    return Markup(
        '<svg class="reliability" role="img" aria-label="Reliability diagram: fraction malignant'
        ' over mean probability" viewBox="0 0 {size} {size}"><path class="frame" d="{frame}"/>'
        "{ticks}{parts}"
        '<text x="{middle}" y="{foot}">probability</text>'
        '<text transform="translate(11 {up}) rotate(-90)">fraction malignant</text></svg>'
    ).format(
        size=SIDE + MARGIN + 4,
        frame=f"M{MARGIN} 4V{SIDE}H{SIDE + MARGIN - 4}M{MARGIN} {SIDE}L{SIDE + MARGIN - 4} 4",
        ticks=ticks,
        parts=Markup("").join(parts),
        middle=MARGIN + SIDE // 2,
        foot=SIDE + MARGIN,
        up=SIDE // 2,
    )


def _x(value: float) -> float:
    return MARGIN + value * (SIDE - 4)


def _y(value: float) -> float:
    return SIDE - value * (SIDE - 4)
