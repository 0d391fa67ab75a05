"""The report of small synthetic work folders is complete, self-contained and reproducible."""

import base64
import copy
import csv
import functools
import hashlib
import html
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
from finished_work import DM, HOSTILE, make_folder, make_rois, make_scores, make_stages

from mtl_jax import old_names, report
from mtl_jax.experiments import stages
from mtl_jax.experiments.evaluation import EvaluationRules
from mtl_jax.experiments.primary_comparison import Primary
from mtl_jax.experiments.results import add_stage
from mtl_jax.experiments.stages.base import Figure
from mtl_jax.models import registry
from mtl_jax.report import (
    collect_figures,
    console_summary,
    figure_style,
    gallery,
    phrases,
    read_workdir,
    roc_curves,
    roi_images,
    statements,
    tables,
)
from mtl_jax.report.analysis_results import Rois
from mtl_jax.types import InputError, Run

OLD_KEYS = {new: old for old, new in old_names.KEYS.items()}  # of version 0.1.0


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
    """Parse a page and assert that its tags are correctly nested."""

    VOID = frozenset(("meta", "br", "link", "img", "hr", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [v or "" for n, v in attrs if n in ("src", "href", "xlink:href", "srcset")]
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


@functools.cache
def read_page(folder: Path) -> str:
    return write_page(folder)


def write_page(folder: Path) -> str:
    path = report.write(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_html_is_well_formed_and_self_contained(finished: Path, out_of_fold: Path) -> None:
    for folder in (finished, out_of_fold):
        text = read_page(folder)
        page = Page(text)
        assert {"table", "figcaption", "svg", "style"} <= page.tags
        assert not page.tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
        assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
        assert "url(" not in text.replace("url(#", "").replace("url(data:image/jpeg;base64,", "")
        # A page with interactive points has one script, which the policy allows by its hash.
        scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
        assert len(scripts) == (folder == finished)
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
        assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
        for script in scripts:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"sha256-{digest}" in html.unescape(policy)
        assert "@import" not in text
        assert len(page.ids) == len(set(page.ids))
        targets = {link[1:] for link in page.links if link.startswith("#")}
        assert targets <= set(page.ids)


def test_hostile_names_are_escaped(finished: Path) -> None:
    page = Page(read_page(finished))
    assert HOSTILE in page.text
    assert DM in page.text


def test_page_contains_every_auc_and_comparison(finished: Path, out_of_fold: Path) -> None:
    for folder, count in ((finished, 16), (out_of_fold, 20)):
        text = Page(read_page(folder)).text
        results = json.loads((folder / "results.json").read_text())
        assert len(results["auc"]) == count
        for row in results["auc"]:
            assert f"{row['auc']:.3f}{row['se']:.3f}" in text
            assert f"{row['ci_low']:.3f} to {row['ci_high']:.3f}" in text
        for test in results["comparisons"]:
            interval = f"{test['ci_low']:+.3f} to {test['ci_high']:+.3f}"
            assert interval.replace("-", "\N{MINUS SIGN}") in text


def test_notes_on_images_are_counted_by_collection_and_kind(finished: Path) -> None:
    rows = tables.note_rows(read_workdir.read(finished))
    assert [tuple(row) for row in rows] == [
        ("ddsm", "HighBit is corrected", "corrected", 3, f"{HOSTILE}/1/CC: 15 of 12 bits"),
        ("ddsm", "few bits are used", "noted", 41, "d/2/MLO"),
    ]
    page = Page(read_page(finished))
    assert f"ddsmHighBit is correctedcorrected3{HOSTILE}/1/CC: 15 of 12 bits" in page.text
    assert "ddsmfew bits are usednoted41d/2/MLO" in page.text.replace("\n", "")
    assert "Inconsistent or implausible image metadata" in page.text


def test_checks_of_a_collection_are_in_the_data_section(finished: Path) -> None:
    page = Page(read_page(finished))
    line = "To check: lesions are dark in 83% of 100 views: is the gray inverted?"
    assert page.text.count(line) == 1 and f"{line} (first: {HOSTILE}/1/CC, b/1/CC)" in page.text


def test_results_without_image_notes_have_no_table_of_notes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old", analysed=False)
    results = json.loads((folder / "results.json").read_text())
    for collection in results["collections"]:
        del collection["notes"], collection["checks"]
    (folder / "results.json").write_text(json.dumps(results))
    assert "Inconsistent or implausible" not in write_page(folder)


def test_data_table_matches_the_results(finished: Path) -> None:
    work = read_workdir.read(finished)
    results = json.loads((finished / "results.json").read_text())
    for collection, subsets in tables.data_rows(work):
        views = next(c["views"] for c in results["collections"] if c["name"] == collection["name"])
        assert sum(s.views[0] for s in subsets) == views["malignant"]
        assert sum(s.views[1] for s in subsets) == views["benign"]
        assert [s.rois_augmented for s in subsets] == [8 * sum(s.views) for s in subsets]
        if collection["name"] == results["target"]:
            assert [s.used_for for s in subsets] == ["training", "test set"]
            assert [s.cases for s in subsets] == [30, 30]
            # Cases 0 and 1 of each 5 are malignant, odd cases are test cases: 12 in each subset.
            assert [s.lesions for s in subsets] == [(12, 18), (12, 18)]


def test_auc_of_each_curve_equals_the_result(finished: Path) -> None:
    work = read_workdir.read(finished)
    for unit in ("view", "lesion"):
        for row, curve in zip(work.headline_aucs(unit), roc_curves.curves(work, unit), strict=True):
            assert curve.approach == row["study"]
            assert curve.auc == pytest.approx(row["auc"], abs=1e-12)
            assert np.trapezoid(curve.tpf, curve.fpf) == pytest.approx(row["auc"], abs=1e-12)


def test_band_equals_percentiles_over_bootstrap_samples_of_patients() -> None:
    rng = np.random.default_rng(3)
    cases = np.repeat(np.arange(12), 2)
    labels = (cases < 5).astype(int)
    scores = rng.standard_normal(24) + labels
    low, high = roc_curves.band(labels, scores, cases, samples=40, seed=9)
    rng_bootstrap, sensitivities = np.random.default_rng(9), []
    while len(sensitivities) < 40:
        rows = np.concatenate(
            [np.flatnonzero(cases == c) for c in rng_bootstrap.integers(0, 12, 12)]
        )
        malignant, values = labels[rows] == 1, scores[rows]
        if malignant.any() and not malignant.all():
            # No ties between classes: the highest point with a false positive fraction up to x.
            thresholds = np.append(np.inf, values)[:, None]
            tpf, fpf = ((values[k] >= thresholds).mean(1) for k in (malignant, ~malignant))
            sensitivities.append([tpf[fpf <= x + 1e-12].max() for x in roc_curves.GRID])
    expected = np.percentile(sensitivities, (2.5, 97.5), axis=0)
    np.testing.assert_allclose([low, high], expected, atol=1e-12)


def test_band_of_equal_scores_is_the_diagonal() -> None:
    low, high = roc_curves.band(np.array([0, 1, 1, 0]), np.zeros(4), np.arange(4), samples=5)
    np.testing.assert_allclose([low, high], [roc_curves.GRID, roc_curves.GRID], atol=1e-12)


def test_report_is_reproducible(finished: Path) -> None:
    assert read_page(finished) == write_page(finished)
    assert [path.name for path in finished.glob("report*")] == ["report.html"]
    assert not list(finished.rglob("*.part"))


def test_every_figure_is_written_as_svg_and_csv(finished: Path, out_of_fold: Path) -> None:
    for folder in (finished, out_of_fold):
        text = read_page(folder)
        work = read_workdir.read(folder)
        names = [figure.name for figure in collect_figures.collect(work).all()]
        assert len(names) == len(set(names))
        stems = {path.stem for path in (folder / "figures").iterdir()}
        assert stems == set(names)
        for name in names:
            svg = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
            root = ElementTree.fromstring(svg)
            assert root.tag.endswith("svg") and float(root.attrib["width"]) > 100
            assert "var(" not in svg and "currentColor" not in svg
            data = (folder / "figures" / f"{name}.csv").read_text(encoding="utf-8")
            rows = list(csv.reader(io.StringIO(data)))
            assert len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}
            label = html.unescape(re.search(r'aria-label="([^"]+)"', svg)[1])
            assert label in html.unescape(text)
    expected = {"roc-lesion", "roc-view", "scores", "tsne-mttl-F1", "tsne-sttl-F4", "maps-mttl-1"}
    assert expected <= {path.stem for path in (finished / "figures").glob("*.svg")}


def test_figures_have_aucs_and_p_values_of_the_results(finished: Path) -> None:
    read_page(finished)
    work = read_workdir.read(finished)
    for unit in ("view", "lesion"):
        svg = (finished / "figures" / f"roc-{unit}.svg").read_text(encoding="utf-8")
        fits = [a for a in work.results["auc"] if (a["unit"], a["method"]) == (unit, "proper")]
        shown = [a for a in fits if a["headline"]]
        for fit in (a for a in fits if a["task"] == "sfm" and not a["headline"]):
            shown += [a for a in work.headline_aucs(unit) if a["study"] == fit["study"]]
        assert len(shown) == 2
        for row in shown:
            assert f"{row['auc']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})" in svg
        test = next(t for t in work.results["comparisons"] if t["unit"] == unit)
        assert phrases.format_p_value(test["p_value"]) in html.unescape(svg)


def test_captions_are_numbered_and_state_n(finished: Path) -> None:
    text = Page(read_page(finished)).text
    for noun, minimum in (("Figure", 7), ("Table", 8)):
        numbers = [int(n) for n in re.findall(rf"\b{noun} (\d+)\. ", text)]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= minimum
    assert len(re.findall(r"\(phantom results\)", text)) >= 9
    assert "12 malignant and 18 benign" in text


def test_points_of_figures_refer_to_rois_by_number(finished: Path) -> None:
    text = read_page(finished)
    texts = json.loads(re.search(r'id="rois">(.*?)</script>', text, re.S)[1])
    rois = read_workdir.read(finished).findings.rois
    assert [row[0] for row in texts["rows"]] == rois.roi_id.tolist()
    figure = re.search(r'aria-label="t-SNE of F2, MTTL.*?</svg>', text, re.S)[0]
    shown = sorted(int(n) for n in re.findall(r'data-r="(\d+)"', figure))
    assert shown == np.flatnonzero(rois.sampled).tolist()


def test_rois_are_tiled_in_row_major_order() -> None:
    grays = np.random.default_rng(0).integers(0, 255, 95).astype(np.uint8)
    sheet = roi_images.tile_rois(np.broadcast_to(grays[:, None, None], (95, 128, 128)))
    for number, gray in enumerate(grays):
        row, column = divmod(number, roi_images.N_COLUMNS)
        tile = sheet[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        assert (tile == gray).all()


def test_gallery_groups_misclassified_rois_by_approach() -> None:
    ids = np.array(["a", "b", "c", "d", "e"])
    label = np.array([1, 1, 0, 0, 1])
    table = dict(case_id=ids, lesion_id=ids, label=label, roi_id=ids, task=np.full(5, "t"))
    scored = {
        "mttl": read_workdir.ScoreTable(**table, score=np.float32([0.9, 0.2, 0.1, 0.8, 0.4])),
        "sttl": read_workdir.ScoreTable(**table, score=np.float32([0.3, 0.1, 0.2, 0.1, 0.45])),
    }
    no_rois = np.zeros(5, bool)
    rois = Rois(ids, ids, ids, ids, label, ids, no_rois, no_rois, np.zeros((0, 128, 128)))
    galleries = gallery.misclassified(scored, "t", rois, 0.5, 1)
    assert [(item.title, item.count) for item in galleries] == [
        ("Malignant, classified as benign by MTTL and STTL", 2),
        ("Malignant, classified as benign by STTL only", 1),
        ("Benign, classified as malignant by MTTL only", 1),
    ]
    assert galleries[0].figure.rows[0][0] == "b"  # the lower score of the two
    assert len(galleries[0].figure.rows) == 1


def test_stages_before_the_test_have_figures(tmp_path: Path) -> None:
    folder = make_stages(make_folder(tmp_path / "work", epochs=1))
    text = Page(read_page(folder)).text
    results = json.loads((folder / "results.json").read_text())
    for name, selection in results["selection"].items():
        assert f"{selection['chosen']}, selected by this rule: {selection['rule']}" in text, name
    for name in ("splits", "depth", "learning-curve-view"):
        data = (folder / "figures" / f"{name}.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(data)))
        stage = name.removesuffix("-view").replace("-", "_")
        stage_rows = [row for row in results[stage] if row["unit"] == "view"]
        assert [float(r["auc"]) for r in rows] == [row["auc"] for row in stage_rows]
        aucs = [
            float(r[f"auc_{i + 1}"]) for r in rows for i in range(np.size(stage_rows[0]["aucs"]))
        ]
        assert aucs == [a for row in stage_rows for seed in row["aucs"] for a in seed]

    for row in results["cross_validation"]["auc"]:
        headline = row["estimator"].startswith("mean over")  # folds are in the same table
        label = ", optimistically biased by selection" if headline else ""
        status = "" if row["status"] == "ok" else f" ({row['status']})"
        assert f"{row['cases']}{label}{row['method']}{status}{row['auc']:.3f}" in text


def test_aucs_are_means_over_initializations_and_curves_show_the_first(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", epochs=1, analysed=False, initializations=3)
    text = Page(read_page(folder)).text
    work = read_workdir.read(folder)
    answer = statements.describe_main_result(work)
    assert (
        "Means over 3 initializations; intervals and p-values include the variance between"
        in answer
    )
    assert phrases.format_p_value(work.primary["p_value"]) in answer and work.primary["df"] > 0
    assert "first of 3 initializations" in text and "another training" not in text
    for curve in roc_curves.curves(work, "lesion"):
        assert curve.n_malignant + curve.n_benign == 30
        row = next(a for a in work.headline_aucs("lesion") if a["study"] == curve.approach)
        assert curve.auc == pytest.approx(row["aucs"][0][0])
        assert row["auc"] == pytest.approx(np.mean(row["aucs"]))


def test_trivial_predictors_are_shown_beside_the_collections(tmp_path: Path) -> None:
    """Results of earlier versions have none, and their report has no such table."""
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1, analysed=False)
    heading = "AUCs of trivial predictors"
    assert heading not in write_page(folder)
    results = json.loads((folder / "results.json").read_text())
    counts = {"se": 0.05, "n_malignant": 17, "n_benign": 23}
    results["shortcuts"] = [
        {"collection": name, "predictor": predictor, "unit": unit}
        | {"auc": auc, "ci_low": auc - 0.1, "ci_high": auc + 0.1, **counts}
        for name, predictor, unit, auc in (
            ("sfm", "mean gray", "view", 0.612),
            ("sfm", "mean gray", "lesion", 0.634),
            ("sfm", HOSTILE, "lesion", 0.312),
            (DM, "device", "view", 0.789),
        )
    ]
    (folder / "results.json").write_text(json.dumps(results))
    text = Page(write_page(folder)).text
    rows = " ".join(text[: text.index(heading)].rpartition("Predictor")[2].split())
    assert "mean gray 0.6340.534 to 0.73417, 23 0.6120.512 to 0.71217, 23" in rows
    assert rows.index("sfm (target)") < rows.index(HOSTILE) < rows.index(DM)
    assert f"{HOSTILE} 0.3120.212 to 0.41217, 23" in rows
    assert "device 0.7890.689 to 0.88917, 23" in rows
    assert "says little about lesions if it does not exceed these" in text


def test_no_comparison_is_primary_without_a_prespecified_pair(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", epochs=1, analysed=False)
    results = json.loads((folder / "results.json").read_text())
    for row in results["auc"] + results["comparisons"]:
        row["primary"] = False
    (folder / "results.json").write_text(json.dumps(results))
    record = json.loads((folder / "folds.json").read_text())
    record["primary"] |= {"pair": None, "reason": "for a test"}
    (folder / "folds.json").write_text(json.dumps(record))
    answer = statements.describe_main_result(read_workdir.read(folder))
    assert "No comparison is primary: for a test." in answer and "p =" not in answer
    assert answer.startswith("Lesion-level AUC on the test set of sfm (12 malignant and 18 benign")


def test_fallback_of_the_primary_test_is_stated(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", epochs=1, analysed=False)
    results = json.loads((folder / "results.json").read_text())
    (primary,) = (row for row in results["comparisons"] if row["primary"])
    primary["declared_test"] = "proper"
    (folder / "results.json").write_text(json.dumps(results))
    work = read_workdir.read(folder)
    answer = statements.describe_main_result(work)
    for side in ("a", "b"):
        assert f"{primary[f'auc_{side}']:.3f} with {primary[side].upper()}" in answer
    assert "prespecified fallback: the proper binormal" in answer
    assert phrases.format_p_value(primary["p_value"]) in answer
    results["comparisons"] = [primary | {"status": "sparse", "p_value": 0.01}]
    (folder / "results.json").write_text(json.dumps(results))
    assert "so no test was done" in statements.describe_main_result(read_workdir.read(folder))


def test_results_of_an_earlier_version_are_rejected(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1, analysed=False)
    results = json.loads((folder / "results.json").read_text())
    without_estimator, without_caption = copy.deepcopy(results), copy.deepcopy(results)
    del without_estimator["auc"][0]["estimator"]
    del without_caption["stages"][0]["caption"]
    for old in (without_estimator, without_caption):
        (folder / "results.json").write_text(json.dumps(old))
        with pytest.raises(InputError, match="written by an earlier version"):
            report.write(folder)


def test_work_folders_of_version_0_1_0_are_rejected(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1, analysed=False)
    config = json.loads((folder / "config.json").read_text())
    config["model"][OLD_KEYS["backbone"]] = config["model"].pop("backbone")
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-W", "error", "-m", "mtl_jax.report", folder]
    rejected = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (rejected.returncode, rejected.stdout) == (2, "")
    assert rejected.stderr.count("\n") == 1 and "0.1.0" in rejected.stderr
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("last_stage", ["splits", "depth", "learning_curve", "seeds"])
def test_study_without_a_test_stage_has_a_report(tmp_path: Path, last_stage: str) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1, analysed=False)
    make_stages(folder, last_stage)
    text = Page(read_page(folder)).text
    assert "No AUC could be computed" not in text
    questions = {
        "splits": "Which random split",
        "depth": "How many convolutional layers",
        "learning_curve": "How does the AUC depend on the number of training cases of sfm",
        "seeds": "How much does the AUC on sfm vary between random initializations",
    }
    assert questions[last_stage] in text
    results = json.loads((folder / "results.json").read_text())
    for row in results["auc"]:
        assert f"{row['ci_low']:.3f} to {row['ci_high']:.3f}" in text


class Other(stages.Stage):
    """A stage that the report does not know."""

    name = title = "other"
    figure = Figure("study", "approach", series="network", points="initializations")
    columns: ClassVar = {"sd_initializations": "SD"}

    def runs(self, *_: object) -> list[Run]:
        return [
            Run(approach, ("sfm",), network, None, 0, initialization=number)
            for approach in ("mttl", "sttl")
            for network in ("C0", "C1")
            for number in range(3)
        ]


def test_a_stage_that_the_report_does_not_know_has_a_figure_and_a_table(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", epochs=1, analysed=False)
    rois, runs = make_rois("sfm", "SFM", 60, "simulated", 0), Other().runs()
    cases = sorted(set(rois.index["case_id"]))
    tables = {run.id: make_scores(rois, cases, 1, i) for i, run in enumerate(runs)}
    results = json.loads((folder / "results.json").read_text()) | {"stages": [], "selection": {}}
    rules = EvaluationRules("view", Primary("lesion", "obuchowski", None), 200, 0)
    add_stage(results, Other(), runs, tables, rules, is_last=True)
    results["stages"][0]["runs"] = [run["id"] for run in results["runs"]]
    (folder / "results.json").write_text(json.dumps(results))
    text = Page(read_page(folder)).text
    for row in results["other"]:
        assert f"{row['se']:.3f}{row['sd_initializations']:.3f}{row['ci_low']:.3f}" in text
    assert "The table below shows the mean AUC of each condition." in text
    assert "Other: mean AUC on sfm (phantom results): AUC of each initialization (dots" in text
    data = (folder / "figures" / "other-lesion.csv").read_text(encoding="utf-8")
    assert [row["network"] for row in csv.DictReader(io.StringIO(data))] == ["C0", "C1"] * 2


def test_standalone_figure_escapes_its_label() -> None:
    body = figure_style.svg_element(HOSTILE, "0 0 9 9", figure_style.Markup("<g/>"))
    root = ElementTree.fromstring(figure_style.standalone(body))
    assert root.attrib["aria-label"] == HOSTILE


def test_report_without_analyses_has_no_analysis_section(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1, analysed=False)
    page = Page(read_page(folder))
    assert "Network analysis" not in page.text and "script" not in page.tags


def test_page_has_styles_for_dark_mode_and_print(finished: Path) -> None:
    text = read_page(finished)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert "currentColor" in text
    assert not re.search(r"(fill|stroke): #", text)  # a colour that does not depend on the theme


def test_warnings_depend_on_the_job(finished: Path, out_of_fold: Path) -> None:
    phantom_page, other_page = (Page(read_page(folder)).text for folder in (finished, out_of_fold))
    assert phrases.PHANTOM_NOTICE in phantom_page
    assert "not ImageNet weights" in phantom_page
    assert "mtl-jax convert --download" in phantom_page
    assert phrases.PHANTOM_NOTICE not in other_page
    assert "not ImageNet weights" not in other_page
    assert "Weak evidence: the evaluation set has only 30 lesions" in other_page
    assert "checkpoints/w" in other_page


def test_ids_in_a_published_format_give_a_warning(finished: Path) -> None:
    work = read_workdir.read(finished)
    earlier_warnings = phrases.warnings(work)
    work.folds["ids_look_like"] = {"mine": "cbis_ddsm"}
    (warning,) = set(phrases.warnings(work)) - set(earlier_warnings)
    assert warning.startswith("mine: its patient ids look like those of cbis_ddsm")


def test_networks_that_did_not_learn_give_the_first_warning(finished: Path) -> None:
    work = read_workdir.read(finished)
    runs = [run["id"] for run in work.results["runs"]]
    approach = work.runs[0]["approach"]
    (test,) = [test for test in work.results["comparisons"] if test["primary"]]
    assert "did not learn" not in statements.describe_main_result(work)
    work.results["equal_scores"] = [
        {"run": runs[0], "collection": task, "fraction": 1.0} for task in ("other", "sfm")
    ]
    warning, other, *_ = phrases.warnings(work)
    assert warning.startswith(f"1 of the {len(runs)} runs that score sfm give more than half of")
    assert f"({runs[0]})" in warning and "learning_rate" in warning
    assert "on other that include" in other and "learning_rate" not in other
    sentence = f"1 of 1 networks of {phrases.approach_name(approach)} did not learn: the difference"
    assert sentence in statements.describe_main_result(work)
    assert "significant" not in statements.describe_main_result(work)
    failed = statements.describe_failed_networks(work, test)
    assert sentence in statements.describe_comparison([test | {"p_value": 0.001}], failed)
    for other in ({"task": "dm"}, {"network_a": "C0", "network_b": "C0"}, {"target_cases": 7}):
        assert statements.describe_failed_networks(work, test | other) == ""
    lines = console_summary.describe_comparisons(work)
    involved = [approach in (t["a"], t["b"]) for t in work.results["comparisons"]]
    assert ["did not learn" in line for line in lines] == involved
    pair = f"{phrases.approach_name(test['a'])} \N{MINUS SIGN} {phrases.approach_name(test['b'])}"
    assert pair not in collect_figures.collect(work).roc["lesion"].svg
    test["primary"] = False
    work.folds["primary"] = {"unit": "lesion", "reason": ""}
    alone = f"1 of 1 networks of {phrases.approach_name(approach)} did not learn: this AUC is not"
    assert alone in statements.describe_main_result(work)
    del work.results["equal_scores"]  # as in studies of version 0.2
    assert warning not in phrases.warnings(work)


def test_blanked_rois_give_a_warning(finished: Path) -> None:
    work = read_workdir.read(finished)
    earlier_warnings = phrases.warnings(work)
    work.config["data"]["roi"] = {"extent_mm": 25.6, "blank_mm": 8.0}
    (warning,) = set(phrases.warnings(work)) - set(earlier_warnings)
    assert warning.startswith("A disc of 8 mm in the center of each ROI was blanked, as a control")
    del work.config["data"]["roi"]  # as in studies of version 0.2
    assert phrases.warnings(work) == earlier_warnings


def test_verdict_summarizes_all_methods() -> None:
    test = {"a": "mttl", "b": "sttl", "unit": "lesion", "method": "bootstrap", "delta": -0.1}
    test |= {"ci_low": -0.2, "ci_high": 0.0}
    cases = {(0.01, 0.02): "worse", (0.04, 0.06): "contradictory", (0.5, 0.4): "inconclusive"}
    for p_values, expected in cases.items():
        tests = [test | {"p_value": p, "primary": False, "p_holm": p} for p in p_values]
        assert statements.verdict(tests) == expected
        assert ("STTL has a significantly higher AUC" in statements.describe_comparison(tests)) == (
            expected == "worse"
        )
    assert statements.verdict([test | {"p_value": 0.01, "delta": 0.1}]) == "better"


def test_a_secondary_verdict_uses_the_holm_adjusted_p_value() -> None:
    test = {"a": "mttl", "b": "sttl", "unit": "view", "method": "obuchowski", "primary": False}
    test |= {"delta": 0.02, "ci_low": 0.001, "ci_high": 0.04, "p_value": 0.036, "status": "ok"}
    assert statements.verdict([test | {"p_holm": 0.071}]) == "inconclusive"
    assert statements.verdict([test | {"p_holm": None}]) == "better"
    sentence = statements.describe_comparison([test | {"p_holm": 0.071}])
    assert "not significant" in sentence and "significantly higher" not in sentence


def test_summary_gives_aucs_intervals_and_comparison(finished: Path) -> None:
    text = report.summary(finished)
    results = json.loads((finished / "results.json").read_text())
    for row in results["auc"]:
        if (row["task"], row["method"]) == ("sfm", "empirical"):
            assert f"{row['auc']:.3f}  {row['ci_low']:.3f} to {row['ci_high']:.3f}" in text
    test = results["comparisons"][0]
    assert f"primary: mttl - sttl, lesion level, test set: {test['delta']:+.3f}" in text
    assert text.count("primary: ") == 1 and text.count("secondary: ") == 5
    first_line = text.strip().splitlines()[0]
    assert first_line.startswith(
        "Primary analysis: lesion-level AUC on the test set of sfm (12 malignant"
    )
    assert (
        phrases.format_p_value(test["p_value"]) in first_line
        and "random initializations" in first_line
    )
    # The sentence and each test have one; a single test has no adjusted p-value.
    assert text.count("p = ") + text.count("p < ") == 1 + 6
    assert phrases.PHANTOM_NOTICE in text
    assert "0.991" in text


def test_validation_loss_and_auc_are_plotted_if_recorded(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cv", "cross_validation", epochs=5, analysed=False)
    work = read_workdir.read(folder)
    mttl, sttl = collect_figures.collect(work).validation
    assert (mttl.approach, sttl.approach, mttl.network) == ("mttl", "sttl", "C1")
    for group in (mttl, sttl):
        loss, auc = group.panels
        assert loss.columns == ("run", "epoch", "loss of sfm", "validation_loss")
        assert auc.columns == ("run", "epoch", "validation_auc")
        expected = [
            (run["id"], line["epoch"], line["loss/sfm"], line["validation_loss"])
            for run in group.runs
            for line in work.histories[run["id"]]
            if line["epoch"] in (2, 4, 5)
        ]
        assert len(expected) == 9 and loss.rows == expected
        # Three folds and their mean: training loss, validation loss; validation AUC.
        for panel, lines in ((loss, {1: 4, 6: 4}), (auc, {1: 4, 6: 0})):
            for number, count in lines.items():
                assert panel.svg.count(f"var(--line-{number})") == count
    text = Page(read_page(folder)).text
    caption = next(
        part for part in text.split("Figure ") if "They were not used to select an epoch" in part
    )
    sizes = [run["rois_scored"]["sfm"] for run in mttl.runs]
    assert f"n: {min(sizes)} to {max(sizes)} ROIs in each held-out fold." in caption
    assert "3 folds (thin) and their mean (thick)" in caption
    assert (
        caption.partition("last epoch.")[0].count(". ") == 3
    )  # the figure number and three sentences


def test_independent_test_has_no_validation_figure(finished: Path) -> None:
    assert collect_figures.collect(read_workdir.read(finished)).validation == []
    assert "held-out fold" not in Page(read_page(finished)).text


def test_held_out_runs_are_those_of_the_selected_split(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cv", "cross_validation", ("sttl",), epochs=3, analysed=False)
    results = json.loads((folder / "results.json").read_text())
    expected = [run["id"] for run in results["runs"]]
    selected_split = [run | {"split": 1} for run in results["runs"]]
    other_split = [run | {"id": f"{run['id']}-2", "split": 2} for run in selected_split]
    test_run = selected_split[0] | {"id": "last", "fold": None}
    results |= {
        "runs": [*selected_split, *other_split, test_run],
        "selection": {"split": {"chosen": 1}},
        "stages": [
            {"stage": "splits", "runs": [run["id"] for run in (*selected_split, *other_split)]},
            {"stage": "test", "runs": ["last"]},
        ],
    }
    assert [run["id"] for run in read_workdir.held_out_runs(results)] == expected


@pytest.mark.parametrize("missing", ["results.json", "config.json", "scores.csv", "history.jsonl"])
def test_unfinished_folder_is_rejected(tmp_path: Path, missing: str) -> None:
    folder = make_folder(tmp_path / "work", approaches=("sttl",), epochs=1)
    path = next(folder.rglob(missing))
    path.unlink()
    with pytest.raises(InputError, match=re.escape(str(folder))) as caught:
        report.write(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


def test_command_writes_the_page_or_a_one_line_error(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "mtl_jax.report"]
    done = subprocess.run([*command, finished], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(finished / "report.html") in done.stdout
    rejected = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert (rejected.returncode, rejected.stdout) == (2, "")
    assert rejected.stderr.count("\n") == 1
    assert "results.json" in rejected.stderr


def test_flow_figure_is_small_and_reproducible(finished: Path, tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[1] / "tools" / "make_flow_figure.py"
    svgs = []
    for name in ("a.svg", "b.svg"):
        command = [sys.executable, "-W", "error", tool, "--work", finished]
        subprocess.run([*command, "--output", tmp_path / name], check=True, capture_output=True)
        svgs.append((tmp_path / name).read_text(encoding="utf-8"))
    assert svgs[0] == svgs[1]
    assert len(svgs[0]) < 300_000
    figure = ElementTree.fromstring(svgs[0])
    links = [value for e in figure.iter() for k, value in e.attrib.items() if "href" in k]
    assert all(link.startswith(("#flat", "data:image/png;base64,")) for link in links)
    transforms = [e.attrib["transform"].split("matrix")[1] for e in figure.iter() if "use" in e.tag]
    assert len(set(transforms)) == 8


def test_report_does_not_import_training_packages() -> None:
    code = "import sys, mtl_jax.report; print([m for m in sys.modules if m.split('.')[0] == 'jax' "
    code += "or m.startswith(('mtl_jax.training', 'mtl_jax.experiments', 'mtl_jax.data'))])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_page_states_why_a_backbone_has_no_deconvolution_maps(tmp_path: Path) -> None:
    """Check that the page of ResNet-18 has integrated gradients and states the reason."""
    folder = make_folder(tmp_path, cases=30, epochs=1)
    results = json.loads((folder / "results.json").read_text())
    for network in results["networks"].values():
        network["backbone"] = "resnet18"
    results["backbones"] = {"resnet18": registry.get("resnet18").describe()}
    (folder / "results.json").write_text(json.dumps(results))
    for path in (folder / "analysis").glob("maps-*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        arrays |= {"layer": arrays["layer"][:0], "feature": arrays["feature"][:, :0]}
        np.savez(path, **arrays | {"maps": arrays["maps"][:, :0]})
    page = Page(report.write(folder).read_text(encoding="utf-8")).text
    assert "There are no deconvolution maps" in page and "Zeiler" not in page
    assert "ResNet-18 with a stem and four stages" in page and "Integrated gradients" in page
    assert "AlexNet with five" not in page
