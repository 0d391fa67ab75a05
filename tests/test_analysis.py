"""The analyses of random networks: their files, and that existing files are kept."""

from pathlib import Path

import jax
import numpy as np
import pytest
from kit.small_network import SmallAlexNet
from ml_collections import ConfigDict

from mtl_jax import config
from mtl_jax.analysis.analyse import AnalysisInputs, TrainedNetwork, analyse
from mtl_jax.models import alexnet
from mtl_jax.report import analysis_results
from mtl_jax.types import RoiSet


def make_rois(name: str, count: int, seed: int) -> RoiSet:
    """Return blobs in noise, the malignant ones larger, in two shards."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:128, :128] - 63.5
    label = np.arange(count) % 2
    width = np.where(label, 24.0, 12.0)[:, None, None]
    pixels = 3000 * np.exp(-0.5 * (row**2 + column**2) / width**2)
    pixels = np.int16(pixels + 300 * rng.standard_normal((count, 128, 128)))
    ids = np.array([f"{name}/{i}" for i in range(count)])
    index = {"roi_id": ids, "case_id": ids, "lesion_id": ids, "view": ids, "label": label}
    return RoiSet(name, index, (pixels[: count // 3], pixels[count // 3 :]), {})


@pytest.fixture(scope="module")
def inputs() -> AnalysisInputs:
    collections = {"t": make_rois("t", 24, 0), "x": make_rois("x", 10, 1)}
    train_rows = {"t": np.arange(0, 12), "x": np.arange(10)}
    evaluation_rows = np.arange(12, 24)
    scores = {"mttl": np.linspace(0, 1, 12), "sttl": np.linspace(0.2, 0.6, 12)}
    return AnalysisInputs(collections, train_rows, "t", evaluation_rows, scores, evaluation_rows)


def settings(**changes: object) -> ConfigDict:
    analysis = config.default().analysis
    small = {"max_rois": 8, "iterations": 50, "n_init": 1, "maps": 2, "steps": 2}
    analysis.update(small | changes)
    return analysis


def load_network() -> TrainedNetwork:
    network = alexnet.AlexNet()
    return TrainedNetwork(network, alexnet.init(network, jax.random.key(0)), 0)


def load_small_network() -> TrainedNetwork:
    network = SmallAlexNet()
    return TrainedNetwork(network, alexnet.init(network, jax.random.key(0)), 0)


@pytest.fixture(scope="module")
def folder(inputs: AnalysisInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "analysis"
    networks = {"mttl": load_network, "sttl": load_small_network}
    analyse(folder, networks, inputs, settings(roi_ids=("t/3",)), 0)
    return folder


def test_every_result_can_be_read(folder: Path, inputs: AnalysisInputs) -> None:
    results = analysis_results.read(folder)
    rois = results.rois
    assert rois.sampled.sum() == 8 + 8 + 8 and len(rois.roi_id) == 24 + 4
    assert set(rois.roi_id[~rois.learned]) == {f"t/{i}" for i in range(12, 24)}
    assert rois.label.tolist() == [int(r.split("/")[1]) % 2 for r in rois.roi_id]
    for approach in ("mttl", "sttl"):
        assert set(results.embeddings[approach]) == {"F1", "F2", "F3", "F4"}
        assert all(e.points.shape == (24, 2) for e in results.embeddings[approach].values())
        maps = results.maps[approach]
        # The requested ROI, then the extremes of t/12 ... t/23, whose scores increase, by class.
        assert maps.roi_id.tolist() == ["t/3", "t/23", "t/13", "t/12", "t/22"]
        assert maps.maps.shape == (5, 5, 2, 128, 128) and maps.integrated.shape == (5, 128, 128)
        assert np.abs(maps.maps[:, 0]).max() == 1
    rows = {(r["layer"], r["measure"], r["groups"], r["rois"]) for r in results.convergence["mttl"]}
    assert ("F4", "silhouette", "task", "learned") in rows
    assert ("F1", "mmd2", "t and x", "learned") in rows
    assert list(results.layers) == ["mttl", "sttl"]
    assert [row["layer"] for row in results.layers["mttl"]] == sorted(alexnet.LAYERS)
    # Weights and biases of C1 to C5 and F1 to F5, by hand.
    parameters = {row["layer"]: int(row["parameters"]) for row in results.layers["mttl"]}
    assert parameters["C1"] == 64 * (11 * 11 * 3 + 1)
    assert parameters["F1"] == 4096 * (3 * 3 * 256 + 1)
    assert sum(parameters.values()) == 32_889_590


def test_pictures_are_those_of_their_rois(folder: Path, inputs: AnalysisInputs) -> None:
    rois = analysis_results.read(folder).rois
    for i in (0, 9, 17, 27):
        name, number = rois.roi_id[i].split("/")
        pixels = np.concatenate(inputs.collections[name].shards)[int(number)]
        correlation = np.corrcoef(rois.picture[i].ravel(), pixels.ravel())[0, 1]
        assert correlation > 0.97


def test_existing_files_are_kept_and_deleted_ones_are_bit_identical_when_made_again(
    folder: Path, inputs: AnalysisInputs
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def must_not_load() -> TrainedNetwork:
        raise AssertionError("a network was loaded although its files exist")

    analysis = settings(roi_ids=("t/3",))
    analyse(folder, {"mttl": must_not_load, "sttl": must_not_load}, inputs, analysis, 0)
    for deleted in ("tsne-sttl-F2.npz", "maps-sttl.npz", "convergence-sttl.csv", "rois.npz"):
        (folder / deleted).unlink()
    analyse(folder, {"mttl": must_not_load, "sttl": load_small_network}, inputs, analysis, 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pictures_can_be_left_out(folder: Path, inputs: AnalysisInputs, tmp_path: Path) -> None:
    for path in (*folder.glob("tsne*"), *folder.glob("conv*")):  # done before
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def must_not_load() -> TrainedNetwork:
        raise AssertionError("a network was loaded although its files exist")

    analyse(tmp_path, {"mttl": must_not_load}, inputs, settings(show_rois=False), 0)
    assert not list(tmp_path.glob("maps*"))
    rois = analysis_results.read(tmp_path).rois
    assert rois.picture.shape == (0, 128, 128) and len(rois.roi_id) == 28
