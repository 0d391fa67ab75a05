"""The table of lesions to score: rows of one lesion, contradictions with headers, pseudonyms."""

import csv
import hashlib
import hmac
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from kit.command import run_command
from kit.dicom import write_dicom
from kit.untrained import make_untrained

from mtl_jax.bundle import lesion_table
from mtl_jax.commands import score
from mtl_jax.data import privacy
from mtl_jax.roc.class_names import parse_classes
from mtl_jax.types import InputError

pytestmark = pytest.mark.usefixtures("narrow_alexnet")
RNG = np.random.default_rng(7)
BOX = "100;110;170;160"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name in "abcd":
        np.save(folder / f"{name}.npy", RNG.integers(300, 3500, (300, 280)).astype(np.uint16))
    (folder / "again").mkdir()
    (folder / "again" / "a2.npy").write_bytes((folder / "a.npy").read_bytes())
    (folder / "link.npy").symlink_to(folder / "a.npy")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_untrained(tmp_path_factory.mktemp("untrained") / "model")


def table(path: Path, header: str, *rows: str) -> Path:
    lines = [f"{header},box,pixel_um,bits", *(f"{row},{BOX},90,12" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


FULL = "image_path,patient_id,lesion_id,laterality,view,truth"


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (
            "image_path,lesion_id",
            ("a.npy,7", "b.npy,7"),
            "no row names a patient",
        ),
        ("image_path,patient_id,lesion_id", ("a.npy,,7", "b.npy,,7"), "fill in patient_id"),
        # A patient with the name of the lesion of another row.
        ("image_path,patient_id,lesion_id", ("a.npy,7,7", "b.npy,,7"), "given in other rows"),
        ("image_path,group_id,lesion_id", ("a.npy,G,7", "b.npy,,8"), "group_id is empty here"),
        (FULL, ("a.npy,P,7,L,CC,benign", "b.npy,P,7,R,CC,benign"), "another laterality or truth"),
        (
            FULL,
            ("a.npy,P,7,L,CC,malignant", "b.npy,P,7,L,MLO,benign"),
            "another laterality or truth",
        ),
        (FULL, ("a.npy,P,7,L,CC,", "a.npy,P,7,L,CC,"), "listed twice"),
        (FULL, ("a.npy,P,7,L,CC,", "link.npy,P,7,L,CC,"), "listed twice"),
    ],
)
def test_contradictory_rows_of_a_lesion_are_rejected(
    films: Path, tmp_path: Path, header: str, rows: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError) as rejected:
        lesion_table.read(table(tmp_path / "l.csv", header, *rows), [films])
    assert words in str(rejected.value) and "l.csv line 3" in str(rejected.value)
    assert "\n" not in str(rejected.value)


def test_rows_of_different_lesions_or_views_are_kept(films: Path, tmp_path: Path) -> None:
    def ids(header: str, *rows: str) -> list[tuple[str, str]]:
        asked = lesion_table.read(table(tmp_path / "l.csv", header, *rows), [films])
        return [(one.view.case_id, one.view.lesion_id) for one in asked]

    assert len(set(ids("image_path,lesion_id", "a.npy,1", "b.npy,2", "c.npy,3"))) == 3
    groups = ids("image_path,group_id,lesion_id", "a.npy,G,1", "b.npy,G,2", "c.npy,H,2")
    assert groups == [("G", "1"), ("G", "2"), ("H", "2")]
    assert len(set(ids(FULL, "a.npy,P,1,L,CC,benign", "b.npy,P,1,L,MLO,benign"))) == 1
    assert len(set(ids(FULL, "a.npy,P,1,L,CC,benign", "b.npy,Q,1,R,CC,malignant"))) == 2


def test_rows_with_empty_cells_belong_to_the_lesion(films: Path, tmp_path: Path) -> None:
    rows = ("a.npy,P,1,,CC,", "b.npy,P,1,L,MLO,", "c.npy,P,1,L,ML,benign")
    asked = lesion_table.read(table(tmp_path / "l.csv", FULL, *rows), [films])
    assert [one.view.laterality for one in asked] == ["", "L", "L"]
    noted = {note.kind for one in asked for note in one.notes}
    assert noted == {"only some rows of the lesion state its laterality or truth"}
    two = table(tmp_path / "l.csv", FULL, *rows, "d.npy,P,1,R,CC,")
    with pytest.raises(InputError, match="line 5: .*another laterality or truth"):
        lesion_table.read(two, [films])


