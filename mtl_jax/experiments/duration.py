"""Estimate the duration of a study from its plan and the training steps that it has timed."""

import os
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mtl_jax.experiments.compute_cost import (
    Cost,
    n_epochs,
    n_training_rois,
    step_operations,
    total_cost,
)
from mtl_jax.experiments.run_data import subset_key
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.training.checkpoint import saved_epochs
from mtl_jax.training.dataset import steps_per_epoch
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import Run

MIN_STEPS = 20  # timed before the first estimate
# Seconds per operation outside of the training steps, as a fraction of that of a step, until it is
# measured: larger batches, and no update of the weights. It was 0.5 with C1 frozen and batches of
# 32 on two CPU cores; a step of larger batches is closer to 1.
FORWARD_FRACTION = 0.6
# Of the statistics and the report, and of the analyses of a network without t-SNE; and of a point
# in an iteration of t-SNE, on one core: two CPU cores, November 2026.
REPORT_SECONDS, ANALYSIS_SECONDS, TSNE_SECONDS = 8.0, 7.0, 2e-6
TSNE_LAYERS = 4


class Work(NamedTuple):
    """What a group of runs that train together computes."""

    runs: tuple[Run, ...]
    replicas: Replicas | None
    cost: Cost  # of all its runs; `steps` of the group
    completed: int  # steps of earlier jobs, of which there is a checkpoint
    epoch_steps: int
    step_operations: float  # of all its replicas
    program: Hashable  # groups with an equal one compile once

    def other_operations(self, completed: int = 0) -> float:
        """Return the operations of validations and scoring after `completed` steps."""
        left = 1 - completed / max(self.cost.steps, 1)
        return left * self.cost.validation + self.cost.scoring


def group_work(
    runs: Sequence[Run],
    replicas: Replicas | None,
    c: ConfigDict,
    inputs: StudyInputs,
    folder: Path,
) -> Work:
    """Return what `runs` compute that train together in `replicas`, in the work folder `folder`."""
    collections, split = inputs.collections, inputs.split
    run = runs[0]  # the others have the same approach, network and number of epochs
    datasets = total_cost(list(dict.fromkeys(map(subset_key, runs))), c, inputs)
    rois = max(n_training_rois(r, collections, split) for r in runs)
    epoch_steps = steps_per_epoch(rois, c.train.batch_size)
    steps = n_epochs(run, collections, split, c.train) * epoch_steps
    saved = [saved_epochs(folder / "runs" / r.id / "checkpoint") for r in runs]
    completed = min(max(epochs, default=0) for epochs in saved) * epoch_steps
    n_replicas = replicas.count if replicas else 1
    return Work(
        tuple(runs),
        replicas,
        total_cost(runs, c, inputs)._replace(steps=steps, frozen=datasets.frozen),
        completed,
        epoch_steps,
        n_replicas * step_operations(run, c.train.batch_size, inputs.backbone(run)),
        (run.approach, run.tasks, run.network, replicas),
    )


