"""Run `python tools/convert_weights.py`: the code is in mtl_jax/commands/convert_weights.py."""

import sys

from mtl_jax.commands.convert_weights import main
from mtl_jax.io import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(main))
