"""Pretraining: its synthetic images against their formulas, its network, and its training."""

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
from mtl_jax.models import alexnet, base
from mtl_jax.pretraining import (
    dead_leaves,
    image_sources,
    network,
    photographs,
    shapes,
    synthetic,
    textures,
    train,
)
from mtl_jax.pretraining.objective import sum_metrics
from mtl_jax.pretraining.task import Examples, SyntheticTask
from mtl_jax.pretraining.train import pretrain
from mtl_jax.types import InputError

KEY = jax.random.key(3)


@pytest.mark.parametrize("with_shapes", [True, False])
def test_batch_depends_on_its_key_and_has_all_classes_equally_often(with_shapes: bool) -> None:
    task = SyntheticTask(KEY, 8, 16, 8, with_shapes=with_shapes)
    first, second = task.train_batches(0, 64)
    assert first.image.shape == (8, 64, 64, 1) and np.isfinite(first.image).all()
    assert (next(task.train_batches(0, 64)).image == first.image).all()
    for other in (second, next(task.train_batches(1, 64)), next(task.validation_batches(64))):
        assert not (other.image == first.image).any(axis=(1, 2, 3)).any()
    # The fraction of each family in the batch is its fraction of the classes.
    first_class = 0
    families = ["fractals", "leaves", "textures"] + ["outlines", "rays"] * with_shapes
    for family in map(synthetic.FAMILIES.get, families):
        end = first_class + family.classes
        fraction = ((first_class <= first.label) & (first.label < end)).mean()
        assert fraction == family.classes / task.classes
        first_class = end
    assert task.classes == first_class and all(name in task.name for name in families)
    assert ("rays" in task.name) == with_shapes


def test_textures_have_the_spectrum_of_their_class() -> None:
    steep, flat = int(np.argmax(textures.SLOPE)), int(np.argmin(textures.SLOPE))
    label = jnp.repeat(jnp.array([steep, flat]), 16)
    power = np.abs(np.fft.rfft2(textures.render(KEY, label, 64))) ** 2
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64))
    ratio = power[:, radius > 0.3].mean(1) / power[:, (radius > 0) & (radius < 0.1)].mean(1)
    assert ratio[:16].max() < ratio[16:].min() / 10


