"""Every documented command is parsed by the tool that it names; nothing is run.

Commands are found in the fenced blocks and code spans of the pages, in the docstrings of tools and
configs, and in the scripts beside them. In a usage line `[--option]` is given, each of `a|b` is
tried, and a word in capitals stands for a value. Where a tool is named elsewhere, as in a message
or a template, its options must be there.
"""

import argparse
import ast
import contextlib
import functools
import importlib
import itertools
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from absl import flags

from mtl_jax import config, main
from mtl_jax.commands import COMMANDS
from mtl_jax.training import losses, optimizer, schedules, writers

# ml_collections loads a config file so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "checkpoints" / "README.md",
    ROOT / "tests" / "kit" / "README.md",
]
SCRIPTS = [ROOT / name for name in ("Makefile", "Dockerfile", ".ci/run")]
PROGRAMS = [
    *sorted((ROOT / "tools").glob("*.py")),
    *sorted((ROOT / "mtl_jax" / "commands").glob("*.py")),
    *sorted((ROOT / "configs").glob("*.py")),
    *(ROOT / "mtl_jax" / name for name in ("main.py", "usage.py", "__main__.py")),
    *sorted((ROOT / "mtl_jax").rglob("__main__.py")),
]
TOOLS = [
    path
    for path in sorted((ROOT / "tools").glob("*.py"))
    if "ArgumentParser(" in path.read_text() or "mtl_jax.commands" in path.read_text()
]
PAGE_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", re.S | re.M)
FENCED = re.compile(r"^( *)```\w*\n(.*?)^ *```$", re.S | re.M)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(
    r"(?:python3? +(tools/\w+\.py|-m +mtl_jax(?:\.\w+)+)|(mtl-jax +[a-z]+))(?=[\s'\"]|$)([^\n]*)"
)
OPTIONS = r"((?: +(?:--[\w-]+(?:[ =][\w./-]+)?|[A-Z]+))*)"
MENTION = re.compile(rf"(tools/\w+\.py|mtl-jax [a-z]+){OPTIONS}")
TEXTS = [*PAGES, *SCRIPTS]  # that name a tool
for folder in ("mtl_jax", "tools", "configs"):
    files = [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".html")]
    TEXTS += [path for path in files if MENTION.search(path.read_text(encoding="utf-8"))]
REGISTRIES = (  # dicts of names that a user can choose
    config.BACKBONES,
    losses.LOSSES,
    optimizer.OPTIMIZERS,
    schedules.SCHEDULES,
    writers.WRITERS,
)
NAMES = (config.LOSSES, config.OPTIMIZERS, config.SCHEDULES, config.WRITERS)
# What a word in capitals stands for where any text does not do.
VALUES = {
    "JOB": "mttl",
    "WHAT": "step",
    "UM": "100",
    "P": "float32",
    "configs/NAME.py": "configs/mttl.py",
}


class Command(NamedTuple):
    """`program` is tools/NAME.py, a module or 'mtl-jax NAME'; `words` are its arguments as a shell
    splits them.
    """

    place: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place}: {self.program} {' '.join(self.words)}"


def commands_in(place: str, text: str) -> list[Command]:
    """All commands in some lines of a shell or a usage."""
    found = []
    for tool, command, rest in COMMAND.findall(re.sub(r"\\\n\s*", " ", text)):
        rest = re.sub(r"\[:PRESET\]|(?<=\s)\[(?=-)|\](?=\s|$)", "", rest)  # optional parts
        rest = re.sub(r"\$\{?\w+\}?", "1", rest)
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:  # the end of what another command quotes, sh -c '...'
            words = shlex.split(rest.rstrip("'\""), comments=True)
        end = next((i for i, word in enumerate(words) if re.match(r"[|;&]|\d?>", word)), len(words))
        words = [re.sub(r"(?<=\w)\.\.\.$", "", word) for word in words[:end] if "FIELD" not in word]
        words = [re.sub(r"(?:(?<==)|^)[\w/.]+$", _value, word) for word in words]
        choices = [word.split("|") if re.fullmatch(r"[\w|-]+", word) else [word] for word in words]
        program = re.sub(r"-m +", "", tool) or " ".join(command.split())
        found += [Command(place, program, one) for one in itertools.product(*choices)]
    return found


def _value(placeholder: re.Match) -> str:
    return VALUES.get(placeholder[0], placeholder[0])


def documented(path: Path) -> list[Command]:
    """All commands of a page, a script or the docstring of a program."""
    place = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
        text = re.sub(r"\n {8,}(?=[\[-])", " ", text)  # a usage that goes on
    elif path.suffix != ".md":
        return commands_in(place, text.replace("$(BIN)/", ""))
    blocks = [block for _, block in FENCED.findall(text)]
    prose = FENCED.sub("", text)
    spans = [" ".join(span.split()) for span in SPAN.findall(prose)]
    lines = SPAN.sub("", prose).splitlines() if path.suffix == ".py" else []
    return [one for part in (*blocks, *spans, *lines) for one in commands_in(place, part)]


ALL = [one for path in (*PAGES, *SCRIPTS, *PROGRAMS) for one in documented(path)]


class Parsed(BaseException):
    """Ends a tool as soon as it has its arguments."""


