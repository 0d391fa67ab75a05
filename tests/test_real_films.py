"""The manifests of real films: compared with the tables of the collections, read by hand."""

import csv
import runpy
from pathlib import Path

import pytest

from mtl_jax.types import InputError

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "real_films.py"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    folder = shared / "data"
    if not all((folder / name / "masses.csv").is_file() for name in ("ddsm299", "dmid")):
        pytest.skip("shared/data has no ddsm299 or dmid")
    return folder


@pytest.fixture(scope="module")
def manifests(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    assert TOOL["main"]([str(real), "--out", str(out)]) == 0
    return out


def test_the_film_masses_have_the_facts_of_their_table(real: Path, manifests: Path) -> None:
    """Counts of SOURCE.md, and the first row by hand."""
    rows = read(manifests / "ddsm299" / "manifest.csv")
    assert len(rows) == 1338 and len({row["patient_id"] for row in rows}) == 709
    assert sum(row["truth"] == "malignant" for row in rows) == 680
    assert len({row["image_path"] for row in rows}) == 1258
    first = rows[0]
    image = manifests / "ddsm299" / first.pop("image_path")
    assert image.resolve() == (real / "ddsm299/png/B_3085_1.LEFT_CC.png").resolve()
    assert image.is_file() and first == {
        "dataset": "ddsm299",
        "modality": "SFM",
        "patient_id": "P_00001",
        "namespace": "cbis_ddsm",
        "lesion_id": "L1",
        "laterality": "L",
        "view": "CC",
        "box": "150.62;26.7;180.1;65.26",
        "pixel_um": "804;505.7",
        "bits": "8",
        "truth": "malignant",
        "truth_source": "followup",
        "split": "train",
        "device": "LUMISYS LASER",
    }
    # The official split is one of patients.
    splits = {split: {r["patient_id"] for r in rows if r["split"] == split} for split in
              ("train", "test")}  # fmt: skip
    assert not splits["train"] & splits["test"]


def test_the_digital_masses_have_groups_and_lesions_of_one_image(
    real: Path, manifests: Path
) -> None:
    rows = read(manifests / "dmid" / "manifest.csv")
    masses = [mass for mass in read(real / "dmid" / "masses.csv") if mass["keep"] == "1"]
    assert len(rows) == len(masses) == 303 and "patient_id" not in rows[0]
    assert len({row["lesion_id"] for row in rows}) == 303
    assert sum(row["truth"] == "malignant" for row in rows) == 128
    for row, mass in zip(rows, masses, strict=True):
        assert row["group_id"] == mass["run_group"] and row["view"] == mass["view"]
        assert row["lesion_id"].startswith(mass["image"].removesuffix(".png") + "_")
        assert row["box"] == ";".join(mass[f"box_{side}"] for side in ("y0", "x0", "y1", "x1"))
    constant = {name: {row.get(name) for row in rows} for name in ("pixel_um", "bits", "split")}
    assert constant == {"pixel_um": {"290;231"}, "bits": {"8"}, "split": {None}}
    assert {row["truth_source"] for row in rows} == {"unstated"}


def test_lesions_with_two_truths_are_counted() -> None:
    """Lesion L1 of a is malignant and benign in three views; b has another L1."""
    truths = [("a", "malignant"), ("a", "benign"), ("a", "benign"), ("b", "benign")]
    rows = [{"patient_id": p, "lesion_id": "L1", "truth": truth} for p, truth in truths]
    text = TOOL["describe"](rows)
    assert text.startswith("4 views of 2 lesions, 1 views malignant, 2 patients; 1 lesions are")
    assert "(3 views): set config.data.manifest.conflicts='leave_out'" in text
    assert TOOL["describe"](rows[3:]) == "1 views of 1 lesions, 0 views malignant, 1 patients"


def test_a_folder_without_the_tables_or_images_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masses.csv: no such file; name the folder that has"):
        TOOL["main"]([str(tmp_path), "--out", str(tmp_path / "out")])
    (tmp_path / "dmid").mkdir()
    columns = TOOL["DMID_COLUMNS"]
    table = tmp_path / "dmid" / "masses.csv"
    table.write_text(",".join(columns[1:]) + "\n")
    with pytest.raises(InputError, match="masses.csv: missing column image; restore the file"):
        TOOL["dmid_rows"](tmp_path)
    table.write_text(
        f"{','.join(columns)}\na.png,LEFT,CC,1,1,1,2,3,4,7\nb.png,L,CC,0,0,1,2,3,4,7\n"
    )
    rows = TOOL["dmid_rows"](tmp_path)
    assert [(row["lesion_id"], row["box"]) for row in rows] == [("a_1", "1;2;3;4")]
    with pytest.raises(InputError, match="png: 1 images are missing, the first a.png"):
        TOOL["write_manifest"](tmp_path / "m.csv", tmp_path / "png", rows)
