"""The model card: what a bundle says of itself, for people. It judges and computes nothing."""

from pathlib import Path

import jinja2

from mtl_jax.bundle.model import Model

TEMPLATE = Path(__file__).with_name("card.md")


def card(model: Model) -> str:
    """The model card in Markdown, from what is in the bundle alone."""
    environment = jinja2.Environment(
        # Markdown, in which nothing is to be escaped; a page of HTML from here would be.
        autoescape=jinja2.select_autoescape(default_for_string=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about = model.about
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about, run=about["run"], pre=about["preprocessing"]
    )
