"""Make reference outputs of timm's ViT-S/16 (with LayerScale) and ResNet-50, on a CPU.

    pip install numpy torch timm
    python tools/make_backbone_references.py FOLDER

Writes vit_s16.npz, resnet50.npz and keys.json (keys and shapes of both state dicts). The weights
are random numbers from NumPy (`make_state`), so that a test can make them without PyTorch.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.io.paths import path

SEED, IMAGE_SEED = 19, 7
VIT_STAGES = ("norm_pre", "blocks.2", "blocks.5", "blocks.8", "blocks.11", "norm")
TOKENS = np.array([0, 1, 14, 15, 98, 195, 196])
RESNET_STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4")
POSITIONS = np.array([(0, 0), (0, -1), (-1, 0), (-1, -1), (1, 2), (-2, 1)])  # row, column
RESIDUAL_KEYS = ("cls_token", "pos_embed", "patch_embed", "gamma")
SCALE = 0.01  # with a residual stream this small, the epsilon of LayerNorm is visible


def make_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Return a random float32 state dict; activations stay of order one through the network."""
    keys = sorted(key for key in shapes if not key.endswith("num_batches_tracked"))
    state = {}
    for index, key in enumerate(keys):
        rng, shape = np.random.default_rng([seed, index]), shapes[key]
        if key.endswith("running_var"):
            state[key] = 1 + 0.2 * rng.random(shape, dtype=np.float32)
            continue
        normal = rng.standard_normal(shape, dtype=np.float32)
        if key.endswith("gamma"):
            state[key] = 0.3 + 0.05 * normal
        elif key.endswith(("cls_token", "pos_embed")):
            state[key] = 0.5 * normal
        elif key.endswith(("bias", "running_mean")):
            state[key] = 0.1 * normal
        elif len(shape) == 1:
            state[key] = 1 + 0.1 * normal
        else:  # a smaller gain before the sum of two branches keeps it from growing
            before_sum = "conv3" in key or "downsample" in key
            gain = 0.5 if before_sum else 2 if len(shape) == 4 else 1
            state[key] = math.sqrt(gain / math.prod(shape[1:])) * normal
    return state


def scale_residual(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a ViT state dict with a small residual stream; only epsilon changes the output."""
    scales = {key: SCALE if any(part in key for part in RESIDUAL_KEYS) else 1 for key in state}
    return {key: scales[key] * array for key, array in state.items()}


def make_image(size: int) -> np.ndarray:
    """Return an image of normal noise of shape (1, 3, size, size)."""
    return np.random.default_rng(IMAGE_SEED).standard_normal((1, 3, size, size), np.float32)


def run_model(model: Any, state: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Return the output of every module for the image of this size, without the batch axis."""
    import torch

    outputs = {}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, False)
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, __, output, name=name: outputs.update({name: output[0].numpy().copy()})
        )
    with torch.no_grad():
        model.eval()(torch.from_numpy(make_image(size)))
    return dict(outputs)


def describe(name: str, output: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Return the stored values of an output, and the mean and norm of the whole output."""
    whole = output.astype(np.float64)
    return {name: values, f"{name}.mean": whole.mean(), f"{name}.norm": np.linalg.norm(whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=path, help="existing folder of the output")
    write_references(parser.parse_args().folder)


def write_references(folder: Path) -> None:
    """Write the reference outputs of both networks."""
    import timm
    import torch

    torch.set_num_threads(1)
    facts = {"timm": timm.__version__, "torch": torch.__version__}
    facts |= {"seed": SEED, "image_seed": IMAGE_SEED}
    vit = timm.create_model("vit_small_patch16_224", init_values=1e-5, num_classes=0)
    resnet = timm.create_model("resnet50")
    vit_shapes, resnet_shapes = (
        {key: tuple(array.shape) for key, array in sorted(model.state_dict().items())}
        for model in (vit, resnet)
    )
    keys = {"vit_s16": [*vit_shapes.items()], "resnet50": [*resnet_shapes.items()]}
    (folder / "keys.json").write_text(json.dumps(keys) + "\n")

    state = make_state(vit_shapes, SEED)
    outputs = run_model(vit, state, 224)
    outputs["small.norm"] = run_model(vit, scale_residual(state), 224)["norm"]
    arrays = {"tokens": TOKENS, "small.scale": SCALE}
    for stage in (*VIT_STAGES, "small.norm"):
        arrays |= describe(stage, outputs[stage], outputs[stage][TOKENS])
    np.savez_compressed(folder / "vit_s16.npz", **facts, **arrays)

    outputs = run_model(resnet, make_state(resnet_shapes, SEED), 128)
    arrays = {"positions": POSITIONS, "pooled": outputs["global_pool"], "logits": outputs["fc"]}
    for stage in RESNET_STAGES:
        channels = np.linspace(0, len(outputs[stage]) - 1, 64).astype(int)
        arrays |= describe(stage, outputs[stage], outputs[stage][channels][:, *POSITIONS.T].T)
        arrays[f"{stage}.channels"] = channels
    np.savez_compressed(folder / "resnet50.npz", **facts, **arrays)


if __name__ == "__main__":
    main()
