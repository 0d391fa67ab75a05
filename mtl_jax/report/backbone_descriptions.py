"""Read the texts on a backbone that results.json holds."""

from typing import Any, NamedTuple

from mtl_jax.report.read_workdir import WorkFolder


class BackboneText(NamedTuple):
    """Texts on a backbone; `network` completes 'The network was'."""

    name: str
    network: str
    layers: str  # explains the table of layers
    no_maps: str  # why there are no deconvolution maps, or ''
    source: str  # of pretrained weights
    input_size: int | None  # pixels to which ROIs are resampled; None: they are not


def describe_backbone(work: WorkFolder) -> BackboneText:
    """Return the texts on the backbone of a work folder."""
    model: dict[str, Any] = work.config["model"]
    return BackboneText(**work.results["backbones"][model["backbone"]])
