"""Whole jobs with other backbones than AlexNet, on a small phantom and with made-up checkpoints."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import backbone_states as states
import export
import jax
import numpy as np
import pytest
from safetensors.numpy import save as safetensors_bytes
from study_command import finish, start

import mtl_jax
from mtl_jax import weights
from mtl_jax.report import analysis_results


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
    settings = {
        "network": "C1-C5",
        "model.backbone": name,
        "weights": str(folders[name]),
        "train.epochs": "1",
        "analysis.enabled": "True",
        "analysis.max_rois": "8",
        "analysis.iterations": "50",
        "analysis.n_init": "1",
        "analysis.steps": "2",
        "analysis.maps": "2",
    }
    finish(start(tmp_path / "w", tmp_path / "cache", settings, job="mttl"))
    found = analysis_results.read(tmp_path / "w" / "analysis")
    (maps,) = found.maps.values()
    assert maps.maps.shape[1] == layers and np.abs(maps.integrated).max() > 0
    assert len(found.layers) == 10 and set(found.embeddings["sttl"]) == {"F1", "F2", "F3", "F4"}
    page = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
    assert ("There are no deconvolution maps" in page) is not layers
    (run,) = (tmp_path / "w" / "runs").iterdir()
    assert export.main([str(run), "--output", str(tmp_path / "b"), "--format", "stablehlo"]) == 0
    model = mtl_jax.load(tmp_path / "b")
    assert model.about["network"]["backbone"] == name
    ended = export.main([str(run), "--output", str(tmp_path / "c"), "--format", "onnx"])
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
def test_backbones_are_compared_by_their_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    settings = {
        "network": "C1-C5",
        "train.epochs": "1",
        "transfer.initializations": "2",
        "transfer.weights": repr((str(folders["vgg16"]), str(folders["resnet18"]), "shipped")),
    }
    out = finish(start(tmp_path / "w", tmp_path / "cache", settings, job="backbones"))
    results = json.loads((tmp_path / "w" / "results.json").read_text())
    assert [row["backbone"] for row in results["auc"]] == ["vgg16", "resnet18", "alexnet"]
    assert all(0 <= row["ci_low"] <= row["auc"] <= row["ci_high"] <= 1 for row in results["auc"])
    assert [test["a"] for test in results["comparisons"]] == ["shipped", "shipped"]
    assert "| resnet18 |" in out
