"""Test the DDSM reader: facts of the text files, position of lesions in their ROIs, quirks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit.ddsm import CALCIFICATION, MASS, Film, Lesion, make_case, outline, overlay
from PIL import Image, ImageDraw

from mtl_jax.config import default, validate
from mtl_jax.data import ingest
from mtl_jax.data.sources import ddsm, ddsm_overlay
from mtl_jax.imaging import ics
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

PLAIN = RoiSettings(correct=False)


def blank(shape: tuple[int, int] = (40, 30)) -> np.ndarray:
    return np.full(shape, 1000, np.int64)


def read_collection(folder: Path, *types: str) -> Collection:
    return ddsm.read_collection(str(folder), lesion_types=types or ("MASS",))


def disc(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """Return True inside the ellipse that fills `box`."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    top, left, bottom, right = box
    y = (rows - (top + bottom) / 2) / (bottom - top)
    x = (columns - (left + right) / 2) / (right - left)
    return y**2 + x**2 < 0.25


@pytest.mark.parametrize(
    ("name", "digitizer", "bits", "resolution", "swapped_size"),
    [
        ("A-1001-1", "DBA", 16, "42", False),
        ("A-1002-1", "HOWTEK", 12, "43.5", True),
        ("B-3024-1", "LUMISYS", 12, "50", False),
        ("C-0001-1", "LUMISYS", 12, "50", True),
        ("D-4001-1", "HOWTEK", 12, "43.5", False),
    ],
)
def test_a_lesion_is_in_the_middle_of_its_roi(
    tmp_path: Path, name: str, digitizer: str, bits: int, resolution: str, swapped_size: bool
) -> None:
    shape, scale = (1300, 900), 1 << (bits - 12)
    films = {}
    boxes = {"LEFT_CC": (700, 150, 790, 250), "RIGHT_MLO": (31, 640, 101, 700)}
    for selector, (view, box) in enumerate(boxes.items(), start=6):
        noise = np.random.default_rng(selector).integers(0, 50, shape)
        gray = (np.where(disc(shape, box), 3000, 900) + noise) * scale
        films[view] = Film(gray, [Lesion(box, core=True)], selector, swapped_size)
    make_case(tmp_path / "in", films, name, digitizer, bits, resolution)
    spec = f"ddsm:{tmp_path / 'in'}"
    rois = ingest.load(spec, tmp_path / "cache", PLAIN, {"ddsm": {"lesion_types": ("MASS",)}})
    assert len(rois) == 2
    assert set(rois.index["pixel_um_row"].astype(float)) == {float(resolution)}
    for roi in rois.shards[0]:
        # Dense tissue is bright for every scanner; padding by reflection may repeat the lesion.
        low, high = np.percentile(roi, [2, 99.9])
        rows, columns = np.nonzero(roi > (low + high) / 2)
        near = (abs(rows - 64) < 15) & (abs(columns - 64) < 15)
        assert abs(rows[near].mean() + 0.5 - 64) <= 1 and abs(columns[near].mean() + 0.5 - 64) <= 1


@pytest.mark.parametrize(
    ("name", "digitizer"), [("B-3024-1", "LUMISYS LASER"), ("A-1001-1", "DBA 21")]
)
def test_the_device_is_the_digitizer_of_the_ics_file(
    tmp_path: Path, name: str, digitizer: str
) -> None:
    make_case(tmp_path, {"LEFT_CC": Film(blank(), [Lesion((2, 3, 12, 13))])}, name, digitizer)
    (view,) = read_collection(tmp_path).views
    assert view.device == digitizer and view.curve


