"""Progress: bars that move on a terminal, plain lines in a log file."""

import io
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr

import pytest
from test_duration import Clock, make_work

from mtl_jax.experiments.compute_cost import Cost
from mtl_jax.experiments.study_progress import StudyProgress
from mtl_jax.io import progress
from mtl_jax.io.progress import Bar, Lines
from mtl_jax.io.signals import Stopped
from mtl_jax.types import Run

RUN = Run("sttl", ("t",), "C1", None, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal, to which a test redirects standard error."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.01)
    return Terminal()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_log_has_a_line_at_most_every_30_seconds(capsys: pytest.CaptureFixture) -> None:
    clock = Clock()
    with Bar("films", 100, "image", clock=clock) as bar:
        for clock.now in range(100):
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "films: 31 of 100 images",
        "films: 61 of 100 images",
        "films: 91 of 100 images",
    ]


def test_log_of_a_training_has_a_line_at_most_for_each_epoch(
    capsys: pytest.CaptureFixture,
) -> None:
    clock = Clock()
    with Bar("run", 4000, "step", 1000, lines=Lines.ON_NOTE, clock=clock) as bar:
        for epoch, clock.now in ((2, 10), (3, 45), (4, 60)):
            for _ in range(1000):
                bar.update()
            bar.note(f"epoch {epoch} of 4")
    assert capsys.readouterr().err == "run: 3,000 of 4,000 steps, epoch 3 of 4\n"


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_bar_is_only_drawn_on_a_terminal_that_can_redraw_a_line(
    term: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    with redirect_stderr(terminal), Bar("films", 2, "image") as bar:
        bar.update()
    assert ("\r" in terminal.getvalue()) == (term == "xterm")


def test_bar_is_redrawn_while_nothing_is_completed(terminal: Terminal) -> None:
    with redirect_stderr(terminal), Bar("compiling", 2, "step"):
        drawn = len(terminal.getvalue())
        wait_for(lambda: len(terminal.getvalue()) > drawn)


@pytest.mark.parametrize("error", [Stopped(15), ValueError(), KeyboardInterrupt()])
def test_redrawing_ends_with_any_exception(terminal: Terminal, error: BaseException) -> None:
    with pytest.raises(type(error)), redirect_stderr(terminal), Bar("run", 2, "step"):
        assert any(thread.name == "progress" for thread in threading.enumerate())
        raise error
    assert not any(thread.name == "progress" for thread in threading.enumerate())
    drawn = terminal.getvalue()
    time.sleep(0.05)
    assert terminal.getvalue() == drawn


def test_bar_of_the_study_moves_with_the_steps(terminal: Terminal) -> None:
    clock = Clock()
    work = make_work(40)  # of 400 operations, and 100 of scoring
    with redirect_stderr(terminal), StudyProgress(0.0, 10.0, clock=clock) as study:
        study.plan(Cost(), Cost(80, 800.0, 0.0, 0.0, 200.0), [work, work])
        study.start_group()
        study.phase("compiling")
        wait_for(lambda: "compiling" in terminal.getvalue())
        shares = []
        for completed in range(31):
            study.complete_steps(completed)
            shares.append(study._bar.completed / study._bar.total)
            clock.now += 2.0
        study._bar._bar.refresh()
        assert "study  30% |" in terminal.getvalue()
        study.finish_run(RUN, Cost(40, 400.0, 0.0, 0.0, 100.0))
    assert shares == pytest.approx([completed * 10 / 1000 for completed in range(31)])
    assert study._bar.completed == 500


@pytest.mark.parametrize("at_most", [False, True])
def test_estimate_is_printed_once_after_twenty_timed_steps(
    at_most: bool, capsys: pytest.CaptureFixture
) -> None:
    clock = Clock()
    clock.now = 100.0
    with StudyProgress(40.0, 13.0, at_most, clock) as study:
        study.plan(Cost(), Cost(80, 800.0, 0.0, 0.0, 200.0), [make_work(40), make_work(40)])
        for _ in range(2):
            study.start_group()
            study.complete_steps(0)
            clock.now += 10.0  # the first step compiles
            for completed in range(1, 41):
                study.complete_steps(completed)
                clock.now += 3.0 * (completed < 40)
            study.finish_run(RUN, Cost(40, 400.0, 0.0, 0.0, 100.0))
    lines = capsys.readouterr().out.splitlines()
    # 60 s before the study, 10 s of the first step and 60 s of twenty more have passed. Left are
    # 19 + 40 steps, twice 100 operations of scoring at 0.18 s each, and 13 s of evaluation.
    most = "at most " if at_most else ""
    assert [line for line in lines if "estimated" in line] == [
        f"estimated duration: {most}5.9 minutes from the start of the job, 3.8 minutes left "
        "(20 steps took 3.0 s each; training, scoring, statistics, analyses and report)"
    ]
    assert lines[-1].startswith(f"finished: {RUN.id} (100% of the study, about ")


def test_estimate_of_runs_on_a_cluster_is_per_run(capsys: pytest.CaptureFixture) -> None:
    with StudyProgress(0.0, 10.0) as study:
        study.plan(Cost(), Cost(80, 800.0, 0.0, 0.0, 200.0), [])
        for _ in range(2):
            study.finish_remote_run(RUN, Cost(40, 400.0, 0.0, 0.0, 100.0), 90.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("estimated duration: 90 seconds for a run of 40 steps; 90 seconds ")
    assert len(lines) == 3
