"""What `config.weights` names: the shipped weights, a folder of others, Gabor filters, nothing."""

from pathlib import Path

from mtl_jax.weights.card import PLAIN_INPUT, Weights, make_card
from mtl_jax.weights.folder import load
from mtl_jax.weights.gabor import analytic

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "formulas"


def find(name: str) -> Weights:
    """The weights of this name: 'shipped' (or Gabor filters, where the package was installed
    without its checkpoints; the card then says so), 'analytic', 'random', or a folder."""
    if name == "random":
        return _random()
    if name == "analytic":
        return analytic()
    if name != "shipped":
        return load(Path(name))
    if SHIPPED.is_dir():
        return load(SHIPPED)
    found = analytic()
    absent = f"The shipped weights are not at {SHIPPED.parent.name}/{SHIPPED.name}. "
    return Weights(found.params, found.card | {"note": absent + found.card["note"]})


def _random() -> Weights:
    card = make_card(
        {},
        name="random",
        source="none",
        sha256="",
        file_format="none",
        input_stats=PLAIN_INPUT,
        lrn=False,
        note="Not pretrained: every layer random.",
    )
    return Weights({}, card)