def test_facts_of_the_text_files_are_read(tmp_path: Path) -> None:
    lesions = [
        Lesion((2, 3, 12, 13)),
        Lesion((20, 4, 30, 14), "BENIGN", (CALCIFICATION, MASS), core=True),
        Lesion((5, 20, 9, 26), "BENIGN", (CALCIFICATION,)),
        Lesion((9, 9, 13, 13), "UNPROVEN"),
    ]
    films = {
        "LEFT_CC": Film(blank(), lesions),
        "LEFT_MLO": Film(blank(), [Lesion((1, 1, 9, 9)), Lesion((5, 5, 15, 15))]),
        "RIGHT_CC": Film(blank(), [Lesion((6, 6, 16, 12), "BENIGN_WITHOUT_CALLBACK")]),
        "RIGHT_MLO": Film(blank()),
    }
    make_case(tmp_path / "cancers" / "cancer_01", films)
    collection = read_collection(tmp_path)
    facts = [
        (v.lesion_id, v.view, v.laterality, v.label, v.truth_source, v.box)
        for v in collection.views
    ]
    assert facts == [
        ("LEFT-1", "CC", "L", 1, "biopsy", (2, 3, 12, 13)),
        # Benign in CC and malignant in MLO: two lesions.
        ("LEFT-2-CC", "CC", "L", 0, "followup", (20, 4, 30, 14)),
        ("LEFT-1", "MLO", "L", 1, "biopsy", (1, 1, 9, 9)),
        ("LEFT-2-MLO", "MLO", "L", 1, "biopsy", (5, 5, 15, 15)),
        ("RIGHT-1", "CC", "R", 0, "followup", (6, 6, 16, 12)),
    ]
    assert {v.case_id for v in collection.views} == {"B-3024-1"}
    assert {(v.bits, v.pixel_um, v.curve) for v in collection.views} == {
        (12, (50, 50), "ddsm_lumisys")
    }
    assert {v.note for v in collection.views} == {""}
    film = "cancers/cancer_01/case3024/B_3024_1."
    assert dict(collection.left_out) == {
        film + "LEFT_CC.LJPEG abnormality 3": "lesion type CALCIFICATION not chosen",
        film + "LEFT_CC.LJPEG abnormality 4": "pathology UNPROVEN",
        film + "RIGHT_MLO.LJPEG": "no abnormality outlined",
    }
    assert any(
        "is one lesion if the pathologies agree, otherwise two (2 lesion views)" in text
        for text in collection.decisions
    )
    assert len(read_collection(tmp_path, "CALCIFICATION").views) == 2
    assert len(read_collection(tmp_path, "MASS", "CALCIFICATION").views) == 6
    # Patient data are not in the collection.
    assert "1995" not in repr(collection) and "42" not in repr(collection.decisions)


def test_the_box_of_an_outline_equals_that_of_a_pillow_polygon(tmp_path: Path) -> None:
    steps = {0: (0, -1), 1: (1, -1), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (-1, 1), 6: (-1, 0)}
    steps[7] = (-1, -1)
    for box in ((3, 5, 24, 31), (10, 2, 13, 4), (0, 0, 40, 6)):
        column, row, *codes = (int(word) for word in outline(box).split())
        points = [(column, row)]
        for code in codes:
            points.append((points[-1][0] + steps[code][0], points[-1][1] + steps[code][1]))
        assert points[-1] == points[0]
        image = Image.new("L", (60, 60))
        ImageDraw.Draw(image).polygon(points, fill=1, outline=1)
        left, top, right, bottom = image.getbbox()
        path = tmp_path / "a.OVERLAY"
        path.write_text(overlay([Lesion(box)]))
        assert ddsm_overlay.read(path)[0].box == (top, left, bottom, right) == box


