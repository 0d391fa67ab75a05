"""The contact sheet of an ingest changes no shard, and its failure loses none."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_imaging import write_pgm
from test_ingest import COLUMNS, ROI, file_digests

from mtl_jax import config
from mtl_jax.data import contact_sheet, contact_strip, extract_rois, ingest
from mtl_jax.experiments import study_inputs
from mtl_jax.types import LesionView, RoiSet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a manifest of five lesions in three images."""
    home = tmp_path / "images"
    home.mkdir()
    rng = np.random.default_rng(5)
    rows = [COLUMNS]
    for number, (name, lesion) in enumerate(zip("aabbc", "12121", strict=True)):
        write_pgm(home / f"{name}.pgm", rng.integers(0, 4096, (200, 220)), 4095)
        edge = 40 + 20 * number
        box = f"{edge};60;{edge + 15};90"
        rows.append(f"mine,P{name},{lesion},CC,{name}.pgm,malignant,biopsy,100,{box},")
    (home / "m.csv").write_text("\n".join(rows) + "\n")
    return home


def load(home: Path, cache: str, sheets: bool = True) -> RoiSet:
    folder = home.parent / cache
    spec = f"manifest:{home}/m.csv"
    how = ROI, {}, ingest.DEFAULT_RULES
    return ingest.load(spec, folder, *how, folder / "contact_sheets" if sheets else None)


def pages(home: Path, cache: str) -> list[str]:
    (folder,) = (home.parent / cache / "contact_sheets").iterdir()
    return [page.read_text() for page in sorted(folder.iterdir())]


def test_the_sheet_changes_no_shard(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(home, "with")
    load(home, "without", sheets=False)
    assert capsys.readouterr().err.count("contact sheet of the images and ROIs") == 1
    with_sheet = file_digests(home.parent / "with")
    (page,) = [name for name in with_sheet if name.startswith("contact_sheets/")]
    del with_sheet[page]
    assert with_sheet == file_digests(home.parent / "without")
    assert not list((home.parent / "with").rglob("*.jpg"))
    load(home, "with")  # existing shards have their sheet
    assert "contact sheet" not in capsys.readouterr().err


def test_pages_keep_the_lesions_of_an_image_together(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "PAGE_VIEWS", 3)
    load(home, "cache")
    texts = pages(home, "cache")
    assert [len(re.findall(r"line \d", text)) for text in texts] == [2, 3]
    assert "page_002.html" in texts[0] and "5 ROIs of 3 images; page 1 of 2" in texts[0]
    first = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", texts[0])[0]
    width = Image.open(io.BytesIO(base64.b64decode(first))).width
    assert width == contact_strip.SIDE + 2 * (contact_strip.GAP + contact_strip.ROI_SIDE)
    assert not re.search(r"\bP[abc]\b|[abc]\.pgm|images/", texts[0])  # ids and file names


def test_a_failed_drawing_is_counted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(extract_rois.contact_strip, "draw", fail)
    assert len(load(home, "cache")) == 5
    assert "3 images could not be drawn" in pages(home, "cache")[0]


def test_a_failed_sheet_is_printed_and_loses_no_roi(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(contact_sheet, "write", fail)
    assert len(load(home, "cache")) == 5
    assert "mtl_jax: note: mine: no contact sheet: disk full" in capsys.readouterr().err


@pytest.mark.parametrize("show_rois", [True, False])
def test_a_job_that_shows_no_rois_writes_no_sheet(
    show_rois: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def record(*arguments: object) -> RoiSet:
        given.append(arguments[-1])
        return RoiSet("sfm", {}, (), {})

    monkeypatch.setattr(ingest, "load", record)
    monkeypatch.setattr(study_inputs.crosswalk, "apply_crosswalk", lambda sets, _: sets)
    c = config.default()
    c.data.sources, c.data.cache, c.analysis.show_rois = ("phantom:sfm",), str(tmp_path), show_rois
    study_inputs.load_collections(c)
    assert given == [tmp_path / "contact_sheets" if show_rois else None]


def test_pixels_that_are_not_square_keep_the_shape_of_the_breast() -> None:
    """A centre of an image of 100 rows of 100 um and 100 columns of 50 um is a cross."""
    view = LesionView("c", Path("i"), (50, 50, 50, 50), "a", "1", "CC", "L", "DM", 1, "biopsy",
                      (100.0, 50.0), "x")  # fmt: skip
    gray, roi = np.zeros((100, 100), np.float32), np.zeros((1, 128, 128), np.int16)
    strip = Image.open(io.BytesIO(contact_strip.draw(gray, gray.shape, [view], roi, 25.6)))
    side = contact_strip.SIDE
    assert strip.size == (side // 2 + contact_strip.GAP + contact_strip.ROI_SIDE, side)
    middle = np.asarray(strip.convert("RGB"), int)[side // 2, side // 4]
    assert np.allclose(middle, contact_strip.BOX_COLOR, atol=60)
