"""What the report says of each backbone. Decides nothing."""

from typing import Any, NamedTuple

from mtl_jax.report.read_workdir import WorkFolder


class BackboneText(NamedTuple):
    """`network` goes on 'The network was'; `layers` explains the table of layers; `no_maps` says
    why there are no deconvolution maps, empty where there are."""

    name: str
    network: str
    layers: str
    no_maps: str = ""


BACKBONES = {
    "alexnet": BackboneText(
        "AlexNet",
        "AlexNet with five convolutional and five fully connected layers",
        "AlexNet with five convolutional layers (C), rectified, three of them with maximum pools "
        "of 3 × 3 and stride 2, and five fully connected ones (F)",
    ),
    "vgg16": BackboneText(
        "VGG16",
        "VGG16 (Simonyan and Zisserman 2015) with its five blocks of convolutions as five layers, "
        "and five fully connected layers as in the paper's AlexNet",
        "VGG16 with five blocks (C) of two or three rectified convolutions, each ended by a "
        "maximum pool of 2 × 2 and stride 2, behind which its map is given, and five fully "
        "connected layers (F)",
    ),
    "resnet18": BackboneText(
        "ResNet-18",
        "ResNet-18 (He et al. 2016) with its stem and four stages as five layers, batch "
        "normalization folded into the convolutions at the statistics of its source task, the mean "
        "of the last map, and five fully connected layers as in the paper's AlexNet",
        "ResNet-18 with a stem and four stages of two blocks (C), behind which the map is given, "
        "the filter that of the first convolution, batch normalization folded into the "
        "convolutions, and five fully connected layers (F) on the mean of the last map",
        "There are no deconvolution maps: they are defined for a chain of convolutions, and the "
        "blocks of ResNet-18 add their inputs.",
    ),
}


def describe_backbone(work: WorkFolder) -> BackboneText:
    """The words for the backbone of this work's config."""
    model: dict[str, Any] = work.config["model"]
    return BACKBONES[model.get("backbone", "alexnet")]  # folders made before there were others
