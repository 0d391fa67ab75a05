"""Run `python tools/verify_shards.py`: the code is in mtl_jax/commands/verify_shards.py."""

import sys

from mtl_jax.commands.verify_shards import main
from mtl_jax.io import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(main))
