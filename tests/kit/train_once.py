"""Train once on random ROIs, in a process of its own, and save the parameters.

python tests/kit/train_once.py FOLDER NETWORK PRECISION DETERMINISTIC STOP EPOCHS BATCH

STOP: the epoch after which the process ends, as if it were killed, or 0. The folder has the run, so
that a second call resumes it, and then params.npz: all parameters at the start and at the end.
"""

import os
import sys
from pathlib import Path

from mtl_jax import environment

ROIS = 40  # in eight orientations: 320 images


def main(
    folder: Path,
    network: str,
    precision: str,
    deterministic: bool,
    stop: int,
    epochs: int,
    batch: int,
) -> None:
    environment.set_deterministic(deterministic)
    import jax
    import numpy as np

    from mtl_jax import config
    from mtl_jax.models import alexnet
    from mtl_jax.models.base import init
    from mtl_jax.training import dataset, optimizer
    from mtl_jax.training.fit import fit
    from mtl_jax.training.setup import Training, TrainingRun

    def end(record: dict) -> None:
        if record["epoch"] == stop:
            os._exit(0)

    rng = np.random.default_rng(0)
    pixels = [rng.normal(0, 500, (ROIS, 128, 128)).astype(np.int16)]
    statistics = dataset.pixel_statistics(pixels)
    source = dataset.make_dataset(pixels, [np.arange(ROIS) % 2], *statistics)
    model = alexnet.AlexNet(dropout=0.5)
    train = config.default().train
    train.epochs, train.batch_size, train.precision = epochs, batch, precision
    train.checkpoint_minutes = 0.0
    params = jax.device_get(init(model, jax.random.key(0)))
    run = TrainingRun(folder / "run", params, jax.random.key(1), end)
    training = Training(model, optimizer.frozen_layers(network), {"film": 1.0}, train)
    (trained,) = fit([run], source, training)
    arrays = {"start": jax.tree.leaves(params), "end": jax.tree.leaves(jax.device_get(trained))}
    flat = {name: np.concatenate([a.ravel() for a in leaves]) for name, leaves in arrays.items()}
    np.savez(folder / "params.npz", **flat)


if __name__ == "__main__":
    path, network, precision, deterministic, *numbers = sys.argv[1:]
    main(Path(path), network, precision, deterministic == "True", *map(int, numbers))
