"""Read the texts on a backbone that results.json holds."""

from typing import NamedTuple

from mtl_jax.report.read_workdir import WorkFolder


class BackboneText(NamedTuple):
    """Texts on a backbone; `network` completes 'The network was'."""

    name: str
    network: str
    layers: str  # explains the table of layers
    no_maps: str  # why there are no deconvolution maps, or ''
    source: str  # of pretrained weights
    input_size: int | None  # pixels to which ROIs are resampled; None: they are not


def describe_backbone(work: WorkFolder, name: str) -> BackboneText:
    """Return the texts on a backbone of the study."""
    return BackboneText(**work.results["backbones"][name])
