"""The page of scores, and the escaping of texts in the model card."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from kit import browser
from kit.command import run_command
from kit.untrained import make_untrained
from markupsafe import escape

from mtl_jax.bundle import model_card
from mtl_jax.commands import score

pytestmark = pytest.mark.usefixtures("narrow_alexnet")
HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">'&"
TRUTHS = ("malignant", "benign", "", "benign", "malignant")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return make_untrained(folder / "a", 1, "one-run"), make_untrained(
        folder / "b", 2, "another-run"
    )


@pytest.fixture(scope="module")
def scored(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five lesions scored by two models; case and lesion of the first have hostile names."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "films").mkdir()
    rng = np.random.default_rng(3)
    rows = [("image_path", "patient_id", "lesion_id", "truth", "view", "box", "pixel_um", "bits")]
    for i, truth in enumerate(TRUTHS):
        for view in ("CC", "MLO")[: 1 + i % 2]:
            gray = rng.integers(200 + 300 * i, 4000 - 300 * i, (300, 280)).astype(np.uint16)
            np.save(folder / "films" / f"{i}{view}.npy", gray)
            patient = HOSTILE if i == 0 else f"patient {10 - i}"
            row = (f"{i}{view}.npy", patient, HOSTILE if i == 0 else str(i), truth, view)
            rows.append((*row, "100;110;170;160", "90", "12"))
    with (folder / "l.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    command = [models[0], folder / "films", "--lesions", folder / "l.csv", "--keep-ids"]
    command += ["--compare", models[1], "--out", folder / "out"]
    assert run_command(score, *command) == 0
    return folder / "out"


def test_both_models_are_in_every_file(
    scored: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    said = json.loads((scored / "scores.json").read_text())
    alone = tmp_path / "alone"
    command = [models[1], scored.parent / "films", "--lesions", scored.parent / "l.csv"]
    assert run_command(score, *command, "--keep-ids", "--out", alone) == 0
    other = json.loads((alone / "scores.json").read_text())
    first = [lesion["score"] for lesion in said["lesions"]]
    second = [lesion["score"] for lesion in said["compared"]["lesions"]]
    assert second == [lesion["score"] for lesion in other["lesions"]] and first != second
    assert said["compared"]["model"]["run"] == "another-run"
    with (scored / "lesions.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["score"]) for line in lines] == first
    assert [float(line["compared_score"]) for line in lines] == second
    views = [view for lesion in said["compared"]["lesions"] for view in lesion["views"]]
    for view in views:
        assert (scored / view["roi"]).is_file() and (scored / view["evidence"]).is_file()
    by_hand = [view["evidence"] for lesion in other["lesions"] for view in lesion["views"]]
    for view, name in zip(views, by_hand, strict=True):
        assert (scored / view["evidence"]).read_bytes() == (alone / name).read_bytes()
    page = (scored / "scores.html").read_text()
    for value in (*first, *second):
        assert f">{value:.3f}<" in page
    assert f">{first[2] - second[2]:+.3f}<" in page
    assert page.count('src="data:image/png') == 3 * len(views)


class Addresses(HTMLParser):
    """Collect all addresses and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action", "data", "srcset"):
                self.found.append(value or "")


def test_the_evaluation_of_both_models_is_on_the_page(scored: Path) -> None:
    """Four of the five lesions have a reference standard, two of each class."""
    record = json.loads((scored / "evaluation.json").read_text())
    assert (record["n_malignant"], record["n_benign"], record["n_without_truth"]) == (2, 2, 1)
    page = (scored / "scores.html").read_text()
    assert page.index("<h2>Evaluation</h2>") < page.index('<table id="lesions">')
    with (scored / "lesions.csv").open() as file:
        lesions = [line for line in csv.DictReader(file) if line["truth"]]
    for model, column in zip(record["models"], ("score", "compared_score"), strict=True):
        by_class = {
            truth: [float(line[column]) for line in lesions if line["truth"] == truth]
            for truth in ("malignant", "benign")
        }
        ordered = np.greater.outer(by_class["malignant"], by_class["benign"])
        assert model["auc"]["auc"] == ordered.mean()
        assert f"<td>{ordered.mean():.3f} (95% CI " in page
    first, second = (model["auc"]["auc"] for model in record["models"])
    assert f"A − B: {first - second:+.3f} (95% CI " in page
    assert "these images: expected calibration error" in page
    assert page.count('class="reliability"') == 2


def test_page_escapes_texts_and_makes_no_requests(scored: Path) -> None:
    page = (scored / "scores.html").read_text()
    assert HOSTILE not in page and str(escape(HOSTILE)) in page
    parser = Addresses()
    parser.feed(page)
    assert all(url.startswith(("#l", "data:image/png;base64,")) for url in parser.found)
    assert parser.tags.count("script") == 1 and parser.tags.count("img") == len(
        [url for url in parser.found if url.startswith("data:")]
    )
    assert "://" not in page and "fetch" not in page and "default-src 'none'" in page


