"""Compare AlexNet, VGG16 and ResNet-18, each pretrained on ImageNet.

    python -m mtl_jax.main --config=configs/backbones.py --workdir=runs/backbones

trains on all collections with C1 frozen, five initializations with each backbone, and compares the
mean AUCs on the test set. The weights are not part of the package: `tools/convert_weights.py` makes
the folders checkpoints/alexnet_imagenet, vgg16_imagenet and resnet18_imagenet from torchvision's
files (docs/howto/new_backbone.md). C1 is one convolution of AlexNet, two of VGG16 and the stem of
ResNet-18, so equal freeze depths are not equally deep.

`configs/backbones.py:demo` freezes C1 to C5, whose activations are computed once, and trains the
fully connected layers; it is for two CPU cores.
"""

from ml_collections import ConfigDict

from mtl_jax import config


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "test"
    c.approaches = (
        "mttl+weights=imagenet",
        "mttl+backbone=vgg16+weights=imagenet",
        "mttl+backbone=resnet18+weights=imagenet",
    )
    c.test.initializations = 5
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.network = "C1-C5"
    return c
