"""Run `python tools/inspect_dicom.py`: the code is in mtl_jax/commands/inspect_dicom.py."""

import sys

from mtl_jax.commands.inspect_dicom import main
from mtl_jax.io import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(main))