@pytest.mark.slow
def test_number_of_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count peaks on a circle outside the body, on a zero background."""
    monkeypatch.setattr(shapes, "make_background", lambda key, count, size: 0.0)
    monkeypatch.setattr(shapes, "_body_coordinates", centered_coordinates)
    monkeypatch.setattr(shapes, "CURVATURE", np.zeros(shapes.RAY_CLASSES, np.float32))
    monkeypatch.setattr(shapes, "LENGTH", np.full(shapes.RAY_CLASSES, 1.5, np.float32))
    label = jnp.arange(0, shapes.RAY_CLASSES, 3)
    image = np.asarray(shapes.render_rays(KEY, label, 256))
    angle = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    row = np.round(127.5 + 90 * np.sin(angle)).astype(int)
    column = np.round(127.5 + 90 * np.cos(angle)).astype(int)
    circle = image[:, row, column] > 0.35 * image.max((1, 2))[:, None]
    ray_counts = (circle & ~np.roll(circle, 1, axis=1)).sum(1)
    assert (ray_counts <= shapes.COUNT[::3]).all() and (ray_counts >= 1).all()
    assert np.corrcoef(ray_counts, shapes.COUNT[::3])[0, 1] > 0.8


def test_outlines_have_the_lobes_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "make_background", lambda key, count, size: 0.0)
    monkeypatch.setattr(shapes, "_body_coordinates", centered_coordinates)
    monkeypatch.setattr(shapes, "ASPECT", np.ones(shapes.OUTLINE_CLASSES, np.float32))
    label = jnp.flatnonzero((shapes.LOBES > 0.15) & (shapes.ORDER >= 4))
    image = np.asarray(shapes.render_outlines(KEY, label, 256))
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    inside = image > 0.5 * image.max((1, 2), keepdims=True)
    radius = np.arange(1, 128)[:, None]
    row = np.round(127.5 + radius * np.sin(angle)).astype(int)
    column = np.round(127.5 + radius * np.cos(angle)).astype(int)
    spectrum = np.abs(np.fft.rfft(inside[:, row, column].sum(1)))
    spectrum[:, :4] = 0  # the common third harmonic
    order = np.floor(shapes.ORDER[np.asarray(label)])
    assert (spectrum.argmax(1) == order).mean() > 0.8


def centered_coordinates(
    key: jax.Array, radius: jax.Array, size: int
) -> tuple[jax.Array, jax.Array]:
    line = (jnp.arange(size) - (size - 1) / 2) / 60
    row, column = jnp.meshgrid(line, line, indexing="ij")
    return jnp.tile(row, (len(radius), 1, 1)), jnp.tile(column, (len(radius), 1, 1))


def test_leaves_cover_the_image_and_have_edges() -> None:
    label = jnp.flatnonzero(dead_leaves.STRIPES < 0.1)
    image = np.asarray(dead_leaves.render(KEY, label, 64))
    constant_fraction = (np.diff(image, axis=2) == 0).mean((1, 2))
    assert (np.abs(image) <= 1.1).all() and (image.std((1, 2)) > 0.1).all()
    if (dead_leaves.STRIPES[np.asarray(label)] == 0).any():
        assert constant_fraction.max() > 0.5


@pytest.fixture(scope="module")
def network_config() -> network.NetworkConfig:
    return network.NetworkConfig(64, 1, 16, "pooled", "analytic", True, "float32")


def test_exported_convolutions_match_plain_alexnet(network_config: network.NetworkConfig) -> None:
    """Gray images in three channels give the same output; kernels have zero mean."""
    params = network.init(network_config, KEY)
    plain = network.export_convolutions(network_config, params)
    assert {k: v["kernel"].shape for k, v in plain.items()} == {
        k: base.param_shapes(alexnet.AlexNet())[f"{k}/kernel"] for k in alexnet.CONVOLUTIONS
    }
    gray = jax.random.normal(KEY, (4, 64, 64, 1))
    ours = alexnet.forward(plain, jnp.repeat(gray, 3, -1), "C1", "C5").mean((1, 2))
    head = params["classes"]
    theirs = network.logits(network_config, params, gray)
    np.testing.assert_allclose(ours @ head["kernel"] + head["bias"], theirs, atol=1e-5)
    for layer in ("C2", "C3", "C4"):
        kernel = plain[layer]["kernel"]
        np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
        fan_in = np.prod(kernel.shape[:3])
        np.testing.assert_allclose(kernel.var((0, 1, 2)) * fan_in, 2.934, atol=0.01)
    random = network.init(network_config._replace(initialization="random"), KEY)
    assert not np.allclose(random["C1"]["kernel"], params["C1"]["kernel"])


@pytest.mark.slow
def test_fully_connected_head_with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.HIDDEN == 4096
    monkeypatch.setattr(network, "HIDDEN", 256)
    network_config = network.NetworkConfig(
        64, 3, 16, "fully_connected", "random", False, "bfloat16"
    )
    params = network.init(network_config, KEY)
    assert params["F1"]["kernel"].shape == (256, 256)  # 64 pixels give a last map of one pixel
    x = jax.random.normal(KEY, (2, 64, 64, 3))
    without_dropout = network.logits(network_config, params, x)
    assert without_dropout.dtype == jnp.float32
    with_dropout = network.logits(network_config, params, x, 0.5, KEY)
    assert not np.allclose(without_dropout, with_dropout)
    exact = network.logits(network_config._replace(precision="float32"), params, x)
    np.testing.assert_allclose(without_dropout, exact, atol=0.05 * float(jnp.abs(exact).max()))


def test_top1_and_top5_match_sorting() -> None:
    scores = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
    label = np.arange(50) % 9
    weight = (np.arange(50) < 40).astype(np.float32)
    sums = sum_metrics(jnp.asarray(scores), Examples(None, jnp.asarray(label), jnp.asarray(weight)))
    order = np.argsort(-scores, axis=1)[:40]
    assert sums["top1"] == (order[:, 0] == label[:40]).sum()
    assert sums["top5"] == (order[:, :5] == label[:40, None]).any(1).sum()
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(
        sums["cross_entropy"], -log_p[np.arange(40), label[:40]].sum(), rtol=1e-5
    )
    assert sums["count"] == 40


def small_config(**fields: object) -> config.ConfigDict:
    c = config.default()
    c.study = "pretraining"
    c.train.epochs, c.train.batch_size, c.train.learning_rate = 2, 8, 0.001
    c.train.checkpoint_minutes = 0.0
    c.train.optimizer, c.train.schedule = "adamw", "cosine"
    c.pretraining.update(head="pooled", initialization="analytic", weight_standardization=True)
    c.pretraining.update(size=64, images_per_epoch=16, validation_images=8)
    c.pretraining.update(fields)
    config.validate(c)
    return c


def test_interrupted_training_gives_bit_identical_weights(tmp_path: Path) -> None:
    messages = pretrain(small_config(), tmp_path / "complete")
    assert "top-1" in messages and "top-5" in messages

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        original = train._compile_step
        calls = []

        def compile_step(*arguments: object) -> object:
            calls.append(arguments)
            return original(*arguments) if len(calls) < 2 else interrupt

        patch.setattr(train, "_compile_step", compile_step)
        with pytest.raises(Interrupted):
            pretrain(small_config(), tmp_path / "interrupted")
    assert len((tmp_path / "interrupted" / "history.jsonl").read_text().splitlines()) == 1
    pretrain(small_config(), tmp_path / "interrupted")
    for name in ("history.jsonl", "weights/card.json"):
        assert (tmp_path / "complete" / name).read_bytes() == (
            tmp_path / "interrupted" / name
        ).read_bytes()
    trained = weights.load(tmp_path / "complete" / "weights")
    assert list(trained.params) == ["C1", "C2", "C3", "C4", "C5"]
    assert trained.metadata["training"]["images"] == 32
    with pytest.raises(InputError, match="no convolutions trained on photographs"):
        weights.require_photographs(trained, "splits")
    size = sum(p.stat().st_size for p in (tmp_path / "complete" / "weights").rglob("*"))
    assert size < 5_000_000
    assert "belongs to another config" in one_line(
        lambda: pretrain(small_config(size=96), tmp_path / "complete")
    )


def plain_image(color: tuple[int, int, int], size: tuple[int, int] = (90, 70)) -> Image.Image:
    return Image.new("RGB", size, color)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two colors in ImageNet's layout."""
    for split, count in (("train", 9), ("val", 3)):
        for name, color in (("n01", (250, 10, 10)), ("n02", (10, 10, 250))):
            class_folder = tmp_path / "set" / split / name
            class_folder.mkdir(parents=True)
            for i in range(count):
                plain_image(color, (70 + i, 90)).save(class_folder / f"{i}.png")
    return tmp_path / "set"


