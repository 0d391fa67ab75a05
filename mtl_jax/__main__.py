"""mtl-jax COMMAND ...: run a command by its name. `python -m mtl_jax COMMAND ...` is the same."""

import importlib
import sys
from difflib import get_close_matches

import mtl_jax
from mtl_jax.commands import COMMANDS
from mtl_jax.io import command_line
from mtl_jax.io.text_table import align
from mtl_jax.types import InputError


def main() -> int:
    """Run the command that the first argument names, and return its exit code."""
    return command_line.run(_dispatch)


def _dispatch() -> int:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if name in ("--version", "-V", "version"):
        print(f"mtl_jax {mtl_jax.__version__}")
        return 0
    if name not in COMMANDS:
        similar = get_close_matches(name.casefold(), COMMANDS, 1)
        hint = f"did you mean {similar[0]}?" if similar else f"expected {', '.join(COMMANDS)}"
        raise InputError(f"mtl-jax: there is no command {name!r}; {hint}")
    # The parsers of the commands take the name in their usage from here, and ml_collections the
    # arguments --config.FIELD=VALUE.
    sys.argv = [f"mtl-jax {name}", *arguments]
    return importlib.import_module(COMMANDS[name].module).main()


def help_text() -> str:
    """Return the text of `mtl-jax --help`."""
    commands = align([(name, command.purpose) for name, command in COMMANDS.items()], "  ")
    return "\n".join(
        [
            f"mtl_jax {mtl_jax.__version__}: multi-task transfer learning of breast masses",
            "",
            "Usage: mtl-jax COMMAND ...",
            "",
            *commands,
            "",
            "mtl-jax COMMAND --help shows the options of a command. First use:",
            "",
            "  mtl-jax run --config=mttl:demo --workdir=runs/demo",
            "",
            "For research only, not for clinical use.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
