"""Lesions of a manifest that are malignant in one row and benign in another."""

import csv
from pathlib import Path

import numpy as np
import pytest
from test_imaging import write_pgm

from mtl_jax.data import audit, ingest
from mtl_jax.data.sources import manifest
from mtl_jax.experiments.results import _describe_collection
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.report import tables
from mtl_jax.types import InputError, RoiSet

ROI = RoiSettings()
HEADER = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,centre"
# Lesion 2 of P1 has both truths, lesion 2 of P2 is another one; one view of lesion 3 is unknown.
ROWS = (
    ("P1", "1", "CC", "malignant"),
    ("P1", "1", "MLO", "malignant"),
    ("P1", "2", "ML", "malignant"),
    ("P1", "2", "LM", "benign"),
    ("P1", "2", "AT", "malignant"),
    ("P2", "2", "CC", "benign"),
    ("P3", "3", "CC", "malignant"),
    ("P3", "3", "MLO", "unproven"),
)
DISPUTED = ["P1/2/ML", "P1/2/LM", "P1/2/AT"]
REASON = "malignant in one view, benign in another"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = [HEADER]
    for i, (patient, lesion, view, truth) in enumerate(ROWS):
        write_pgm(tmp_path / f"{i}.pgm", rng.integers(0, 4096, (290, 280)), 4095)
        lines.append(f"m,{patient},{lesion},{view},{i}.pgm,{truth},100,150;140")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.csv"


def load(path: Path, **options: str) -> RoiSet:
    rules = ingest.Rules(pseudonymise=False)
    options = {"manifest": options}
    return ingest.load(f"manifest:{path}", path.parent / "c", ROI, options, rules)


@pytest.mark.parametrize("options", [{}, {"conflicts": "reject"}])
def test_they_are_an_error_by_default(path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="line 5: lesion 2 of patient P1 has another.* or truth"):
        load(path, **options)


def test_they_are_left_out_with_all_their_views_and_counted(path: Path) -> None:
    rois = load(path, conflicts="leave_out")
    kept = [
        "/".join(row)
        for row in zip(*(rois.index[n] for n in ("case_id", "lesion_id", "view")), strict=True)
    ]
    assert kept == ["P1/1/CC", "P1/1/MLO", "P2/2/CC", "P3/3/CC"]
    (audit_csv,) = (path.parent / "c").glob("*/audit.csv")
    with audit_csv.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["reason"] == REASON]
    assert [row["item"] for row in rows] == DISPUTED
    assert {row["decision"] for row in rows} == {"left out"}
    assert rois.manifest["counts"]["left_out"] == 4
    assert f"m: 3 left out: {REASON}" in audit.format_summary([rois])
    assert (REASON, 3, ", ".join(DISPUTED)) in tables.exclusions(_describe_collection(rois, False))
    assert (
        "m: lesions that are malignant in one row and benign in another are left out with all their"
        " views (data.manifest.conflicts): 1 lesions, 3 views"
    ) in rois.manifest["decisions"]


def test_other_contradictions_are_still_errors(path: Path) -> None:
    text = path.read_text().replace("m,P2,2,CC,5", "m,P1,1,LMO,0")
    path.write_text(text.replace("benign,100,150", "malignant,100,150"))
    with pytest.raises(InputError, match="line 7: the same lesion in the same image"):
        load(path, conflicts="leave_out")


def test_another_value_is_rejected(path: Path) -> None:
    message = "config.data.manifest.conflicts='malignant' is invalid: expected one of reject, leave"
    with pytest.raises(InputError, match=message):
        manifest.read_collection(str(path), conflicts="malignant")
