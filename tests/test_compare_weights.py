"""Weights and backbones as options of an approach: their AUCs are those of the scores on disk."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from mtl_jax import config, old_names, weights
from mtl_jax.experiments import study_inputs, time_steps
from mtl_jax.experiments.runner import run_study, show_plan
from mtl_jax.io import workdir
from mtl_jax.types import InputError

RANDOM, ANALYTIC = "sttl+weights=random", "sttl+weights=analytic"


def settings(cache: Path) -> config.ConfigDict:
    c = config.default()
    c.study, c.approaches, c.network = "test", (ANALYTIC, RANDOM), "C1-C5"
    c.data.sources, c.data.cache, c.data.phantom.cases = ("phantom:sfm",), str(cache), 16
    c.test.initializations, c.statistics.bootstrap = 3, 100
    c.train.epochs, c.train.batch_size, c.analysis.enabled = 2, 32, False
    config.validate(c)
    return c


def lesion_auc(path: Path) -> float:
    """Return the lesion-level AUC by ranks; a lesion's score is the mean over its views."""
    lesions: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["case_id"], row["lesion_id"]
            lesions.setdefault(key, []).append((int(row["label"]), float(row["score"])))
    label = np.array([views[0][0] for views in lesions.values()])
    ranks = rankdata([np.mean([s for _, s in views]) for views in lesions.values()])
    m, n = label.sum(), (1 - label).sum()
    return float((ranks[label == 1].sum() - m * (m + 1) / 2) / (m * n))


@pytest.mark.usefixtures("small_alexnet")
def test_mean_aucs_and_differences_match_the_scores(tmp_path: Path) -> None:
    c, folder = settings(tmp_path / "cache"), tmp_path / "w"
    results = run_study(c, folder)
    means = {}
    for row in results["auc"]:
        if (row["unit"], row["method"]) != ("lesion", "empirical"):
            continue
        run_folders = sorted((folder / "runs").glob(f"{row['study']}-*"))
        aucs = [lesion_auc(path / "scores.csv") for path in run_folders]
        assert len(aucs) == 3 and row["sd_initializations"] == pytest.approx(np.std(aucs, ddof=1))
        means[row["study"]] = np.mean(aucs)
        assert row["auc"] == pytest.approx(means[row["study"]])
        assert 0 <= row["ci_low"] <= row["auc"] <= row["ci_high"] <= 1
    (difference,) = (test for test in results["comparisons"] if test["primary"])
    assert (difference["a"], difference["b"]) == (ANALYTIC, RANDOM)
    assert difference["delta"] == pytest.approx(means[ANALYTIC] - means[RANDOM])
    check_records(folder, results)
    before = modification_times(folder)
    assert run_study(c, folder) == json.loads(json.dumps(results))
    assert modification_times(folder) == before  # no run is repeated


def check_records(folder: Path, results: dict) -> None:
    """Check backbone and weights in results.json and in the run.json of each run."""
    assert results["weights"]["name"] == weights.make_analytic().metadata["name"]
    for approach, name in ((ANALYTIC, "analytic"), (RANDOM, "random")):
        metadata = weights.find(name).metadata
        expected = {"backbone": "alexnet", "weights": metadata}
        assert results["networks"][approach] == json.loads(json.dumps(expected))
        for path in (folder / "runs").glob(f"{approach}-*/run.json"):
            run = json.loads(path.read_text())
            assert run["backbone"] == run["provenance"]["settings"]["model"]["backbone"]
            digest = metadata["arrays_sha256"]
            assert run["weights"] == {"name": metadata["name"], "arrays_sha256": digest}
            assert run["provenance"]["weights"]["arrays_sha256"] == digest
            assert run["pretrained"] == sorted(weights.find(name).params)


def modification_times(folder: Path) -> Sequence[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.rglob("scores.csv"))]


@pytest.mark.parametrize(
    ("approach", "message"),
    [
        ("sttl+backbone=vgg19", "did you mean 'vgg16'"),
        ("sttl+weights=", "each once"),
        ("sttl+weights.sfm=random", "each once"),
        ("sttl+weights=random+weights=shipped", "each once"),
        ("sttl+weights=checkpoints/mine", "weights=NAME is a folder in checkpoints"),
        ("sttl+backbone=resnet18", "'sttl.backbone=resnet18' .*resnet18.*: add .weights=random"),
        ("sttl+backbone=vgg16+weights=analytic", "analytic are of alexnet: add .weights=random"),
    ],
)
def test_invalid_options_are_rejected(approach: str, message: str, tmp_path: Path) -> None:
    c = settings(tmp_path)
    c.approaches = (approach, "sttl")
    with pytest.raises(InputError, match=message) as caught:
        config.validate(c)
    assert "config.approaches=" in str(caught.value) and "\n" not in str(caught.value)