def test_other_truth_values_are_unknown_and_noted(films: Path, tmp_path: Path) -> None:
    rows = ("a.npy,P,1,L,CC,cancer", "b.npy,P,2,L,CC,1", "c.npy,P,3,L,CC,", "d.npy,P,4,L,CC,Benign")
    asked = lesion_table.read(table(tmp_path / "l.csv", FULL, *rows), [films])
    assert [one.view.label for one in asked] == [-1, -1, -1, 0]
    noted = [[note.text for note in one.notes] for one in asked]
    words = "the truth is neither malignant nor benign and is taken as unknown"
    assert noted == [[words], [words], [], []]
    assert [one.unknown_truth for one in asked] == ["cancer", "1", "", ""]


def test_words_of_classes_are_read_as_truth(films: Path, tmp_path: Path) -> None:
    rows = ("a.npy,P,1,L,CC,Bösartig", "b.npy,P,2,L,CC,gutartig", "c.npy,P,3,L,CC,",
            "d.npy,P,4,L,CC,unklar")  # fmt: skip
    classes = parse_classes("gutartig,bösartig")
    asked = lesion_table.read(table(tmp_path / "l.csv", FULL, *rows), [films], classes=classes)
    assert [one.view.label for one in asked] == [1, 0, -1, -1]
    assert [one.unknown_truth for one in asked] == ["", "", "", "unklar"]
    rows = ("a.npy,P,1,L,CC,1", "b.npy,P,2,L,CC,0.0", "c.npy,P,3,L,CC,2")
    numbers = table(tmp_path / "l.csv", FULL, *rows)
    labels = [one.view.label for one in lesion_table.read(numbers, [films], classes=("0", "1"))]
    assert labels == [1, 0, -1]
    # Without the option numbers are never read as classes.
    assert {one.view.label for one in lesion_table.read(numbers, [films])} == {-1}


def test_misspelt_columns_are_rejected_and_unused_columns_listed(
    films: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """If 'Laterality' were ignored, lesions of two breasts would be merged."""
    spelt = table(
        tmp_path / "l.csv", FULL.replace("lat", "Lat"), "a.npy,P,1,L,CC,", "b.npy,P,1,R,CC,"
    )
    with pytest.raises(InputError, match="column 'Laterality' is invalid: write laterality$"):
        lesion_table.read(spelt, [films])
    rows = table(tmp_path / "l.csv", f"{FULL},label", "a.npy,P,1,L,CC,,1")
    command = [model, films, "--lesions", rows, "--no-evidence", "--out", tmp_path / "out"]
    assert run_command(score, *command) == 0
    assert "mtl_jax: note: l.csv: columns not used: label\n" in capsys.readouterr().err


def test_an_roi_of_one_gray_value_is_rejected_with_its_row(
    films: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "blank.npy", np.full((300, 280), 700, np.uint16))
    rows = table(tmp_path / "l.csv", FULL, "a.npy,P,1,L,CC,", "blank.npy,Q,1,R,CC,")
    images = [films / "a.npy", tmp_path / "blank.npy"]
    command = [model, *images, "--lesions", rows, "--no-evidence", "--out", tmp_path / "out"]
    assert run_command(score, *command) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "l.csv line 3: all pixels of the ROI have one gray value" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["again/a2.npy", r"again\a2.npy", "./again/a2.npy", "{folder}/again/a2.npy", "{whole}"]
)
@pytest.mark.parametrize("given", ["file", "folder"])
def test_image_names_of_the_command_line_and_of_windows(
    films: Path, tmp_path: Path, name: str, given: str
) -> None:
    image = films / "again" / "a2.npy"
    name = name.format(folder=films.name, whole=image)
    rows = table(tmp_path / "l.csv", FULL, f"{name},P,1,L,CC,")
    (one,) = lesion_table.read(rows, [image if given == "file" else films])
    assert one.view.image_path == image
    assert "\\" not in one.name


