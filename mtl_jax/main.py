"""mtl-jax run --config=JOB[:PRESET] --workdir=DIR [--config.FIELD=VALUE ...]

`python -m mtl_jax.main` is the same. Parse the flags, run the job that the config names, and write
the report; the help text is in usage.py.
Exit codes: 0 done, 2 invalid input (one line on stderr), 1 error in this package, 130 stopped by
Ctrl-C and 143 by SIGTERM (rerun the same command to resume).
"""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mtl_jax import environment, jobs, old_names, usage
from mtl_jax.config import PRETRAINING, describe_unknown_field, find_similar_fields
from mtl_jax.io import command_line, paths, signals, user_folders
from mtl_jax.launch import prepare, train_and_report
from mtl_jax.types import InputError

FLAGS = flags.FLAGS
HELP_FLAGS = {"--help", "-help", "-h", "--helpshort"}


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of the command in `values`."""
    config_flags.DEFINE_config_file(
        "config", help_string="Config file of the job, such as configs/mttl.py", flag_values=values
    )
    flags.DEFINE_string(
        "workdir", None, "Folder of the results; created if missing", flag_values=values
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print the plan, its cost and its estimated duration, without training",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "accept_versions",
        False,
        "Resume runs started with other package or platform versions and mark the results as mixed",
        flag_values=values,
    )


define_flags(FLAGS)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax logs every file that it writes
    try:
        signals.install_handlers()
        config = FLAGS.config
        config.accept_versions |= FLAGS.accept_versions
        if config.data.cache is None:
            print_note(user_folders.old_cache_note())
        prepare(config)
        job = partial(JOBS.get(config.study, study), config, paths.path(FLAGS.workdir))
        if config.devices > 1 and not FLAGS.dry_run:
            run_distributed(job, config)
        else:
            environment.start_jax()
            job()
        print(end="", flush=True)  # so that a write error (a full disk) is reported as InputError
    except InputError as error:
        fail(error)
    except signals.Stopped as stopped:
        print(f"mtl_jax: {stopped}; rerun the same command to resume", file=sys.stderr)
        sys.exit(128 + stopped.number)


# Imports are inside the jobs: JAX takes seconds, and --help or a misspelt field needs none.


def study(config: ConfigDict, folder: Path) -> None:
    from mtl_jax import report
    from mtl_jax.experiments.runner import show_plan

    def write_report(folder: Path) -> None:
        print(report.summary(folder))
        print(f"report: {report.write(folder)}")

    if FLAGS.dry_run:
        show_plan(config, folder)
    else:
        train_and_report(config, folder, write_report)


def pretraining(config: ConfigDict, folder: Path) -> None:
    from mtl_jax.pretraining import train

    print(train.describe(config) if FLAGS.dry_run else train.pretrain(config, folder))


def run_distributed(job: Callable[[], None], config: ConfigDict) -> None:
    """Run `job` in each of the processes that a launcher started, or in this one if it is alone."""
    with environment.report_start_errors():
        from mtl_jax.training import multihost

    if not multihost.is_multiprocess(os.environ):
        environment.start_jax()
        return job()
    if config.executor != "local":
        raise InputError(
            f"config.executor={config.executor!r} is invalid: expected 'local', because training in"
            " several processes (config.devices > 1) does not work with Ray"
        )
    if config.study == PRETRAINING:
        raise InputError(
            "pretraining does not support several processes: start one, or unset the variables of"
            " the launcher"
        )
    with multihost.session(config.devices):
        job()


JOBS = {PRETRAINING: pretraining}  # any other job is a study


def parse_flags(arguments: list[str], values: flags.FlagValues = FLAGS) -> list[str]:
    """Parse the command line; an invalid one ends the process with one line and exit code 2."""
    if not HELP_FLAGS.isdisjoint(arguments[1:]):
        print(usage.help_text())
        sys.exit(0)
    try:
        arguments = _expand_config(arguments)
        reject_old_fields(arguments)
        rest = values(arguments)
        if len(rest) > 1:
            raise InputError(_describe_unknown_argument(rest[1]))
        for flag in ("config", "workdir"):
            if values[flag].value is None:
                raise InputError(f"--{flag} is missing. Usage: {usage.USAGE}")
    except (KeyError, AttributeError) as error:  # ml_collections: unknown name
        fail(_describe_unknown_field(str(error), arguments))
    except ImportError as error:  # of a module that the config file imports
        fail(old_names.module_message(error.name or "") or error)
    except flags.UnrecognizedFlagError as error:
        fail(_describe_unknown_flag(error))
    except flags.IllegalFlagValueError as error:
        fail(_describe_invalid_value(str(error)))
    except (InputError, flags.Error, TypeError, ValueError) as error:
        fail(error)
    return rest


def _describe_unknown_field(error: str, arguments: list[str]) -> str:
    """Return a message with the full name of the field that ml_collections does not know."""
    unknown = re.search(r"module '([\w.]+)' has no attribute '(\w+)", error)
    if unknown:  # in the config file
        return old_names.function_message(f"{unknown[1]}.{unknown[2]}") or error
    similar = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', error)
    name = similar[2] if similar else error.strip("'\"")
    fields = [match[1] for a in arguments if (match := re.match(r"--?config\.([\w.]+)", a))]
    for field in fields:
        parts = field.split(".")
        if name in parts or f"lookup: {field}" in error:
            return old_names.field_message(field) or describe_unknown_field(field)
    return old_names.field_message(name) or f"the config has no field {name!r}"


def _describe_unknown_flag(error: flags.UnrecognizedFlagError) -> str:
    """Return a message with the fields of this name, in which --config. may have been forgotten."""
    if "Did you mean" in str(error):  # an option
        return str(error)
    similar = [f"--config.{field}" for field in find_similar_fields(error.flagname)]
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return f"there is no option --{error.flagname}{hint}"


def _describe_unknown_argument(argument: str) -> str:
    """Return a message with the option that was forgotten before a job or a field."""
    option = ""
    if argument.startswith("config.") and "=" in argument:
        option = f"--{argument}"
    elif argument.partition(":")[0] in jobs.shipped() or argument.partition(":")[0].endswith(".py"):
        option = f"--config={argument}"
    hint = f"; did you mean {option}?" if option else f". Usage: {usage.USAGE}"
    return f"unknown argument {argument!r}{hint}"


def _describe_invalid_value(error: str) -> str:
    """Return the rule for a value of the wrong type instead of the message of `int` or `float`."""
    section = re.match(r"flag --(config\.[\w.]+)=(.*): Failed to parse .* as a ConfigDict", error)
    if section:
        return (
            f"{section[1]}={section[2]!r} is invalid: {section[1]} is a section; set its fields,"
            f" each by --{section[1]}.FIELD=VALUE"
        )
    expected = {
        "invalid literal": "an integer",
        "could not convert": "a number",
        "('Non-boolean": "True or False",
    }
    for reason, rule in expected.items():
        match = re.match(rf"flag --(config\.[\w.]+)=(.*): {re.escape(reason)}", error, re.DOTALL)
        if match:
            return f"{match[1]}={match[2]!r} is invalid: expected {rule}"
    return error


def reject_old_fields(arguments: list[str]) -> None:
    """Raise InputError with the new name if an argument sets a field of an earlier version."""
    for argument in arguments:
        match = re.match(r"--?config\.([\w.]+)", argument)
        message = old_names.field_message(match[1]) if match else ""
        if message:
            raise InputError(message)


def _expand_config(arguments: list[str]) -> list[str]:
    """Return the arguments with the file that --config=~/FILE.py or --config=JOB names.

    Raise InputError if there is no such file, which ml_collections reports only when the config is
    used, or if it has an error, which ml_collections reports by a traceback.
    """
    expanded = list(arguments)
    for index, argument in enumerate(arguments):
        match = re.fullmatch(r"(--?config)(?:=(.*))?", argument)
        if not match or (match[2] is None and index + 1 == len(arguments)):
            continue
        has_value = match[2] is not None
        value = paths.expand_user(match[2] if has_value else arguments[index + 1])
        file, colon, preset = value.partition(":")
        file, note = jobs.find_config(file)
        print_note(note)
        jobs.load_config(file, preset if colon else None)
        value = f"{file}{colon}{preset}"
        expanded[index if has_value else index + 1] = f"{match[1]}={value}" if has_value else value
    return expanded


def print_note(note: str) -> None:
    if note:
        print(f"mtl_jax: note: {note}", file=sys.stderr)


def fail(error: Exception | str) -> None:
    print("mtl_jax: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    command_line.protect_output()
    app.run(main, flags_parser=parse_flags)
