"""Test that a contradiction between header and table is recorded or does not change the ROI.

The expected ROI of the unaltered statements is computed with NumPy alone (kit/contradictions.py).
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from kit.contradictions import ALTERATIONS, Sample, alter, make_sample, write

from mtl_jax.data import ingest, ingest_plan, plausibility
from mtl_jax.data.sources import SOURCES, manifest
from mtl_jax.imaging import table_vs_header
from mtl_jax.imaging.roi import GRAY_PER_COUNT, RoiSettings
from mtl_jax.types import Collection, InputError, LesionView

ROI = RoiSettings(correct=False)
HALF_A_COUNT = 0.5 + 0.02  # plus the float32 error of 4095 levels of 8 counts
# By the rules the table overrides the header, so an error of the table remains, with a note.
OVERRULED = (table_vs_header.SPACING_OVERRIDDEN, plausibility.POLARITY)
UNALTERED = 200
BATCH = 250  # images of one ingest


class Outcome(NamedTuple):
    """The decision of audit.csv or `rejected`, its reason, and the difference of the ROI from that
    of the unaltered statements in counts."""

    decision: str
    reason: str
    difference: float


def ingest_samples(
    samples: Sequence[Sample], home: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Outcome]:
    """Return the outcome of reading each sample's manifest and of one ingest of all samples."""
    views: list[LesionView] = []
    rejected: dict[str, str] = {}
    for number, sample in enumerate(samples):
        rows = [sample.row, *sample.more_rows]
        image = write(sample, home / f"{number}")
        table = home / f"{number}.csv"
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*sample.row, "image_path", "polarity", "bits", "frame"])
            writer.fieldnames = list(dict.fromkeys(writer.fieldnames))
            writer.writeheader()
            writer.writerows(row | {"image_path": image.name} for row in rows)
        try:
            views += manifest.read_collection(str(table)).views
        except InputError as error:
            rejected[sample.row["patient_id"]] = str(error)
    collection = Collection("fuzz", home, tuple(views))
    monkeypatch.setitem(SOURCES, "manifest", lambda path: collection)
    rules = ingest_plan.Rules(pseudonymise=False, unusable="leave_out")
    rois = ingest.load(f"manifest:{home}", home / "cache", ROI, {}, rules)
    (audit,) = (home / "cache").glob("fuzz-*/audit.csv")
    with audit.open(newline="") as file:
        lines = {row["case_id"]: row for row in csv.DictReader(file) if row["lesion_id"] == "1"}
    roi_numbers = {case: number for number, case in enumerate(rois.index["case_id"].tolist())}
    pixels = np.concatenate(rois.shards)
    outcomes = []
    for sample in samples:
        case = sample.row["patient_id"]
        if case in rejected:
            outcomes.append(Outcome("rejected", rejected[case], np.nan))
            continue
        line = lines[case]
        difference = np.nan
        if line["decision"] != "left out":
            first = rois.index["lesion_id"] == "1"
            number = next(n for n in np.flatnonzero(first) if rois.index["case_id"][n] == case)
            difference = np.abs(pixels[number] - sample.expected / GRAY_PER_COUNT).max()
        outcomes.append(Outcome(line["decision"], line["reason"], float(difference)))
    assert roi_numbers
    return outcomes


def run(
    count: int, seed: int, altered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Sample, Outcome]]:
    rng = np.random.default_rng(seed)
    results = []
    for start in range(0, count, BATCH):
        home = tmp_path / f"{seed}-{start}"
        home.mkdir()
        unaltered = [make_sample(rng, number) for number in range(start, min(start + BATCH, count))]
        samples = [alter(sample, rng) for sample in unaltered] if altered else unaltered
        results += zip(samples, ingest_samples(samples, home, monkeypatch), strict=True)
    return results


def test_unaltered_samples_are_included_without_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sample, outcome in run(UNALTERED, 1, False, tmp_path, monkeypatch):
        explained = sample.row["spacing_source"] == "service record"
        assert outcome.decision == "kept" or explained, (sample.kind, outcome)
        assert outcome.difference <= HALF_A_COUNT, (sample.kind, outcome)


@pytest.mark.slow
def test_no_contradiction_changes_an_roi_without_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(2000, 17, True, tmp_path, monkeypatch)
    silent, corrected_wrong, unrecorded = [], [], []
    for sample, outcome in results:
        summary = (sample.kind, sample.alteration, sample.row, sample.tags, outcome)
        changed = outcome.difference > HALF_A_COUNT
        if outcome.decision == "kept" and changed:
            silent.append(summary)
        overruled = any(kind in outcome.reason for kind in OVERRULED)
        if outcome.decision == "repaired" and changed and not overruled:
            corrected_wrong.append(summary)
        if outcome.decision == "kept" and sample.recorded:
            unrecorded.append(summary)
    assert not silent, silent[:3]
    assert not corrected_wrong, corrected_wrong[:3]
    assert not unrecorded, unrecorded[:3]
    # Every alteration and every decision occurs.
    assert {sample.alteration for sample, _ in results} == set(ALTERATIONS)
    decisions = Counter(outcome.decision for _, outcome in results)
    assert min(decisions[name] for name in ("repaired", "noted", "left out", "rejected")) >= 10
