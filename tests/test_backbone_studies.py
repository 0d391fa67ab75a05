"""Whole jobs with other backbones than AlexNet, on a small phantom and with made-up checkpoints."""

import contextlib
import json
import shutil
from pathlib import Path

import backbone_states as states
import jax
import numpy as np
import pytest
from kit.command import run_command
from safetensors.numpy import save as safetensors_bytes
from study_command import finish, start

import mtl_jax
from mtl_jax import config, weights
from mtl_jax.commands import export
from mtl_jax.experiments.runner import run_study
from mtl_jax.report import analysis_results

ANALYSED = {
    "network": "C1-C5",
    "train.epochs": "1",
    "analysis.enabled": "True",
    "analysis.max_rois": "8",
    "analysis.iterations": "50",
    "analysis.n_init": "1",
    "analysis.steps": "2",
    "analysis.maps": "2",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("backbones")
    found = {}
    for name, state in (("vgg16", states.vgg16()), ("resnet18", states.resnet18())):
        (place / f"{name}.safetensors").write_bytes(safetensors_bytes(state))
        weights.save(weights.convert(place / f"{name}.safetensors"), place / name)
        found[name] = place / name
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), [("vgg16", 5), ("resnet18", 0)])
def test_a_study_its_report_and_its_bundle(
    name: str, layers: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = {**ANALYSED, "model.backbone": name, "weights": str(folders[name])}
    finish(start(tmp_path / "w", tmp_path / "cache", settings, job="mttl"))
    found = analysis_results.read(tmp_path / "w" / "analysis")
    (maps,) = found.maps.values()
    assert maps.maps.shape[1] == layers and np.abs(maps.integrated).max() > 0
    assert len(found.layers["sttl"]) == 10 and set(found.embeddings["sttl"]) == {
        "F1",
        "F2",
        "F3",
        "F4",
    }
    page = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
    assert ("There are no deconvolution maps" in page) is not layers
    (run,) = (tmp_path / "w" / "runs").iterdir()
    assert run_command(export, run, "--output", tmp_path / "b", "--format", "stablehlo") == 0
    model = mtl_jax.load(tmp_path / "b")
    assert model.about["network"]["backbone"] == name
    ended = run_command(export, run, "--output", tmp_path / "c", "--format", "onnx")
    assert ended == (0 if layers else 2)
    counts = np.random.default_rng(0).integers(-999, 999, (2, 128, 128)).astype(np.int16)
    ours = model.score_rois(counts)[0]
    exported = jax.export.deserialize(bytearray((tmp_path / "b" / "model.stablehlo").read_bytes()))
    np.testing.assert_allclose(exported.call(counts.astype(np.float32)), ours, atol=1e-5)
    if layers:
        runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        session = runtime.InferenceSession(tmp_path / "c" / "model.onnx")
        found = session.run(None, {"rois": counts.astype(np.float32)})[0]
        np.testing.assert_allclose(found, ours, atol=1e-5)


@pytest.mark.slow
def test_backbones_are_compared_as_approaches(tmp_path: Path) -> None:
    resnet, random, shipped = "mttl+backbone=resnet18+weights=random", "mttl+weights=random", "mttl"
    settings = {
        **ANALYSED,
        "approaches": repr((resnet, random, shipped)),
        "data.sources": "('phantom:sfm','phantom:dm')",
    }
    finish(start(tmp_path / "w", tmp_path / "cache", settings, job="mttl"))
    runs = sorted((tmp_path / "w" / "runs").iterdir())
    backbones = [json.loads((run / "run.json").read_text())["backbone"] for run in runs]
    assert backbones == ["resnet18", "alexnet", "alexnet"]
    results = json.loads((tmp_path / "w" / "results.json").read_text())
    networks = {name: entry["backbone"] for name, entry in results["networks"].items()}
    assert networks == {resnet: "resnet18", random: "alexnet", shipped: "alexnet"}
    assert [(test["a"], test["b"]) for test in results["comparisons"] if test["primary"]] == [
        (resnet, random)
    ]
    found = analysis_results.read(tmp_path / "w" / "analysis")
    n_layers = {name: maps.maps.shape[1] for name, maps in found.maps.items()}
    assert n_layers == {resnet: 0, random: 5, shipped: 5}
    parameters = {
        name: [int(row["parameters"]) for row in layers] for name, layers in found.layers.items()
    }
    assert parameters[random] == parameters[shipped] != parameters[resnet]
    page = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
    assert "Feature maps of C1 to C5 of AlexNet projected" in page
    assert "There are no deconvolution maps" in page
    for run, backbone, name in zip(runs, backbones, ("random", "random", "formulas"), strict=True):
        assert run_command(export, run, "--output", tmp_path / run.name) == 0
        about = mtl_jax.load(tmp_path / run.name).about
        assert (about["network"]["backbone"], about["weights"]["name"]) == (backbone, name)
    before = {path: path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.is_file()}
    times = [(run / "scores.csv").stat().st_mtime_ns for run in runs]
    out = finish(start(tmp_path / "w", tmp_path / "cache", settings, job="mttl"))
    assert "test: 3 of 3 runs already finished" in out and "analysis of" not in out
    assert times == [(run / "scores.csv").stat().st_mtime_ns for run in runs]
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_converted_weights_are_named_by_their_folder(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """The names of folders in checkpoints of the current folder are options of an approach."""
    (tmp_path / "checkpoints").mkdir()
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / "checkpoints" / f"{name}_imagenet")
    approaches = ("sttl+backbone=vgg16+weights=imagenet", "sttl+backbone=resnet18+weights=imagenet")
    c = config.default()
    c.approaches, c.network, c.test.initializations = approaches, "C1-C5", 3
    c.data.sources, c.data.cache, c.data.phantom.cases = ("phantom:sfm",), str(tmp_path / "c"), 12
    c.train.epochs, c.train.batch_size, c.analysis.enabled = 1, 32, False
    config.validate(c)
    with contextlib.chdir(tmp_path):
        results = run_study(c, tmp_path / "w")
    rows = [
        row for row in results["auc"] if (row["unit"], row["method"]) == ("lesion", "empirical")
    ]
    assert [row["study"] for row in rows] == list(approaches)
    assert all(len(row["aucs"]) == 3 for row in rows)
    assert all(0 <= row["ci_low"] <= row["auc"] <= row["ci_high"] <= 1 for row in rows)
    assert [entry["backbone"] for entry in results["networks"].values()] == ["vgg16", "resnet18"]
