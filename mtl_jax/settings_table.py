"""List the settings: field, default, meaning, and section of the paper.

The meanings are the comments in `config.default`, so that each is written once.
"""

import ast
import inspect
import io
import re
import tokenize
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax import config
from mtl_jax.config_diff import flatten

# A reference to the paper in a comment, such as (2.4), (2.3; chosen in 3.2) or Table 3.
REFERENCE = re.compile(r"\b[23]\.\d\b(?!\d)|\bTable \d\b")


class Setting(NamedTuple):
    """One setting, or a section of settings, whose default is a ConfigDict."""

    field: str  # such as train.epochs
    default: Any
    meaning: str
    references: tuple[str, ...]  # sections or tables of Samala et al. 2017
    heading: str  # of its part of `config.default`


def list_settings() -> list[Setting]:
    """Return the settings and the sections of settings, in the order of `config.default`."""
    source = inspect.getsource(config.default)
    comments = _read_comments(source)
    lines = source.splitlines()
    defaults = flatten(config.default().to_dict())
    settings: list[Setting] = []
    heading, last_line = "", 1
    for statement in ast.parse(source).body[0].body:
        if not isinstance(statement, ast.Assign) or not isinstance(
            statement.targets[0], ast.Attribute
        ):
            continue
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        above = [line for line in range(last_line + 1, first) if line in comments]
        if above and not lines[above[0] - 2].strip():  # the first comment after an empty line
            heading = comments[above.pop(0)].strip()
        text = [comments[line] for line in (*above, *range(first, last + 1)) if line in comments]
        while comments.get(last + 1, "").startswith("  "):  # indented: the comment goes on
            last += 1
            text.append(comments[last])
        last_line = last
        field = ast.unparse(statement.targets[0]).removeprefix("c.")
        meaning = " ".join(" ".join(text).split())
        references = tuple(sorted(set(REFERENCE.findall(meaning))))
        default = defaults.get(field, ConfigDict())
        settings.append(Setting(field, default, meaning, references, heading))
    return settings


def _read_comments(source: str) -> dict[int, str]:
    """Return the text of each comment without its number sign, by line from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.removeprefix("#").removeprefix(" ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
