"""Compare AlexNet, VGG16, ResNet-18, ResNet-50 and ViT-S/16, each pretrained on ImageNet.

    python -m mtl_jax.main --config=configs/backbones.py --workdir=runs/backbones

trains on all collections with C1 frozen, five initializations with each backbone, and compares the
mean AUCs on the test set. The weights are not part of the package: `tools/convert_weights.py` makes
the folders checkpoints/BACKBONE_imagenet from files of torchvision and timm
(docs/howto/new_backbone.md). C1 is one convolution of AlexNet, two of VGG16, the stem of the
ResNets and the patch embedding of ViT-S/16, so equal freeze depths are not equally deep.

`configs/backbones.py:demo` needs no weights: it compares AlexNet, ResNet-50 and ViT-S/16 with
random stages C1 to C5, all frozen, once each. It shows that the comparison works and says nothing
about the backbones; it is for two CPU cores.
"""

from ml_collections import ConfigDict

from mtl_jax import config

PRETRAINED = ("alexnet", "vgg16", "resnet18", "resnet50", "vit_s16")
RANDOM = ("alexnet", "resnet50", "vit_s16")


def get_config(preset: str = "paper") -> ConfigDict:
    c = config.default()
    c.study = "test"
    c.approaches = tuple(f"mttl+backbone={name}+weights=imagenet" for name in PRETRAINED)
    c.test.initializations = 5
    c = config.apply_preset(c, preset)
    if preset == "demo":
        c.approaches = tuple(f"mttl+backbone={name}+weights=random" for name in RANDOM)
        c.network = "C1-C5"
        c.test.initializations = 1
        c.data.phantom.cases = 40
        c.train.learning_rate, c.train.final_learning_rate = 0.002, 0.0002
    return c