def test_unused_default_weights_may_be_of_another_backbone(tmp_path: Path) -> None:
    c = settings(tmp_path)
    c.model.backbone, c.approaches = "resnet18", (RANDOM, "mttl+weights=mine")
    config.validate(c)
    assert config.approach_network(c, RANDOM) == ("resnet18", "random")
    assert config.approach_network(c, "mttl+weights=mine") == ("resnet18", "checkpoints/mine")
    assert config.approach_network(c, "sttl+weights=imagenet") == ("resnet18", "imagenet")
    assert config.approach_network(c, "sttl+backbone=vgg16") == ("vgg16", "shipped")


def test_weights_of_another_backbone_are_rejected_by_approach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = settings(tmp_path / "cache")
    weights.save(weights.find("shipped"), tmp_path / "checkpoints" / "mine")
    monkeypatch.chdir(tmp_path)
    c.approaches = ("sttl", "sttl+backbone=vgg16+weights=mine")
    with pytest.raises(InputError) as caught:
        study_inputs.prepare_inputs(c, dry_run=True)
    message = str(caught.value)
    assert "config.approaches='sttl+backbone=vgg16+weights=mine' is invalid" in message
    assert "weights of alexnet" in message and "set +backbone=alexnet" in message
    assert "\n" not in message


def test_equal_weights_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c, loaded = settings(tmp_path / "cache"), []
    c.approaches = ("sttl", "sttl+weights=shipped", RANDOM)
    find = weights.find_for_backbone
    monkeypatch.setattr(
        weights, "find_for_backbone", lambda *args: loaded.append(args[0]) or find(*args)
    )
    inputs = study_inputs.prepare_inputs(c)
    assert loaded == ["shipped", "random"]
    assert inputs.weights["sttl"] is inputs.weights["sttl+weights=shipped"]
    c.preset, c.study, c.approaches = "demo", "splits", ("sttl",)
    assert list(study_inputs.prepare_inputs(c).weights) == ["sttl"]


def test_a_plan_with_a_backbone_counts_its_operations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    c, operations = settings(tmp_path / "cache"), {}
    monkeypatch.chdir(tmp_path)  # without converted weights
    monkeypatch.setattr(time_steps, "MAX_STEP_SECONDS", 0.0)  # time no step
    for approach in ("sttl+weights=imagenet", "sttl+backbone=vgg16+weights=vgg16_imagenet"):
        c.approaches = (approach,)
        show_plan(c, tmp_path / "w")
        out = capsys.readouterr().out
        (line,) = (line for line in out.splitlines() if line.startswith("to do: 3 of 3 runs"))
        operations[approach] = float(line.split()[-2])
        assert "do not exist yet. Make them first: mtl-jax convert" in out
    alexnet, vgg16 = operations.values()
    assert vgg16 > 10 * alexnet and "backbone: vgg16" in out


@pytest.mark.parametrize(
    "field", [name for name in old_names.REMOVED_IN_0_3 if name.startswith("transfer")]
)
def test_the_study_transfer_is_rejected_with_what_replaces_it(field: str) -> None:
    for name in (field, old_names.TRANSFER):
        message = old_names.field_message(name)
        assert f"config.{name} was removed in 0.3.0" in message and "weights=random" in message
    c = config.default()
    c.study = "transfer"
    with pytest.raises(InputError, match="config.study='transfer' is invalid: .*weights=random"):
        config.validate(c)


def test_a_work_folder_of_0_2_0_resumes_unless_its_study_was_transfer(tmp_path: Path) -> None:
    current, defaults = config.default().to_dict(), config.default().to_dict()
    written = json.loads(json.dumps(current))
    written["transfer"] = {"weights": ["a", "b"], "initializations": 5, "study": "test"}
    written["train"]["tensorboard"] = True
    written["pretraining"]["optimizer"] = "sgd"
    for later in ("loss", "focal_gamma", "optimizer", "schedule", "warmup", "writers"):
        del written["train"][later]
    del written["seeds"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    workdir.reject_other_config(tmp_path, current, defaults)
    current["train"]["loss"] = "focal"
    with pytest.raises(InputError, match="train.loss is 'cross_entropy', not 'focal'"):
        workdir.reject_other_config(tmp_path, current, defaults)
    (tmp_path / "config.json").write_text(json.dumps(written | {"study": "transfer"}))
    with pytest.raises(InputError, match="study is 'transfer', not 'test'"):
        workdir.reject_other_config(tmp_path, current, defaults)
