"""Convert pretrained weights of a backbone to a folder for `--config.weights`.

    mtl-jax convert INPUT [--output checkpoints/NAME] [--fc drop|keep] [--force]
    mtl-jax convert --download [--output checkpoints/NAME]

INPUT is a file of PyTorch, safetensors, NumPy (.npz) or cuda-convnet2; the format is detected from
the content, the backbone from the names in it, and no code in it is run. `--download` fetches
torchvision's AlexNet. The default of --output is BACKBONE_imagenet, which
`--config.weights=imagenet` reads, in the folder checkpoints here, or without such a folder in
~/.local/share/mtl_jax/checkpoints, where every job finds it.
"""

import argparse
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from mtl_jax import environment
from mtl_jax.io import paths
from mtl_jax.types import InputError
from mtl_jax.weights import Weights, convert, get_imagenet_folder, save
from mtl_jax.weights.download import URL, download


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=paths.path, nargs="?", help="file of weights")
    parser.add_argument(
        "--download",
        action="store_true",
        help="first download torchvision's weights (244 MB) next to --output, or resume it",
    )
    parser.add_argument(
        "--output",
        type=paths.path,
        help="folder to write (default: BACKBONE_imagenet in checkpoints)",
    )
    parser.add_argument(
        "--fc",
        choices=("drop", "keep"),
        default="drop",
        help="fully connected layers: drop all (as in the paper) or keep those of the same shape",
    )
    parser.add_argument("--force", action="store_true", help="replace weights in --output")
    args = parser.parse_args(arguments)
    environment.start_jax()
    if args.download == (args.input is not None):
        raise InputError("give either a file of weights or --download")
    beside = (args.output or get_imagenet_folder()).absolute().parent
    source = args.input or download(beside, URL)
    weights = convert(source, args.fc)
    output = args.output or get_imagenet_folder(weights.metadata["backbone"])
    save(weights, output, replace=args.force)
    print(summary(weights, output))
    return 0


def summary(weights: Weights, folder: Path) -> str:
    """Return the layers as a table, and the main metadata."""
    card = weights.metadata
    arrays = flatten_dict(weights.params, sep="/")
    layers = [path.removesuffix("/kernel") for path in arrays if path.endswith("/kernel")]
    wide = max(map(len, ("layer ", *layers)))
    lines = [f"{'layer':<{wide}} {'kernel':<18} {'bias':<8} {'parameters':>10}  kernel mean, sd"]
    for layer in layers:
        kernel, bias = arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"]
        lines.append(
            f"{layer:<{wide}} {'x'.join(map(str, kernel.shape)):<18} {bias.shape[0]:<8} "
            f"{kernel.size + bias.size:>10,}  {kernel.mean():+.5f}, {kernel.std():.5f}"
        )
    stats = card["input"]
    lines += [
        "",
        f"{card['parameters']:,} parameters from {card['source']} ({card['format']})",
        f"backbone          {card['backbone']}",
        f"source sha256  {card['sha256']}",
        f"input          {stats['channels']} channels in {stats['range']}, "
        f"minus {stats['mean']}, divided by {stats['std']}",
        *_normalization(card["lrn"]),
        *(f"note           {note}" for note in card["left_out"]),
        f"written to     {folder}",
    ]
    return "\n".join(lines)


def _normalization(lrn: bool | dict[str, Any]) -> list[str]:
    if not lrn:
        return ["normalization  none"]
    return [
        f"normalization  {layer}: " + ", ".join(f"{name} {value}" for name, value in own.items())
        for layer, own in lrn.items()
    ]
