"""The benchmarks run and write their rows; the measured values are not tested."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kit.small_network import SmallAlexNet

from mtl_jax.models.base import init
from mtl_jax.training import dataset, devices, epoch, optimizer, replicas
from mtl_jax.training.objective import multi_task_objective
from mtl_jax.training.step import make_replica_step, make_step
from mtl_jax.types import TrainState

ROOT = Path(__file__).parents[1]


def measured(tmp_path: Path, *arguments: str) -> list[dict]:
    out = tmp_path / "rows.json"
    command = [sys.executable, str(ROOT / "tools" / "bench.py"), *arguments, "--json", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    report = json.loads(out.read_text())
    assert {"machine", "versions", "rows"} == set(report) and "jax" in report["versions"]
    return report["rows"]


def test_the_size_of_the_papers_study() -> None:
    """Section 3.1: ten splits of four folds, two networks, two initializations; 3.2: six networks,
    ten initializations, four folds, of which 3.1 has done 16; 3.3 adds 40 multi-task folds and two
    tests. A single-task fold learns 664 ROIs, 42 steps of 128; a multi-task one 1,323, 83 steps.
    """
    sys.path.insert(0, str(ROOT / "tools"))
    import bench_study

    assert sum(t.count for t in bench_study.STUDY) == 160 + 240 - 16 + 40 + 2 == 426
    steps = {t.rois: t.steps for t in bench_study.STUDY}
    assert steps[664] == 200 * 42 and steps[664 + 322 + 337] == 200 * 83


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--share", "2"), "--share 2: expected a number in (0, 1]"),
        (("train", "--epochs", "0"), "--epochs 0: expected an integer >= 1"),
        (("study", "--replicas", "1", "0"), "--replicas 0: expected an integer >= 1"),
        (("gpu", "--minutes", "0"), "--minutes 0: expected a number above 0"),
    ],
)
def test_numbers_out_of_range_are_rejected(arguments: tuple[str, ...], message: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "bench.py"), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 2 and process.stderr == f"{message}\n"


def test_measurements_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 s, replicas have 27: two of 12 s, and none that would pass the end. What others leave
    is used. The expected time decides about the first of a subject, the longest about the next."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_gpu

    now = 0.0

    def measurement(subject: str, name: str, seconds: float) -> bench_gpu.Measurement:
        def rows() -> Iterator[dict]:
            nonlocal now
            now += seconds
            if name == "broken":
                raise RuntimeError("no such kernel\nand more")
            yield {"name": name}

        return bench_gpu.Measurement(subject, name, rows)

    listed = [
        *(measurement("replicas", f"replicas {n}", 12) for n in range(4)),
        *(measurement("step", name, 10) for name in ("broken", "step")),
        measurement("training", "training", 30),
        measurement("scoring", "scoring", 35),
    ]
    rows = list(bench_gpu.in_time(listed, 100.0, {"training": 200}, lambda: now))
    assert [row["name"] for row in rows] == [
        *("replicas 0", "replicas 1", "broken", "step", "scoring"),
        *("replicas 2", "replicas 3", "training"),
    ]
    assert rows[2]["error"] == "RuntimeError: no such kernel"
    assert [row["what"] for row in rows[-2:]] == ["left out, no time"] * 2


def test_the_tables_of_the_gpu_have_the_measured_values(monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads((ROOT / "docs" / "benchmarks_h200.json").read_text())
    rows, profiles = report["rows"], report["profile"]["networks"]
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    page = page[page.index("## On a GPU") : page.index("### The benchmark")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    tables = {tuple(row[:3]): row[3:] for row in cells if row and row[0].startswith("C")}
    alone, together = (
        [row for row in rows if row["what"].startswith(what)] for what in ("step, ", "replicas, ")
    )
    names = {"vmap": "vmap of the step"}

    def k(rate: float) -> str:
        return f"{rate / 1000:.1f}"

    for row in alone:
        ours, theirs = k(row["ours"]), k(row["theirs"])
        found = tables.pop((row["network"], row["precision"], ours))
        assert found == [
            *(theirs, f"{row['ratio']:.2f}", k(row["floor"]), f"{row['of_floor']:.2f}")
        ]
    for row in (row for row in together if row["replicas"] > 1):
        form = names.get(row["form"], row["form"])
        found = tables.pop((row["network"], form, str(row["replicas"])))
        assert found == [k(row["ours"]), f"{row['ratio']:.2f}", f"{row['of_floor']:.2f}"]
    for row in report["later"]["rows"]:
        found = tables.pop((row["network"], row["precision"], k(row["ours"])))
        assert found == [f"{row['ratio']:.2f}", f"{row['of_floor']:.2f}"]
    assert [key for key in tables if key[1] in ("tf32", "bfloat16", "float32")] == []
    profile = profiles["C1 tf32"]
    for key in ("gradients of kernels", "products", "updates", "kernels_us"):
        assert f"| {profile[key]:.0f} |" in page
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_study

    rates = {row["network"]: row["ours"] for row in alone if row["precision"] == "tf32"}
    later = report["later"]["rows"]
    rates |= {row["network"]: row["ours"] for row in later if row["precision"] == "tf32"}
    assert f"{bench_study.projection('tf32', rates)['hours']:.2f} hours projected" in page


def test_kernels_are_grouped_by_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps: names as a profiler gave them on an H200."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_profile

    kernels = [
        ("sm90_xmma_wgrad_indexed_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc", 70.0),
        ("sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc", 50.0),
        ("sm90_xmma_dgrad_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc", 40.0),
        ("input_add_reduce_subtract_fusion_3", 80.0),
        ("gemm_fusion_dot_16", 30.0),
        ("loop_compare_select_fusion", 4.0),
    ]
    row = bench_profile.by_operation([*kernels, *kernels], 2)
    assert row["kernels"] == 6 and row["kernels_us"] == 274
    assert (row["small_kernels"], row["small_us"]) == (1, 4)
    assert (row["gradients of kernels"], row["products"], row["others"]) == (70, 30, 4)


def test_the_batch_of_pytorch_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [bench]")
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_torch
    import bench_train

    from mtl_jax.training.dataset import make_batch

    rois = bench_train.papers_dataset(0.01)
    indices = np.arange(8 * len(rois.label))
    ours = make_batch(rois, indices, np.ones(len(indices)))
    image, label = bench_torch._make_batch(bench_torch.rois(rois), torch.tensor(indices))
    np.testing.assert_allclose(image.permute(0, 2, 3, 1), ours.image, atol=1e-6)
    np.testing.assert_array_equal(label, ours.label)


def test_the_study_in_the_best_form_and_as_jobs_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs train as many replicas as they may, although another form has a higher rate here."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_gpu
    from bench_forms import MAP, SUM

    monkeypatch.setattr(bench_gpu, "init", lambda *_: {})
    bench = bench_gpu.Bench(steps=1, share=0.005, end=0.0)
    one, choice = bench_gpu.ONE, bench_gpu.Choice
    bench._ours["C1", "tf32"] = {one: 100.0, choice(SUM, 8): 50.0, choice(MAP, 4): 200.0}
    bench._ours["C0", "tf32"] = {one: 30.0, choice(MAP, 16): 10.0}
    rates = {one: 1.0, choice(SUM, 8): 400.0, choice(SUM, 16): 300.0, choice(SUM, 32): 350.0}
    bench._ours["C1-C5", "tf32"] = rates
    bench._floor = dict.fromkeys(bench._ours, 1000.0)
    assert [(row["form"], row["replicas"], row["ours"]) for row in bench.best_rates()] == [
        *(("alone", 1, 100), (MAP, 4, 200), ("alone", 1, 30), ("alone", 1, 1), (SUM, 8, 400)),
    ]
    best, jobs = bench.study("tf32")
    assert best["of each network"] == f"C1: {MAP} 4, C0: alone 1, C1-C5: {SUM} 8"
    assert jobs["of each network"] == f"C1: {SUM} 8, C0: alone 1, C1-C5: {SUM} 16"
    assert jobs["hours"] > best["hours"] > 0 and best["trainings"] == jobs["trainings"] == 234
    assert not list(bench.study("float32"))


@pytest.mark.slow  # compiles five programs of each network
@pytest.mark.parametrize("name", ["C1", "C1-C5"])
def test_each_form_of_replicas_trains_as_the_runs_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch of two steps of eight images; the forms in the loops of a GPU."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import bench_forms
    import bench_train

    monkeypatch.setattr(epoch, "SCANNED_STEPS", 2)  # one call
    frozen = optimizer.frozen_layers(name)
    network, tx = SmallAlexNet(dropout=0.5), optimizer.freeze(optimizer.sgd(0.9, 0.0005), frozen)
    objective = multi_task_objective(network, (1.0,) * 3)
    source, rates = bench_train.papers_dataset(0.005), np.float32([0.02, 0.01])
    key = jax.random.key(1)
    params = jax.device_get(init(network, key))
    one = TrainState(jnp.int32(0), params, tx.init(params))
    orders = [
        epoch.EpochOrder(indices[:2], weight[:2], rates)
        for indices, weight in (dataset.epoch_order([n], source.count, 8) for n in range(2))
    ]
    keys = list(jax.random.split(key))
    pair = replicas.Replicas(1, 2)
    run_alone = epoch.make_epoch(make_step(objective, tx))
    alone = []
    for order, key in zip(orders, keys, strict=True):
        state, read = run_alone(devices.replicate(one, None), source, order, key, lambda done: None)
        alone.append((state, read()))
    jobs = epoch.make_epoch(make_replica_step(objective, tx), replicas=pair)
    others = {
        form: bench_forms.make_epoch(form, objective, tx)
        for form in (bench_forms.VMAP, bench_forms.MAP)
    }
    for form, run_pair in {"jobs": jobs, **others}.items():
        states, read = run_pair(
            replicas.stack_replicas([one] * 2, pair),
            source,
            replicas.stack_on_host(orders, pair),
            replicas.stack_replicas(keys, pair),
            lambda done: None,
        )
        metrics = read()
        for number, (state, metrics_alone) in enumerate(alone):
            for metric, values in metrics_alone.items():
                np.testing.assert_allclose(metrics[metric][number], values, rtol=1e-4, atol=1e-6)
            replica = replicas.take_replica(states, pair, number)
            assert replica.step == state.step == 2
            for layer, parts in state.params.items():
                for part, value in parts.items():
                    change = np.linalg.norm(value - params[layer][part])
                    difference = np.linalg.norm(replica.params[layer][part] - value)
                    assert (change == 0) == (layer in frozen)
                    assert difference <= 1e-4 * change, (form, layer, part)


@pytest.mark.slow
def test_all_of_a_gpu_benchmark_on_a_cpu(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    what = ("--networks", "C1-C5", "--replicas", "1", "2", "--steps", "1", "--epochs", "1")
    what += ("--share", "0.01", "--precisions", "float32", "--minutes", "9")
    rows = measured(tmp_path, "gpu", *what, "--table", str(table))
    kinds = [row["what"].split(",")[0] for row in rows]
    assert list(dict.fromkeys(kinds)) == [
        *("step", "training", "replicas", "scoring", "step without cached activations"),
        *("best rates", "the paper's study", "memory of JAX in this process"),
    ]
    step, study = rows[0], next(row for row in rows if "hours" in row)
    assert step["ours_caching_s"] > 0 and step["ours"] < 128e3 / step["ours_ms"]
    assert study["goal 1 h"] == "networks are missing" and study["trainings"] == 40
    assert table.read_text().count("| C1-C5 | float32 |") >= 5


@pytest.mark.slow
def test_replicas_in_two_precisions_and_the_study_from_them(tmp_path: Path) -> None:
    what = ("--networks", "C1-C5", "--replicas", "1", "2", "--steps", "1")
    *rows, f32, bf16 = measured(tmp_path, "study", *what, "--precisions", "float32", "bfloat16")
    assert [(row["precision"], row["replicas"]) for row in rows] == [
        ("float32", 1),
        ("float32", 2),
        ("bfloat16", 1),
        ("bfloat16", 2),
    ]
    assert all(0 < row["ours"] < row["floor"] * 2 for row in rows)
    assert f32["trainings"] == bf16["trainings"] == 40
    best = max(row["ours"] for row in rows[:2])
    assert f32["hours"] == pytest.approx(40 * 8400 * 128 / best / 3600)


@pytest.mark.slow
def test_whole_trainings_and_devices(tmp_path: Path) -> None:
    what = ("--networks", "C1-C5", "--epochs", "2", "--share", "0.02")
    (row,) = measured(tmp_path, "train", *what)
    assert row["seconds"] > row["first_epoch"] > 0 and row["other_epochs"] > 0
    what = ("--networks", "C1-C5", "--steps", "1", "--cpu_devices", "2")
    one, two = measured(tmp_path, "scale", *what)
    assert (one["devices"], two["devices"]) == (1, 2) and one["speedup"] == 1