def test_each_quirk_gives_a_note_or_a_reason(tmp_path: Path) -> None:
    def add_case(
        number: int, change: Callable[[Path], object], letter: str = "B", **facts: str
    ) -> None:
        film = Film(blank(), [Lesion((10, 10, 20, 20))])
        change(make_case(tmp_path, {"LEFT_CC": film}, f"{letter}-{number}-1", **facts))

    def edit(suffix: str, old: str, new: str) -> Callable[[Path], object]:
        def change(home: Path) -> None:
            (path,) = home.glob(f"*{suffix}")
            path.write_text(path.read_text().replace(old, new))

        return change

    def keep(home: Path) -> None:
        pass

    add_case(1, edit("OVERLAY", "TOTAL_OUTLINES 1", "TOTAL_OUTLINES 3"))
    add_case(2, edit("OVERLAY", "\n12 10 2", "\n37 10 2"))
    add_case(3, edit("OVERLAY", "\n12 10 2", "\n24 10 2"))
    add_case(4, keep, digitizer="HOWTEK")
    add_case(5, keep, letter="D", digitizer="HOWTEK")
    add_case(6, edit("OVERLAY", "PATHOLOGY MALIGNANT", "PATHOLOGY"))
    add_case(7, lambda home: next(home.glob("*.OVERLAY")).unlink())
    add_case(8, lambda home: next(home.glob("*.LJPEG")).unlink())
    add_case(9, lambda home: next(home.glob("*.ics")).unlink())
    add_case(10, edit("ics", "NE 30", "NE 99999"))
    add_case(11, edit("OVERLAY", "#", ""))
    add_case(12, edit("ics", "filename B-12-1", "filename ../../B-12-1"))
    add_case(13, edit("ics", " OVERLAY", " NON_OVERLAY"))
    add_case(14, edit("ics", "LEFT_CC", "LEFT_XX"))
    add_case(16, edit("ics", "LEFT_CC", "../LEFT_CC"))
    add_case(15, edit("OVERLAY", "ABNORMALITIES 1", "ABNORMALITIES 2"))
    add_case(17, edit("OVERLAY", "ABNORMALITIES 1", "ABNORMALITIES 0"))
    make_case(tmp_path / "twice", {"LEFT_CC": Film(blank())}, "B-1-1")
    collection = read_collection(tmp_path)
    assert {(v.case_id, v.note) for v in collection.views} == {
        ("B-1-1", "TOTAL_OUTLINES is not the number of outlines"),
        ("B-3-1", "outline reaches beyond the film"),
        ("D-5-1", ""),
        ("B-13-1", ""),
        ("B-17-1", "the OVERLAY file lists more abnormalities than TOTAL_ABNORMALITIES"),
    }
    assert {v.case_id: v.noted for v in collection.views if v.noted} == {
        "B-13-1": "the .ics file says NON_OVERLAY, but there is an OVERLAY file"
    }
    assert dict(collection.left_out) == {
        "case2/B_2_1.LEFT_CC.LJPEG abnormality 1": "the centre of its outline is outside the film",
        "case4/B_4_1.LEFT_CC.LJPEG": "no calibration of digitizer HOWTEK at institution B",
        "case6/B_6_1.LEFT_CC.LJPEG abnormality 1": "pathology TOTAL_OUTLINES",
        "case7/B_7_1.LEFT_CC.LJPEG": "its OVERLAY file is not in the folder",
        "case8/B_8_1.LEFT_CC.LJPEG": "the LJPEG file is not in the folder",
        "case9/B_9_1.LEFT_CC.LJPEG": "no .ics file describes it",
        "case10/B_10_1.LEFT_CC.LJPEG": "no .ics file describes it",
        "case10/B-10-1.ics": "damaged .ics file: line 11: 40 lines of 99999 pixels, 12 bits, 50 um"
        " are implausible; download it again",
        "case11/B_11_1.LEFT_CC.OVERLAY": "damaged: abnormality 1 has no BOUNDARY that ends in #:"
        " truncated?",
        "case12/B_12_1.LEFT_CC.LJPEG": "no .ics file describes it",
        "case12/B-12-1.ics": "damaged .ics file: line 2: filename is invalid: expected one word",
        "case14/B_14_1.LEFT_XX.LJPEG": "view LEFT_XX is not one of LEFT_CC,"
        " LEFT_MLO, RIGHT_CC and RIGHT_MLO",
        "case14/B_14_1.LEFT_CC.LJPEG": "no .ics file describes it",
        "case15/B_15_1.LEFT_CC.OVERLAY": "damaged: 1 abnormalities, TOTAL_ABNORMALITIES 2:"
        " truncated?",
        "case16/B-16-1.ics": "damaged .ics file: line 11: the view is invalid: expected"
        " LEFT_CC or the like",
        "case16/B_16_1.LEFT_CC.LJPEG": "no .ics file describes it",
        "twice/case1/B-1-1.ics": "duplicate of a case in another folder",
    }
    for note in ("TOTAL_OUTLINES is not", "outline reaches", "more abnorm", "says NON_OVERLAY"):
        assert any(
            note in text and text.endswith(": 1 lesion views") for text in collection.decisions
        )


