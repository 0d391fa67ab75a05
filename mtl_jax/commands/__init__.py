"""The commands: each module parses its arguments and calls the packages below."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of `mtl-jax`: the module with its function `main(arguments)`, and its purpose."""

    module: str
    purpose: str


COMMANDS = {
    "run": Command("mtl_jax.commands.run", "run a job: train, evaluate and report"),
    "list": Command("mtl_jax.commands.list", "list jobs, collections, backbones and weights"),
    "manifest": Command("mtl_jax.commands.make_manifest", "make a manifest from your table"),
    "shards": Command("mtl_jax.commands.make_shards", "make ROIs from collections of mammograms"),
    "verify": Command("mtl_jax.commands.verify_shards", "verify folders of ROIs"),
    "inspect": Command("mtl_jax.commands.inspect_dicom", "show how an image is read"),
    "convert": Command(
        "mtl_jax.commands.convert_weights", "convert or download pretrained weights"
    ),
    "phantom": Command("mtl_jax.commands.make_phantom", "write simulated mammograms"),
    "export": Command("mtl_jax.commands.export", "export a trained network as a model bundle"),
    "score": Command("mtl_jax.commands.score", "score new images with a model bundle"),
    "roc": Command("mtl_jax.roc.__main__", "compute AUCs of a table of scores"),
    "report": Command("mtl_jax.report.__main__", "write the report of a work folder again"),
    "cache": Command("mtl_jax.commands.cache", "show or clear the cache"),
}
