"""The model card: what a bundle says of itself, for people. It judges and computes nothing."""

import re
from pathlib import Path
from typing import Any

import jinja2

from mtl_jax.bundle.model import Model

TEMPLATE = Path(__file__).with_name("card.md")
# What Markdown, its tables and mathematics take for their own, wherever it stands.
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$^#])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What makes a list, a heading or a rule of the beginning of a line.
_BEGINS = re.compile(r"^([-+=]|\d+[.)])")
# An address becomes a link by itself, in some viewers.
_ADDRESS = re.compile(r"(?<=[a-z])://|(?<![\w.])www\.|(?<=\w)@(?=\w)", re.IGNORECASE)


def render_card(model: Model) -> str:
    """Return the model card in Markdown, from what is in the bundle alone.

    Whatever comes from files and tables stands as plain text on one line.
    """
    environment = jinja2.Environment(
        # Markdown is no HTML: `escape_markdown` escapes both, in every value.
        autoescape=jinja2.select_autoescape(default_for_string=False),
        finalize=escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about = model.about
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about, run=about["run"], pre=about["preprocessing"]
    )


def escape_markdown(value: Any) -> Any:
    """A text as Markdown that shows it as it is; numbers stay."""
    if not isinstance(value, str):
        return value
    text = "".join(char if char.isprintable() else " " for char in value)
    text = "".join(_HTML.get(char, char) for char in text)
    text = _SPECIAL.sub(r"\\\1", text)
    text = _ADDRESS.sub(
        lambda found: "".join(f"&#{ord(c)};" if c in ":@." else c for c in found[0]), text
    )
    return _BEGINS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)
