"""The command mtl-jax: its list of commands, jobs by name, hints for misspelt fields."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from absl import logging as absl_logging

import mtl_jax
from mtl_jax import __main__, config, jobs
from mtl_jax import main as job
from mtl_jax.commands import COMMANDS
from mtl_jax.data.sources import SOURCES
from mtl_jax.types import InputError

# ml_collections loads a config file so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[1]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mtl-jax", *arguments])
    try:
        return __main__.main()
    finally:
        logging.root.removeHandler(absl_logging.get_absl_handler())  # which app.run adds


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_every_module_of_the_commands_has_a_name() -> None:
    folder = ROOT / "mtl_jax" / "commands"
    modules = {f"mtl_jax.commands.{path.stem}" for path in folder.glob("[!_]*.py")}
    modules |= {"mtl_jax.roc.__main__", "mtl_jax.report.__main__"}
    assert modules == {command.module for command in COMMANDS.values()}


def test_without_arguments_the_commands_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("mtl_jax 0.")


def test_an_unknown_command_is_rejected_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "SCOR", "bundle") == 2
    assert capsys.readouterr().err == ("mtl-jax: there is no command 'SCOR'; did you mean score?\n")


def test_a_command_has_its_name_in_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("report", "verify", "roc"):
        with pytest.raises(SystemExit) as ended:
            call(monkeypatch, name, "--help")
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: mtl-jax {name} ")


def test_list_names_every_choice(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    user_folders: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for parent in (user_folders / "data" / "mtl_jax", tmp_path):
        folder = parent / "checkpoints" / f"{parent.name}_net"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text('{"backbone": "vgg16"}')
    assert call(monkeypatch, "list") == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} | set(SOURCES) <= set(names)
    assert {*config.BACKBONES, *config.BUILTIN_WEIGHTS, config.IMAGENET} <= set(names)
    assert {"checkpoints/mtl_jax_net", f"checkpoints/{tmp_path.name}_net"} <= set(names)


def test_list_needs_no_jax() -> None:
    done = run("-X", "importtime", "-m", "mtl_jax", "list")
    assert done.returncode == 0 and " jax\n" not in done.stderr


def test_help_of_a_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "run", "--help")
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n  {path.stem} " in out for path in (ROOT / "configs").glob("*.py"))
    assert "train.epochs " in out and "(default: 200)" in out
    assert out.count("\n  mtl-jax run --config=") == 3


def test_fields_given_to_main_take_effect() -> None:
    """ml_collections reads them from sys.argv, where those of another program may be."""
    program = "from mtl_jax.commands import run; run.main(['--config=mttl', '--workdir=w', {!r}])"
    for field, message in (
        ("--config.folds=1", "config.folds=1 is invalid: expected an integer >= 2"),
        ("--config.epochs=1", "config.epochs does not exist; did you mean config.train.epochs?"),
    ):
        done = run("-c", program.format(field), "other")
        assert (done.returncode, done.stderr.strip()) == (2, f"mtl_jax: {message}")


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("epochs", ["train.epochs"]),
        ("train.epoch", ["train.epochs"]),
        ("trian.epochs", ["train.epochs"]),
        ("train.difficulty", ["data.phantom.difficulty"]),
        ("learning_rte", ["train.learning_rate"]),
        ("sed", ["seed"]),
        (
            "initializations",
            [
                f"{stage}.initializations"
                for stage in ("cross_validation", "depth", "seeds", "splits", "test")
            ],
        ),
        ("zzz", []),
    ],
)
def test_similar_fields_are_found_in_any_section(field: str, expected: list[str]) -> None:
    assert config.find_similar_fields(field) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config=mttl", "--epochs=3"],
            "there is no option --epochs; did you mean --config.train.epochs?",
        ),
        (["--config=mtl"], "--config=mtl: no such job; did you mean mttl?"),
        (["--config=configs/stl.py"], "no such file; did you mean configs/sttl.py?"),
        (["--config=mine/mttl.py"], "no such file; did you mean the job mttl?"),
        (["--config=MTTL"], "--config=MTTL: no such job; did you mean mttl?"),
        (["--config=mine"], "--config=mine: no such job; did you mean configs/mine.py?"),
        (["--config=configs/min.py"], "no such file; did you mean configs/mine.py?"),
        (["--config=configs\\mttl.py"], "separate folders by / instead of \\"),
        (["mttl:demo"], "unknown argument 'mttl:demo'; did you mean --config=mttl:demo?"),
        (["config.folds=3"], "unknown argument 'config.folds=3'; did you mean --config.folds=3?"),
        (["--config=mttl", "--config.train=3"], "config.train is a section; set its fields"),
    ],
)
def test_misspelt_options_and_jobs(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    values = flags.FlagValues()
    job.define_flags(values)
    monkeypatch.setattr(sys, "argv", ["mtl-jax run", "--workdir=w", *arguments])
    with pytest.raises(SystemExit) as ended:
        job.parse_flags(sys.argv, values)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and message in line


def test_a_config_file_may_import_modules_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "helper.py").write_text("VALUE = 3")
    (tmp_path / "configs" / "mine.py").write_text(
        "from configs import helper\ndef get_config():\n  return helper.VALUE"
    )
    # -P: the current folder is not in the module path, as for an installed script.
    command = [sys.executable, "-P", "-m", "mtl_jax", "run", "--workdir=w"]
    process = subprocess.run(
        [*command, "--config=configs/mine.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 2 and "get_config returns int, no config" in process.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config()\n  return 1", "line 1: expected ':'; correct the file"),
        ("import numpi", "line 1: ModuleNotFoundError: No module named 'numpi'"),
        ("x = 1", "not a config file: it does not define get_config"),
        ("def get_config():\n  return 3", "get_config returns int, no config"),
        ("def get_config():\n  pass", "get_config returns NoneType, no config"),
        ("def get_config(size):\n  pass", "give its parameter a default"),
        ("def get_config():\n  return open('absent')", "line 2: FileNotFoundError: "),
        ("from mtl_jax import config\ndef get_config():\n  return confg", "line 3: NameError: "),
        (
            "from mtl_jax import config\ndef get_config():\n  c = config.default()\n"
            "  c.train.epochs = 'x'",
            "line 4: TypeError: Could not override field 'epochs'",
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n  return ConfigDict()",
            "start from mtl_jax.config.default()",
        ),
        ("patient,truth\nP 1,benign", "line 2: invalid syntax; correct the file"),
    ],
)
def test_an_error_in_a_config_file_is_one_line(
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        mtl_jax.load_config(file)
    values = flags.FlagValues()
    job.define_flags(values)
    monkeypatch.setattr(sys, "argv", ["mtl-jax run", "--workdir=w", f"--config={file}"])
    with pytest.raises(SystemExit) as ended:
        job.parse_flags(sys.argv, values)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and str(file) in line and message in line


def test_a_preset_that_a_config_file_does_not_take_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def get_config():\n  pass")
    with pytest.raises(InputError, match="remove :demo"):
        mtl_jax.load_config(f"{file}:demo")


def test_a_job_is_found_by_name_and_the_users_own_file_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = str(ROOT / "configs" / "sttl.py")
    assert jobs.find_config("sttl") == (shipped, "")
    file, note = jobs.find_config("configs/sttl.py")
    assert file == shipped and "no configs/sttl.py here" in note and shipped in note
    with pytest.raises(InputError, match="no such file"):
        jobs.find_config("sttl.py")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "sttl.py").write_text("")
    assert jobs.find_config("configs/sttl.py") == ("configs/sttl.py", "")
