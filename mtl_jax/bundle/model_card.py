"""Render the model card of a bundle as Markdown."""

import re
from pathlib import Path
from typing import Any

import jinja2

from mtl_jax.bundle.model import Model
from mtl_jax.types import GROUPS

TEMPLATE = Path(__file__).with_name("card.md")
# Characters with a meaning in Markdown, its tables and mathematics.
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$^#])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Starts of a list, a heading or a rule.
_LINE_START = re.compile(r"^([-+=]|\d+[.)])")
# Some viewers turn addresses into links.
_ADDRESS = re.compile(r"(?<=[a-z])://|(?<![\w.])www\.|(?<=\w)@(?=\w)", re.IGNORECASE)


def render_card(model: Model) -> str:
    """Return the model card in Markdown; texts from files are escaped and kept on one line."""
    environment = jinja2.Environment(
        # `escape_markdown` escapes Markdown and HTML in every value.
        autoescape=jinja2.select_autoescape(default_for_string=False),
        finalize=escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about = model.about
    # Scores are those of the target; models of version 0.2 do not state what its cases are.
    target = next(c for c in about["collections"] if c["name"] == about["run"]["tasks"][0])
    cluster = "group" if target.get("cases_are") == GROUPS else "patient"
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about, run=about["run"], pre=about["preprocessing"], cluster=cluster
    )


def escape_markdown(value: Any) -> Any:
    """Escape a text so that Markdown shows it unchanged; other values are returned as they are."""
    if not isinstance(value, str):
        return value
    text = "".join(char if char.isprintable() else " " for char in value)
    text = "".join(_HTML.get(char, char) for char in text)
    text = _SPECIAL.sub(r"\\\1", text)
    text = _ADDRESS.sub(
        lambda match: "".join(f"&#{ord(c)};" if c in ":@." else c for c in match[0]), text
    )
    return _LINE_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", text)
