"""Show the progress of a study: its bar, what it does now, and its estimated duration."""

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from mtl_jax.experiments.compute_cost import Cost
from mtl_jax.experiments.duration import (
    DurationEstimate,
    Work,
    format_duration,
    format_step,
)
from mtl_jax.io.progress import Bar, Lines, write_line
from mtl_jax.types import Run

BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
NOTE_SECONDS = 1.0  # between two updates of the remaining time


class StudyProgress:
    """The progress of a study: a context manager, whose bar counts operations.

    Parameters
    ----------
    begin
        When the job began, by `clock`.
    evaluation_seconds
        Estimated duration of what follows the training.
    at_most
        Runs may end early, so that the estimate is an upper limit.
    clock
        The time in seconds.
    """

    def __init__(
        self,
        begin: float,
        evaluation_seconds: float,
        at_most: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.estimate = DurationEstimate(begin, evaluation_seconds, clock)
        self._clock, self._at_most = clock, at_most
        self._bar = Bar("study", 1.0, "", lines=Lines.NEVER, bar_format=BAR_FORMAT, clock=clock)
        self._pending: list[Work] = []
        self._group: Work | None = None
        self._left_in_group = 0  # runs
        self._finished = self._total = 0.0  # operations
        self._phase, self._noted, self._printed = "", clock(), False

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.__exit__(kind, error, traceback)

    def plan(self, finished: Cost, total: Cost, pending: Sequence[Work]) -> None:
        """Set the cost of the finished runs and of all runs, and the groups that are not trained
        yet; none if they are trained elsewhere."""
        self._finished, self._total = finished.operations, total.operations
        self._pending = list(pending)
        self.estimate.plan(pending)
        self._bar.set(self._finished, self._total)

    def start_group(self) -> None:
        """Begin the next group."""
        self._group = self._pending.pop(0)
        self._left_in_group = len(self._group.runs)
        self.estimate.start_group()

    def phase(self, name: str) -> None:
        """Show what is done now."""
        self._phase = name
        self._show_note()

    def complete_steps(self, completed: int) -> None:
        """Show that so many steps of the group are completed."""
        earlier = self.estimate.timed_steps
        self.estimate.complete_steps(completed)
        group = self._group
        if group is None:
            return
        share = completed / max(group.cost.steps, 1)
        operations = group.cost.frozen + share * (group.cost.training + group.cost.validation)
        self._bar.set(self._finished + operations, self._total)
        if self.estimate.timed_steps > earlier:
            self._phase = "training"
        if not self._printed and self.estimate.is_measured():
            self._print_estimate()
        if self._clock() - self._noted >= NOTE_SECONDS:
            self._show_note()

    def finish_run(self, run: Run, cost: Cost) -> None:
        """Show that a run of the group is finished."""
        self._left_in_group -= 1
        if not self._left_in_group:
            self.estimate.finish_group()
            self._group = None
        self._count(cost)
        left = self.estimate.remaining()
        about = "" if left is None else f", about {format_duration(left)} left"
        self._print_finished(run, about)
        if not self._printed and self.estimate.is_measured():
            self._print_estimate()
        self._show_note()

    def finish_remote_run(self, run: Run, cost: Cost, seconds: float) -> None:
        """Show that a run is finished that was trained elsewhere in so many `seconds`."""
        self._count(cost)
        self._print_finished(run, "")
        if not self._printed:
            self._printed = True
            left = seconds / cost.operations * (self._total - self._finished)
            self.print(
                f"estimated duration: {format_duration(seconds)} for a run of {cost.steps:,} steps;"
                f" {format_duration(left)} of runs are left, divided by the number of runs that "
                "train at once"
            )

    def _count(self, cost: Cost) -> None:
        self._finished += cost.operations
        self._bar.set(self._finished, self._total)

    def _print_finished(self, run: Run, about: str) -> None:
        share = self._finished / self._total
        self.print(f"finished: {run.id} ({share:.0%} of the study{about})")

    def print(self, line: str) -> None:
        """Print a line above the bars, or to standard output if it is a log file."""
        write_line(line, sys.stdout)

    def _print_estimate(self) -> None:
        self._printed = True
        left = self.estimate.remaining() or 0.0
        most = "at most " if self._at_most else ""
        steps = self.estimate.timed_steps
        per_step = format_step(self.estimate.seconds_per_step()) if steps else ""
        timed = f"{steps} steps took {per_step} each; " if steps else ""
        self.print(
            f"estimated duration: {most}{format_duration(self.estimate.elapsed() + left)} from the "
            f"start of the job, {format_duration(left)} left ({timed}training, scoring, statistics,"
            " analyses and report)"
        )

    def _show_note(self) -> None:
        self._noted = self._clock()
        left = self.estimate.remaining()
        about = "" if left is None else f"about {format_duration(left)} left"
        self._bar.note(", ".join(filter(None, (about, self._phase))))
