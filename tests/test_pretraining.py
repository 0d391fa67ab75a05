"""The source task: its images against what their formulas say, its network, its training."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from mtl_jax import config, weights
from mtl_jax.models import alexnet
from mtl_jax.pretraining import (
    dead_leaves,
    image_sources,
    network,
    photographs,
    shapes,
    steps,
    synthetic,
    textures,
)
from mtl_jax.pretraining.task import Examples, FormulaTask
from mtl_jax.pretraining.train import pretrain
from mtl_jax.types import InputError
from mtl_jax.weights.key_tables import KERNELS

KEY = jax.random.key(3)


def test_a_batch_is_a_function_of_its_key_and_holds_all_classes_alike() -> None:
    task = FormulaTask(KEY, 8, 16, 8)
    first, second = task.epoch(0, 64)
    assert first.image.shape == (8, 64, 64, 1) and np.isfinite(first.image).all()
    assert (next(task.epoch(0, 64)).image == first.image).all()
    for other in (second, next(task.epoch(1, 64)), next(task.held_out(64))):
        assert not (other.image == first.image).any(axis=(1, 2, 3)).any()
    # Each family's share of the batch is its share of the classes.
    begin = 0
    for family in synthetic.FAMILIES.values():
        share = ((begin <= first.label) & (first.label < begin + family.classes)).mean()
        assert share == family.classes / synthetic.CLASSES
        begin += family.classes
    assert task.classes == begin


def test_textures_have_the_spectrum_of_their_class() -> None:
    steep, flat = int(np.argmax(textures.SLOPE)), int(np.argmin(textures.SLOPE))
    label = jnp.repeat(jnp.array([steep, flat]), 16)
    power = np.abs(np.fft.rfft2(textures.render(KEY, label, 64))) ** 2
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64))
    ratio = power[:, radius > 0.3].mean(1) / power[:, (radius > 0) & (radius < 0.1)].mean(1)
    assert ratio[:16].max() < ratio[16:].min() / 10


def test_rays_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a circle outside of the body, without anything behind: never more than the class has."""
    monkeypatch.setattr(shapes, "background", lambda key, count, size: 0.0)
    monkeypatch.setattr(shapes, "_placed", centred)
    monkeypatch.setattr(shapes, "CURL", np.zeros(shapes.RAY_CLASSES, np.float32))
    monkeypatch.setattr(shapes, "LENGTH", np.full(shapes.RAY_CLASSES, 1.5, np.float32))
    label = jnp.arange(0, shapes.RAY_CLASSES, 3)
    image = np.asarray(shapes.rays(KEY, label, 256))
    angle = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    row = np.round(127.5 + 90 * np.sin(angle)).astype(int)
    column = np.round(127.5 + 90 * np.cos(angle)).astype(int)
    circle = image[:, row, column] > 0.35 * image.max((1, 2))[:, None]
    counted = (circle & ~np.roll(circle, 1, axis=1)).sum(1)
    assert (counted <= shapes.COUNT[::3]).all() and (counted >= 1).all()
    assert np.corrcoef(counted, shapes.COUNT[::3])[0, 1] > 0.8


def test_outlines_have_the_lobes_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "background", lambda key, count, size: 0.0)
    monkeypatch.setattr(shapes, "_placed", centred)
    monkeypatch.setattr(shapes, "ASPECT", np.ones(shapes.OUTLINE_CLASSES, np.float32))
    label = jnp.flatnonzero((shapes.LOBES > 0.15) & (shapes.ORDER >= 4))
    image = np.asarray(shapes.outlines(KEY, label, 256))
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    inside = image > 0.5 * image.max((1, 2), keepdims=True)
    at = np.arange(1, 128)[:, None]
    row = np.round(127.5 + at * np.sin(angle)).astype(int)
    column = np.round(127.5 + at * np.cos(angle)).astype(int)
    spectrum = np.abs(np.fft.rfft(inside[:, row, column].sum(1)))
    spectrum[:, :4] = 0  # the common third harmonic
    order = np.floor(shapes.ORDER[np.asarray(label)])
    assert (spectrum.argmax(1) == order).mean() > 0.8


