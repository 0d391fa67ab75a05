"""The jobs: their config files, which are the user's own or those of the package."""

import ast
from difflib import get_close_matches
from pathlib import Path

from mtl_jax import old_names
from mtl_jax.io import shipped_files
from mtl_jax.types import InputError


def shipped() -> dict[str, Path]:
    """Return the config file of each job of the package by name, the main job first."""
    main = shipped_files.find("configs/mttl.py")
    return {path.stem: path for path in (main, *sorted(main.parent.glob("*.py")))}


def describe() -> dict[str, str]:
    """Return what each job of the package does, in one line."""
    return {name: first_line(path) for name, path in shipped().items() if path.is_file()}


def first_line(path: Path) -> str:
    """Return the first line of the docstring of a module, which is not imported."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def find_config(named: str) -> tuple[str, str]:
    """Return the config file that --config names, and a note if it is another file than named.

    `named` is a file, or the name of a job of the package. configs/NAME.py is that job too if the
    current folder has no such file. Raises InputError if there is neither.
    """
    path, jobs = Path(named), shipped()
    is_name = named == path.stem
    if path.is_file():
        return named, ""
    if path.stem in jobs and (is_name or path == Path("configs", f"{path.stem}.py")):
        file = str(jobs[path.stem])
        return file, "" if is_name else f"there is no {named} here; using {file} of the package"
    similar = get_close_matches(path.stem, jobs, 1)
    new = old_names.CONFIGS.get(path.stem)
    if new:
        hint = f"it is {new if is_name else path.with_stem(new)} now"
    elif similar:
        hint = f"did you mean {similar[0] if is_name else path.with_stem(similar[0])}?"
    else:
        hint = f"expected a config file, or a job: {', '.join(jobs)}"
    raise InputError(f"--config={named}: no such {'job' if is_name else 'file'}; {hint}")
