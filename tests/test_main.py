"""The command-line program: reproducible results, resuming and one-line errors."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit.main_here import Ended, run_main

from mtl_jax.experiments import time_steps

ROOT = Path(__file__).parents[1]
SMALL_STUDY = "tests/kit/small_study.py:mttl"
SMALL = (
    "--config.network=C1-C5",
    "--config.approaches=('sttl',)",
    "--config.train.epochs=4",
    "--config.train.batch_size=32",
    "--config.train.checkpoint_minutes=0",
    "--config.statistics.bootstrap=200",
    "--config.data.phantom.cases=16",
    "--config.data.phantom.target_cases=16",
    "--config.data.phantom.test_fraction=0.6",
    "--config.data.sources=('phantom:sfm',)",
    "--config.analysis.max_rois=8",
    "--config.analysis.iterations=50",
    "--config.analysis.n_init=1",
    "--config.analysis.steps=2",
    "--config.analysis.maps=2",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def arguments(workdir: Path, cache: Path, *extra: str, job: str = SMALL_STUDY) -> list[str]:
    required = (f"--config={job}", f"--workdir={workdir}", f"--config.data.cache={cache}")
    return [*required, *SMALL, *extra]


def command(workdir: Path, cache: Path, *extra: str, job: str = SMALL_STUDY) -> list[str]:
    return [sys.executable, "-m", "mtl_jax.main", *arguments(workdir, cache, *extra, job=job)]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def error_lines(stderr: str) -> list[str]:
    """Return the lines of the command, without those on contact sheets that were written."""
    lines = [line for line in stderr.splitlines() if line.startswith("mtl_jax: ")]
    return [line for line in lines if ": contact sheet of " not in line]


def error_line(ended: Ended | subprocess.CompletedProcess) -> str:
    """Return the one line of a command that ends with exit code 2."""
    lines = error_lines(ended.stderr)
    assert ended.returncode == 2 and len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines[0]


def read_results(workdir: Path) -> dict[str, bytes]:
    paths = [*workdir.glob("runs/*/scores.csv"), *workdir.glob("runs/*/history.jsonl")]
    paths += [workdir / "results.json", workdir / "folds.json"]
    paths += [path for path in workdir.glob("analysis/**/*") if path.is_file()]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def uninterrupted_job(
    tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> tuple[Path, subprocess.CompletedProcess]:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    process = run(command(workdir, cache))
    assert process.returncode == 0, process.stderr
    return workdir, process


@pytest.fixture(scope="module")
def uninterrupted(uninterrupted_job: tuple[Path, subprocess.CompletedProcess]) -> Path:
    return uninterrupted_job[0]


def test_log_of_a_job_has_lines_and_no_control_characters(
    uninterrupted_job: tuple[Path, subprocess.CompletedProcess],
) -> None:
    _, process = uninterrupted_job
    assert not set("\r\x1b") & set(process.stdout + process.stderr)
    for line in ("estimated duration: ", "finished: sttl-C1-C5-test-seed0 (100% ", "report: "):
        assert f"\n{line}" in process.stdout


def test_work_folder_contains_the_documented_files(uninterrupted: Path) -> None:
    run_folder = "runs/sttl-C1-C5-test-seed0"
    for name in ("config.json", "environment.json", "folds.json", "results.json", "report.html"):
        assert (uninterrupted / name).is_file(), name
    for name in ("run.json", "history.jsonl", "scores.csv", "checkpoint"):
        assert (uninterrupted / run_folder / name).exists(), name


@pytest.mark.slow
def test_results_of_a_repeated_command_are_bit_identical(
    uninterrupted: Path, tmp_path: Path, cache: Path
) -> None:
    """Also in another process."""
    process = run(command(tmp_path / "again", cache))
    assert process.returncode == 0, process.stderr
    assert read_results(tmp_path / "again") == read_results(uninterrupted)


@pytest.mark.slow  # test_resume.py has a quick one
def test_killed_job_resumes_bit_identically(
    uninterrupted: Path, tmp_path: Path, cache: Path
) -> None:
    workdir = tmp_path / "killed"
    history = workdir / "runs" / "sttl-C1-C5-test-seed0" / "history.jsonl"
    job = subprocess.Popen(
        command(workdir, cache), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    start_time = time.monotonic()
    while not (history.exists() and len(history.read_text().splitlines()) >= 2):
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() - start_time < 200
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (workdir / "results.json").exists()
    ended = run_main(arguments(workdir, cache))
    assert ended.returncode == 0, ended.stderr
    assert read_results(workdir) == read_results(uninterrupted)


def test_finished_job_is_not_repeated(uninterrupted: Path, cache: Path) -> None:
    before = read_results(uninterrupted)
    ended = run_main(arguments(uninterrupted, cache))
    assert ended.returncode == 0 and "already finished" in ended.stdout
    assert read_results(uninterrupted) == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--config.sed=1",), "config.sed does not exist; did you mean config.seed?"),
        (("--config.train.epoch=1",), "did you mean config.train.epochs?"),
        (("--config.folds.x=1",), "config.folds.x does not exist"),
        (("--config.seed=many",), "config.seed='many' is invalid: expected an integer"),
        (("--config.data.strict=x",), "config.data.strict='x' is invalid: expected True or False"),
        (("--config.network=C6",), "one of C0, C1"),
        (("--config=configs/none.py",), "configs/none.py"),
        (("--config=configs/mttl.py:big",), "preset 'big' of --config is invalid: expected paper"),
        (("--config.data.sources=('mini_mias:nowhere',)",), "nowhere"),
        (("--config.data.sources=('maxi_mias:nowhere',)",), "expected one of"),
        (("--config.weights=nowhere",), "config.weights='nowhere' is invalid: no such folder"),
        (("--config.data.target=dm",), "config.data.target='dm' is invalid"),
        (
            ("--config.train.task_weights=('x:1',)",),
            "config.train.task_weights is invalid: unknown collection x",
        ),
        (("--config.data.phantom.difficulty=2.0",), "difficulty"),
        (("--config.study=cross_validation", "--config.folds=9"), "for 9 folds"),
        (("surplus",), "surplus"),
    ],
)
def test_invalid_input_gives_a_one_line_error(
    extra: tuple[str, ...],
    message: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    job = arguments(tmp_path / "w", cache, *extra, job="configs/mttl.py")
    assert message in error_line(run_main(job))


@pytest.mark.parametrize(
    "name", ["runs", "runs/sttl-C1-C5-test-seed0", "analysis", "figures", "report.html"]
)
def test_a_file_in_place_of_a_folder_is_named(
    name: str, uninterrupted: Path, tmp_path: Path, cache: Path
) -> None:
    """And a folder in place of a file."""
    workdir = tmp_path / "w"
    shutil.copytree(uninterrupted, workdir)
    (workdir / "results.json").unlink()
    if (workdir / name).is_file():
        (workdir / name).unlink()
        (workdir / name).mkdir()
    else:
        shutil.rmtree(workdir / name)
        (workdir / name).write_text("mine")
    message = error_line(run_main(arguments(workdir, cache)))
    assert str(workdir / name) in message and "cannot be" in message
    if name != "report.html":
        assert (workdir / name).read_text() == "mine"


def test_invalid_input_ends_the_process_with_exit_code_2(tmp_path: Path, cache: Path) -> None:
    process = run(command(tmp_path / "w", cache, "--config.data.sources=('mini_mias:nowhere',)"))
    assert "nowhere" in error_line(process)


def test_paper_study_requires_imagenet_weights_but_its_dry_run_does_not(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compare with sections 3.1, 3.2, 2.3 and 3.3; 56 of the 482 runs are shared by stages."""
    monkeypatch.chdir(tmp_path)  # a folder without ImageNet weights
    monkeypatch.setattr(time_steps, "MAX_STEP_SECONDS", 0.0)  # time no step
    paper = (f"--config={ROOT}/configs/paper.py", f"--workdir={tmp_path / 'w'}")
    paper += (f"--config.data.cache={cache}", "--config.data.phantom.cases=16")
    ended = run_main([*paper, "--dry_run"])
    assert ended.returncode == 0, ended.stderr
    counts = dict(re.findall(r"^(\w+): (\d+) runs", ended.stdout, re.M))
    assert counts == {"splits": "160", "depth": "240", "cross_validation": "80", "test": "2"}
    assert "to do: 426 of 426 runs" in ended.stdout
    for extra, message in (
        ((), "mtl-jax convert --download"),
        (("--config.weights=shipped",), "expected 'imagenet' or a folder"),
        ((f"--config.weights={ROOT}/checkpoints/formulas",), "no convolutions trained on photo"),
    ):
        assert message in error_line(run_main([*paper, *extra]))


COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"
ROW = "ours,P{0},1,{1},{0}.pgm,{2},200,20;20;60;60"


def write_collection(folder: Path, *, truths: tuple[str, ...], view: str = "CC") -> Path:
    folder.mkdir()
    rows = [ROW.format(i, view, truth) for i, truth in enumerate(truths)]
    (folder / "m.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    for i in range(len(truths)):
        (folder / f"{i}.pgm").write_bytes(b"P5 80 80 255\n" + bytes([i, 90] * 3200))
    return folder


def add_error(folder: Path, error: str) -> None:
    """Write one of the common errors into the collection in `folder`."""
    table = folder / "m.csv"
    if error == "truncated":
        (folder / "3.pgm").write_bytes(b"P5 80 80 255\n" + bytes(100))
    elif error == "column":
        table.write_text(table.read_text().replace("truth", "turth", 1))
    elif error == "outside":
        table.write_text(table.read_text().replace("20;20;60;60", "200;20;260;60", 1))


@pytest.mark.parametrize(
    ("error", "truths", "view", "message"),
    [
        ("truncated", ("malignant", "benign") * 4, "CC", "3.pgm: truncated"),
        ("column", ("malignant", "benign") * 4, "CC", "missing column truth"),
        ("outside", ("malignant", "benign") * 4, "CC", "outside the image"),
        ("", ("malignant", "benign") * 4, "CCC", "view 'CCC' is invalid: expected one of CC, MLO"),
        ("", ("benign",) * 8, "CC", "all 8 cases are benign"),
        ("", ("malignant", *["benign"] * 7), "CC", "1 malignant cases"),
    ],
)
def test_invalid_collection_gives_a_one_line_error(
    error: str,
    truths: tuple[str, ...],
    view: str,
    message: str,
    tmp_path: Path,
    cache: Path,
) -> None:
    folder = write_collection(tmp_path / "ours", truths=truths, view=view)
    add_error(folder, error)
    source = f"--config.data.sources=('manifest:{folder}/m.csv',)"
    job = arguments(tmp_path / "w", cache, source, "--config.data.target=ours")
    assert message in error_line(run_main(job))


def test_workdir_of_another_config_is_rejected_and_not_changed(
    uninterrupted: Path, cache: Path
) -> None:
    before = read_results(uninterrupted)
    ended = run_main(arguments(uninterrupted, cache, "--config.seed=1"))
    assert "seed is 0, not 1" in error_line(ended)
    assert read_results(uninterrupted) == before


def test_damaged_checkpoint_is_reported_and_retrained(
    uninterrupted: Path, tmp_path: Path, cache: Path
) -> None:
    workdir = tmp_path / "w"
    subprocess.run(["cp", "-r", str(uninterrupted), str(workdir)], check=True)
    run_folder = workdir / "runs" / "sttl-C1-C5-test-seed0"
    (run_folder / "scores.csv").unlink()
    for path in (run_folder / "checkpoint").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.write_bytes(path.read_bytes()[:1000])
    ended = run_main(arguments(workdir, cache))
    lines = error_lines(ended.stderr)
    assert ended.returncode == 0 and len(lines) == 1
    assert "checkpoint/4: damaged, state/" in lines[0]
    assert read_results(workdir) == read_results(uninterrupted)


def test_help_states_the_usage_without_importing_jax() -> None:
    process = run([sys.executable, "-X", "importtime", "-m", "mtl_jax.main", "--help"])
    assert "--config=configs/NAME.py --workdir=DIR" in process.stdout
    assert " jax\n" not in process.stderr, "JAX takes seconds to import; --help must not need it"
