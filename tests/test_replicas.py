"""Replicas: each run gives the result that it gives alone."""

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
from kit.small_network import MAPS
from test_training import NETWORK, fit_runs

from mtl_jax import config
from mtl_jax.experiments import executors
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import checkpoint, dataset, epoch, memory, optimizer, replicas
from mtl_jax.training.objective import multi_task_objective
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import TrainingRun
from mtl_jax.training.step import Metrics, make_replica_step, make_step_by_sum
from mtl_jax.types import InputError, Run, TrainState
from mtl_jax.weights import Weights


def make_runs(folder: Path, count: int) -> list[TrainingRun]:
    """Return runs with equal convolutions, as pretrained ones are."""
    first = jax.device_get(init(NETWORK, jax.random.key(0)))
    runs = []
    for seed in range(count):
        random = jax.device_get(init(NETWORK, jax.random.key(seed)))
        params = {name: (first if name.startswith("C") else random)[name] for name in first}
        key = jax.random.key(7 + seed)
        runs.append(TrainingRun(folder / str(seed), params, key, lambda record: None))
    return runs


def assert_close(actual: dict, expected: dict, before: dict, share: float = 1e-5) -> None:
    """Assert that the weights differ by at most `share` of the norm of their change."""
    for name, layer in expected.items():
        for part, value in layer.items():
            change = np.linalg.norm(value - before[name][part])
            assert np.linalg.norm(actual[name][part] - value) <= share * change, (name, part)


def is_identical(actual: dict, expected: dict) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, actual, expected))


def train(
    runs: list[TrainingRun],
    cache: Path | None,
    replicas: Replicas | None = None,
    network: str = "C1-C5",
    epochs: int = 1,
    keep: bool = False,
    source: dataset.Dataset | None = None,
) -> list[dict]:
    """Train with one step per epoch of ten ROIs."""
    changes = {"epochs": epochs, "batch_size": 80, "checkpoint_minutes": 0.0 if keep else 99.0}
    devices = replicas.devices if replicas else 1
    return fit_runs(runs, network, devices, replicas, cache, source, keep, **changes)


def test_each_replica_gives_the_result_that_it_gives_alone(tmp_path: Path) -> None:
    pair = make_runs(tmp_path / "pair", 2)
    together = train(pair, tmp_path, Replicas(1, 2), "C1-C4")
    for number, run in enumerate(pair):
        single_run = run._replace(folder=tmp_path / "alone" / str(number))
        (alone,) = train([single_run], tmp_path, network="C1-C4")
        assert_close(together[number], alone, run.params)
    assert not is_identical(together[0], together[1])


@pytest.mark.parametrize("network", ["C0", "C1-C5"])
def test_a_replica_is_bit_identical_whatever_the_others_are(network: str, tmp_path: Path) -> None:
    whole = train(make_runs(tmp_path / "whole", 3), tmp_path, Replicas(1, 3), network)
    part = train(make_runs(tmp_path / "part", 3)[1:], tmp_path, Replicas(1, 3), network)
    assert is_identical(part[0], whole[1]) and is_identical(part[1], whole[2])


def test_a_replica_that_diverges_does_not_reach_the_others(tmp_path: Path) -> None:
    """One convolution of all replicas would have their values times zero in every gradient."""
    runs = make_runs(tmp_path, 3)
    kernel = np.array(runs[1].params["C3"]["kernel"])
    kernel[0, 0, 0, 0] = np.nan
    layer = runs[1].params["C3"] | {"kernel": kernel}
    runs[1] = runs[1]._replace(params=runs[1].params | {"C3": layer})
    with pytest.raises(InputError, match="run 1: the loss is NaN"):
        train(runs, None, Replicas(1, 3), "C0")


