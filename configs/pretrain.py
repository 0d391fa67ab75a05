"""Pretrain AlexNet on synthetic images.

    python -m mtl_jax.main --config=configs/pretrain.py --workdir=runs/pretrain

trains with the settings of Krizhevsky et al. 2012, section 5, on formula-driven synthetic images,
drawn as needed; it needs a GPU. `configs/pretrain.py:cpu` made the weights in
`checkpoints/formulas`: small images, 27 minutes on two shared CPU cores (top-1 accuracy 35.4%,
top-5 62.6%). `configs/pretrain.py:demo` takes a few minutes. To train on your own images:

    --config.pretraining.images=folder:PATH    ImageNet's layout: one folder per class
    --config.pretraining.images=tfds:NAME      a prepared TFDS set with image and label
"""

from ml_collections import ConfigDict

from mtl_jax import config
from mtl_jax.types import InputError


def get_config(preset: str = "paper") -> ConfigDict:
    if preset not in ("paper", "cpu", "demo"):
        raise InputError(
            f"--config=configs/pretrain.py:{preset}: expected the preset paper, cpu or demo"
        )
    c = config.default()
    c.study = "pretraining"
    c.train.epochs = 90
    c.train.batch_size = 128
    c.train.learning_rate = 0.01  # divided by ten three times
    c.train.final_learning_rate = 0.00001
    c.train.momentum = 0.9
    c.train.weight_decay = 0.0005
    c.train.schedule = "steps"
    if preset != "paper":  # chosen for few images
        c.pretraining.head = "pooled"
        c.pretraining.initialization = "analytic"
        c.pretraining.weight_standardization = True
        c.train.optimizer = "adamw"
        c.train.schedule = "cosine"
        c.train.warmup = 0.02
        c.pretraining.validation_images = 1024
        c.pretraining.images_per_epoch = 4096
        c.pretraining.size = 96
        c.train.epochs = 32
        c.pretraining.small_epochs = 30
        c.train.batch_size = 32
        c.train.learning_rate = 0.001
        c.train.final_learning_rate = 0.00001
        c.train.weight_decay = 0.0001
    if preset == "demo":
        c.pretraining.size = 64
        c.pretraining.small_epochs = 0
        c.pretraining.images_per_epoch = 2048
        c.pretraining.validation_images = 512
        c.train.epochs = 4
    return c
