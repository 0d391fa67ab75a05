"""The estimated duration of a study: cases computed by hand, and a simulated study."""

import dataclasses
from pathlib import Path

import pytest
from test_stages import make_roi_set

from mtl_jax import config
from mtl_jax.experiments import compute_cost, splits
from mtl_jax.experiments.compute_cost import Cost
from mtl_jax.experiments.duration import (
    FORWARD_FRACTION,
    DurationEstimate,
    Work,
    evaluation_seconds,
    format_duration,
    format_step,
    group_work,
)
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import Run
from mtl_jax.weights import Weights

STEP_OPERATIONS = 10.0


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_work(
    steps: int,
    frozen: float = 0.0,
    validation: float = 0.0,
    scoring: float = 100.0,
    epoch_steps: int = 50,
    replicas: int = 1,
    program: str = "a",
    completed: int = 0,
) -> Work:
    operations = replicas * STEP_OPERATIONS
    cost = Cost(steps, steps * operations, frozen, validation, scoring)
    return Work((), None, cost, completed, epoch_steps, operations, program)


def time_group(
    estimate: DurationEstimate, clock: Clock, first: int, prepare: float, step: float, until: int
) -> None:
    """Let a group prepare for some seconds, and complete steps of equal duration."""
    estimate.start_group()
    estimate.complete_steps(first)
    clock.now += prepare
    for completed in range(first + 1, until + 1):
        estimate.complete_steps(completed)
        clock.now += step * (completed < until)


def test_rest_of_a_group_and_of_the_study_by_hand() -> None:
    clock = Clock()
    estimate = DurationEstimate(0.0, 7.0, clock)
    # The second group has two replicas and another program, the third the program of the first.
    others = [make_work(10, replicas=2, program="b"), make_work(4, frozen=50.0)]
    estimate.plan([make_work(100), *others])
    clock.now = 20.0
    time_group(estimate, clock, 0, prepare=5.0, step=0.5, until=21)
    assert estimate.timed_steps == 20 and estimate.is_measured()
    assert estimate.seconds_per_step() == pytest.approx(0.5)
    speed = 0.5 / STEP_OPERATIONS  # seconds per operation
    other = FORWARD_FRACTION * speed
    first = 79 * 0.5 + 100 * other
    second = 5.0 + 10 * 2 * 0.5 + 100 * other  # it compiles, too
    third = 50 * other + 4 * 0.5 + 100 * other
    assert estimate.remaining() == pytest.approx(first + second + third + 7.0)
    assert estimate.elapsed() == 35.0


def test_steps_of_earlier_jobs_are_not_counted() -> None:
    clock = Clock()
    estimate = DurationEstimate(0.0, 0.0, clock)
    estimate.plan([make_work(100, completed=60), make_work(100, completed=90)])
    time_group(estimate, clock, 60, prepare=3.0, step=0.5, until=81)
    scoring = 2 * 100 * FORWARD_FRACTION * 0.5 / STEP_OPERATIONS
    assert estimate.remaining() == pytest.approx((19 + 10) * 0.5 + scoring)


def test_the_validation_after_an_epoch_is_not_a_part_of_a_step() -> None:
    clock = Clock()
    estimate = DurationEstimate(0.0, 0.0, clock)
    estimate.plan([make_work(20, epoch_steps=5, validation=40.0)])
    estimate.start_group()
    for completed in range(20):
        estimate.complete_steps(completed)
        clock.now += 60.0 if completed % 5 == 0 else 2.0
    assert estimate.seconds_per_step() == 2.0


def test_epochs_that_an_accelerator_computes_at_once_are_timed_as_a_whole() -> None:
    clock = Clock()
    estimate = DurationEstimate(0.0, 0.0, clock)
    estimate.plan([make_work(500, scoring=0.0)])
    estimate.start_group()
    for completed, seconds in ((0, 30.0), (50, 4.0), (100, 6.0), (150, 0.0)):
        estimate.complete_steps(completed)
        clock.now += seconds
    assert estimate.seconds_per_step() == pytest.approx(10.0 / 100)
    assert estimate.remaining() == pytest.approx(350 * 0.1)


