"""The analyses of made-up networks: what they leave, that it is not made again, and only once."""

from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from mtl_jax import config
from mtl_jax.analysis.analyse import AnalysisInputs, TrainedNetwork, analyse
from mtl_jax.models import alexnet
from mtl_jax.report import analysis_results
from mtl_jax.types import RoiSet


def made_up(name: str, count: int, seed: int) -> RoiSet:
    """Blobs in noise, the malignant ones larger; in two shards."""
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
def material() -> AnalysisInputs:
    collections = {"t": made_up("t", 24, 0), "x": made_up("x", 10, 1)}
    learned = {"t": np.arange(0, 12), "x": np.arange(10)}
    scored = np.arange(12, 24)
    scores = {"mttl": np.linspace(0, 1, 12), "sttl": np.linspace(0.2, 0.6, 12)}
    return AnalysisInputs(collections, learned, "t", scored, scores, scored)


def settings(**more: object) -> ConfigDict:
    a = config.default().analysis
    few = {"max_rois": 8, "iterations": 50, "n_init": 1, "maps": 2, "steps": 2}
    a.update(few | more)
    return a


def subject() -> TrainedNetwork:
    network = alexnet.AlexNet()
    return TrainedNetwork(network, alexnet.init(network, jax.random.key(0)), 0)


@pytest.fixture(scope="module")
def folder(material: AnalysisInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "analysis"
    analyse(folder, {"mttl": subject, "sttl": subject}, material, settings(roi_ids=("t/3",)), 0)
    return folder


def test_every_finding_can_be_read(folder: Path, material: AnalysisInputs) -> None:
    found = analysis_results.read(folder)
    rois = found.rois
    assert rois.sampled.sum() == 8 + 8 + 8 and len(rois.roi_id) == 24 + 4
    assert set(rois.roi_id[~rois.learned]) == {f"t/{i}" for i in range(12, 24)}
    assert rois.label.tolist() == [int(r.split("/")[1]) % 2 for r in rois.roi_id]
    for approach in ("mttl", "sttl"):
        assert set(found.embeddings[approach]) == {"F1", "F2", "F3", "F4"}
        assert all(e.points.shape == (24, 2) for e in found.embeddings[approach].values())
        maps = found.maps[approach]
        # The one asked for, then the ends of t/12 ... t/23, whose scores rise, by truth.
        assert maps.roi_id.tolist() == ["t/3", "t/23", "t/13", "t/12", "t/22"]
        assert maps.maps.shape == (5, 5, 2, 128, 128) and maps.integrated.shape == (5, 128, 128)
        assert np.abs(maps.maps[:, 0]).max() == 1
    rows = {(r["layer"], r["measure"], r["groups"], r["rois"]) for r in found.convergence["mttl"]}
    assert ("F4", "silhouette", "task", "learned") in rows
    assert ("F1", "mmd2", "t and x", "learned") in rows
    assert [row["layer"] for row in found.layers] == sorted(alexnet.LAYERS)
    # Weights and biases of C1 to C5 and F1 to F5, by hand.
    own = {row["layer"]: int(row["parameters"]) for row in found.layers}
    assert own["C1"] == 64 * (11 * 11 * 3 + 1) and own["F1"] == 4096 * (3 * 3 * 256 + 1)
    assert sum(own.values()) == 32_889_590


def test_pictures_are_those_of_their_rois(folder: Path, material: AnalysisInputs) -> None:
    rois = analysis_results.read(folder).rois
    for i in (0, 9, 17, 27):
        name, number = rois.roi_id[i].split("/")
        pixels = np.concatenate(material.collections[name].shards)[int(number)]
        seen = np.corrcoef(rois.picture[i].ravel(), pixels.ravel())[0, 1]
        assert seen > 0.97


def test_what_is_there_is_not_made_again_and_what_is_lost_comes_back_the_same(
    folder: Path, material: AnalysisInputs
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def never() -> TrainedNetwork:
        raise AssertionError("a network was loaded for nothing")

    chosen = settings(roi_ids=("t/3",))
    analyse(folder, {"mttl": never, "sttl": never}, material, chosen, 0)
    for lost in ("tsne-sttl-F2.npz", "maps-sttl.npz", "convergence-sttl.csv", "rois.npz"):
        (folder / lost).unlink()
    analyse(folder, {"mttl": never, "sttl": subject}, material, chosen, 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pictures_can_be_left_out(folder: Path, material: AnalysisInputs, tmp_path: Path) -> None:
    for path in (*folder.glob("tsne*"), *folder.glob("conv*")):  # done before
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def never() -> TrainedNetwork:
        raise AssertionError("a network was loaded for nothing")

    analyse(tmp_path, {"mttl": never}, material, settings(show_rois=False), 0)
    assert not list(tmp_path.glob("maps*"))
    rois = analysis_results.read(tmp_path).rois
    assert rois.picture.shape == (0, 128, 128) and len(rois.roi_id) == 28
