"""Freezing, the optimizer, orientations, batches, checkpoints, several devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import config
from mtl_jax.models import alexnet
from mtl_jax.training import dataset, epoch, optimizer, orientations, predict, steps
from mtl_jax.training.fit import TrainingRun, fit
from mtl_jax.training.history import TensorBoard
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import Batch, InputError, TrainState

NETWORK = alexnet.AlexNet(dropout=0.5)
LEAVES = {"C0": 20, "C1": 18, "C1-C2": 16, "C1-C3": 14, "C1-C4": 12, "C1-C5": 10}


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))


def random_dataset(count: int = 6, seed: int = 0) -> dataset.Dataset:
    """Two tasks of different brightness; malignant ROIs are brighter in the middle."""
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
        c.update({"epochs": 2, "batch_size": 16, "checkpoint_epochs": 1, **changes})
    return c


def run_fit(folder: Path, params: dict, network: str = "C1-C5", **changes: object) -> dict:
    training = TrainingRun(folder, params, jax.random.key(7), lambda line: None)
    return fit_these([training], network, **changes)[0]


def fit_these(
    trainings: list[TrainingRun],
    network: str = "C1-C5",
    devices: int = 1,
    replicas: Replicas | None = None,
    cache: Path | None = None,
    source: dataset.Dataset | None = None,
    keep: bool = True,
    initialization: str = "he",
    **changes: object,
) -> list[dict]:
    return fit(
        trainings,
        source or random_dataset(),
        NETWORK,
        optimizer.frozen_layers(network),
        ("a", "b"),
        (1.0, 1.0),
        train_config(**changes),
        devices,
        cache,
        keep,
        replicas,
        initialization,
    )


@pytest.mark.parametrize("network", config.NETWORKS)
def test_frozen_layers_have_no_optimizer_state(params: dict, network: str) -> None:
    tx = optimizer.make_optimizer(optimizer.frozen_layers(network), optimizer.SGD(0.9, 0.0005))
    state = tx.init(params)
    momentum = [leaf for leaf in jax.tree.leaves(state) if np.ndim(leaf)]
    assert len(momentum) == LEAVES[network]


def test_unknown_network_lists_the_valid_ones() -> None:
    with pytest.raises(InputError, match="C0, C1, C1-C2, C1-C3, C1-C4, C1-C5"):
        optimizer.frozen_layers("C2")


def test_frozen_leaves_are_bit_equal_after_training_and_the_others_moved(
    params: dict, tmp_path: Path
) -> None:
    after = run_fit(tmp_path / "run", params, "C1-C3", epochs=1)
    for name in alexnet.LAYERS:
        for part in ("kernel", "bias"):
            same = np.array_equal(after[name][part], params[name][part])
            assert same == (name in ("C1", "C2", "C3")), (name, part)


def test_three_steps_against_the_update_equations_by_hand(params: dict) -> None:
    """v <- 0.9 v + (g + 0.0005 w), w <- w - rate v, in NumPy; the loss written out anew.

    In double precision but for the loss, so that no value is carried over the edge of a rectifier
    or of a maximum by rounding.
    """
    with jax.enable_x64(True):
        three_steps_by_hand(jax.tree.map(np.float64, params))


def three_steps_by_hand(params: dict) -> None:
    network = alexnet.AlexNet()
    tx = optimizer.make_optimizer(("C1", "C2"), optimizer.SGD(0.9, 0.0005))
    step = jax.jit(steps.make_train_step(network, tx, (1.0, 3.0), precision="float64"))
    state = TrainState(jnp.int32(0), params, tx.init(params))
    key = jax.random.key(1)
    weight = np.float32([1, 1, 1, 0])

    def loss(trained: dict, image: jax.Array, label: np.ndarray, task: np.ndarray) -> jax.Array:
        logits = alexnet.forward({**params, **trained}, image)
        chance = jnp.exp(logits) / jnp.exp(logits).sum(1, keepdims=True)
        share = weight * jnp.where(task == 1, 3.0, 1.0)
        return -(share * jnp.log(chance[jnp.arange(4), label])).sum() / share.sum()

    by_hand = {n: {p: np.array(v) for p, v in params[n].items()} for n in alexnet.LAYERS[2:]}
    velocity = jax.tree.map(np.zeros_like, by_hand)
    for i in range(3):
        image = jax.random.normal(jax.random.key(i), (4, 128, 128, 3))
        label, task = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
        rate = float(optimizer.learning_rate(jnp.float32(i), 3, 0.01, 0.001))
        assert rate == pytest.approx(0.01 * 10 ** (-i / 2), rel=1e-6)
        gradient = jax.device_get(jax.jit(jax.grad(loss))(by_hand, image, label, task))
        velocity = jax.tree.map(
            lambda v, g, w: 0.9 * v + (g + 0.0005 * w), velocity, gradient, by_hand
        )
        by_hand = jax.tree.map(lambda w, v, r=rate: w - r * v, by_hand, velocity)
        batch = Batch(image, jnp.asarray(label), jnp.asarray(task), jnp.asarray(weight))
        state, metrics = step(state, batch, key, rate)
        np.testing.assert_array_equal(metrics.rows, [2, 1])
    for name, layer in by_hand.items():
        for part, value in layer.items():
            moved = np.linalg.norm(value - params[name][part])
            off = np.linalg.norm(state.params[name][part] - value)
            assert off < 1e-6 * moved, f"{name}/{part}"
    assert all(np.array_equal(state.params["C1"][p], params["C1"][p]) for p in params["C1"])


def test_a_head_learns_nothing_from_other_tasks_rows() -> None:
    network = alexnet.AlexNet(outputs=4)
    params = alexnet.init(network, jax.random.key(0))
    tx = optimizer.make_optimizer((), optimizer.SGD(0.0, 0.0))
    step = jax.jit(steps.make_train_step(network, tx, (1.0, 1.0)))
    image = jax.random.normal(jax.random.key(0), (4, 128, 128, 3))
    batch = Batch(image, jnp.array([0, 1, 0, 1]), jnp.full(4, 1), jnp.ones(4))
    state = TrainState(jnp.int32(0), params, tx.init(params))
    after = step(state, batch, jax.random.key(0), jnp.float32(0.1))[0].params["F5"]["kernel"]
    moved = np.abs(np.asarray(after - params["F5"]["kernel"])).sum(0)
    assert (moved[:2] == 0).all() and (moved[2:] > 0).all()


def test_the_eight_orientations_are_the_dihedral_group() -> None:
    square = np.arange(9.0).reshape(1, 3, 3)

    def turned(image: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(orientations.orient(jnp.asarray(image), jnp.array([k])))

    ours = {turned(square, k).tobytes() for k in range(8)}
    group = {
        np.ascontiguousarray(np.rot90(flip, k)[None].astype(np.float32)).tobytes()
        for flip in (square[0], square[0].T)
        for k in range(4)
    }
    assert ours == group and len(group) == 8
    closed = {turned(turned(square, j), k).tobytes() for j in range(8) for k in range(8)}
    assert closed == group


def test_scores_do_not_depend_on_how_a_roi_lies(params: dict) -> None:
    p = random_dataset(4)
    straight = predict.predict(NETWORK, params, p)
    for k in range(1, 8):
        which = jnp.full(len(p.label), k)
        turned = p._replace(pixels=orientations.orient(p.pixels, which))
        np.testing.assert_allclose(predict.predict(NETWORK, params, turned), straight, atol=1e-6)


def test_an_epoch_shows_each_roi_in_each_orientation_once() -> None:
    indices, weight = dataset.epoch_order(jax.random.key(0), 11, 16)
    assert indices.shape == (6, 16)
    assert sorted(indices[weight > 0].tolist()) == list(range(88))
    assert (weight.ravel()[88:] == 0).all()
    other, _ = dataset.epoch_order(jax.random.key(1), 11, 16)
    assert not np.array_equal(indices, other)


def test_each_task_is_standardized_by_its_own_statistics() -> None:
    p = random_dataset(6)
    indices = jnp.arange(len(p.label)) * 8
    batch = dataset.make_batch(p, indices, jnp.ones(len(indices)))
    for task in (0, 1):
        image = np.asarray(batch.image[batch.task == task])
        assert abs(image.mean()) < 1e-3 and abs(image.std() - 1) < 1e-3
        assert image.shape == (len(image), 128, 128, 1)


def test_it_learns_what_can_be_learned(params: dict, tmp_path: Path) -> None:
    after = run_fit(tmp_path / "run", params, epochs=12, learning_rate=0.002)
    p = random_dataset(seed=5)
    scores = predict.predict(NETWORK, after, p)
    malignant = np.asarray(p.label) == 1
    assert scores[malignant].min() > scores[~malignant].max()


def test_bfloat16_learns_the_same_with_weights_in_float32(params: dict) -> None:
    """A step in bfloat16 has the direction of one in float32, and is not the same: each of eight
    layers, there and back, rounds to 8 bits, which adds up to a tenth."""
    tx = optimizer.make_optimizer(("C1", "C2", "C3", "C4", "C5"), optimizer.SGD(0.9, 0.0005))
    batch = dataset.make_batch(random_dataset(), jnp.arange(16), jnp.ones(16))
    moved = {}
    for precision in ("float32", "bfloat16"):
        step = jax.jit(steps.make_train_step(NETWORK, tx, (1.0, 1.0), precision=precision))
        state = TrainState(jnp.int32(0), params, tx.init(params))
        state, metrics = step(state, batch, jax.random.key(0), jnp.float32(0.01))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
        moved[precision] = np.asarray(state.params["F3"]["kernel"] - params["F3"]["kernel"])
        assert metrics.loss.dtype == jnp.float32
    apart = np.linalg.norm(moved["bfloat16"] - moved["float32"])
    assert 1e-4 < apart / np.linalg.norm(moved["float32"]) < 0.2


def test_resumed_equals_unbroken_to_the_bit(params: dict, tmp_path: Path) -> None:
    whole = run_fit(tmp_path / "whole", params, epochs=3)
    calls = iter(range(2))

    def stop(line: dict) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    def broken(report: object) -> dict:
        training = TrainingRun(tmp_path / "broken", params, jax.random.key(7), report)
        return fit_these([training], epochs=3)[0]

    with pytest.raises(KeyboardInterrupt):
        broken(stop)
    resumed = broken(lambda line: None)
    assert jax.tree.all(jax.tree.map(np.array_equal, resumed, whole))
    histories = [(tmp_path / n / "history.jsonl").read_text() for n in ("whole", "broken")]
    assert histories[0] == histories[1]
    assert [json.loads(x)["epoch"] for x in histories[0].splitlines()] == [1, 2, 3]


def test_a_loss_that_is_no_number_stops_the_run(params: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no longer a number.*lower config.train.learning_rate"):
        run_fit(tmp_path / "run", params, "C0", epochs=20, learning_rate=1e4)


FOUR_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
sys.path.insert(0, sys.argv[2])
import test_training as t
from mtl_jax.models import alexnet
params = jax.device_get(alexnet.init(t.NETWORK, jax.random.key(0)))

def train(name, devices, until=3, every=1):
    def report(line):
        if line["epoch"] > until:
            raise KeyboardInterrupt
    training = t.TrainingRun(Path(sys.argv[1]) / name, params, jax.random.key(7), report)
    return t.fit_these([training], devices=devices, cache=Path(sys.argv[1]) / "cache",
                       source=t.random_dataset(4), keep=False, epochs=3, checkpoint_epochs=every)[0]

one = train("one", 1, every=9)
for devices, until in ((4, 1), (2, 2)):
    try:
        train("moved", devices, until)
    except KeyboardInterrupt:
        print("moved on after epoch", until)
moved = train("moved", 1)
for name, layer in one.items():
    for part, value in layer.items():
        assert len(moved[name][part].devices()) == 1
        np.testing.assert_allclose(moved[name][part], value, atol=1e-6)
print("equal")
"""


