"""The documentation: every command in it is run here, or marked as needing what is not here.

A block of commands stands under `<!-- run -->`, and is run in order with the others of its page, or
under `<!-- needs: WHAT -->`. A block under `<!-- output -->` has lines that the commands before it
print, in this order; `...` stands for any text. A block under `<!-- file: NAME -->` is a file that
these commands use.
A block of Python is run, unless it uses names it does not define, or is marked `needs`.
test_documented_commands.py parses the commands of all pages.
"""

import ast
import builtins
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
GUIDES = [page for page in PAGES if page.parent.name == "howto" or page.stem == "tutorial"]
MAX_COLUMNS = 80  # of a command, so that pages need no sideways scrolling
ONE_OPTION = re.compile(r" +--[\w.]+='[^']*'(?: \\)?$")  # which cannot be wrapped
BLOCK = re.compile(
    r"(?:^ *<!-- (run|output|needs: [^>]+|file: [^>]+) -->\n)?^( *)```(\w*)\n(.*?)^ *```$",
    re.S | re.M,
)
COMMAND = re.compile(r"^(?:\$ )?(?:python (?:tools/|-m mtl_jax)|mtl-jax |make |pip )")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(mark, language, text) of each fenced block."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        (mark, language, "".join(line.removeprefix(indent) for line in text.splitlines(True)))
        for mark, indent, language, text in found
    ]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_is_marked(page: Path) -> None:
    for mark, language, text in blocks(page):
        if language == "" and any(COMMAND.match(line) for line in text.splitlines()):
            assert mark, f"{page.name}: mark with run or needs: {text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_in_the_pages_runs(page: Path) -> None:
    for mark, language, text in blocks(page):
        if language != "python" or mark.startswith("needs: "):
            continue
        tree = ast.parse(text)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if {name.id for name in names} <= made | set(dir(builtins)):
            exec(compile(tree, page.name, "exec"), {"__name__": page.stem})


def test_the_example_of_an_experiment_is_its_file() -> None:
    (code,) = [
        text for _, language, text in blocks(ROOT / "docs/howto/new_experiment.md") if language
    ]
    assert code == (ROOT / "mtl_jax/experiments/stages/seeds.py").read_text(encoding="utf-8")


@pytest.mark.slow  # executes the notebook
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb", reason="the [docs] extra is not installed")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-D", "nb_execution_mode=off"]  # a slow test runs the notebooks
    ended = subprocess.run(
        [*command, ROOT / "docs", tmp_path], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "reference.html").stat().st_size > 50_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all cells, and find the ROC curves and the tables among the outputs."""
    nbclient = pytest.importorskip("nbclient", reason="the [docs] extra is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the [docs] extra is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert {"image/svg+xml", "text/html"} <= kinds


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_commands_are_wrapped(page: Path) -> None:
    for _, language, text in blocks(page):
        for command in commands(text) if language == "" else ():
            lines = [line for line in command.splitlines() if len(line) > MAX_COLUMNS]
            wide = [line for line in lines if not ONE_OPTION.match(line)]
            assert not (wide and COMMAND.match(command)), f"wrap at {MAX_COLUMNS} columns: {wide}"


def commands(text: str) -> list[str]:
    """Return the commands of a block; one that continues after a backslash is one command."""
    return [line for line in re.split(r"(?<!\\)\n", text) if line.strip()]


def expected(text: str) -> str:
    """Return the pattern of a block of output: its lines in order, with others between them."""
    lines = [".*".join(map(re.escape, line.split("..."))) for line in text.strip().splitlines()]
    return r"(?s:.*)".join(rf"^{line}$" for line in lines)


# The other guides need a cluster, a PACS or images of a collection, and say so at each command.
RUN_HERE = [page for page in GUIDES if "run" in [mark for mark, _, _ in blocks(page)]]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    for name in ("configs", "tools", "mtl_jax"):
        (tmp_path / name).symlink_to(ROOT / name)
    for mark, _, text in blocks(page):
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(text, encoding="utf-8")
    settings = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    settings["PYTHONPATH"] = str(ROOT)
    output = ""  # of the last block of commands
    for mark, _, text in blocks(page):
        if mark == "run":
            output = "".join(run(one, tmp_path, settings) for one in commands(text))
        elif mark == "output":
            assert re.search(expected(text), output, re.M), f"{text}\nwas not in\n{output}"


def run(command: str, folder: Path, settings: dict[str, str]) -> str:
    """Run a command in `folder` and return what it prints; fail if its exit code is not 0."""
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stderr[-2000:]}"
    return ended.stdout