@pytest.mark.skipif(not browser.find(), reason="no Chromium or Chrome is installed")
def test_every_column_can_be_sorted_and_filtered(scored: Path) -> None:
    said = json.loads((scored / "scores.json").read_text())
    scores = [lesion["score"] for lesion in said["lesions"]]
    rows = "[...document.querySelectorAll('#lesions tbody tr')].filter(r => !r.hidden)"
    shown = f"{rows}.map(r => Number(r.dataset.lesion.slice(1)) - 1)"
    sections = "[...document.querySelectorAll('section')].filter(s => !s.hidden)"
    below = f"{sections}.map(s => Number(s.id.slice(1)) - 1)"
    with browser.browser(browser.find()) as tab:
        tab.open(scored / "scores.html", 1100)
        assert tab.evaluate("document.title") == "Scores of 5 lesions, research only"
        tab.until("[...document.images].every(i => i.complete && i.naturalWidth == 256)")
        names = tab.evaluate("[...document.querySelectorAll('th button')].map(b => b.textContent)")
        assert names[:7] == [
            *("case", "lesion", "reference standard", "views"),
            *("score A", "score B", "difference"),
        ]
        cells = "document.querySelectorAll('.filters td').length"
        assert tab.evaluate(cells) == len(names)

        def sort(column: str) -> list[int]:
            at = names.index(column)
            tab.evaluate(f"document.querySelectorAll('th button')[{at}].click()")
            assert tab.evaluate(shown) == tab.evaluate(below)
            return tab.evaluate(shown)

        def filter_by(column: str, *values: str) -> list[int]:
            at = names.index(column)
            field = (
                f"document.querySelectorAll('.filters td')[{at}].querySelectorAll('input, select')"
            )
            for i, value in enumerate(values):
                tab.evaluate(f"{field}[{i}].value = {json.dumps(value)}")
                tab.evaluate(f"{field}[{i}].dispatchEvent(new Event('input'))")
            assert tab.evaluate(shown) == tab.evaluate(below)
            return tab.evaluate(shown)

        falling = sorted(range(5), key=lambda i: -scores[i])
        assert sort("score A") == falling and sort("score A") == falling[::-1]
        assert sort("score A") == [0, 1, 2, 3, 4]
        # Numbers in names are compared as numbers, and unknown values come last in both directions.
        assert sort("case")[-4:] == [4, 3, 2, 1]
        tab.evaluate("document.querySelectorAll('th button')[0].click()")
        tab.evaluate("document.querySelectorAll('th button')[0].click()")
        assert filter_by("reference standard", "benign") == [1, 3]
        assert filter_by("reference standard", "") == [0, 1, 2, 3, 4]
        assert filter_by("views", "mlo") == [1, 3]
        tab.evaluate("document.getElementById('clear').click()")
        middle = sorted(scores)[2]
        high = [i for i in range(5) if scores[i] >= middle]
        assert filter_by("score A", str(middle)) == high
        assert filter_by("case", "PATIENT") == [i for i in high if i > 0]
        assert tab.evaluate("document.getElementById('shown').textContent").startswith(
            f"{len([i for i in high if i > 0])} of 5 lesions"
        )
        tab.evaluate("document.getElementById('clear').click()")
        for name in names:  # a filter of each column that excludes every lesion
            number = names.index(name) > 3
            assert (
                filter_by(name, "1e9" if number else "zzz") == [] or name == "reference standard"
            ), name
            tab.evaluate("document.getElementById('clear').click()")
        assert tab.evaluate("document.title") == "Scores of 5 lesions, research only"
        assert tab.complaints == []


def plain(markdown: str) -> str:
    """Undo the escapes and entities, as a Markdown viewer does."""
    found = re.sub(r"\\([\\`*_{}\[\]|~$^#.)+=-])", r"\1", markdown)
    for name, char in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#58;", ":"),
        ("&#64;", "@"),
        ("&#46;", "."),
    ):
        found = found.replace(name, char)
    return found.replace("&amp;", "&")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[a link](javascript:alert)",
        "![a picture](data:image/png;base64,AA)",
        "a | b | c",
        "*bold* _slanted_ `code` ~~gone~~ $x^2$ \\ end",
        "# heading",
        "- item",
        "1. item",
        "https://elsewhere.example and www.elsewhere.example, a@elsewhere.example",
        "&amp; &lt;b&gt;",
        "_<b>$dm",
    ],
)
def test_model_card_escapes_texts(text: str) -> None:
    quoted = model_card.escape_markdown(text)
    assert plain(quoted) == text
    assert "<" not in quoted and "://" not in quoted and "www." not in quoted
    unescaped = re.sub(r"\\.", "", quoted)
    assert not set(unescaped) & set("|*_`[]$")
    assert not re.match(r"(#|-|\+|\d+\.) ", quoted)
    assert model_card.escape_markdown(0.5) == 0.5
    assert model_card.escape_markdown("two\nlines\u202e\u2028end") == "two lines  end"