def test_begun_on_four_devices_and_ended_on_two_and_one_as_on_one_alone(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stdout.strip().endswith("equal"), ended.stderr[-2000:]


def test_more_devices_than_there_are() -> None:
    from mtl_jax.training.devices import batch_sharding

    with pytest.raises(InputError, match="config.devices=64 is invalid"):
        batch_sharding(64)


def test_history_goes_to_tensorboard_where_asked(tmp_path: Path) -> None:
    with TensorBoard(tmp_path, enabled=True) as board:
        board.write({"epoch": 1, "step": 5, "loss": 0.5, "loss/sfm": 0.25})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss/sfm" in events.read_bytes()
    with TensorBoard(tmp_path / "off", enabled=False) as board:
        board.write({"epoch": 1, "loss": 0.5})
    assert not (tmp_path / "off").exists()


def test_the_epoch_in_one_loop_is_the_epoch_step_by_step(params: dict) -> None:
    """What accelerators run, on the CPU: no backward convolution is left in the loop at C1-C5."""
    frozen = optimizer.frozen_layers("C1-C5")
    tx = optimizer.make_optimizer(frozen, optimizer.SGD(0.9, 0.0005))
    step = steps.make_train_step(NETWORK, tx, (1.0, 1.0))
    p, key = random_dataset(), jax.random.key(3)
    order = epoch.EpochOrder(*dataset.epoch_order(key, len(p.label), 16), jnp.full(5, 0.001))
    ended = []
    for make in (epoch._scanned, epoch._stepwise):
        state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, params), tx.init(params))
        ticks: list[int] = []
        ended.append(make(step, dataset.make_batch)(state, p, order, key, ticks.append))
        assert sum(ticks) == 5
    (looped, metrics), (stepped, others) = ended
    assert int(looped.step) == int(stepped.step) == 5
    np.testing.assert_allclose(metrics.loss, others.loss, rtol=1e-4)
    for name in alexnet.LAYERS:
        for part, value in stepped.params[name].items():
            np.testing.assert_allclose(looped.params[name][part], value, atol=1e-5)


KEEPING = """
import sys
from pathlib import Path
import jax
from mtl_jax.training import devices
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
devices.enable_compilation_cache(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x + 1)(1.0), found.count("/jax/compilation_cache/cache_hits"))
"""


def test_a_program_compiled_once_is_found_by_the_next_process(tmp_path: Path) -> None:
    messages = [
        subprocess.run(
            [sys.executable, "-c", KEEPING, str(tmp_path)],
            env={k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert messages[0] == ["2.0", "0"] and messages[1][0] == "2.0" and int(messages[1][1]) > 0