def centred(key: jax.Array, radius: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    line = (jnp.arange(size) - (size - 1) / 2) / 60
    row, column = jnp.meshgrid(line, line, indexing="ij")
    return jnp.tile(row, (len(radius), 1, 1)), jnp.tile(column, (len(radius), 1, 1))


def test_leaves_cover_and_have_edges() -> None:
    plain = jnp.flatnonzero(dead_leaves.STRIPES < 0.1)
    image = np.asarray(dead_leaves.render(KEY, plain, 64))
    still = (np.diff(image, axis=2) == 0).mean((1, 2))
    assert (np.abs(image) <= 1.1).all() and (image.std((1, 2)) > 0.1).all()
    if (dead_leaves.STRIPES[np.asarray(plain)] == 0).any():
        assert still.max() > 0.5


@pytest.fixture(scope="module")
def form() -> network.Form:
    return network.Form(64, 1, 16, "pooled", "analytic", True, False)


def test_what_is_exported_is_plain_alexnet(form: network.Form) -> None:
    """On gray repeated in three channels; its kernels have zero mean and keep the variance."""
    params = network.init(form, KEY)
    plain = network.convolutions(form, params)
    assert {k: v["kernel"].shape for k, v in plain.items()} == {
        k: v for k, v in KERNELS["alexnet"].items() if k in alexnet.CONVOLUTIONS
    }
    gray = jax.random.normal(KEY, (4, 64, 64, 1))
    ours = alexnet.forward(plain, jnp.repeat(gray, 3, -1), "C1", "C5").mean((1, 2))
    head = params["classes"]
    theirs = network.logits(form, params, gray)
    np.testing.assert_allclose(ours @ head["kernel"] + head["bias"], theirs, atol=1e-5)
    for layer in ("C2", "C3", "C4"):
        kernel = plain[layer]["kernel"]
        np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
        fan_in = np.prod(kernel.shape[:3])
        np.testing.assert_allclose(kernel.var((0, 1, 2)) * fan_in, 2.934, atol=0.01)
    random = network.init(form._replace(start="random"), KEY)
    assert not np.allclose(random["C1"]["kernel"], params["C1"]["kernel"])


def test_a_fully_connected_head_with_dropout() -> None:
    form = network.Form(64, 3, 16, "fully_connected", "random", False, True)
    params = network.init(form, KEY)
    assert params["F1"]["kernel"].shape == (256, 4096)  # one pixel is left of 64
    x = jax.random.normal(KEY, (2, 64, 64, 3))
    sure = network.logits(form, params, x)
    assert sure.dtype == jnp.float32
    dropped = network.logits(form, params, x, 0.5, KEY)
    assert not np.allclose(sure, dropped)
    exact = network.logits(form._replace(half=False), params, x)
    np.testing.assert_allclose(sure, exact, atol=0.05 * float(jnp.abs(exact).max()))


def test_right_answers_are_counted_as_by_sorting() -> None:
    scores = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
    label = np.arange(50) % 9
    weight = (np.arange(50) < 40).astype(np.float32)
    sums = steps.count(jnp.asarray(scores), Examples(None, jnp.asarray(label), jnp.asarray(weight)))
    order = np.argsort(-scores, axis=1)[:40]
    assert sums.top1 == (order[:, 0] == label[:40]).sum()
    assert sums.top5 == (order[:, :5] == label[:40, None]).any(1).sum()
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(sums.loss, -log_p[np.arange(40), label[:40]].sum(), rtol=1e-5)
    assert sums.count == 40


def test_learning_rates_by_hand() -> None:
    at = jnp.array([0.0, 0.24, 0.26, 0.51, 0.76, 0.99])
    fall = steps.learning_rate(at, 0.01, 0.00001, "steps", 0.0)
    np.testing.assert_allclose(fall, [1e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-5], rtol=1e-5)
    wave = steps.learning_rate(jnp.array([0.0, 0.05, 0.5, 1.0]), 1.0, 0.2, "cosine", 0.1)
    np.testing.assert_allclose(wave, [0, 0.5 * (0.6 + 0.4 * np.cos(0.05 * np.pi)), 0.6, 0.2])


def small(**fields: object) -> config.ConfigDict:
    c = config.default()
    c.study = "pretraining"
    c.train.epochs, c.train.batch_size, c.train.learning_rate = 2, 8, 0.001
    c.train.checkpoint_epochs = 1
    c.pretraining.update(
        head="pooled", initialization="analytic", weight_standardization=True, optimizer="adam"
    )
    c.pretraining.update(schedule="cosine", size=64, images_per_epoch=16, validation_images=8)
    c.pretraining.update(fields)
    config.validate(c)
    return c


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    messages = pretrain(small(), tmp_path / "whole")
    assert "top-1" in messages and "top-5" in messages
    broken = small()

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        original = steps.make_step
        calls = []

        def count(*arguments: object) -> object:
            calls.append(arguments)
            return original(*arguments) if len(calls) < 2 else stop

        patch.setattr(steps, "make_step", count)
        with pytest.raises(Stop):
            pretrain(broken, tmp_path / "broken")
    assert len((tmp_path / "broken" / "history.jsonl").read_text().splitlines()) == 1
    pretrain(broken, tmp_path / "broken")
    for name in ("history.jsonl", "weights/card.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    found = weights.load(tmp_path / "whole" / "weights")
    assert list(found.params) == ["C1", "C2", "C3", "C4", "C5"]
    assert found.metadata["training"]["images"] == 32
    size = sum(p.stat().st_size for p in (tmp_path / "whole" / "weights").rglob("*"))
    assert size < 5_000_000
    assert "belongs to another config" in one_line(
        lambda: pretrain(small(size=96), tmp_path / "whole")
    )


def picture(color: tuple[int, int, int], size: tuple[int, int] = (90, 70)) -> Image.Image:
    return Image.new("RGB", size, color)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ImageNet's layout: two colours."""
    for part, count in (("train", 9), ("val", 3)):
        for name, color in (("n01", (250, 10, 10)), ("n02", (10, 10, 250))):
            place = tmp_path / "set" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                picture(color, (70 + i, 90)).save(place / f"{i}.png")
    return tmp_path / "set"


def test_a_folder_of_pictures_is_learned(folder: Path, tmp_path: Path) -> None:
    c = small(images=f"folder:{folder}", weight_standardization=False, initialization="random")
    c.train.epochs = 3
    pretrain(c, tmp_path / "w")
    lines = [json.loads(x) for x in (tmp_path / "w" / "history.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [18, 36, 54]
    assert lines[-1]["held_out_top1"] == 1.0 and lines[-1]["held_out_top5"] == 1.0
    card = weights.load(tmp_path / "w" / "weights").metadata
    assert card["input"]["mean"] == [0.485, 0.456, 0.406]


def test_every_picture_once_an_epoch_and_the_last_batch_filled(folder: Path) -> None:
    s = small(images=f"folder:{folder}").pretraining
    task = image_sources.open_task(s, KEY, 8, 2)
    batches = list(task.epoch(0, 64))
    assert len(batches) == task.steps == 3
    assert sum(float(b.weight.sum()) for b in batches) == 18
    assert all(b.image.shape == (8, 64, 64, 3) for b in batches)
    same = list(image_sources.open_task(s, KEY, 8, 1).epoch(0, 64))
    for one, other in zip(batches, same, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    red = np.mean([float(b.image[0, 32, 32, 0]) > 0 for b in batches])
    assert 0 <= red <= 1 and sum(float(b.weight.sum()) for b in task.held_out(64)) == 6


def test_crops_are_where_they_should_be() -> None:
    ramp = np.zeros((80, 160, 3), np.uint8)
    ramp[..., 0] = np.arange(160)
    middle = photographs.cut(ramp, 70, 0.5, 0.5, 0.5)
    assert middle.shape == (70, 70, 3)
    assert abs(int(middle[35, 35, 0]) - 80) <= 1
    left, right = photographs.cut(ramp, 70, 0, 0, 0), photographs.cut(ramp, 70, 0, 0.999, 0)
    assert left[0, 0, 0] <= 1 and right[0, -1, 0] >= 158
    np.testing.assert_array_equal(photographs.cut(ramp, 70, 0, 0, 0.9), left[:, ::-1])


def one_line(call: object) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pictures_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    def opened(name: str) -> str:
        return one_line(lambda: image_sources.open_task(small(images=name).pretraining, KEY, 8, 1))

    assert "no such folder" in opened(f"folder:{tmp_path / 'nowhere'}")
    assert "folder:PATH" in opened("photographs")
    assert "no such prepared dataset" in opened("tfds:no_such_set")
    (folder / "val" / "n03").mkdir()
    assert "'n03' is not in" in opened(f"folder:{folder}")
    (folder / "val" / "n03").rmdir()
    (folder / "train" / "n01" / "0.png").write_bytes(b"no picture")
    task = image_sources.open_task(small(images=f"folder:{folder}").pretraining, KEY, 8, 1)
    assert "0.png" in one_line(lambda: list(task.epoch(0, 64)))


def test_one_in_twenty_is_held_out_where_nothing_is_marked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(100):
            (tmp_path / name / f"{i}.png").touch()
    task = image_sources.open_task(small(images=f"folder:{tmp_path}").pretraining, KEY, 8, 1)
    assert task.classes == 2 and 185 <= task.images <= 198


class ToyPictures(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Gray squares, bright or dark, of which TFDS has only the split train."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self) -> tensorflow_datasets.core.DatasetInfo:
        f = tensorflow_datasets.features
        features = {
            "image": f.Image(shape=(None, None, 1), dtype=np.uint8),
            "label": f.ClassLabel(names=["dark", "bright"]),
        }
        return tensorflow_datasets.core.DatasetInfo(builder=self, features=f.FeaturesDict(features))

    def _split_generators(self, _: object) -> dict[str, Iterator[tuple[int, dict]]]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for i in range(60):
            file = io.BytesIO()  # as PNG, which TFDS takes without TensorFlow
            Image.new("L", (70, 80), 40 + 160 * (i % 2)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": i % 2}


def test_a_tfds_set_is_a_task(tmp_path: Path) -> None:
    builder = ToyPictures(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    name = f"tfds:{builder.data_dir}"
    task = image_sources.open_task(small(images=name).pretraining, KEY, 8, 1)
    held_out = list(task.held_out(64))
    assert task.classes == 2 and task.images + sum(float(e.weight.sum()) for e in held_out) == 60
    for examples in [*task.epoch(0, 64), *held_out]:
        bright = np.asarray(examples.image[:, 30, 30, 0]) > 0
        np.testing.assert_array_equal(bright, examples.label == 1)


DEVICES = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
sys.path.insert(0, "tests")
from test_pretraining import small
from pathlib import Path
from mtl_jax.pretraining.train import pretrain
for count in (1, 4):
    c = small(images="folder:" + sys.argv[1])
    c.devices = count
    pretrain(c, Path(sys.argv[2]) / str(count))
"""


@pytest.mark.slow
def test_four_devices_learn_what_one_does(folder: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", DEVICES, str(folder), str(tmp_path)], check=True, timeout=300
    )
    one, four = (
        weights.load(tmp_path / count / "weights").params["C2"]["kernel"] for count in "14"
    )
    np.testing.assert_allclose(four, one, atol=2e-3 * np.abs(one).max())
