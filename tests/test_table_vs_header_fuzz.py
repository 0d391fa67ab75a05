"""Facts stated twice, one of them altered: what is wrong is recorded, or no ROI changes.

The oracle is NumPy's alone (kit/contradictions.py): the ROI that the unaltered facts mean.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from kit.contradictions import ALTERATIONS, Sample, alter, sample, write

from mtl_jax.data import ingest, ingest_plan, plausibility
from mtl_jax.data.sources import SOURCES, manifest
from mtl_jax.imaging import table_vs_header
from mtl_jax.imaging.roi import GRAY_PER_COUNT
from mtl_jax.types import Collection, InputError, LesionView

BACKGROUND = {"correct": False, "along_mm": 3.2, "depth_mm": 1.6}
HALF_A_COUNT = 0.5 + 0.02  # and the float32 of an image of 4095 levels of 8 counts
# Where the table overrules the header by the rules, an error in the table stands, on record.
OVERRULED = (table_vs_header.SPACING_OVERRIDDEN, plausibility.POLARITY)
UNALTERED = 200
BATCH = 250  # images of one ingest


class Ending(NamedTuple):
    """What became of a sample: a decision of audit.csv, or rejected by the table; why; and by how
    many counts its ROI differs from that of the unaltered facts."""

    decision: str
    reason: str
    difference: float


def endings(samples: Sequence[Sample], home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Ending]:
    """Each sample through the manifest and, with others, through an ingest."""
    views: list[LesionView] = []
    rejected: dict[str, str] = {}
    for number, one in enumerate(samples):
        rows = [one.row, *one.more_rows]
        image = write(one, home / f"{number}")
        table = home / f"{number}.csv"
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*one.row, "image_path", "polarity", "bits", "frame"])
            writer.fieldnames = list(dict.fromkeys(writer.fieldnames))
            writer.writeheader()
            writer.writerows(row | {"image_path": image.name} for row in rows)
        try:
            views += manifest.collection(str(table)).views
        except InputError as error:
            rejected[one.row["patient_id"]] = str(error)
    found = Collection("fuzz", home, tuple(views))
    monkeypatch.setitem(SOURCES, "manifest", lambda path: found)
    rules = ingest_plan.Rules(pseudonymise=False, unusable="leave_out")
    rois = ingest.load(f"manifest:{home}", home / "cache", BACKGROUND, {}, rules)
    (audit,) = (home / "cache").glob("fuzz-*/audit.csv")
    with audit.open(newline="") as file:
        lines = {row["case_id"]: row for row in csv.DictReader(file) if row["lesion_id"] == "1"}
    place = {case: number for number, case in enumerate(rois.index["case_id"].tolist())}
    pixels = np.concatenate(rois.shards)
    ended = []
    for one in samples:
        case = one.row["patient_id"]
        if case in rejected:
            ended.append(Ending("rejected", rejected[case], np.nan))
            continue
        line = lines[case]
        difference = np.nan
        if line["decision"] != "left out":
            first = rois.index["lesion_id"] == "1"
            number = next(n for n in np.flatnonzero(first) if rois.index["case_id"][n] == case)
            difference = np.abs(pixels[number] - one.expected / GRAY_PER_COUNT).max()
        ended.append(Ending(line["decision"], line["reason"], float(difference)))
    assert place
    return ended


def run(
    count: int, seed: int, altered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Sample, Ending]]:
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, count, BATCH):
        home = tmp_path / f"{seed}-{start}"
        home.mkdir()
        made = [sample(rng, number) for number in range(start, min(start + BATCH, count))]
        samples = [alter(one, rng) for one in made] if altered else made
        found += zip(samples, endings(samples, home, monkeypatch), strict=True)
    return found


def test_unaltered_facts_are_kept_without_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one, ending in run(UNALTERED, 1, False, tmp_path, monkeypatch):
        explained = one.row["spacing_source"] == "service record"
        assert ending.decision == "kept" or explained, (one.kind, ending)
        assert ending.difference <= HALF_A_COUNT, (one.kind, ending)


@pytest.mark.slow
def test_no_contradiction_changes_a_roi_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(2000, 17, True, tmp_path, monkeypatch)
    silent, corrected_wrong, unrecorded = [], [], []
    for one, ending in found:
        says = (one.kind, one.alteration, one.row, one.tags, ending)
        changed = ending.difference > HALF_A_COUNT
        if ending.decision == "kept" and changed:
            silent.append(says)
        overruled = any(kind in ending.reason for kind in OVERRULED)
        if ending.decision == "repaired" and changed and not overruled:
            corrected_wrong.append(says)
        if ending.decision == "kept" and one.recorded:
            unrecorded.append(says)
    assert not silent, silent[:3]
    assert not corrected_wrong, corrected_wrong[:3]
    assert not unrecorded, unrecorded[:3]
    # Every alteration was tried, and every way to end occurs.
    assert {one.alteration for one, _ in found} == set(ALTERATIONS)
    decisions = Counter(ending.decision for _, ending in found)
    assert min(decisions[name] for name in ("repaired", "noted", "left out", "rejected")) >= 10
