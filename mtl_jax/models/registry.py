"""Look up the backbones of `config.BACKBONES`, each defined by one module."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.config import BACKBONES
from mtl_jax.io.import_object import import_object
from mtl_jax.models import response_norm
from mtl_jax.models.backbone import Backbone, KeyMap
from mtl_jax.models.base import Network, param_shapes, try_network
from mtl_jax.types import InputError


def get(name: str) -> Backbone:
    """Return the backbone of this name; InputError if its module does not define it."""
    return import_object(BACKBONES, name, "BACKBONE", Backbone, "config.BACKBONES")


def check(name: str) -> None:
    """Raise InputError with the first problem if a backbone is not complete.

    Its stages are C1, C2 ... in order, its network accepts gray ROIs, and its key maps name each
    array of the stages and no other.
    """
    backbone, network = get(name), build(name)
    where = f"backbone {name!r} ({BACKBONES[name]})"
    if network.stages != tuple(f"C{number}" for number in range(1, len(network.stages) + 1)):
        raise InputError(f"{where}: stages {network.stages} are invalid: expected C1, C2 ... Cn")
    for channels in (3, 1):
        try:
            try_network(network, channels)
        except Exception as error:  # whatever the modules of the network raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise InputError(
                f"{where}: its network fails for an ROI of {channels} channels, and both 1 and 3 "
                f"are needed (Convolution(gray=True)): {type(error).__name__} {reason[:200]}"
            ) from error
    is_tuple = isinstance(backbone.key_maps, tuple)
    if not is_tuple or not all(isinstance(key_map, KeyMap) for key_map in backbone.key_maps):
        raise InputError(f"{where}: key_maps is invalid: expected a tuple of KeyMap")
    paths = set(param_shapes(network))
    in_stages = {path for path in paths if path.split("/")[0] in network.stages}
    for key_map in backbone.key_maps:
        folded = {f"{layer}/{leaf}" for layer in key_map.norms for leaf in ("kernel", "bias")}
        named = set(key_map.keys) | folded
        if named - paths or in_stages - named:
            problem = "names" if named - paths else "does not name"
            path = min(named - paths or in_stages - named)
            raise InputError(
                f"{where}: key map {key_map.name!r} {problem} {path}; the network has "
                f"{', '.join(sorted(in_stages)[:3])} ..."
            )


def build(
    backbone: str, outputs: int = 2, lrn: bool | Mapping[str, Any] = False, dropout: float = 0.0
) -> Network:
    """Return the network of a backbone with `outputs` nodes in F5, two for each task.

    `lrn` is AlexNet's local response normalization as in the metadata of its weights: False, or the
    settings by layer; True stands for the settings of the paper.
    """
    lrn_field = {"lrn": response_norm.from_json(lrn)} if lrn else {}
    return get(backbone).network(outputs=outputs, dropout=dropout, **lrn_field)


def reject_depth(backbone: str, frozen: Sequence[str], run: str) -> None:
    """Raise InputError if the backbone has fewer stages than the `frozen` layers of a run."""
    stages = get(backbone).network.stages
    if len(frozen) > len(stages):
        raise InputError(
            f"run {run}: {frozen[-1]} cannot be frozen: {backbone} has the stages {stages[0]} to "
            f"{stages[-1]}; set config.network, or the networks of the stage, to at most "
            f"{stages[0]}-{stages[-1]}"
        )
