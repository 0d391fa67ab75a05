"""The report in a browser: no errors, legible on phones, in dark mode and in print."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from finished_work import HOSTILE, make_folder, make_stages
from kit import browser

from mtl_jax import report
from mtl_jax.report import collect_figures, read_workdir

FIGURES = "[...document.querySelectorAll('svg.plot, svg.points, svg.maps, svg.gallery')]"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_stages(make_folder(tmp_path_factory.mktemp("work") / "paper"))
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def tab(work: Path) -> Iterator[browser.Tab]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    with browser.browser(program) as tab:
        tab.open(work / "report.html", 1100)
        yield tab


def test_page_has_no_errors_and_no_requests(tab: browser.Tab) -> None:
    assert tab.evaluate("document.readyState") == "complete"
    assert tab.evaluate("document.scripts.length") == 2
    assert tab.complaints == []


def test_every_figure_is_visible_within_the_page(tab: browser.Tab, work: Path) -> None:
    count = len(collect_figures.collect(read_workdir.read(work)).all())
    for width in (1100, 400):
        tab.resize(width)
        boxes = tab.evaluate(
            f"{FIGURES}.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right, b.height])"
        )
        assert len(boxes) == count
        for left, right, height in boxes:
            assert left >= 0 and right <= width and right - left > 100 and height > 50
        assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.complaints == []


def test_text_in_figures_can_be_read_on_a_phone(tab: browser.Tab) -> None:
    tab.resize(400)
    sizes = tab.evaluate(
        f"{FIGURES}.flatMap(f => [...f.querySelectorAll('text')]).map(t => {{"
        "const m = t.getScreenCTM();"
        "return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(m.a, m.b); })"
    )
    assert len(sizes) > 100
    assert min(sizes) >= 8.5  # pixels


def test_hovering_over_an_roi_shows_it_in_every_panel(tab: browser.Tab) -> None:
    tab.resize(1100)
    first = "document.querySelector('svg.points[aria-label^=\"t-SNE\"]')"
    # An open mark must react in its interior too.
    mark = f"[...{first}.querySelectorAll('g[fill=none] > rect[data-r]')].pop()"
    tab.evaluate(f"{mark}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    # Scrolling hides the image; it has ended after two frames.
    tab.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    x, y = tab.evaluate(
        f"(b => [b.left + b.width / 2, b.top + b.height / 2])({mark}.getBoundingClientRect())"
    )
    assert tab.evaluate("document.getElementById('tip').hidden")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    shown = tab.evaluate("document.getElementById('tip').innerText")
    rows = "JSON.parse(document.getElementById('rois').textContent).rows"
    hot = tab.evaluate("document.querySelector('.hot').dataset.r")
    roi_id, description, _ = tab.evaluate(f"{rows}[{hot}]")
    assert roi_id in shown and description in shown and "evaluation set" in description
    panels = tab.evaluate(f"document.querySelectorAll('svg.points [data-r=\"{hot}\"]').length")
    assert tab.evaluate("document.querySelectorAll('.hot').length") == panels >= 8
    box = tab.evaluate("(b => [b.left, b.top, b.right, b.bottom])(tip.getBoundingClientRect())")
    assert box[0] >= 0 and box[1] >= 0 and box[2] <= 1100 and box[3] <= 900
    # By keyboard, to an ROI with a hostile name, which is shown as text.
    tab.evaluate(f"{first}.focus({{preventScroll: true}})")
    seen = set()
    for _ in range(4):
        for kind in ("keyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
        seen.add(tab.evaluate("document.querySelector('#tip .id').textContent"))
    assert len(seen) == 4
    roi_ids = tab.evaluate(f"{rows}.map(r => r[0])")
    assert any(HOSTILE in name for name in roi_ids)
    assert tab.complaints == []


def test_dark_page_is_dark_and_readable(tab: browser.Tab) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.call("Emulation.setEmulatedMedia", features=dark)
    colours = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        "...['.quiet', 'a', 'svg.plot text', '.banner'].map(s => {"
        "const e = document.querySelector(s), c = getComputedStyle(e);"
        "return s.startsWith('svg') ? c.fill : c.color; })]"
    )
    paper, *inks = (_luminance(colour) for colour in colours)
    assert paper < 0.02
    assert all((ink + 0.05) / (paper + 0.05) > 4.5 for ink in inks)  # WCAG 2, level AA
    tab.call("Emulation.setEmulatedMedia", features=[])


def _luminance(colour: str) -> float:
    values = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_is_cut_off_in_print(tab: browser.Tab) -> None:
    # Width of A4 without margins in pixels of 1/96 inch; anything wider would be cut off.
    tab.resize(680)
    tab.call("Emulation.setEmulatedMedia", media="print")
    wide = tab.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('svg')"
        " && e.getBoundingClientRect().right > 681).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    tab.call("Emulation.setEmulatedMedia", media="")
    printed = tab.call("Page.printToPDF", preferCSSPageSize=True)
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF") and 5 <= pdf.count(b"/Type /Page\n") <= 40
    assert tab.complaints == []