def evaluation_seconds(analysis: ConfigDict, n_networks: int, n_collections: int) -> float:
    """Return the approximate duration of the statistics, the analyses and the report.

    `n_networks` networks are analysed, at most `analysis.max_rois` training ROIs of each of
    `n_collections` and as many test ROIs.
    """
    if not analysis.enabled:
        return REPORT_SECONDS
    points = analysis.max_rois * (n_collections + 1)
    starts = -(-analysis.n_init // (os.cpu_count() or 1))  # one after another on a core
    tsne = TSNE_LAYERS * points * analysis.iterations * starts * TSNE_SECONDS
    return REPORT_SECONDS + n_networks * (ANALYSIS_SECONDS + tsne)


class DurationEstimate:
    """The estimated duration of a study, whose groups of runs are trained one after another.

    The time of a step is measured in the group that trains, and scaled by the number of operations
    for the other groups. The first step of a group, which compiles, is not a step that is timed: it
    ends the preparation of the group.

    Parameters
    ----------
    begin
        When the job began, by `clock`.
    evaluation_seconds
        What follows the last group: statistics, analyses, report.
    clock
        The time in seconds.
    """

    def __init__(
        self, begin: float, evaluation_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begin, self._evaluation_seconds, self._clock = begin, evaluation_seconds, clock
        self._pending: list[Work] = []
        self._group: Work | None = None
        self._completed: int | None = None  # steps of the group, of earlier jobs too
        self._step_speed = 0.0  # seconds per operation of a training step; 0: not measured
        self._other_speed = 0.0  # and of any other operation
        self._compile_seconds = 0.0
        self._compiled: set[Hashable] = set()
        self.timed_steps = 0  # of the group

    def plan(self, groups: Sequence[Work]) -> None:
        """Set the groups that are not trained yet, in their order."""
        self._pending = list(groups)

    def assume(self, group: Work, step_seconds: float, compile_seconds: float) -> None:
        """Set the duration of a step of `group`, and of compiling, that was measured before."""
        self._step_speed = step_seconds / group.step_operations
        self._compile_seconds = compile_seconds

    def start_group(self) -> None:
        """Begin the next group."""
        self._group = self._pending.pop(0)
        self._group_begin = self._last_time = self._clock()
        self._completed, self._first, self._prepared = None, 0, 0.0
        self._is_assumed = bool(self._step_speed)  # that of earlier groups, for now
        self.timed_steps, self._timed_seconds = 0, 0.0

    def complete_steps(self, completed: int) -> None:
        """Time the steps of the group up to the number of `completed` ones.

        The first call has the number of steps of earlier jobs. An interval that begins at the end
        of an epoch includes its validation, and is left out, unless each interval is an epoch.
        """
        now, group = self._clock(), self._group
        if group is None:
            return
        if self._completed is None or completed < self._completed:  # a group trained anew
            self._first = completed
        elif self._completed == self._first:
            self._prepared = now - self._group_begin
            if group.program not in self._compiled:
                self._compiled.add(group.program)
                frozen = group.cost.frozen * self._other_speed
                self._compile_seconds = max(0.0, self._prepared - frozen)
        else:
            steps = completed - self._completed
            if self._completed % group.epoch_steps or steps >= group.epoch_steps:
                self.timed_steps += steps
                self._timed_seconds += now - self._last_time
                if self.timed_steps >= MIN_STEPS or not self._is_assumed:
                    self._step_speed = self.seconds_per_step() / group.step_operations
        self._completed, self._last_time = completed, now

    def finish_group(self) -> None:
        """End the group, and measure the speed of its validations and its scoring."""
        group, now = self._group, self._clock()
        if group is None:
            return
        steps = (self._completed or self._first) - self._first
        if not self.timed_steps and steps:  # too few to time: everything counts as training
            self._step_speed = (now - self._group_begin) / (steps * group.step_operations)
        elif self.timed_steps:
            seconds = now - self._group_begin - self._prepared
            seconds -= max(0, steps - 1) * self.seconds_per_step()
            self._other_speed = max(0.0, seconds) / group.other_operations(self._first)
        self._group = None

    def is_measured(self) -> bool:
        """Return whether enough steps have been timed for an estimate."""
        return bool(self._step_speed) and (self._group is None or self.timed_steps >= MIN_STEPS)

    def seconds_per_step(self) -> float:
        """Return the measured duration of a step of the group."""
        return self._timed_seconds / max(self.timed_steps, 1)

    def elapsed(self) -> float:
        """Return the seconds since the job began."""
        return self._clock() - self._begin

    def remaining(self) -> float | None:
        """Return the seconds until the report is written; None: no step has been timed."""
        if not self._step_speed:
            return None
        programs = {group.program for group in self._pending} - self._compiled
        seconds = sum(
            self._preparation(group) + self._rest(group, group.completed) for group in self._pending
        )
        if self._group is not None:
            seconds += self._rest(self._group, self._completed or self._group.completed)
            if not self._prepared:
                programs.add(self._group.program)
                seconds += self._preparation(self._group) - (self._clock() - self._group_begin)
        seconds += self._compile_seconds * len(programs - self._compiled)
        return max(0.0, seconds) + self._evaluation_seconds

    def _speed_of_others(self) -> float:
        return self._other_speed or FORWARD_FRACTION * self._step_speed

    def _preparation(self, group: Work) -> float:
        """Return the seconds of the frozen layers of a group."""
        return group.cost.frozen * self._speed_of_others()

    def _rest(self, group: Work, completed: int) -> float:
        """Return the seconds of a group after `completed` steps, from its first step on."""
        steps = (group.cost.steps - completed) * group.step_operations * self._step_speed
        return steps + group.other_operations(completed) * self._speed_of_others()


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit of at least two: 2.5 hours."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def format_step(seconds: float) -> str:
    """Return the duration of a step: 65 ms, 2.5 s."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
