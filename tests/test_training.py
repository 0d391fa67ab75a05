"""Training: frozen layers, the optimizer, orientations, batches, resuming, several devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kit.small_network import SmallAlexNet

from mtl_jax import config
from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import dataset, epoch, optimizer, orientations, predict
from mtl_jax.training.fit import fit
from mtl_jax.training.objective import multi_task_objective
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.schedules import exponential
from mtl_jax.training.setup import Training, TrainingRun
from mtl_jax.training.step import make_step
from mtl_jax.training.writers import open_writers
from mtl_jax.types import Batch, InputError, TrainState

NETWORK = SmallAlexNet(dropout=0.5)
LEAVES = {"C0": 20, "C1": 18, "C1-C2": 16, "C1-C3": 14, "C1-C4": 12, "C1-C5": 10}


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_get(init(NETWORK, jax.random.key(0)))


def random_dataset(count: int = 6, seed: int = 0) -> dataset.Dataset:
    """Return two tasks of different brightness; malignant ROIs are brighter in the middle."""
    rng = np.random.default_rng(seed)
    labels = [np.arange(count) % 2, np.arange(count - 2) % 2]
    pixels = []
    for shift, label in zip((0, 900), labels, strict=True):
        image = rng.normal(shift, 60, (len(label), 128, 128))
        image[label == 1, 40:88, 40:88] += 120
        pixels.append(image.astype(np.int16))
    return dataset.make_dataset(pixels, labels, *dataset.pixel_statistics(pixels))


def train_config(**changes: object) -> object:
    c = config.default().train
    with c.unlocked():
        c.update({"epochs": 2, "batch_size": 16, "checkpoint_minutes": 0.0, **changes})
    return c


def run_fit(folder: Path, params: dict, network: str = "C1-C5", **changes: object) -> dict:
    run = TrainingRun(folder, params, jax.random.key(7), lambda record: None)
    return fit_runs([run], network, **changes)[0]


def fit_runs(
    runs: list[TrainingRun],
    network: str = "C1-C5",
    devices: int = 1,
    replicas: Replicas | None = None,
    cache: Path | None = None,
    source: dataset.Dataset | None = None,
    keep: bool = True,
    initialization: str = "he",
    **changes: object,
) -> list[dict]:
    training = Training(
        NETWORK,
        optimizer.frozen_layers(network),
        {"a": 1.0, "b": 1.0},
        train_config(**changes),
        initialization,
        devices,
        cache,
        keep,
        replicas,
    )
    return fit(runs, source or random_dataset(), training)


@pytest.mark.parametrize("network", config.NETWORKS)
def test_frozen_layers_have_no_optimizer_state(params: dict, network: str) -> None:
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), optimizer.frozen_layers(network))
    state = tx.init(params)
    momentum = [leaf for leaf in jax.tree.leaves(state) if np.ndim(leaf)]
    assert len(momentum) == LEAVES[network]


def test_unknown_network_is_rejected_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match="C0, C1, C1-C2, C1-C3, C1-C4, C1-C5"):
        optimizer.frozen_layers("C2")


def test_training_changes_all_layers_except_the_frozen_ones(params: dict, tmp_path: Path) -> None:
    after = run_fit(tmp_path / "run", params, "C1-C3", epochs=1)
    for name in alexnet.LAYERS:
        for part in ("kernel", "bias"):
            is_equal = np.array_equal(after[name][part], params[name][part])
            assert is_equal == (name in ("C1", "C2", "C3")), (name, part)


def test_three_steps_follow_the_update_equations(params: dict) -> None:
    """Compare with v <- 0.9 v + (g + 0.0005 w), w <- w - rate v, computed in NumPy.

    Use float64 (except in the loss), so that rounding does not change ReLU signs or max-pooling
    indices.
    """
    with jax.enable_x64(True):
        check_three_steps(jax.tree.map(np.float64, params))


def check_three_steps(params: dict) -> None:
    network = SmallAlexNet()
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), ("C1", "C2"))
    step = jax.jit(make_step(multi_task_objective(network, (1.0, 3.0), precision="float64"), tx))
    state = TrainState(jnp.int32(0), params, tx.init(params))
    key = jax.random.key(1)
    weight = np.float32([1, 1, 1, 0])

    def loss(trained: dict, image: jax.Array, label: np.ndarray, task: np.ndarray) -> jax.Array:
        logits = network.apply({"params": {**params, **trained}}, image)
        probability = jnp.exp(logits) / jnp.exp(logits).sum(1, keepdims=True)
        row_weight = weight * jnp.where(task == 1, 3.0, 1.0)
        return -(row_weight * jnp.log(probability[jnp.arange(4), label])).sum() / row_weight.sum()

    expected = {n: {p: np.array(v) for p, v in params[n].items()} for n in alexnet.LAYERS[2:]}
    velocity = jax.tree.map(np.zeros_like, expected)
    for i in range(3):
        image = jax.random.normal(jax.random.key(i), (4, 128, 128, 3))
        label, task = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
        rate = float(exponential(jnp.float32(i), 3, 0.01, 0.001))
        assert rate == pytest.approx(0.01 * 10 ** (-i / 2), rel=1e-6)
        gradient = jax.device_get(jax.jit(jax.grad(loss))(expected, image, label, task))
        velocity = jax.tree.map(
            lambda v, g, w: 0.9 * v + (g + 0.0005 * w), velocity, gradient, expected
        )
        expected = jax.tree.map(lambda w, v, r=rate: w - r * v, expected, velocity)
        batch = Batch(image, jnp.asarray(label), jnp.asarray(task), jnp.asarray(weight))
        state, metrics = step(state, batch, key, rate)
        np.testing.assert_array_equal(metrics["rows"], [2, 1])
    for name, layer in expected.items():
        for part, value in layer.items():
            change = np.linalg.norm(value - params[name][part])
            error = np.linalg.norm(state.params[name][part] - value)
            assert error < 1e-6 * change, f"{name}/{part}"
    assert all(np.array_equal(state.params["C1"][p], params["C1"][p]) for p in params["C1"])


def test_head_is_not_trained_by_rois_of_other_tasks() -> None:
    network = SmallAlexNet(outputs=4)
    params = init(network, jax.random.key(0))
    tx = optimizer.freeze(optimizer.sgd(0.0, 0.0), optimizer.frozen_layers("C1-C5"))
    step = jax.jit(make_step(multi_task_objective(network, (1.0, 1.0)), tx))
    image = jax.random.normal(jax.random.key(0), (4, 128, 128, 3))
    batch = Batch(image, jnp.array([0, 1, 0, 1]), jnp.full(4, 1), jnp.ones(4))
    state = TrainState(jnp.int32(0), params, tx.init(params))
    after = step(state, batch, jax.random.key(0), jnp.float32(0.1))[0].params["F5"]["kernel"]
    change = np.abs(np.asarray(after - params["F5"]["kernel"])).sum(0)
    assert (change[:2] == 0).all() and (change[2:] > 0).all()


def test_eight_orientations_are_the_dihedral_group() -> None:
    square = np.arange(9.0).reshape(1, 3, 3)

    def orient(image: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(orientations.orient(jnp.asarray(image), jnp.array([k])))

    oriented = {orient(square, k).tobytes() for k in range(8)}
    group = {
        np.ascontiguousarray(np.rot90(flip, k)[None].astype(np.float32)).tobytes()
        for flip in (square[0], square[0].T)
        for k in range(4)
    }
    assert oriented == group and len(group) == 8
    products = {orient(orient(square, j), k).tobytes() for j in range(8) for k in range(8)}
    assert products == group


def test_scores_do_not_depend_on_the_orientation_of_the_rois(params: dict) -> None:
    rois = random_dataset(4)
    expected = predict.predict(NETWORK, params, rois)
    for k in range(1, 8):
        orientation = jnp.full(len(rois.label), k)
        oriented = rois._replace(pixels=orientations.orient(rois.pixels, orientation))
        np.testing.assert_allclose(predict.predict(NETWORK, params, oriented), expected, atol=1e-6)


def test_epoch_has_each_roi_in_each_orientation_once() -> None:
    indices, weight = dataset.epoch_order([0], 11, 16)
    assert indices.shape == (6, 16)
    assert sorted(indices[weight > 0].tolist()) == list(range(88))
    assert (weight.ravel()[88:] == 0).all()
    other_indices, _ = dataset.epoch_order([1], 11, 16)
    assert not np.array_equal(indices, other_indices)


def test_each_task_is_standardized_by_its_pixel_statistics() -> None:
    rois = random_dataset(6)
    indices = jnp.arange(len(rois.label)) * 8
    batch = dataset.make_batch(rois, indices, jnp.ones(len(indices)))
    for task in (0, 1):
        image = np.asarray(batch.image[batch.task == task])
        assert abs(image.mean()) < 1e-3 and abs(image.std() - 1) < 1e-3
        assert image.shape == (len(image), 128, 128, 1)


def test_training_separates_separable_classes(params: dict, tmp_path: Path) -> None:
    after = run_fit(tmp_path / "run", params, epochs=12, learning_rate=0.002)
    rois = random_dataset(seed=5)
    scores = predict.predict(NETWORK, after, rois)
    malignant = np.asarray(rois.label) == 1
    assert scores[malignant].min() > scores[~malignant].max()


def test_bfloat16_step_is_close_to_a_float32_step_and_keeps_float32_weights(params: dict) -> None:
    """Allow a difference of 20% of the update: bfloat16 has 8 significant bits, and rounding errors
    add up over ten layers, forward and backward."""
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), ("C1", "C2", "C3", "C4", "C5"))
    batch = dataset.make_batch(random_dataset(), jnp.arange(16), jnp.ones(16))
    updates = {}
    for precision in ("float32", "bfloat16"):
        step = jax.jit(
            make_step(multi_task_objective(NETWORK, (1.0, 1.0), precision=precision), tx)
        )
        state = TrainState(jnp.int32(0), params, tx.init(params))
        state, metrics = step(state, batch, jax.random.key(0), jnp.float32(0.01))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
        updates[precision] = np.asarray(state.params["F3"]["kernel"] - params["F3"]["kernel"])
        assert metrics["loss"].dtype == jnp.float32
    difference = np.linalg.norm(updates["bfloat16"] - updates["float32"])
    assert 1e-4 < difference / np.linalg.norm(updates["float32"]) < 0.2


def test_resumed_run_is_bit_identical_to_an_uninterrupted_run(params: dict, tmp_path: Path) -> None:
    expected = run_fit(tmp_path / "uninterrupted", params, epochs=3)
    calls = iter(range(2))

    def stop(record: dict) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    def train(on_epoch: object) -> dict:
        run = TrainingRun(tmp_path / "resumed", params, jax.random.key(7), on_epoch)
        return fit_runs([run], epochs=3)[0]

    with pytest.raises(KeyboardInterrupt):
        train(stop)
    resumed = train(lambda record: None)
    assert jax.tree.all(jax.tree.map(np.array_equal, resumed, expected))
    histories = [
        (tmp_path / name / "history.jsonl").read_text() for name in ("uninterrupted", "resumed")
    ]
    assert histories[0] == histories[1]
    assert [json.loads(x)["epoch"] for x in histories[0].splitlines()] == [1, 2, 3]


def test_loss_that_is_not_finite_stops_the_run(params: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NaN or infinite.*lower config.train.learning_rate"):
        run_fit(tmp_path / "run", params, "C0", epochs=20, learning_rate=1e4)


FOUR_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
sys.path.insert(0, sys.argv[2])
import test_training as t
params = jax.device_get(t.init(t.NETWORK, jax.random.key(0)))

def train(name, devices, last_epoch=3, checkpoint_minutes=0.0):
    def on_epoch(record):
        if record["epoch"] > last_epoch:
            raise KeyboardInterrupt
    run = t.TrainingRun(Path(sys.argv[1]) / name, params, jax.random.key(7), on_epoch)
    return t.fit_runs([run], devices=devices, cache=Path(sys.argv[1]) / "cache",
                      source=t.random_dataset(4), keep=False, epochs=3,
                      checkpoint_minutes=checkpoint_minutes)[0]

one_device = train("one_device", 1, checkpoint_minutes=99.0)
for devices, last_epoch in ((4, 1), (2, 2)):
    try:
        train("resumed", devices, last_epoch)
    except KeyboardInterrupt:
        print("interrupted after epoch", last_epoch)
resumed = train("resumed", 1)
for name, layer in one_device.items():
    for part, value in layer.items():
        assert len(resumed[name][part].devices()) == 1
        np.testing.assert_allclose(resumed[name][part], value, atol=1e-6)
print("equal")
"""