def test_the_path_below_the_given_folder_comes_first(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for place in ("s/a.npy", "t/s/a.npy"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes((films / "a.npy").read_bytes())
    (one,) = lesion_table.read(table(tmp_path / "l.csv", FULL, "s/a.npy,P,1,L,CC,"), [folder])
    assert one.view.image_path == folder / "s/a.npy"
    with pytest.raises(InputError, match="2 images of that name"):
        lesion_table.read(table(tmp_path / "l.csv", FULL, "a.npy,P,1,L,CC,"), [folder])


@pytest.mark.parametrize(
    ("box", "reason"),
    [("0.2;0.3;0.4;0.5", "fractions of the image"), ("0;0;300;280", "covers 100% of the rows")],
)
def test_implausible_boxes_are_rejected(
    films: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, box: str, reason: str
) -> None:
    rows = tmp_path / "l.csv"
    rows.write_text(f"image_path,lesion_id,box,pixel_um,bits\na.npy,1,{box},90,12\n")
    command = [model, films, "--lesions", rows, "--no-evidence", "--out", tmp_path / "out"]
    assert run_command(score, *command) == 2
    said = capsys.readouterr().err
    assert "l.csv line 2: " in said and reason in said and said.count("\n") == 1


def test_ids_that_are_formulas_are_rejected_with_keep_ids(
    films: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = table(tmp_path / "l.csv", FULL, "a.npy,=P1,1,L,CC,")
    command = [model, films, "--lesions", rows, "--no-evidence", "--out", tmp_path / "out"]
    assert run_command(score, *command, "--keep-ids") == 2
    assert "mtl-jax score without --keep-ids" in capsys.readouterr().err
    assert run_command(score, *command) == 0


def test_all_faults_of_the_table_are_listed(films: Path, tmp_path: Path) -> None:
    rows = ("a.npy,P,1,L,CC,", "no.npy,P,2,L,CC,", "b.npy,P,,L,CC,", "c.npy,P,3,left,CC,")
    with pytest.raises(InputError) as rejected:
        lesion_table.read(table(tmp_path / "l.csv", FULL, *rows), [films])
    said = str(rejected.value)
    assert "3 errors" in said and all(f"line {n}" in said for n in (3, 4, 5))


def test_one_image_under_two_names_counts_once(
    films: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = table(tmp_path / "l.csv", FULL, "a.npy,P,1,L,CC,", "a2.npy,P,1,L,MLO,")
    command = [model, films, "--lesions", rows, "--out", tmp_path / "out", "--no-evidence"]
    assert run_command(score, *command) == 2
    said = capsys.readouterr().err
    assert "l.csv line 3: the same pixels as the image of" in said and said.count("\n") == 1


def test_headers_with_different_patients_are_noted(model: Path, tmp_path: Path) -> None:
    gray = RNG.integers(300, 3500, (300, 280)).astype(np.uint16)
    for name, patient in (("a", "X-1"), ("b", "X-2"), ("c", "X-1")):
        tags = {"PatientID": patient, "ImagerPixelSpacing": [0.09, 0.09], "ImageLaterality": "L"}
        write_dicom(tmp_path / f"{name}.dcm", gray + ord(name), **tags)
    rows = ("a.dcm,P,1", "b.dcm,P,1", "a.dcm,Q,2", "c.dcm,Q,2")
    path = tmp_path / "l.csv"
    path.write_text(
        "image_path,patient_id,lesion_id,box\n" + "".join(f"{row},{BOX}\n" for row in rows)
    )
    command = [model, tmp_path, "--lesions", path, "--out", tmp_path / "out", "--no-evidence"]
    assert run_command(score, *command) == 0
    first, second = json.loads((tmp_path / "out" / "scores.json").read_text())["lesions"]
    words = "the headers of the lesion's images name different patients"
    assert all(words in view["notes"] for view in first["views"])
    assert all(words not in view["notes"] for view in second["views"])


def pseudonym(key: Path, kind: str, original: str) -> str:
    """Compute a pseudonym by hand, as docs/collections.md defines it."""
    secret = key.read_text().strip().encode()
    return hmac.new(secret, f"{kind}\0{original}".encode(), "sha256").hexdigest()[:12]


def test_output_contains_no_patient_or_file_name(
    films: Path,
    model: Path,
    tmp_path: Path,
    pseudonym_key: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "Trillian_McMillan.npy").write_bytes((films / "b.npy").read_bytes())
    row = "Trillian_McMillan.npy,Dent,Zaphod,L,CC,benign,Marvin film 12"
    rows = table(tmp_path / "l.csv", f"{FULL},spacing_source", row)
    command = [model, images, "--lesions", rows, "--no-evidence"]
    assert run_command(score, *command, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    planted = ("Trillian", "McMillan", "Dent", "Zaphod", "Marvin", str(films))
    for path in (tmp_path / "out").rglob("*.*"):
        content = path.read_bytes()
        assert not [name for name in planted if name.encode() in content], path
    assert not [name for name in planted if name in said]
    (lesion,) = json.loads((tmp_path / "out" / "scores.json").read_text())["lesions"]
    assert lesion["case_id"] == pseudonym(pseudonym_key, "case", "Dent")
    assert lesion["lesion_id"] == pseudonym(pseudonym_key, "lesion", "Dent/Zaphod")
    image = pseudonym(pseudonym_key, "image", "Trillian_McMillan.npy") + ".npy"
    assert lesion["views"][0]["image"] == image
    # The lookup table next to the key, readable by its owner only.
    (lookup,) = (Path(line.split(": ")[-1]) for line in said.splitlines() if "lookup table" in line)
    assert lookup.parent == pseudonym_key.parent and lookup.stat().st_mode & 0o077 == 0
    with lookup.open(newline="") as file:
        lines = [(row["kind"], row["original"]) for row in csv.DictReader(file)]
    assert sorted(lines) == [
        ("case", "Dent"),
        ("image", "Trillian_McMillan.npy"),
        ("lesion", "Dent/Zaphod"),
    ]

    assert run_command(score, *command, "--out", tmp_path / "kept", "--keep-ids") == 0
    (lesion,) = json.loads((tmp_path / "kept" / "scores.json").read_text())["lesions"]
    assert (lesion["case_id"], lesion["lesion_id"]) == ("Dent", "Zaphod")
    assert lesion["views"][0]["image"] == "Trillian_McMillan.npy"
    assert lesion["views"][0]["spacing_source"] == "Marvin film 12"


def test_colliding_pseudonyms_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    names = privacy.Pseudonyms(b"k" * 32)
    assert names.case("A") != names.case("B") and names.case("A") == names.case("A")
    # As if 48 bits collided.
    monkeypatch.setattr(privacy.hmac, "digest", lambda *_: bytes(32))
    same = privacy.Pseudonyms(b"k" * 32)
    assert same.case("A") == same.lesion("A", "1") == "0" * 12 == same.case("A")
    for ask in (lambda: same.case("B"), lambda: same.lesion("A", "2")):
        with pytest.raises(InputError, match="both be written as 000000000000") as rejected:
            ask()
        assert "\n" not in str(rejected.value) and "another key" in str(rejected.value)
    plain = privacy.Pseudonyms(None)
    monkeypatch.setattr(privacy.hashlib, "sha256", lambda _: hashlib.new("md5", b"the same"))
    with pytest.raises(InputError, match="rename one of the files"):
        for uid in ("1.2.840.1.1", "1.2.840.1.2"):
            plain.file(PurePosixPath(f"{uid}/x.dcm"))


@pytest.mark.parametrize("classes", [("malignant", "benign"), ("malignant", "gesund")])
def test_words_of_a_class_cannot_name_the_other_class(
    tmp_path: Path, classes: tuple[str, str]
) -> None:
    path = tmp_path / "lesions.csv"
    path.write_text("image_path,lesion_id,box,truth\na.dcm,1,1;1;9;9,malignant\n")
    with pytest.raises(InputError, match="--classes: malignant is the positive class; give the"):
        lesion_table.read(path, [tmp_path], classes=classes)
