"""Compare VGG16, ResNet-18 and AlexNet, each pretrained on ImageNet.

    python -m mtl_jax.main --config=configs/backbones.py --workdir=runs/backbones

trains on all collections with C1 frozen, five seeds for each backbone, and prints the mean AUCs on
the test set and the differences from AlexNet's. The weights are not part of the package:
`tools/convert_weights.py` makes the three folders from torchvision's files
(docs/howto/new_backbone.md), and each folder records its backbone. C1 is one convolution of
AlexNet, two of VGG16 and the stem of ResNet-18, so equal freeze depths are not equally deep.

`configs/backbones.py:demo` freezes C1 to C5, whose activations are computed once, and trains the
fully connected layers; it is for two CPU cores.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "transfer"
    c.approaches = ("mttl",)
    c.transfer.weights = (
        "checkpoints/vgg16_imagenet",
        "checkpoints/resnet18_imagenet",
        "checkpoints/alexnet_imagenet",
    )
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.network = "C1-C5"
    return c