def test_the_gradient_of_the_sum_trains_as_each_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of a GPU, with trained convolutions, on a CPU."""
    alone = [train([run], None, network="C1-C3") for run in make_runs(tmp_path / "alone", 2)]
    with monkeypatch.context() as patched:
        patched.setattr("mtl_jax.training.setup.make_replica_step", make_step_by_sum)
        pair = make_runs(tmp_path / "pair", 2)
        trained = train(pair, None, Replicas(1, 2), "C1-C3")
    for run, actual, (expected,) in zip(pair, trained, alone, strict=True):
        assert_close(actual, expected, run.params, 1e-4)


def test_replicas_killed_between_two_saves_resume_from_the_epoch_that_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Replicas(1, 2)
    whole = train(make_runs(tmp_path / "whole", 2), tmp_path, pair, epochs=2, keep=True)
    save = checkpoint.Checkpoints.save

    def killed(self: checkpoint.Checkpoints, epoch: int, state: object) -> None:
        if epoch == 2 and self._folder.parent.name == "1":
            raise KeyboardInterrupt
        save(self, epoch, state)

    interrupted = make_runs(tmp_path / "interrupted", 2)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint.Checkpoints, "save", killed)
        train(interrupted, tmp_path, pair, epochs=2, keep=True)
    saved = [checkpoint.saved_epochs(run.folder / "checkpoint") for run in interrupted]
    assert saved == [[1, 2], [1]]
    resumed = train(interrupted, tmp_path, pair, epochs=2, keep=True)
    assert all(map(is_identical, resumed, whole))
    for number in "01":
        histories = [tmp_path / n / number / "history.jsonl" for n in ("whole", "interrupted")]
        assert histories[0].read_text() == histories[1].read_text()


FOLDS = ((6, 4), (7, 5), (6, 4))  # training ROIs of each of two tasks in three folds


def make_folds(folds: Sequence[int]) -> tuple[dataset.Dataset, list[range]]:
    """Return one dataset of the folds, which differ in brightness and contrast, and their ROIs."""
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


def train_folds(
    folder: Path,
    cache: Path | None,
    folds: Sequence[int],
    replicas: Replicas | None,
    **options: object,
) -> tuple[list[dict], list[TrainingRun]]:
    """Train each fold as a replica with the seed of its number."""
    source, rois = make_folds(folds)
    runs = make_runs(folder, len(FOLDS))
    fold_runs = [
        runs[fold]._replace(rois=fold_rois) for fold, fold_rois in zip(folds, rois, strict=True)
    ]
    return train(fold_runs, cache, replicas, source=source, **options), fold_runs


@pytest.mark.parametrize("cached", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_fold_gives_the_result_that_it_gives_alone(tmp_path: Path, cached: bool) -> None:
    """Train folds with one and with two steps per epoch, from activations and from pixels."""
    cache = tmp_path if cached else None
    together, runs = train_folds(tmp_path / "both", cache, (0, 1), Replicas(1, 2, True), epochs=2)
    for fold, run in enumerate(runs):
        (alone,), _ = train_folds(tmp_path / "alone", cache, (fold,), None, epochs=2)
        assert_close(together[fold], alone, run.params)
        files = [tmp_path / name / str(fold) / "history.jsonl" for name in ("both", "alone")]
        records = [[json.loads(line) for line in f.read_text().splitlines()] for f in files]
        steps_per_epoch = fold + 1
        for epoch_number, (record, expected) in enumerate(zip(*records, strict=True), 1):
            assert record["step"] == epoch_number * steps_per_epoch
            assert record == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow  # the next but one is the quick one
def test_a_replica_is_bit_identical_whatever_folds_the_others_are(tmp_path: Path) -> None:
    """A resumed study trains only the missing folds together."""
    whole, _ = train_folds(tmp_path / "whole", tmp_path, (0, 1, 2), Replicas(1, 3, True))
    part, _ = train_folds(tmp_path / "part", tmp_path, (0, 2), Replicas(1, 3, True))
    assert is_identical(part[0], whole[0]) and is_identical(part[1], whole[2])


def test_folds_of_different_sizes_need_ragged_replicas(tmp_path: Path) -> None:
    """Empty batches would change the weights by weight decay."""
    with pytest.raises(ValueError, match=r"\[1, 2\] steps per epoch"):
        train_folds(tmp_path, None, (0, 1), Replicas(1, 2))


def test_replicas_of_several_folds_are_ragged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run("mttl", ("a", "b"), "C0", 0, 0)
    seeds = [dataclasses.replace(run, initialization=seed) for seed in range(2)]
    folds = [dataclasses.replace(run, fold=fold) for fold in range(2)]
    c = config.default()
    c.replicas = 2
    c.train.match_steps = False
    layouts = []
    monkeypatch.setattr(executors, "train_and_score", lambda *args, **_: layouts.append(args[-1]))
    for runs in (seeds, folds):
        inputs = StudyInputs({}, None, {"mttl": Weights({}, {})}, [])
        executors.run_locally(runs, tmp_path, inputs, c, executors.Callbacks())
    assert layouts == [Replicas(1, 2), Replicas(1, 2, ragged=True)]


def train_one_epoch(make: Callable, layout: Replicas) -> tuple[TrainState, Metrics]:
    """Train two replicas for two steps on activations of C5, by a scanned or a stepwise epoch."""
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), optimizer.frozen_layers("C1-C5"))
    step = make_replica_step(multi_task_objective(NETWORK, (1.0, 1.0), "F1"), tx)
    values = jax.random.uniform(jax.random.key(1), (32, 3, 3, MAPS["C5"].features))
    source = dataset.Activations(values, jnp.arange(32) % 2, jnp.arange(32) // 16)
    states, orders, keys = [], [], [jax.random.key(5), jax.random.key(6)]
    for key in keys:
        params = {name: layer for name, layer in init(NETWORK, key).items() if name[0] == "F"}
        states.append(TrainState(jnp.int32(0), params, tx.init(params)))
        orders.append(dataset.epoch_order([len(orders)], 4, 16))
    rates = np.float32([0.01, 0.005])
    order = replicas.stack_on_host([epoch.EpochOrder(*order, rates) for order in orders], layout)
    progress: list[int] = []
    state, read = make(step, jax.vmap(dataset.make_batch, (None, 0, 0)), layout)(
        replicas.stack_replicas(states, layout),
        replicas.share(source, layout),
        order,
        replicas.stack_replicas(keys, layout),
        progress.append,
    )
    metrics = read()
    assert sum(progress) == 2
    return jax.device_get(state), metrics


def test_scanned_replicas_equal_stepwise_replicas() -> None:
    """Run the accelerators' loop on the CPU."""
    (scanned, scanned_metrics), (stepped, stepped_metrics) = (
        train_one_epoch(make, Replicas(1, 2)) for make in (epoch._scanned, epoch._stepwise)
    )
    for name, shape in (("loss", (2, 2)), ("rows", (2, 2, 2))):  # replicas, steps, tasks
        assert scanned_metrics[name].shape == stepped_metrics[name].shape == shape
    np.testing.assert_allclose(scanned_metrics["loss"], stepped_metrics["loss"], rtol=1e-5)
    assert abs(scanned_metrics["loss"][0] - scanned_metrics["loss"][1]).min() > 1e-3
    for name, layer in stepped.params.items():
        for part, value in layer.items():
            np.testing.assert_allclose(scanned.params[name][part], value, atol=1e-6)


