"""The report of small made-up work folders: whole, self-contained, escaped, the same each time."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from finished_work import DM, HOSTILE, make_folder

from mtl_jax import report
from mtl_jax.nouns import InputError
from mtl_jax.report import curves, tables, words
from mtl_jax.report import folder as folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("work") / "mttl")


@pytest.fixture(scope="module")
def out_of_fold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "sttl"
    return make_folder(
        folder, "cross_validation", ("sttl",), truth="biopsy", weights="checkpoints/w", epochs=1
    )


class Page(HTMLParser):
    """What a page holds, its tags checked to nest."""

    VOID = frozenset(("meta", "br", "link", "img", "hr", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loads += [v or "" for n, v in attrs if n in ("src", "href", "xlink:href", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> str:
    path = report.write(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_page_nests_and_loads_nothing(finished: Path, out_of_fold: Path) -> None:
    for folder in (finished, out_of_fold):
        text = page_of(folder)
        page = Page(text)
        assert {"table", "figcaption", "svg", "style"} <= page.tags
        assert not page.tags & {"script", "link", "img", "iframe", "b", "object"}
        assert all(link.startswith("#") for link in page.loads)
        assert "url(" not in text.replace("url(#", "")
        assert "@import" not in text
        assert len(page.ids) == len(set(page.ids))
        assert {link[1:] for link in page.loads} <= set(page.ids)


def test_hostile_names_show_as_they_are(finished: Path) -> None:
    page = Page(page_of(finished))
    assert HOSTILE in page.text
    assert DM in page.text


def test_every_area_and_comparison_is_in_the_page(finished: Path, out_of_fold: Path) -> None:
    for folder, count in ((finished, 16), (out_of_fold, 16)):
        text = Page(page_of(folder)).text
        results = json.loads((folder / "results.json").read_text())
        assert len(results["auc"]) == count
        for area in results["auc"]:
            assert f"{area['auc']:.3f}{area['se']:.3f}" in text
            assert f"{area['ci_low']:.3f} to {area['ci_high']:.3f}" in text
        for test in results["comparisons"]:
            ends = f"{test['ci_low']:+.3f} to {test['ci_high']:+.3f}"
            assert ends.replace("-", "\N{MINUS SIGN}") in text


def test_data_table_adds_up(finished: Path) -> None:
    work = folders.read(finished)
    for collection, parts in tables.data_rows(work):
        rois = json.loads((finished / "results.json").read_text())["collections"]
        views = next(c["views"] for c in rois if c["name"] == collection["name"])
        assert [name for name, _ in parts] == ["training", "test"]
        assert sum(p.views[0] for _, p in parts) == views["malignant"]
        assert sum(p.views[1] for _, p in parts) == views["benign"]
        assert [p.cases for _, p in parts] == [30, 30]
        # Cases 0, 1 of each 5 are malignant and the odd of 60 are tested: 12 each way.
        assert [p.lesions for _, p in parts] == [(12, 18), (12, 18)]


def test_curves_have_the_areas_of_the_results(finished: Path) -> None:
    work = folders.read(finished)
    for unit in ("view", "lesion"):
        for area, curve in zip(work.final_areas(unit), curves.curves(work, unit), strict=True):
            assert curve.approach == area["study"]
            assert curve.auc == pytest.approx(area["auc"], abs=1e-12)
            assert np.trapezoid(curve.tpf, curve.fpf) == pytest.approx(area["auc"], abs=1e-12)


def test_band_is_that_of_curves_of_resampled_patients() -> None:
    rng = np.random.default_rng(3)
    cases = np.repeat(np.arange(12), 2)
    labels = (cases < 5).astype(int)
    scores = rng.standard_normal(24) + labels
    low, high = curves.band(labels, scores, cases, samples=40, seed=9)
    draws, heights = np.random.default_rng(9), []
    while len(heights) < 40:
        rows = np.concatenate([np.flatnonzero(cases == c) for c in draws.integers(0, 12, 12)])
        truth, values = labels[rows] == 1, scores[rows]
        if truth.any() and not truth.all():
            # No ties between truths: the height at x is the best point with at most x false.
            cuts = np.append(np.inf, values)[:, None]
            tpf, fpf = ((values[k] >= cuts).mean(1) for k in (truth, ~truth))
            heights.append([tpf[fpf <= x + 1e-12].max() for x in curves.GRID])
    expected = np.percentile(heights, (2.5, 97.5), axis=0)
    np.testing.assert_allclose([low, high], expected, atol=1e-12)


def test_band_of_equal_scores_is_the_diagonal() -> None:
    low, high = curves.band(np.array([0, 1, 1, 0]), np.zeros(4), np.arange(4), samples=5)
    np.testing.assert_allclose([low, high], [curves.GRID, curves.GRID], atol=1e-12)


def test_same_folder_same_bytes(finished: Path) -> None:
    assert page_of(finished) == page_of(finished)
    assert [path.name for path in finished.glob("report*")] == ["report.html"]


def test_page_is_made_for_dark_and_paper(finished: Path) -> None:
    text = page_of(finished)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert "currentColor" in text
    assert not re.search(r"(fill|stroke): #", text)  # a colour that no theme could change


def test_warnings_fit_the_job(finished: Path, out_of_fold: Path) -> None:
    simulated, real = (Page(page_of(folder)).text for folder in (finished, out_of_fold))
    assert words.PHANTOM in simulated
    assert "not those of ImageNet" in simulated
    assert "python tools/convert_weights.py --download" in simulated
    assert words.PHANTOM not in real
    assert "not those of ImageNet" not in real
    assert "Weak evidence: 30 scored lesions" in real
    assert "checkpoints/w" in real


def test_a_difference_is_said_to_be_what_all_methods_say() -> None:
    test = {"a": "mttl", "b": "sttl", "unit": "lesion", "method": "bootstrap", "delta": -0.1}
    test |= {"ci_low": -0.2, "ci_high": 0.0}
    cases = {(0.01, 0.02): "worse", (0.04, 0.06): "edge", (0.5, 0.4): "alike"}
    for ps, said in cases.items():
        tests = [test | {"p_value": p} for p in ps]
        assert words.verdict(tests) == said
        assert ("STTL ranks these cases better" in words.comparison(tests)) == (said == "worse")
    assert words.verdict([test | {"p_value": 0.01, "delta": 0.1}]) == "better"


def test_summary_gives_areas_intervals_and_comparison(finished: Path) -> None:
    text = report.summary(finished)
    results = json.loads((finished / "results.json").read_text())
    for area in results["auc"]:
        if (area["task"], area["method"]) == ("sfm", "empirical"):
            assert f"{area['auc']:.3f}  {area['ci_low']:.3f} to {area['ci_high']:.3f}" in text
    assert "mttl less sttl per lesion" in text
    assert words.PHANTOM in text
    assert "0.991" in text


@pytest.mark.parametrize("missing", ["results.json", "config.json", "scores.csv", "history.jsonl"])
def test_unfinished_folder_is_refused_in_one_line(tmp_path: Path, missing: str) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1)
    path = next(folder.rglob(missing))
    path.unlink()
    with pytest.raises(InputError, match=re.escape(str(folder))) as caught:
        report.write(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


def test_command_makes_the_page_or_says_in_one_line_why_not(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "mtl_jax.report"]
    done = subprocess.run([*command, finished], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(finished / "report.html") in done.stdout
    refused = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert "results.json" in refused.stderr


def test_flow_figure_is_small_whole_and_the_same_each_time(finished: Path, tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[1] / "tools" / "make_flow_figure.py"
    drawn = []
    for name in ("a.svg", "b.svg"):
        command = [sys.executable, "-W", "error", tool, "--work", finished]
        subprocess.run([*command, "--output", tmp_path / name], check=True, capture_output=True)
        drawn.append((tmp_path / name).read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) < 300_000
    figure = ElementTree.fromstring(drawn[0])
    links = [value for e in figure.iter() for k, value in e.attrib.items() if "href" in k]
    assert all(link.startswith(("#flat", "data:image/png;base64,")) for link in links)
    turns = [e.attrib["transform"].split("matrix")[1] for e in figure.iter() if "use" in e.tag]
    assert len(set(turns)) == 8


def test_reading_a_folder_needs_no_training_room() -> None:
    code = "import sys, mtl_jax.report; print([m for m in sys.modules if m.split('.')[0] == 'jax' "
    code += "or m.startswith(('mtl_jax.training', 'mtl_jax.study', 'mtl_jax.data'))])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