def test_abnormalities_beyond_the_stated_total_are_all_read(tmp_path: Path) -> None:
    lesions = [Lesion((2, 2, 9, 8)), Lesion((10, 3, 30, 20), "BENIGN"), Lesion((1, 9, 8, 20))]
    path = tmp_path / "a.OVERLAY"
    original = overlay(lesions)
    path.write_text(original)
    assert [abnormality.surplus for abnormality in ddsm_overlay.read(path)] == [0, 0, 0]
    path.write_text(original.replace("TOTAL_ABNORMALITIES 3", "TOTAL_ABNORMALITIES 1"))
    abnormalities = ddsm_overlay.read(path)
    assert [abnormality.box for abnormality in abnormalities] == [lesion.box for lesion in lesions]
    assert [abnormality.surplus for abnormality in abnormalities] == [2, 2, 2]
    # Without a stated total the file may be truncated.
    path.write_text(original.replace("TOTAL_ABNORMALITIES 3", ""))
    with pytest.raises(InputError, match="3 abnormalities, TOTAL_ABNORMALITIES None"):
        ddsm_overlay.read(path)
    path.write_text(original.replace("TOTAL_ABNORMALITIES 3", "TOTAL_ABNORMALITIES 1")[:-40])
    with pytest.raises(InputError, match="abnormality 3 .* truncated"):
        ddsm_overlay.read(path)


@pytest.mark.parametrize(("stated", "bits"), [(12, 12), (16, 12), (11, 11)])
def test_different_bit_depths_of_stream_and_ics_file_are_noted(
    tmp_path: Path, stated: int, bits: int
) -> None:
    home = make_case(tmp_path, {"LEFT_CC": Film(blank(), [Lesion((10, 10, 20, 20))])})
    (path,) = home.glob("*.ics")
    path.write_text(path.read_text().replace("BITS_PER_PIXEL 12", f"BITS_PER_PIXEL {stated}"))
    collection = read_collection(tmp_path)
    note = "the .ics file and the JPEG stream state different bit depths"
    noted = "" if stated == 12 else f"{note} ({stated} and 12, {bits} used)"
    assert [(view.bits, view.noted, view.note) for view in collection.views] == [(bits, noted, "")]
    assert any(note in text for text in collection.decisions) == (stated != 12)
    (film,) = home.glob("*.LJPEG")
    film.write_bytes(b"not a film")
    assert [view.bits for view in read_collection(tmp_path).views] == [stated]


def test_every_real_overlay_file_is_read(shared: Path) -> None:
    """Compare with a second implementation that reads by lines, with NumPy."""
    steps = np.array([(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)])
    files = sorted((shared / "data/ddsm299/overlay").glob("*.OVERLAY"))
    surplus = []
    for file in files:
        abnormalities = ddsm_overlay.read(file)
        lines = file.read_text("latin-1").replace("#", "").splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("BOUNDARY")]
        assert len(abnormalities) == len(starts)
        for abnormality, start in zip(abnormalities, starts, strict=True):
            column, row, *codes = (int(word) for word in lines[start + 1].split())
            offsets = np.cumsum(steps[codes], axis=0) if codes else np.zeros((1, 2), int)
            points = np.vstack([[row, column], [row, column] + offsets])
            assert abnormality.box == (*points.min(0), *points.max(0) + 1)
            assert abnormality.pathology and abnormality.types
        if abnormalities[0].surplus:
            surplus.append(file.name)
    assert len(files) == 833
    assert surplus == [
        "A_1576_1.RIGHT_MLO.OVERLAY",
        "A_1666_1.LEFT_CC.OVERLAY",
        "A_1828_1.LEFT_MLO.OVERLAY",
    ]


