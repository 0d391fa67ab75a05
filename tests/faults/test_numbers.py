"""NaN and infinite values in images, weights, updates and scores stop the job with a message."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from kit.spoiling import HEADER, load
from test_training import NETWORK, run_fit

from mtl_jax.experiments import scores, splits
from mtl_jax.models import alexnet
from mtl_jax.types import InputError, RoiSet, Run
from mtl_jax.weights import metadata


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["npy", "tif"])
def test_an_image_with_a_nan_or_infinite_value_is_named(
    value: float, kind: str, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).uniform(0, 4095, (160, 170)).astype(np.float32)
    pixels[80, 80] = value
    name = f"0.{kind}"
    np.save(tmp_path / name, pixels) if kind == "npy" else tifffile.imwrite(tmp_path / name, pixels)
    row = f"ours,P1,1,CC,{name},benign,200,40;50;90;100"
    (tmp_path / "m.csv").write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(InputError, match=f"{name}: holds values that are not finite"):
        load(tmp_path / "m.csv", tmp_path / "cache")


def test_weights_with_a_nan_or_infinite_value_are_rejected() -> None:
    params = jax.device_get(alexnet.init(alexnet.AlexNet(), jax.random.key(0)))
    convolutions = {name: dict(params[name]) for name in alexnet.CONVOLUTIONS}
    bias = np.array(convolutions["C3"]["bias"])
    bias[7] = np.nan
    convolutions["C3"]["bias"] = bias
    with pytest.raises(InputError, match="here: C3/bias has NaN or infinite values"):
        metadata.check_params(convolutions, "alexnet", "here")


def test_a_too_high_learning_rate_is_reported_before_the_loss_is_nan(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    params = jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))
    with pytest.raises(InputError, match="NaN or infinite at step .*lower config.train.learn"):
        run_fit(tmp_path / "run", params, "C1-C5", epochs=3, learning_rate=0.3)
    output = capfd.readouterr().err
    assert output.count("worse than chance: config.train.learning_rate (0.3) is too high") == 1


def rois(labels: list[int]) -> RoiSet:
    ids = {n: np.array([f"{n}{i}" for i in range(len(labels))]) for n in scores.Scores._fields[:4]}
    marks = np.array(["train", "test"] * (len(labels) // 2))
    return RoiSet("t", ids | {"label": np.array(labels), "split": marks}, (), {})


def test_a_nan_score_is_not_written() -> None:
    with pytest.raises(InputError, match="t: the score of ROI roi_id1 is not finite"):
        scores.make_scores(rois([0, 1]), np.arange(2), np.array([0.5, np.nan]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1, 1, 0], "the 2 training ROIs of t are of one class"),
        ([1, 1, 0, 1], "the 2 scored ROIs of t are of one class"),
    ],
)
def test_a_missing_class_is_reported_before_training(labels: list[int], message: str) -> None:
    target = rois(labels)
    split = splits.make_split(
        {target.name: target}, target.name, (), splits.SplitRules(True, 0, 2, 0.0, 0)
    )
    with pytest.raises(InputError, match=message):
        splits.reject_unfit(Run("sttl", ("t",), "C1", None, 0), {"t": target}, split)


def test_a_collection_without_training_cases_is_reported() -> None:
    target, auxiliary = rois([0, 1, 1, 0]), replace(rois([1, 1]), name="o")
    auxiliary.index["split"][:] = "test"
    collections = {"t": target, "o": auxiliary}
    split = splits.make_split(collections, "t", ("o",), splits.SplitRules(True, 0, 2, 0.0, 0))
    with pytest.raises(InputError, match="o has no training ROI; remove it"):
        run = Run("mttl", ("t", "o"), "C1", None, 0)
        splits.reject_unfit(run, collections, split)


def test_a_target_that_is_all_test_set_is_not_to_be_removed() -> None:
    target = rois([0, 1, 1, 0])
    target.index["split"][:] = "test"
    split = splits.make_split({"t": target}, "t", (), splits.SplitRules(True, 0, 2, 0.0, 0))
    with pytest.raises(InputError, match="t has no training ROI; leave some of its cases out"):
        splits.reject_unfit(Run("sttl", ("t",), "C1", None, 0), {"t": target}, split)
