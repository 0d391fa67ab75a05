"""Run the main command in the process of a test, which has imported what the command needs."""

import io
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest import mock

from absl import flags

from kit import backbones
from mtl_jax import main
from mtl_jax.io import signals
from mtl_jax.training import malloc


class Ended(NamedTuple):
    """Exit code and output of a command, with the names that subprocess.run gives them."""

    returncode: int
    stdout: str
    stderr: str


def run_main(arguments: Sequence[str]) -> Ended:
    """Run `python -m mtl_jax.main` with `arguments`; settings of the process stay as they are."""
    values = flags.FlagValues()
    main.define_flags(values)
    argv = ["mtl_jax", *arguments]  # where ml_collections looks for fields
    status, output, errors = 0, io.StringIO(), io.StringIO()
    with (
        redirect_stdout(output),
        redirect_stderr(errors),
        mock.patch.object(main, "FLAGS", values),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(signals, "install_handlers"),
        mock.patch.object(malloc, "keep_freed_memory"),
        backbones.replaced(),
        warnings.catch_warnings(),
    ):
        # ml_collections loads a config file so.
        warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
        try:
            main.main(main.parse_flags(argv, values))
        except SystemExit as ended:
            status = ended.code
    return Ended(status, output.getvalue(), errors.getvalue())
