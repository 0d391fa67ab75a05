"""List the jobs, collections, backbones and weights that a command can name.

mtl-jax list
"""

import argparse
import json
from pathlib import Path

from mtl_jax import config, jobs
from mtl_jax.io import shipped_files, user_folders
from mtl_jax.io.text_table import align

PACKAGE = Path(jobs.__file__).parent
SECTIONS = {  # each with the option that takes its names
    "jobs": "--config=NAME[:PRESET]",
    "collections": "--config.data.sources=\"('NAME:PATH',)\"",
    "backbones": "--config.model.backbone=NAME",
    "weights": "--config.weights=NAME",
}
BUILTIN = {  # the weights of config.BUILTIN_WEIGHTS
    "shipped": "AlexNet, trained on synthetic (formula-driven) images; the default",
    "analytic": "AlexNet, Gabor filters in C1, the other layers random",
    "random": "any backbone, all layers random",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="?", choices=SECTIONS, help="list these only")
    section = parser.parse_args(arguments).section
    tables = {
        "jobs": jobs.describe,
        "collections": describe_collections,
        "backbones": describe_backbones,
        "weights": describe_weights,
    }
    for name in [section] if section else SECTIONS:
        print(f"{name} ({SECTIONS[name]})", *align(list(tables[name]().items()), "  "), sep="\n")
    return 0


def describe_collections() -> dict[str, str]:
    """Return the first line of each source of config.data.sources, and of shards."""
    from mtl_jax.data.sources import SOURCES

    folder = PACKAGE / "data" / "sources"
    sources = {name: jobs.first_line(folder / f"{name}.py") for name in SOURCES}
    return sources | {"shards": "Open shards made by mtl-jax shards."}


def describe_backbones() -> dict[str, str]:
    """Return the first line of the module of each backbone, which is not imported."""
    root = PACKAGE.parent
    return {
        name: jobs.first_line(root.joinpath(*module.split(".")).with_suffix(".py"))
        for name, module in config.BACKBONES.items()
    }


def describe_weights() -> dict[str, str]:
    """Return the built-in weights, those of ImageNet, and the other folders in checkpoints."""
    shipped = shipped_files.find("checkpoints/formulas").resolve()
    folders = {
        folder.parent.name: folder.parent
        for parent in reversed(user_folders.checkpoints())
        for folder in sorted(parent.glob("*/card.json"))
        if folder.parent.resolve() != shipped
    }
    imagenet = [name for name in config.BACKBONES if f"{name}_{config.IMAGENET}" in folders]
    here = f"here for {', '.join(imagenet)}" if imagenet else "not here: mtl-jax convert --download"
    converted = {
        f"{config.CHECKPOINTS}/{name}": f"{_read_backbone(folder)}, in {folder}"
        for name, folder in folders.items()
    }
    return BUILTIN | {config.IMAGENET: f"trained on photographs; {here}"} | converted


def _read_backbone(folder: Path) -> str:
    """Return the backbone that the metadata of converted weights name."""
    try:
        metadata = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return str(metadata.get("backbone", config.ALEXNET))
    except (OSError, ValueError, AttributeError):
        return "damaged"