def test_every_real_ics_file_is_read(shared: Path) -> None:
    files = sorted((shared / "data/ddsm299/ics").glob("*.ics"))
    cases = [ics.read(file) for file in files]
    assert len(files) == 12
    assert [case.name for case in cases] == [file.stem for file in files]
    for case in cases:
        assert (case.name[0], case.digitizer) in ddsm.CURVES
        assert set(case.films) == {"LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO"}
        assert {film.bits for film in case.films.values()} == {12}


def test_an_overlay_without_abnormality_is_left_out(tmp_path: Path) -> None:
    home = make_case(tmp_path, {"LEFT_CC": Film(blank(), [Lesion((2, 2, 30, 28))])})
    (path,) = home.glob("*.OVERLAY")
    path.write_text("TOTAL_ABNORMALITIES 0\n")
    ((_, reason),) = read_collection(tmp_path).left_out
    assert reason.startswith("damaged: 0 abnormalities, TOTAL_ABNORMALITIES 0")


def test_missing_folders_cases_and_types_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_collection(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no \.ics file below .*; name the folder"):
        read_collection(tmp_path)
    with pytest.raises(InputError, match="expected one or more, such as MASS"):
        ddsm.read_collection(str(tmp_path), lesion_types=())


def test_ddsm_and_cbis_ddsm_in_one_job_are_rejected() -> None:
    c = default()
    c.data.sources, c.data.target = ("cbis_ddsm:a", "ddsm:b"), "ddsm"
    with pytest.raises(InputError, match="same patients, different ids"):
        validate(c)


def test_a_damaged_film_excludes_its_own_lesions_only(tmp_path: Path) -> None:
    shape, box = (700, 600), (300, 250, 400, 350)
    films = {
        view: Film(np.where(disc(shape, box), 3000, 900), [Lesion(box)])
        for view in ("LEFT_CC", "LEFT_MLO")
    }
    home = make_case(tmp_path / "in", films)
    film = home / "B_3024_1.LEFT_CC.LJPEG"
    film.write_bytes(film.read_bytes()[:3000])
    options = {"ddsm": {"lesion_types": ("MASS",)}}
    rules = ingest.Rules(unusable="leave_out")
    rois = ingest.load(f"ddsm:{tmp_path / 'in'}", tmp_path / "cache", PLAIN, options, rules)
    assert list(rois.index["view"]) == ["MLO"]


def fuzz(folder: Path, n_mutations: int, seed: int) -> None:
    """Overwrite, delete and insert bytes of text files: they are read or give a one-line error."""
    home = make_case(folder, {"LEFT_CC": Film(blank(), [Lesion((2, 2, 30, 28), core=True)])})
    random = np.random.default_rng(seed)
    rejected = 0
    for number in range(n_mutations):
        suffix, reader = (("OVERLAY", ddsm_overlay.read), ("ics", ics.read))[number % 2]
        (path,) = home.glob(f"*.{suffix}")
        original = path.read_bytes()
        data = bytearray(original)
        for _ in range(random.integers(1, 8)):
            start = random.integers(len(data))
            kind = random.integers(4)
            if kind == 0:
                data[start] = random.integers(256)
            elif kind == 1:
                del data[start : start + random.integers(1, 20)]
            elif kind == 2:
                data[start:start] = random.bytes(random.integers(1, 20))
            else:
                copied = random.integers(len(data))
                data[start:start] = data[copied : copied + 30]
        path.write_bytes(data)
        try:
            reader(path)
        except InputError as error:
            rejected += 1
            assert "\n" not in str(error)
        collection = read_collection(folder)
        assert len(collection.views) + len(collection.left_out) >= 1
        assert all("\n" not in reason for _, reason in collection.left_out)
        path.write_bytes(original)
    assert n_mutations / 10 < rejected < n_mutations


def test_mutated_texts_are_read_or_rejected_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path, 400, seed=1)


@pytest.mark.slow
def test_many_mutated_texts_are_read_or_rejected_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path, 6000, seed=2)