@pytest.mark.slow  # compiles for two numbers of devices
def test_run_resumed_on_fewer_devices_equals_a_run_on_one_device(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.stdout.strip().endswith("equal"), process.stderr[-2000:]


def test_more_devices_than_available_are_rejected() -> None:
    from mtl_jax.training.devices import batch_sharding

    with pytest.raises(InputError, match="config.devices=64 is invalid"):
        batch_sharding(64)


def test_history_is_written_to_tensorboard_if_enabled(tmp_path: Path) -> None:
    for name, writers in (("on", ("tensorboard",)), ("off", ())):
        (tmp_path / name).mkdir()
        with open_writers(writers, tmp_path / name, 0) as writer:
            writer.write({"epoch": 1, "step": 5, "loss": 0.5, "loss/sfm": 0.25})
        assert len((tmp_path / name / "history.jsonl").read_text().splitlines()) == 1
    (events,) = (tmp_path / "on" / "tensorboard").iterdir()
    assert b"loss/sfm" in events.read_bytes()
    assert not (tmp_path / "off" / "tensorboard").exists()


def test_scanned_epoch_equals_a_stepwise_epoch(params: dict) -> None:
    """Run the scanned epoch of accelerators on the CPU; with C1-C5 frozen this is fast."""
    frozen = optimizer.frozen_layers("C1-C5")
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), frozen)
    step = make_step(multi_task_objective(NETWORK, (1.0, 1.0)), tx)
    rois, key = random_dataset(), jax.random.key(3)
    order = epoch.EpochOrder(
        *dataset.epoch_order([3], len(rois.label), 16), np.full(5, 0.001, np.float32)
    )
    results = []
    for make_epoch in (epoch._scanned, epoch._stepwise):
        state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, params), tx.init(params))
        progress: list[int] = []
        run_epoch = make_epoch(step, dataset.make_batch)
        state, read = run_epoch(state, rois, order, key, progress.append)
        results.append((state, read()))
        assert sum(progress) == 5
    (scanned, scanned_metrics), (stepped, stepped_metrics) = results
    assert int(scanned.step) == int(stepped.step) == 5
    np.testing.assert_allclose(scanned_metrics["loss"], stepped_metrics["loss"], rtol=1e-4)
    for name in alexnet.LAYERS:
        for part, value in stepped.params[name].items():
            np.testing.assert_allclose(scanned.params[name][part], value, atol=1e-5)


CACHED_PROGRAM = """
import sys
from pathlib import Path
import jax
from mtl_jax.training import devices
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
devices.enable_compilation_cache(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x + 1)(1.0), events.count("/jax/compilation_cache/cache_hits"))
"""


def test_compilation_cache_is_used_by_the_next_process(tmp_path: Path) -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CACHED_PROGRAM, str(tmp_path)],
            env={k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs[0] == ["2.0", "0"] and outputs[1][0] == "2.0" and int(outputs[1][1]) > 0
