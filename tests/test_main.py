"""The command as a user runs it: same bytes again, killed and resumed, mistakes in one line."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = (
    "--config.network=C1-C5",
    "--config.approaches=('sttl',)",
    "--config.train.epochs=4",
    "--config.train.batch_size=32",
    "--config.train.checkpoint_epochs=1",
    "--config.statistics.bootstrap=200",
    "--config.data.phantom.cases=16",
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


def command(workdir: Path, cache: Path, *extra: str, job: str = "configs/mttl.py") -> list[str]:
    where = (f"--config={job}", f"--workdir={workdir}", f"--config.data.cache={cache}")
    return [sys.executable, "-m", "mtl_jax.main", *where, *SMALL, *extra]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=900)


def outcome(workdir: Path) -> dict[str, bytes]:
    found = [*workdir.glob("runs/*/scores.csv"), *workdir.glob("runs/*/history.jsonl")]
    found += [workdir / "results.json", workdir / "folds.json"]
    found += [path for path in workdir.glob("analysis/**/*") if path.is_file()]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    workdir = tmp_path_factory.mktemp("unbroken")
    ended = run(command(workdir, cache))
    assert ended.returncode == 0, ended.stderr
    assert "report:" in ended.stdout
    return workdir


def test_the_work_folder_is_as_the_contract_says(unbroken: Path) -> None:
    place = "runs/sttl-C1-C5-test-seed0"
    for name in ("config.json", "environment.json", "folds.json", "results.json", "report.html"):
        assert (unbroken / name).is_file(), name
    for name in ("run.json", "history.jsonl", "scores.csv", "checkpoint"):
        assert (unbroken / place / name).exists(), name


def test_the_same_command_twice_gives_the_same_bytes(
    unbroken: Path, tmp_path: Path, cache: Path
) -> None:
    ended = run(command(tmp_path / "again", cache))
    assert ended.returncode == 0, ended.stderr
    assert outcome(tmp_path / "again") == outcome(unbroken)


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(
    unbroken: Path, tmp_path: Path, cache: Path
) -> None:
    workdir = tmp_path / "killed"
    history = workdir / "runs" / "sttl-C1-C5-test-seed0" / "history.jsonl"
    job = subprocess.Popen(
        command(workdir, cache), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    waited = time.monotonic()
    while not (history.exists() and len(history.read_text().splitlines()) >= 2):
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() - waited < 200
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (workdir / "results.json").exists()
    ended = run(command(workdir, cache))
    assert ended.returncode == 0, ended.stderr
    assert outcome(workdir) == outcome(unbroken)


def test_a_finished_job_is_not_done_again(unbroken: Path, cache: Path) -> None:
    before = outcome(unbroken)
    ended = run(command(unbroken, cache))
    assert ended.returncode == 0 and "already finished" in ended.stdout
    assert outcome(unbroken) == before


@pytest.mark.parametrize(
    ("extra", "says"),
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
def test_a_mistake_is_answered_in_one_line(
    extra: tuple[str, ...], says: str, tmp_path: Path, cache: Path
) -> None:
    ended = run(command(tmp_path / "w", cache, *extra))
    lines = [line for line in ended.stderr.splitlines() if line.startswith("mtl_jax:")]
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1 and says in lines[0]
    assert "Traceback" not in ended.stderr


def paper_command(folder: Path, cache: Path, *extra: str) -> subprocess.CompletedProcess:
    """configs/paper.py at the paper preset, in a folder without ImageNet weights."""
    where = (f"--config={ROOT}/configs/paper.py", f"--workdir={folder / 'w'}")
    few = (f"--config.data.cache={cache}", "--config.data.phantom.cases=20", *extra)
    return subprocess.run(
        [sys.executable, "-m", "mtl_jax.main", *where, *few],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_papers_study_needs_imagenet_weights_and_its_plan_does_not(
    tmp_path: Path, cache: Path
) -> None:
    """Counts of sections 3.1, 3.2, 2.3 and 3.3; 56 of the 482 trainings are shared."""
    ended = paper_command(tmp_path, cache, "--dry_run")
    assert ended.returncode == 0, ended.stderr
    counts = dict(re.findall(r"^(\w+): (\d+) runs", ended.stdout, re.M))
    assert counts == {"splits": "160", "depth": "240", "cross_validation": "80", "test": "2"}
    assert "to do: 426 of 426 runs" in ended.stdout
    for extra, says in (
        ((), "python tools/convert_weights.py --download"),
        (("--config.weights=shipped",), "expected 'imagenet' or a folder"),
        ((f"--config.weights={ROOT}/checkpoints/formulas",), "no convolutions trained on photo"),
    ):
        ended = paper_command(tmp_path, cache, *extra)
        lines = [line for line in ended.stderr.splitlines() if line.startswith("mtl_jax:")]
        assert ended.returncode == 2 and len(lines) == 1 and says in lines[0], ended.stderr


MANIFEST = "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"
ROW = "ours,P{0},1,{1},{0}.pgm,{2},200,20;20;60;60"


def small_collection(folder: Path, *, truths: tuple[str, ...], view: str = "CC") -> Path:
    folder.mkdir()
    rows = [ROW.format(i, view, truth) for i, truth in enumerate(truths)]
    (folder / "m.csv").write_text("\n".join([MANIFEST, *rows]) + "\n")
    for i in range(len(truths)):
        (folder / f"{i}.pgm").write_bytes(b"P5 80 80 255\n" + bytes([i] * 6400))
    return folder


def spoil(folder: Path, how: str) -> None:
    """One of the mistakes that a collection of one's own can hold."""
    table = folder / "m.csv"
    if how == "truncated":
        (folder / "3.pgm").write_bytes(b"P5 80 80 255\n" + bytes(100))
    elif how == "column":
        table.write_text(table.read_text().replace("truth", "turth", 1))
    elif how == "outside":
        table.write_text(table.read_text().replace("20;20;60;60", "200;20;260;60", 1))


