"""Three backbones from ImageNet's weights, by the same statistics: VGG16, ResNet-18, AlexNet.

    python -m mtl_jax.main --config=configs/backbones.py --workdir=runs/backbones

trains on all collections with C1 frozen, from each set of weights with five seeds, and prints the
mean AUCs on the test set and AlexNet's less each of the others'. Weights say which backbone they
are of. They are no part of the package: `tools/convert_weights.py` makes the three folders named
here from torchvision's files (docs/howto/new_backbone.md). The Cs of the three are not of one
depth: C1 is one convolution of AlexNet, two of VGG16, the stem of ResNet-18.

`configs/backbones.py:demo` freezes C1 to C5, whose maps are computed once, and trains the fully
connected layers: it fits two processor cores.
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
    c = config.at_preset(c, preset)
    if preset == "demo":
        c.network = "C1-C5"
    return c
