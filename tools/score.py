"""Run `python tools/score.py`: the code is in mtl_jax/commands/score.py."""

import sys

from mtl_jax.commands.score import main
from mtl_jax.io import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(main))