ON_FOUR_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, sys.argv[2])
import test_replicas as t
four, cache = t.make_runs(Path(sys.argv[1]), 4), Path(sys.argv[1]) / "cache"
def with_folder(name):
    return [run._replace(folder=run.folder.parent / name / run.folder.name) for run in four]
one = t.train(with_folder("one"), cache, t.Replicas(1, 4))
for replicas in (t.Replicas(4, 1), t.Replicas(2, 2)):
    many = t.train(with_folder(str(replicas.devices)), cache, replicas)
    for actual, expected, run in zip(many, one, four):
        t.assert_close(actual, expected, run.params)
home = Path(sys.argv[1])
many, folds = t.train_folds(home / "folds", cache, (0, 1), t.Replicas(2, 1, True))
one, _ = t.train_folds(home / "folds1", cache, (0, 1), t.Replicas(1, 2, True))
for actual, expected, run in zip(many, one, folds):
    t.assert_close(actual, expected, run.params)
scanned, scanned_metrics = t.train_one_epoch(t.epoch._scanned, t.Replicas(2, 1))
stepped, stepped_metrics = t.train_one_epoch(t.epoch._stepwise, t.Replicas(1, 2))
assert scanned_metrics["loss"].shape == (2, 1, 2)
t.np.testing.assert_allclose(scanned_metrics["loss"][:, 0], stepped_metrics["loss"], rtol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_replicas_over_four_devices(tmp_path: Path) -> None:
    process = subprocess.run(
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
    assert process.stdout.strip().endswith("equal"), process.stderr[-2000:]


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


def test_only_runs_that_differ_in_seed_and_fold_alone_are_trained_together() -> None:
    run = Run("mttl", ("a", "b"), "C1-C3", 0, 0)
    runs = [
        dataclasses.replace(run, initialization=seed, fold=fold)
        for seed in range(3)
        for fold in range(2)
    ]
    subsets = [
        dataclasses.replace(run, fold=None, target_cases=4, initialization=seed)
        for seed in range(2)
    ]
    all_cases = dataclasses.replace(run, fold=None)
    c = config.default()
    c.replicas = 4
    pretrained = Weights(dict.fromkeys(("C1", "C2", "C3"), {}), {})
    inputs = StudyInputs({}, None, {"mttl": pretrained}, [])
    groups = executors.group_runs([*runs, *subsets, all_cases], inputs, c)
    # Runs of a fold are adjacent. All cases and subsets of them have different numbers of steps.
    assert [[(run.initialization, run.fold) for run in group] for group in groups] == [
        [(0, 0), (1, 0), (2, 0), (0, 1)],
        [(1, 1), (2, 1)],
        [(0, None), (1, None)],
        [(0, None)],
    ]
    # Randomly initialized frozen layers differ by seed.
    random_c2 = inputs._replace(weights={"mttl": Weights({"C1": {}}, {})})
    assert all(len(group) == 1 for group in executors.group_runs(runs, random_c2, c))


def group_on_gpus(
    network: str,
    monkeypatch: pytest.MonkeyPatch,
    n_rois: int = 100_000,
    seeds: int = 2,
    gigabytes: float = 80,
    **settings: object,
) -> list[list[Run]]:
    """Return the groups of some seeds in five folds of so many ROIs, on GPUs of some memory."""
    run = Run("mttl", ("a", "b"), network, 0, 0)
    runs = [
        dataclasses.replace(run, initialization=seed, fold=fold)
        for seed in range(seeds)
        for fold in range(5)
    ]
    monkeypatch.setattr(memory, "device_bytes", lambda: gigabytes * 1e9)
    monkeypatch.setattr(executors.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(executors, "n_training_rois", lambda *_: n_rois)
    pretrained = Weights(dict.fromkeys(alexnet.CONVOLUTIONS, {}), {"backbone": "alexnet"})
    inputs = StudyInputs({}, None, {"mttl": pretrained}, [])
    c = config.default()
    c.update_from_flattened_dict(settings)
    return executors.group_runs(runs, inputs, c)


def test_as_many_folds_are_trained_together_as_fit_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pixels of 100,000 ROIs are 3.3 GB, their activations of C5 in eight orientations, 3 x 3 x
    256 floats each, 7.4 GB. Of 80 GB, 12 are for pixels and 28 for activations."""
    groups = group_on_gpus("C1-C5", monkeypatch)
    assert [len({run.fold for run in group}) for group in groups] == [3, 2]
    assert [len(group) for group in groups] == [6, 4]


@pytest.mark.parametrize(
    ("deterministic", "width"), [(False, 2), (True, 16)], ids=["within rounding", "bit-identical"]
)
def test_missing_runs_of_a_gpu_train_in_the_same_program_only_for_the_same_bits(
    deterministic: bool, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two of sixteen are missing: the program of sixteen would train fourteen copies."""
    runs = [Run("mttl", ("a", "b"), "C1", 0, 0, initialization=n) for n in range(16)]
    monkeypatch.setattr(memory, "device_bytes", lambda: 80e9)
    monkeypatch.setattr(executors.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(executors, "n_training_rois", lambda *_: 100)
    pretrained = Weights(dict.fromkeys(alexnet.CONVOLUTIONS, {}), {"backbone": "alexnet"})
    inputs = StudyInputs({}, None, {"mttl": pretrained}, [])
    c = config.default()
    c.deterministic = deterministic
    c.train.match_steps = False
    missing = {runs[3].id, runs[9].id}
    groups = executors.plan_groups(runs, missing, inputs, c, tmp_path)
    assert groups == [([runs[3], runs[9]], Replicas(1, width))]


@pytest.mark.parametrize(
    ("network", "settings", "fitting"),
    [("C1-C5", {}, 14), ("C1-C5", {"feature_cache": "off"}, 14), ("C1-C4", {}, 14), ("C0", {}, 11)],
)
def test_runs_train_together_up_to_16_on_each_gpu(
    network: str, settings: dict[str, object], fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 16 would gain little and end later; fewer fit on a small card."""
    few_rois = {"n_rois": 100, "seeds": 8}
    groups = group_on_gpus(network, monkeypatch, **few_rois, **settings)
    assert [len(group) for group in groups] == [16, 16, 8]
    (together,) = group_on_gpus(network, monkeypatch, **few_rois, devices=4, **settings)
    assert len(together) == 40
    small = group_on_gpus(network, monkeypatch, **few_rois, gigabytes=12, **settings)
    assert len(small[0]) == fitting


def test_the_memory_of_a_run_equals_that_computed_by_hand() -> None:
    """Count weights and momentum, and the gradient of F2, the largest layer. The forward pass of F1
    to F5 leaves 17 MB in a batch of 128, and two thirds of it are the outputs of F1 and F2."""
    connected = 2304 * 4096 + 4096 * 4096 + 4096 * 1000 + 1000 * 100 + 100 * 2
    connected += 4096 + 4096 + 1000 + 100 + 2
    convolved = 64 * 363 + 192 * 1600 + 384 * 1728 + 256 * 3456 + 256 * 2304
    convolved += 64 + 192 + 384 + 256 + 256
    settings = config.default().train
    network, frozen = alexnet.AlexNet(dropout=0.5), optimizer.frozen_layers("C1-C5")

    def run_bytes() -> float:
        return memory.run_bytes(network, frozen, frozen, settings)

    state = 4 * (2 * connected + convolved) + 4 * 4096**2
    assert 4e6 < run_bytes() - state < 20e6
    sgd = run_bytes()
    settings.batch_size = 256
    assert run_bytes() - sgd == pytest.approx(sgd - state, rel=0.01)
    settings.batch_size, settings.optimizer = 128, "adamw"  # two moments instead of one
    assert run_bytes() - sgd == pytest.approx(4 * connected, rel=1e-3)


def test_as_many_runs_are_trained_together_as_fit_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda: 80e9)
    assert memory.max_runs(1e9, 1) == 32 and memory.max_runs(1e9, 2) == 64
    assert memory.max_runs(1e12, 2) == 2
    assert memory.max_datasets(1e9, 0.0) == 12 and memory.max_datasets(1e9, 14e9) == 2
    assert memory.max_datasets(1e12, 0.0) == 1


def test_the_shares_of_the_memory_leave_a_rest() -> None:
    assert 0.9 >= memory.ROIS + memory.ACTIVATIONS + memory.RUNS