@functools.cache
def program_main(program: str) -> object:
    """The function `main` of a tool, a package's command or a command of mtl-jax."""
    if program.startswith("mtl-jax "):
        return importlib.import_module(COMMANDS[program.split()[1]].module).main
    if not program.startswith("tools/"):
        name = program if program == "mtl_jax.main" else f"{program}.__main__"
        return importlib.import_module(name).main
    if str(ROOT / "tools") not in sys.path:
        sys.path.append(str(ROOT / "tools"))
    return importlib.import_module(Path(program).stem).main


def parser_of(program: str, words: tuple[str, ...] | None) -> argparse.ArgumentParser:
    """The parser of a tool, after it has parsed `words`, unless they are None."""
    seen = []
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *arguments: object) -> None:
        seen.append(parser)
        if words is not None:
            parse(parser, *arguments)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [program, *(words or ())])
        with pytest.raises(Parsed):
            program_main(program)()
    return seen[0]


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and those below it."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser, *(one for action in below for one in action.choices.values())]


def check(command: Command) -> None:
    """Parse a command with the tool's own parser; of a job also validate the config."""
    if command.program not in ("mtl_jax.main", "mtl-jax run"):
        parser_of(command.program, command.words)
        return
    words = [word for word in command.words if word != "..."]
    if "..." in command.words and "--config" not in command.words[0]:  # as in a command before it
        words = ["--config=configs/mttl.py", "--workdir=w", *words]
    values = flags.FlagValues()
    main.define_flags(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["main", *words])  # where ml_collections looks for fields
        main.parse_flags(sys.argv, values)
    config.expand_paths(values.config)
    config.validate(values.config)


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_documented_command_is_parsed(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(ROOT)
    if not command.words:  # the name of a program
        program_main(command.program)
        return
    files = PAGE_FILE.findall((ROOT / command.place).read_text(encoding="utf-8"))
    if files:  # that the commands of the page use
        (tmp_path / "configs").symlink_to(ROOT / "configs")
        for name, text in files:
            (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
    try:
        with contextlib.ExitStack() as stack:
            for names in REGISTRIES:  # a config file may register its own
                stack.enter_context(mock.patch.dict(names))
            for names in NAMES:
                stack.callback(names.__setitem__, slice(None), list(names))
            check(command)
    except SystemExit as ended:
        if ended.code != 0:  # the code of --help
            pytest.fail(f"{command}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_a_tool_says_how_it_is_called(path: Path) -> None:
    program = str(path.relative_to(ROOT))
    assert program in {command.program for command in documented(path)}


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_no_tool_takes_a_path_without_expanding_it(path: Path) -> None:
    for parser in parsers(parser_of(str(path.relative_to(ROOT)), None)):
        assert Path not in [action.type for action in parser._actions]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_tool_named_anywhere_is_there_with_its_options(path: Path) -> None:
    text = re.sub(r"[\"']\s*\n\s*f?[\"']", "", path.read_text(encoding="utf-8"))  # joined literals
    for program, rest in MENTION.findall(text):
        name = program.removeprefix("mtl-jax ")
        assert (ROOT / program).is_file() or name in COMMANDS, program
        for option in re.findall(r"--[\w-]+", "" if name == "run" else rest):
            known = [one._option_string_actions for one in parsers(parser_of(program, None))]
            assert any(option in options for options in known), f"{program} {option}"


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda path: path.name)
def test_extras_and_targets_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"(?:pip install [^\n`]*\.|mtl_jax)\[([\w,-]+)\]", text)
    for extra in itertools.chain.from_iterable(one.split(",") for one in named):
        assert extra in project["optional-dependencies"], extra
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([\w-]+)(?=`|\s*(?:#|$))", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize(
    "line",
    [
        "python tools/make_shards.py cbis_ddsm:CBIS-DDSM --out shards --config.data.workers=4",
        "python tools/make_shards.py --out shards",
        "python tools/make_phantom.py --cases many --out phantom",
        "python tools/bench.py nothing --json FILE",
        "python -m mtl_jax.roc scores.csv --unit breast",
        "mtl-jax roc scores.csv --unit breast",
        "mtl-jax run --config=mttl --workdir=runs --config.data.wrokers=4",
        "mtl-jax verify",
        "python -m mtl_jax.main --config=configs/mttl.py",
        "python -m mtl_jax.main --config=configs/nowhere.py --workdir=runs",
        "python -m mtl_jax.main --config=configs/mttl.py --workdir=runs --config.data.wrokers=4",
        "srun .venv/bin/python -m mtl_jax.main --config=configs/mttl.py --workdir=w --dryrun",
    ],
)
def test_a_command_that_does_not_work_is_found(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = commands_in("here", f"$ {line}  # as an example\n")
    with pytest.raises(SystemExit):
        check(command)


def test_a_usage_is_taken_apart() -> None:
    usage = "python tools/export.py RUN [--fc drop|keep] \\\n  --name 'a b' FILES... | head -1"
    assert [command.words for command in commands_in("", usage)] == [
        ("RUN", "--fc", "drop", "--name", "a b", "FILES"),
        ("RUN", "--fc", "keep", "--name", "a b", "FILES"),
    ]
