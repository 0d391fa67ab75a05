"""Run `python tools/make_manifest.py`: the code is in mtl_jax/commands/make_manifest.py."""

import sys

from mtl_jax.commands.make_manifest import main
from mtl_jax.io import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(main))
