"""Measure CPU seconds and peak memory of the parts that grow with the size of their input.

    PYTHONPATH=. python tests/kit/load.py manifest|ROIs|runs SIZE FOLDER

Prints a JSON object. Each size needs a process of its own, because its peak memory is measured.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from mtl_jax.data import ingest_plan, near_duplicates, shards
from mtl_jax.experiments import executors, leak_checks, scores, splits
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import RoiSet, Run

HEADER = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"
LESIONS = 4  # per image


def manifest(size: int, folder: Path) -> dict[str, float]:
    """Read and plan a manifest of `size` rows with pseudonyms; no image is opened."""
    truths = ("malignant", "benign", "benign")
    with (folder / "m.csv").open("w") as file:
        file.write(HEADER + "\n")
        for row in range(size):
            case, lesion = row // LESIONS, row % LESIONS
            file.write(f"big,P{case},{lesion},CC,{case % 1000}/{case}.pgm,{truths[row % 3]},50,")
            file.write(f"{50 * lesion};10;{50 * lesion + 40};60\n")
    for number in range(1000):
        (folder / str(number)).mkdir()
    for case in range(-(-size // LESIONS)):
        (folder / str(case % 1000) / f"{case}.pgm").touch()
    begin = time.process_time()
    plan = ingest_plan.make_plan(
        "manifest", str(folder / "m.csv"), RoiSettings(), {}, ingest_plan.DEFAULT_RULES
    )
    seconds = time.process_time() - begin
    assert len(plan.views) == size
    return {"read and plan": seconds}


def rois(size: int, folder: Path) -> dict[str, float]:
    """Write `size` ROIs as shards, open and verify them, split them, search for near-duplicates."""
    rng = np.random.default_rng(0)
    # Breast tissue falls with the frequency to about the power of 1.5 in amplitude.
    down, across = np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)
    amplitude = 0.01 / np.maximum(np.hypot(down, across), 1 / 32) ** 1.5
    index = [
        dict.fromkeys(shards.COLUMNS, 1)
        | {"roi_id": f"r{i}", "case_id": f"c{i // 2}", "lesion_id": "1", "view": "CC"}
        | {"split": "", "label": i // 2 % 2}
        for i in range(size)
    ]

    def chunks() -> object:
        for start in range(0, size, 2048):
            count = min(2048, size - start)
            waves = np.fft.rfft2(rng.normal(0, 3000, (count, 32, 32))) * amplitude
            coarse = np.fft.irfft2(waves).astype(np.int16)
            yield coarse.repeat(4, 1).repeat(4, 2)

    steps, now = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal now
        steps[name], now = time.process_time() - now, time.process_time()

    shards.write(folder / "big", "big", index, chunks(), {}, "")
    lap("make and write")
    rois = shards.open_shards(folder / "big")
    lap("open and check")
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(False, 10, 4, 0.0, 0)
    )
    for fold in range(4):
        splits.run_rows(Run("sttl", ("big",), "C1", fold, 0), {"big": rois}, split)
    lap("ten splits, four runs")
    leak_checks.find_near_duplicates_across_split({"big": rois}, split)
    lap("search for copies")
    assert near_duplicates.MAX_STEP < size
    return steps


def runs(size: int, folder: Path) -> dict[str, float]:
    """Read and concatenate `size` finished runs with 100 scores each."""
    index = {
        **{
            name: np.array([f"{name}{i}" for i in range(100)]) for name in scores.Scores._fields[:4]
        },
        "label": np.arange(100) % 2,
    }
    rois = RoiSet("big", index, (), {})
    planned = [Run("sttl", ("big",), "C1", None, 0, initialization=seed) for seed in range(size)]
    table = scores.make_scores(rois, np.arange(100), np.linspace(0, 1, 100))
    for run in planned:
        (folder / "runs" / run.id).mkdir(parents=True)
        scores.write_scores(folder / "runs" / run.id / "scores.csv", table)
    begin = time.process_time()
    assert not executors.missing_runs(planned, folder)
    read = [scores.read_scores(folder / "runs" / run.id / "scores.csv") for run in planned]
    assert len(scores.concatenate(read).score) == 100 * size
    return {"find and read": time.process_time() - begin}


if __name__ == "__main__":
    _, what, size, where = sys.argv
    steps = {"manifest": manifest, "rois": rois, "runs": runs}[what](int(size), Path(where))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rounded = {name: round(seconds, 2) for name, seconds in steps.items()}
    print(json.dumps({"what": what, "size": int(size), **rounded, "peak MiB": round(peak)}))