@pytest.mark.parametrize(
    ("how", "truths", "view", "says"),
    [
        ("truncated", ("malignant", "benign") * 4, "CC", "3.pgm: truncated"),
        ("column", ("malignant", "benign") * 4, "CC", "missing column truth"),
        ("outside", ("malignant", "benign") * 4, "CC", "outside the image"),
        ("", ("malignant", "benign") * 4, "CCC", "view 'CCC' is invalid: expected one of CC, MLO"),
        ("", ("benign",) * 8, "CC", "all 8 cases are benign"),
        ("", ("malignant", *["benign"] * 7), "CC", "1 malignant cases"),
    ],
)
def test_a_mistake_in_a_collection_is_answered_in_one_line(
    how: str, truths: tuple[str, ...], view: str, says: str, tmp_path: Path
) -> None:
    folder = small_collection(tmp_path / "ours", truths=truths, view=view)
    spoil(folder, how)
    source = f"--config.data.sources=('manifest:{folder}/m.csv',)"
    ended = run(command(tmp_path / "w", tmp_path / "c", source, "--config.data.target=ours"))
    lines = [line for line in ended.stderr.splitlines() if line.startswith("mtl_jax:")]
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1 and says in lines[0]


def test_a_workdir_of_another_config_is_rejected_and_left_alone(
    unbroken: Path, cache: Path
) -> None:
    before = outcome(unbroken)
    ended = run(command(unbroken, cache, "--config.seed=1"))
    assert ended.returncode == 2 and "seed is 0, not 1" in ended.stderr
    assert outcome(unbroken) == before


def test_a_damaged_checkpoint_is_named_and_done_again(
    unbroken: Path, tmp_path: Path, cache: Path
) -> None:
    workdir = tmp_path / "w"
    subprocess.run(["cp", "-r", str(unbroken), str(workdir)], check=True)
    place = workdir / "runs" / "sttl-C1-C5-test-seed0"
    (place / "scores.csv").unlink()
    for path in (place / "checkpoint").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.write_bytes(path.read_bytes()[:1000])
    ended = run(command(workdir, cache))
    # A progress bar that was there before leaves the cursor, not a new line, in a log.
    lines = re.findall("mtl_jax: .*", ended.stderr)
    assert ended.returncode == 0 and len(lines) == 1
    assert "checkpoint/4: damaged, state/" in lines[0]
    assert outcome(workdir) == outcome(unbroken)


def test_help_is_quick_and_says_how() -> None:
    ended = run([sys.executable, "-X", "importtime", "-m", "mtl_jax.main", "--help"])
    assert "--config=configs/NAME.py --workdir=DIR" in ended.stdout
    assert " jax\n" not in ended.stderr, "JAX takes seconds to import; --help must not need it"
