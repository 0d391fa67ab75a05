"""What `config.weights` names: the shipped weights, a folder of others, Gabor filters, nothing."""

from pathlib import Path

from mtl_jax.nouns import InputError
from mtl_jax.weights.card import PLAIN_INPUT, Weights, make_card
from mtl_jax.weights.folder import load
from mtl_jax.weights.gabor import analytic

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "formulas"


def find(name: str, trunk: str = "alexnet") -> Weights:
    """The weights of this name: 'shipped' (or Gabor filters, where the package was installed
    without its checkpoints; the card then says so) and 'analytic', both of AlexNet, 'random' of
    `trunk`, or a folder, of the trunk that its card says."""
    if name == "random":
        return _random(trunk)
    if name == "analytic":
        return analytic()
    if name != "shipped":
        return load(Path(name))
    if SHIPPED.is_dir():
        return load(SHIPPED)
    found = analytic()
    absent = f"The shipped weights are not at {SHIPPED.parent.name}/{SHIPPED.name}. "
    return Weights(found.params, found.card | {"note": absent + found.card["note"]})


def find_of(name: str, trunk: str) -> Weights:
    """As `find`; InputError where the weights are of another trunk."""
    found = find(name, trunk)
    if found.card["trunk"] != trunk:
        raise InputError(
            f"config.weights: {name} are weights of {found.card['trunk']}, and config.model.trunk "
            f"is {trunk}; set --config.model.trunk={found.card['trunk']}, or give weights of "
            f"{trunk}"
        )
    return found


def _random(trunk: str) -> Weights:
    card = make_card(
        {},
        trunk=trunk,
        name="random",
        source="none",
        sha256="",
        file_format="none",
        input_stats=PLAIN_INPUT,
        lrn=False,
        note="Not pretrained: every layer random.",
    )
    return Weights({}, card)
