"""Describe each backbone for the report."""

from typing import NamedTuple


class BackboneText(NamedTuple):
    """Texts on a backbone; `network` completes 'The network was'."""

    name: str
    network: str
    layers: str  # explains the table of layers
    no_maps: str = ""  # why there are no deconvolution maps


BACKBONES = {
    "alexnet": BackboneText(
        "AlexNet",
        "AlexNet with five convolutional and five fully connected layers",
        "AlexNet with five convolutional layers (C) with ReLU, three of them with 3 × 3 max "
        "pooling of stride 2, and five fully connected layers (F)",
    ),
    "vgg16": BackboneText(
        "VGG16",
        "VGG16 (Simonyan and Zisserman 2015), whose five blocks of convolutions are treated as "
        "five layers, and five fully connected layers as in the paper's AlexNet",
        "VGG16 with five blocks (C) of two or three convolutions with ReLU, each followed by 2 × 2 "
        "max pooling of stride 2 (the map size is that after pooling), and five fully connected "
        "layers (F)",
    ),
    "resnet18": BackboneText(
        "ResNet-18",
        "ResNet-18 (He et al. 2016), whose stem and four stages are treated as five layers, with "
        "batch normalization folded into the convolutions at the statistics of its pretraining, "
        "global average pooling, and five fully connected layers as in the paper's AlexNet",
        "ResNet-18 with a stem and four stages of two blocks (C; the map size is that of the "
        "output, the filter that of the first convolution), batch normalization folded into the "
        "convolutions, and five fully connected layers (F) after global average pooling",
        "There are no deconvolution maps: they are defined for a chain of convolutions, and "
        "ResNet-18 has residual connections.",
    ),
}


def describe_backbone(name: str) -> BackboneText:
    """Return the texts on a backbone."""
    return BACKBONES[name]
