"""Run a command or tool in the process of a test."""

from types import ModuleType

from mtl_jax.io import command_line


def run_command(command: ModuleType, *arguments: object) -> int:
    """Return the exit code of a command that is called as from a shell."""
    return command_line.run(lambda: command.main([*map(str, arguments)]))
