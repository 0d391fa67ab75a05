"""Puts a finished work folder into report.html. Draws no figure and words no sentence itself."""

import os
from pathlib import Path

import jinja2

from mtl_jax.report import folder as folders
from mtl_jax.report import words

TEMPLATE = Path(__file__).with_name("report.html")


def write(folder: Path) -> Path:
    """Writes `folder`/report.html, one self-contained file, whole or not at all; returns its path.

    The same results give the same bytes. InputError where the job has not finished.
    """
    page = render(folders.read(folder))
    path = folder / "report.html"
    part = path.with_name(path.name + ".part")
    part.write_text(page, encoding="utf-8", newline="\n")
    os.replace(part, path)
    return path


def render(work: folders.Work) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "signed": words.signed, "p": words.p_value}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(work=work, results=work.results, words=words)