def test_pretraining_on_an_image_folder(folder: Path, tmp_path: Path) -> None:
    c = small_config(
        images=f"folder:{folder}", weight_standardization=False, initialization="random"
    )
    c.train.epochs = 3
    pretrain(c, tmp_path / "w")
    lines = [json.loads(x) for x in (tmp_path / "w" / "history.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [18, 36, 54]
    assert lines[-1]["held_out_top1"] == 1.0 and lines[-1]["held_out_top5"] == 1.0
    metadata = weights.load(tmp_path / "w" / "weights").metadata
    assert metadata["input"]["mean"] == [0.485, 0.456, 0.406]


def test_every_image_once_an_epoch_and_padded_last_batch(folder: Path) -> None:
    s = small_config(images=f"folder:{folder}").pretraining
    task = image_sources.open_task(s, KEY, 8, 2)
    batches = list(task.train_batches(0, 64))
    assert len(batches) == task.steps == 3
    assert sum(float(b.weight.sum()) for b in batches) == 18
    assert all(b.image.shape == (8, 64, 64, 3) for b in batches)
    with_one_worker = list(image_sources.open_task(s, KEY, 8, 1).train_batches(0, 64))
    for batch, expected in zip(batches, with_one_worker, strict=True):
        np.testing.assert_array_equal(batch.image, expected.image)
    red = np.mean([float(b.image[0, 32, 32, 0]) > 0 for b in batches])
    assert 0 <= red <= 1 and sum(float(b.weight.sum()) for b in task.validation_batches(64)) == 6


def test_crop_positions() -> None:
    ramp = np.zeros((80, 160, 3), np.uint8)
    ramp[..., 0] = np.arange(160)
    middle = photographs.crop(ramp, 70, 0.5, 0.5, 0.5)
    assert middle.shape == (70, 70, 3)
    assert abs(int(middle[35, 35, 0]) - 80) <= 1
    left, right = photographs.crop(ramp, 70, 0, 0, 0), photographs.crop(ramp, 70, 0, 0.999, 0)
    assert left[0, 0, 0] <= 1 and right[0, -1, 0] >= 158
    np.testing.assert_array_equal(photographs.crop(ramp, 70, 0, 0, 0.9), left[:, ::-1])


def one_line(call: object) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_and_damaged_images_are_rejected(folder: Path, tmp_path: Path) -> None:
    def rejected(name: str) -> str:
        return one_line(
            lambda: image_sources.open_task(small_config(images=name).pretraining, KEY, 8, 1)
        )

    assert "the folder does not exist" in rejected(f"folder:{tmp_path / 'nowhere'}")
    assert "folder:PATH" in rejected("photographs")
    assert "no such prepared dataset" in rejected("tfds:no_such_set")
    (folder / "val" / "n03").mkdir()
    assert "'n03' is not in" in rejected(f"folder:{folder}")
    (folder / "val" / "n03").rmdir()
    (folder / "train" / "n01" / "0.png").write_bytes(b"no image")
    task = image_sources.open_task(small_config(images=f"folder:{folder}").pretraining, KEY, 8, 1)
    assert "0.png" in one_line(lambda: list(task.train_batches(0, 64)))


def test_one_in_twenty_is_for_validation_without_a_split(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(100):
            (tmp_path / name / f"{i}.png").touch()
    task = image_sources.open_task(small_config(images=f"folder:{tmp_path}").pretraining, KEY, 8, 1)
    assert task.classes == 2 and 185 <= task.images <= 198


class ToyImages(tensorflow_datasets.core.GeneratorBasedBuilder):
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
            file = io.BytesIO()  # PNG files need no TensorFlow
            Image.new("L", (70, 80), 40 + 160 * (i % 2)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": i % 2}


def test_tfds_dataset(tmp_path: Path) -> None:
    builder = ToyImages(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    name = f"tfds:{builder.data_dir}"
    task = image_sources.open_task(small_config(images=name).pretraining, KEY, 8, 1)
    held_out = list(task.validation_batches(64))
    assert task.classes == 2 and task.images + sum(float(e.weight.sum()) for e in held_out) == 60
    for examples in [*task.train_batches(0, 64), *held_out]:
        bright = np.asarray(examples.image[:, 30, 30, 0]) > 0
        np.testing.assert_array_equal(bright, examples.label == 1)


DEVICES = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
sys.path.insert(0, "tests")
from test_pretraining import small_config
from pathlib import Path
from mtl_jax.pretraining.train import pretrain
for count in (1, 4):
    c = small_config(images="folder:" + sys.argv[1])
    c.devices = count
    pretrain(c, Path(sys.argv[2]) / str(count))
"""


@pytest.mark.slow
def test_four_devices_match_one(folder: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", DEVICES, str(folder), str(tmp_path)], check=True, timeout=300
    )
    one, four = (
        weights.load(tmp_path / count / "weights").params["C2"]["kernel"] for count in "14"
    )
    np.testing.assert_allclose(four, one, atol=2e-3 * np.abs(one).max())
