"""The jobs: their config files, which are the user's own or those of the package."""

import ast
import inspect
import re
import runpy
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import config, old_names
from mtl_jax.config_diff import flatten
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
    similar = get_close_matches(path.stem.casefold(), jobs, 1)
    # The user's own config files, which are named by their path.
    folder = Path("configs") if is_name else path.parent
    own = {str(file): file.stem for file in sorted(folder.glob("*.py"))}
    same = [file for file, stem in own.items() if stem == path.stem]
    own_similar = [file for file, stem in own.items() if get_close_matches(path.stem, [stem], 1)]
    new = old_names.CONFIGS.get(path.stem)
    in_jobs = not is_name and path.parent == Path("configs")
    if new:
        hint = f"it is {new if is_name else path.with_stem(new)} now"
    elif "\\" in named:
        hint = "separate folders by / instead of \\"
    elif same:
        hint = f"did you mean {same[0]}?"
    elif similar:
        name = similar[0] if is_name else f"the job {similar[0]}"
        hint = f"did you mean {path.with_stem(similar[0]) if in_jobs else name}?"
    elif own_similar:
        hint = f"did you mean {own_similar[0]}?"
    else:
        hint = f"expected a config file, or a job: {', '.join(jobs)}"
    raise InputError(f"--config={named}: no such {'job' if is_name else 'file'}; {hint}")


def load_config(file: str | Path, preset: str | None = None) -> ConfigDict:
    """Return the locked config that `get_config` of a config file returns.

    Raises InputError with the file and the line if the file has an error.
    """
    try:
        get_config = runpy.run_path(str(file)).get("get_config")
    except Exception as error:  # whatever the user's code raises
        raise _describe_error(file, error) from error
    if get_config is None:
        raise InputError(f"{file}: not a config file: it does not define get_config")
    arguments = [] if preset is None else [preset]
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError as error:
        cure = f"remove :{preset}" if preset else "give its parameter a default"
        raise InputError(
            f"{file}: get_config({preset!r}) does not work ({error}); {cure}"
        ) from error
    try:
        c = get_config(*arguments)
    except InputError:
        raise
    except Exception as error:
        raise _describe_error(file, error) from error
    _reject_other_type(file, c)
    return c.lock()


def _reject_other_type(file: str | Path, c: Any) -> None:
    """Raise InputError if `c`, which a config file returned, is no config with all fields."""
    begin = "start from mtl_jax.config.default() and return it"
    if not isinstance(c, ConfigDict):
        raise InputError(f"{file}: get_config returns {type(c).__name__}, no config; {begin}")
    fields = flatten(c.to_dict())
    missing = [field for field in flatten(config.default().to_dict()) if field not in fields]
    if missing:
        names = ", ".join(missing[:3])
        raise InputError(f"{file}: the config has no {names} ({len(missing)} missing); {begin}")


def _describe_error(file: str | Path, error: Exception) -> InputError:
    """Return the error of a user's config file as one line with its line number."""
    if isinstance(error, SyntaxError):
        return InputError(f"{error.filename}, line {error.lineno}: {error.msg}; correct the file")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    line = f", line {lines[-1]}" if lines else ""
    text = re.sub(r"^['\"]+([^'\"]*)['\"]+$", r"\1", str(error))  # the name that a KeyError quotes
    unknown = re.search(r"module '([\w.]+)' has no attribute '(\w+)", text)
    new = ""
    if isinstance(error, ImportError):
        new = old_names.module_message(error.name or "")
    elif unknown:
        new = old_names.function_message(f"{unknown[1]}.{unknown[2]}")
    elif isinstance(error, AttributeError | KeyError):
        field = re.search(r'instead of "(\w+)"', text)
        new = old_names.field_message(field[1] if field else text)
    return InputError(f"{file}{line}: {new or f'{type(error).__name__}: {text}'}")
