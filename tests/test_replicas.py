"""Several trainings as one program: each gives what it gives alone."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import NETWORK, fit_these

from mtl_jax import config
from mtl_jax.experiments import compute_cost, executors
from mtl_jax.experiments.study_inputs import Inputs
from mtl_jax.models.base import init
from mtl_jax.training import checkpoint, dataset, devices, epoch, optimizer, replicas, steps
from mtl_jax.training.fit import TrainingRun
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.steps import Metrics
from mtl_jax.types import Run, TrainState
from mtl_jax.weights import Weights


def trainings(folder: Path, count: int) -> list[TrainingRun]:
    """The convolutions of all are the same, as pretrained ones are."""
    first = jax.device_get(init(NETWORK, jax.random.key(0)))
    found = []
    for seed in range(count):
        own = jax.device_get(init(NETWORK, jax.random.key(seed)))
        params = {name: (first if name.startswith("C") else own)[name] for name in first}
        key = jax.random.key(7 + seed)
        found.append(TrainingRun(folder / str(seed), params, key, lambda line: None))
    return found


def close(found: dict, expected: dict, before: dict, share: float = 1e-5) -> None:
    """Weights that differ by at most `share` of how far the layer has moved, by norm."""
    for name, layer in expected.items():
        for part, value in layer.items():
            moved = np.linalg.norm(value - before[name][part])
            assert np.linalg.norm(found[name][part] - value) <= share * moved, (name, part)


def same(found: dict, expected: dict) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def go(
    trainings: list[TrainingRun],
    cache: Path | None,
    replicas: Replicas | None = None,
    network: str = "C1-C5",
    epochs: int = 1,
    keep: bool = False,
    source: dataset.Dataset | None = None,
) -> list[dict]:
    """A step an epoch of ten ROIs."""
    own = {"epochs": epochs, "batch_size": 80, "checkpoint_epochs": 1 if keep else 9}
    devices = replicas.devices if replicas else 1
    return fit_these(trainings, network, devices, replicas, cache, source, keep, **own)


def test_each_gives_what_it_gives_alone(tmp_path: Path) -> None:
    pair = trainings(tmp_path / "pair", 2)
    together = go(pair, tmp_path, Replicas(1, 2), "C1-C4")
    for number, training in enumerate(pair):
        other = training._replace(folder=tmp_path / "alone" / str(number))
        (alone,) = go([other], tmp_path, network="C1-C4")
        close(together[number], alone, training.params)
    assert not same(together[0], together[1])


def test_what_the_other_replicas_hold_changes_no_bit(tmp_path: Path) -> None:
    whole = go(trainings(tmp_path / "whole", 3), tmp_path, Replicas(1, 3))
    part = go(trainings(tmp_path / "part", 3)[1:], tmp_path, Replicas(1, 3))
    assert same(part[0], whole[1]) and same(part[1], whole[2])


def test_killed_between_two_saves_they_go_on_from_the_epoch_that_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Replicas(1, 2)
    whole = go(trainings(tmp_path / "whole", 2), tmp_path, pair, epochs=2, keep=True)
    save = checkpoint.Checkpoints.save

    def killed(self: checkpoint.Checkpoints, epoch: int, state: object) -> None:
        if epoch == 2 and self._folder.parent.name == "1":
            raise KeyboardInterrupt
        save(self, epoch, state)

    broken = trainings(tmp_path / "broken", 2)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint.Checkpoints, "save", killed)
        go(broken, tmp_path, pair, epochs=2, keep=True)
    have = [checkpoint.saved_epochs(each.folder / "checkpoint") for each in broken]
    assert have == [[1, 2], [1]]
    resumed = go(broken, tmp_path, pair, epochs=2, keep=True)
    assert all(map(same, resumed, whole))
    for number in "01":
        histories = [tmp_path / n / number / "history.jsonl" for n in ("whole", "broken")]
        assert histories[0].read_text() == histories[1].read_text()


FOLDS = ((6, 4), (7, 5), (6, 4))  # ROIs of each of two tasks that three folds learn


def learned(folds: Sequence[int]) -> tuple[dataset.Dataset, list[range]]:
    """What these of FOLDS learn, of unlike brightness and contrast, in one pool."""
    pixels, labels, rois = [], [], []
    for fold in folds:
        rng = np.random.default_rng(fold)
        begin = rois[-1].stop if rois else 0
        rois.append(range(begin, begin + sum(FOLDS[fold])))
        for task, count in enumerate(FOLDS[fold]):
            image = rng.normal(900 * task + 300 * fold, 60 + 40 * fold, (count, 128, 128))
            labels.append(np.arange(count) % 2)
            image[labels[-1] == 1, 40:88, 40:88] += 120
            pixels.append(image.astype(np.int16))
    return dataset.make_dataset(
        pixels, labels, *dataset.pixel_statistics(pixels), "auto", [0, 1] * len(folds)
    ), rois


def go_with_folds(
    folder: Path,
    cache: Path | None,
    folds: Sequence[int],
    replicas: Replicas | None,
    **more: object,
) -> tuple[list[dict], list[TrainingRun]]:
    """Each fold a replica with the seed of its number."""
    source, rois = learned(folds)
    each = trainings(folder, len(FOLDS))
    own = [each[fold]._replace(rois=place) for fold, place in zip(folds, rois, strict=True)]
    return go(own, cache, replicas, source=source, **more), own


@pytest.mark.parametrize("cached", [True, False])
def test_each_fold_gives_what_it_gives_alone(tmp_path: Path, cached: bool) -> None:
    """Of folds with one step an epoch and with two, from maps and from pixels."""
    cache = tmp_path if cached else None
    together, own = go_with_folds(tmp_path / "both", cache, (0, 1), Replicas(1, 2, True), epochs=2)
    for fold, training in enumerate(own):
        (alone,), _ = go_with_folds(tmp_path / "alone", cache, (fold,), None, epochs=2)
        close(together[fold], alone, training.params)
        files = [tmp_path / name / str(fold) / "history.jsonl" for name in ("both", "alone")]
        lines = [[json.loads(line) for line in f.read_text().splitlines()] for f in files]
        steps_an_epoch = fold + 1
        for epoch_number, (found, expected) in enumerate(zip(*lines, strict=True), 1):
            assert found["step"] == epoch_number * steps_an_epoch
            assert found == pytest.approx(expected, rel=1e-4)


def test_which_folds_the_other_replicas_hold_changes_no_bit(tmp_path: Path) -> None:
    """A study that was stopped goes on in replicas with the folds that are missing."""
    whole, _ = go_with_folds(tmp_path / "whole", tmp_path, (0, 1, 2), Replicas(1, 3, True))
    part, _ = go_with_folds(tmp_path / "part", tmp_path, (0, 2), Replicas(1, 3, True))
    assert same(part[0], whole[0]) and same(part[1], whole[2])


def test_folds_of_unlike_length_need_replicas_that_may_be_uneven(tmp_path: Path) -> None:
    """Empty batches would change a training: weights decay."""
    with pytest.raises(ValueError, match=r"\[1, 2\] steps per epoch"):
        go_with_folds(tmp_path, None, (0, 1), Replicas(1, 2))


def test_replicas_of_several_folds_may_be_uneven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run("mttl", ("a", "b"), "C0", 0, 0)
    seeds = [dataclasses.replace(run, initialization=seed) for seed in range(2)]
    folds = [dataclasses.replace(run, fold=fold) for fold in range(2)]
    c = config.default()
    c.replicas = 2
    c.train.match_steps = False
    layout = []
    monkeypatch.setattr(executors, "execute", lambda *given: layout.append(given[-1]))
    for runs in (seeds, folds):
        inputs = Inputs({}, None, Weights({}, {}), [])
        executors.local(runs, tmp_path, inputs, c, lambda run: None)
    assert layout == [Replicas(1, 2), Replicas(1, 2, ragged=True)]


def one_epoch(make: Callable, layout: Replicas) -> tuple[TrainState, Metrics]:
    """Two steps of two replicas, of maps of the last convolution, by either form of an epoch."""
    tx = optimizer.make_optimizer(optimizer.frozen_layers("C1-C5"), optimizer.SGD(0.9, 0.0005))
    step = steps.make_train_step(NETWORK, tx, (1.0, 1.0), "F1")
    maps = jax.random.uniform(jax.random.key(1), (32, 3, 3, 256))
    source = dataset.Activations(maps, jnp.arange(32) % 2, jnp.arange(32) // 16)
    states, indices, keys = [], [], [jax.random.key(5), jax.random.key(6)]
    for key in keys:
        params = {name: layer for name, layer in init(NETWORK, key).items() if name[0] == "F"}
        states.append(TrainState(jnp.int32(0), params, tx.init(params)))
        indices.append(dataset.epoch_order(key, 4, 16))
    rates = jnp.float32([0.01, 0.005])
    order = replicas.stack_replicas([epoch.EpochOrder(*each, rates) for each in indices], layout)
    ticks: list[int] = []
    ended = make(step, dataset.make_batch, layout)(
        replicas.stack_replicas(states, layout),
        source,
        order,
        replicas.stack_replicas(keys, layout),
        ticks.append,
    )
    assert sum(ticks) == 2
    return jax.device_get(ended)


def test_replicas_in_one_loop_are_replicas_step_by_step() -> None:
    """What accelerators run, on the CPU."""
    (looped, of_loop), (stepped, of_steps) = (
        one_epoch(make, Replicas(1, 2)) for make in (epoch._scanned, epoch._stepwise)
    )
    assert of_loop.loss.shape == of_steps.loss.shape == (2, 2)  # replicas, steps
    assert of_loop.rows.shape == of_steps.rows.shape == (2, 2, 2)  # replicas, steps, tasks
    np.testing.assert_allclose(of_loop.loss, of_steps.loss, rtol=1e-5)
    assert abs(of_loop.loss[0] - of_loop.loss[1]).min() > 1e-3
    for name, layer in stepped.params.items():
        for part, value in layer.items():
            np.testing.assert_allclose(looped.params[name][part], value, atol=1e-6)


ON_FOUR_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, sys.argv[2])
import test_replicas as t
four, cache = t.trainings(Path(sys.argv[1]), 4), Path(sys.argv[1]) / "cache"
def moved(name):
    return [each._replace(folder=each.folder.parent / name / each.folder.name) for each in four]
one = t.go(moved("one"), cache, t.Replicas(1, 4))
for replicas in (t.Replicas(4, 1), t.Replicas(2, 2)):
    many = t.go(moved(str(replicas.devices)), cache, replicas)
    for found, expected, training in zip(many, one, four):
        t.close(found, expected, training.params)
home = Path(sys.argv[1])
many, folds = t.go_with_folds(home / "folds", cache, (0, 1), t.Replicas(2, 1, True))
one, _ = t.go_with_folds(home / "folds1", cache, (0, 1), t.Replicas(1, 2, True))
for found, expected, training in zip(many, one, folds):
    t.close(found, expected, training.params)
(looped, of_loop), (stepped, of_steps) = (
    t.one_epoch(make, layout)
    for make, layout in ((t.epoch._scanned, t.Replicas(2, 1)), (t.epoch._stepwise, t.Replicas(1,
    2))) 
assert of_loop.loss.shape == (2, 1, 2)
t.np.testing.assert_allclose(of_loop.loss[:, 0], of_steps.loss, rtol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_replicas_over_four_devices(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            ON_FOUR_DEVICES,
            str(tmp_path),
            str(Path(__file__).parent),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stdout.strip().endswith("equal"), ended.stderr[-2000:]


@pytest.mark.parametrize(
    ("count", "devices", "layout"),
    [
        (1, 1, None),
        (5, 1, Replicas(1, 5)),
        (3, 4, None),
        (4, 4, Replicas(4, 1)),
        (10, 4, Replicas(4, 3)),
    ],
)
def test_replicas_are_assigned_to_devices(
    count: int, devices: int, layout: Replicas | None
) -> None:
    assert replicas.make_replicas(count, devices) == layout


def test_on_cpus_as_many_go_together_as_there_are_devices() -> None:
    assert replicas.max_runs(1e9, 1) == 1 and replicas.max_runs(1e9, 3) == 3


def test_runs_go_together_that_differ_in_seed_and_fold_alone() -> None:
    run = Run("mttl", ("a", "b"), "C1-C3", 0, 0)
    runs = [
        dataclasses.replace(run, initialization=seed, fold=fold)
        for seed in range(3)
        for fold in range(2)
    ]
    drawn = [
        dataclasses.replace(run, fold=None, target_cases=4, initialization=seed)
        for seed in range(2)
    ]
    whole = dataclasses.replace(run, fold=None)
    c = config.default()
    c.replicas = 4
    learned = Weights(dict.fromkeys(("C1", "C2", "C3"), {}), {})
    inputs = Inputs({}, None, learned, [])
    found = executors.groups([*runs, *drawn, whole], inputs, c)
    messages = [[(r.initialization, r.fold) for r in group] for group in found]
    # Those of a fold lie together; all cases, and fewer of them, are other numbers of steps.
    assert messages == [
        [(0, 0), (1, 0), (2, 0), (0, 1)],
        [(1, 1), (2, 1)],
        [(0, None), (1, None)],
        [(0, None)],
    ]
    # Frozen layers at random differ by seed.
    few = inputs._replace(weights=Weights({"C1": {}}, {}))
    assert all(len(group) == 1 for group in executors.groups(runs, few, c))


def test_as_many_folds_go_together_as_fit_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("mttl", ("a", "b"), "C1-C3", 0, 0)
    runs = [
        dataclasses.replace(run, initialization=seed, fold=fold)
        for seed in range(2)
        for fold in range(5)
    ]
    monkeypatch.setattr(devices, "memory", lambda: (80e9, 128e9))
    # An ROI's maps are 7 x 7 x 384 floats in eight orientations, 0.6 MB, and a quarter of the
    # memory is for them: two folds of 15,000 ROIs fit into 20 GB.
    monkeypatch.setattr(executors, "rois_learned", lambda *_: 15_000)
    learned = Weights(dict.fromkeys(("C1", "C2", "C3"), {}), {})
    found = executors.groups(runs, Inputs({}, None, learned, []), config.default())
    assert [len({run.fold for run in group}) for group in found] == [2, 2, 1]
    assert [len(group) for group in found] == [4, 4, 2]


def test_the_size_of_a_training_counted_by_hand() -> None:
    """Weights once; of those that learn the momentum, the gradient and two successors too."""
    connected = 2304 * 4096 + 4096 * 4096 + 4096 * 1000 + 1000 * 100 + 100 * 2
    connected += 4096 + 4096 + 1000 + 100 + 2
    convolved = 64 * 363 + 192 * 1600 + 384 * 1728 + 256 * 3456 + 256 * 2304
    convolved += 64 + 192 + 384 + 256 + 256
    state, passing = compute_cost.training_bytes("alexnet", "C1-C5")
    assert state == 4 * (5 * connected + convolved)
    assert compute_cost.training_bytes("alexnet", "C0")[0] == 20 * (connected + convolved)
    # The maps of C1 alone, before and after the pool, with gradients, are 1.2 MB.
    assert 1.2e6 < passing < 1e7


def test_a_gpu_takes_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "memory", lambda: (80e9, 128e9))
    assert (
        replicas.max_runs(1e9, 1) == 40
        and replicas.max_runs(1e9, 2) == 80
        and replicas.max_runs(1e12, 2) == 2
    )