def test_group_of_a_single_step_is_timed_as_a_whole() -> None:
    clock = Clock()
    estimate = DurationEstimate(0.0, 0.0, clock)
    estimate.plan([make_work(1), make_work(3, scoring=0.0)])
    time_group(estimate, clock, 0, prepare=6.0, step=1.0, until=1)
    assert estimate.remaining() is None and not estimate.is_measured()
    estimate.finish_group()
    assert estimate.is_measured() and estimate.remaining() == pytest.approx(3 * 6.0)


@pytest.mark.parametrize("other_speed", [0.3, 1.5])
def test_estimate_of_a_simulated_study_is_within_a_quarter(other_speed: float) -> None:
    """Validation and scoring may be slower or faster, per operation, than is assumed."""
    clock = Clock()
    estimate = DurationEstimate(0.0, 10.0, clock)
    groups = [make_work(200, 300.0, 200.0, 400.0, 20, program=str(n % 2)) for n in range(6)]
    estimate.plan(groups)
    totals, step, compiled = [], 0.2, set()
    clock.now += 30.0
    for group in groups:
        speed = other_speed * step / group.step_operations
        estimate.start_group()
        estimate.complete_steps(0)
        clock.now += group.cost.frozen * speed + 4.0 * (group.program not in compiled)
        compiled.add(group.program)
        for completed in range(1, 201):
            clock.now += step
            estimate.complete_steps(completed)
            clock.now += group.cost.validation / 10 * speed * (completed % 20 == 0)
            if completed == 25:
                totals.append(estimate.elapsed() + (estimate.remaining() or 0.0))
        clock.now += group.cost.scoring * speed
        estimate.finish_group()
        totals.append(estimate.elapsed() + (estimate.remaining() or 0.0))
    clock.now += 10.0
    assert totals == pytest.approx([clock.now] * len(totals), rel=0.25)
    assert totals[1:] == pytest.approx([clock.now] * (len(totals) - 1), rel=0.1)


def test_work_of_ragged_replicas_by_hand(tmp_path: Path) -> None:
    """The group has the steps of its longest replica, and each step computes every replica."""
    rois = {"t": make_roi_set("t", 41)}
    split = splits.make_split(rois, "t", (), splits.SplitRules(False, 1, 2, 0.0, 0))
    weights = Weights({}, {"backbone": "alexnet"})
    inputs = StudyInputs(rois, split, {"sttl": weights}, [])
    c = config.default()
    c.train.epochs, c.train.batch_size, c.train.validation_epochs = 6, 16, 3
    run = Run("sttl", ("t",), "C1-C5", 0, 0)
    runs = [run, dataclasses.replace(run, fold=1), dataclasses.replace(run, initialization=1)]
    layers = compute_cost.layer_operations("alexnet")
    trained = sum(layers[name] for name in ("F1", "F2", "F3", "F4", "F5"))
    sizes = [compute_cost.n_training_rois(r, rois, split) for r in runs]
    assert sizes[0] != sizes[1]  # ragged
    work = group_work(runs, Replicas(1, 4, ragged=True), c, inputs, tmp_path)
    assert work.epoch_steps == -(-max(sizes) * 8 // 16) and work.cost.steps == 6 * work.epoch_steps
    assert work.step_operations == pytest.approx(4 * 3 * 16 * trained)
    frozen = sum(layers.values()) - trained
    assert work.cost.frozen == pytest.approx(8 * (sizes[0] + sizes[1]) * frozen)
    assert work.completed == 0
    for each, epoch in zip(runs, (4, 2, 4), strict=True):
        (tmp_path / "runs" / each.id / "checkpoint" / str(epoch)).mkdir(parents=True)
    again = group_work(runs, Replicas(1, 4, ragged=True), c, inputs, tmp_path)
    assert again.completed == 2 * work.epoch_steps


def test_analyses_add_to_the_duration() -> None:
    analysis = config.default().analysis
    short = evaluation_seconds(analysis, 0, 3)
    assert evaluation_seconds(analysis, 2, 3) > evaluation_seconds(analysis, 1, 3) > short
    analysis.enabled = False
    assert evaluation_seconds(analysis, 2, 3) == short


def test_durations_are_in_the_largest_unit_of_at_least_two() -> None:
    assert [format_duration(s) for s in (90, 150, 9000, 200000)] == [
        "90 seconds",
        "2.5 minutes",
        "2.5 hours",
        "2.3 days",
    ]
    assert format_step(0.065) == "65 ms" and format_step(2.5) == "2.5 s"
