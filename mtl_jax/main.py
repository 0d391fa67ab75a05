"""python -m mtl_jax.main --config=configs/NAME.py --workdir=DIR [--config.FIELD=VALUE ...]

From flags to a config, a study and a report. Holds no logic of its own.
Exit status: 0 done, 2 invalid input (one line says where), 1 our fault; 130 stopped by
Ctrl-C, 143 by SIGTERM, with a checkpoint where it was.
"""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mtl_jax import environment, old_names
from mtl_jax.config import PRETRAINING, TRANSFER, expand_paths, validate
from mtl_jax.io import command_line, paths, signals
from mtl_jax.training import malloc
from mtl_jax.types import InputError

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command in `values`."""
    config_flags.DEFINE_config_file(
        "config", help_string="Which job, such as configs/mttl.py", flag_values=values
    )
    flags.DEFINE_string(
        "workdir", None, "Folder of the results; made if not there", flag_values=values
    )
    flags.DEFINE_bool(
        "dry_run", False, "Show the plan and its cost, and train nothing", flag_values=values
    )
    flags.DEFINE_bool(
        "accept_versions",
        False,
        "Go on with runs of other versions; results are marked as mixed",
        flag_values=values,
    )


define_flags(FLAGS)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    try:
        signals.listen()
        config = FLAGS.config
        config.accept_versions |= FLAGS.accept_versions
        expand_paths(config)
        validate(config)
        environment.reject_settings()
        malloc.keep()
        job = partial(JOBS.get(config.study, study), config, paths.path(FLAGS.workdir))
        if config.devices > 1 and not FLAGS.dry_run:
            run_distributed(job, config)
        else:
            environment.start_jax()
            job()
        print(end="", flush=True)  # here a full disk behind the output is still one line
    except InputError as error:
        fail(error)
    except signals.Stopped as asked:
        print(f"mtl_jax: {asked}; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + asked.number)


# Each imports late: JAX takes seconds, and neither --help nor a misspelt field needs it.


def study(config: ConfigDict, folder: Path) -> None:
    from mtl_jax import report
    from mtl_jax.experiments.runner import conduct, show_plan
    from mtl_jax.training import multihost

    if FLAGS.dry_run:
        show_plan(config, folder)
        return

    def write_report() -> None:
        print(report.summary(folder))
        print(f"report: {report.write(folder)}")

    conduct(config, folder)
    multihost.on_primary(write_report)


def source_task(config: ConfigDict, folder: Path) -> None:
    from mtl_jax.pretraining import train

    print(train.plan(config) if FLAGS.dry_run else train.learn(config, folder))


def transfer(config: ConfigDict, folder: Path) -> None:
    from mtl_jax.experiments.compare_weights import describe, show_plan, transfer

    if FLAGS.dry_run:
        show_plan(config, folder)
        return
    results = transfer(config, folder)
    if results:
        print(describe(results))


def run_distributed(job: Callable[[], None], config: ConfigDict) -> None:
    """Run `job` in each of the processes that a launcher started, or in this one if it is alone."""
    with environment.starting():
        from mtl_jax.training import multihost

    if not multihost.is_multiprocess(os.environ):
        environment.start_jax()
        return job()
    if config.executor != "local":
        raise InputError(
            f"config.executor is {config.executor!r}; where several processes train one network "
            "together it must be local"
        )
    if config.study == PRETRAINING:
        raise InputError("the source task is learned by one process: start it once")
    with multihost.session(config.devices):
        job()


JOBS = {PRETRAINING: source_task, TRANSFER: transfer}  # all others are studies


def parse_flags(arguments: list[str], values: flags.FlagValues = FLAGS) -> list[str]:
    """Parses the command line; what is wrong with it is the user's input, in one line."""
    try:
        arguments = _expand_config(arguments)
        _reject_old_fields(arguments)
        rest = values(arguments)
        for flag in ("config", "workdir"):
            if values[flag].value is None:
                raise InputError(f"--{flag} is missing. Usage: {__doc__.splitlines()[0]}")
        if len(rest) > 1:
            raise InputError(f"{rest[1]!r} is no flag. Usage: {__doc__.splitlines()[0]}")
    except (KeyError, AttributeError) as error:  # ml_collections, of a name it does not find
        similar = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
        name = str(error).strip("'\"")
        hint = f"{similar[2]!r}; did you mean {similar[1]!r}?" if similar else name
        fail(
            old_names.field_message(similar[2] if similar else name)
            or f"the config has no field {hint}"
        )
    except ImportError as error:  # of a module that the config file imports
        fail(old_names.module_message(error.name or "") or error)
    except (InputError, flags.Error, TypeError, ValueError) as error:
        fail(error)
    return rest


def _reject_old_fields(arguments: list[str]) -> None:
    """Raise InputError with the new name if an argument sets a config field of version 0.1.0."""
    for argument in arguments:
        match = re.match(r"--?config\.([\w.]+)", argument)
        message = old_names.field_message(match[1]) if match else ""
        if message:
            raise InputError(message)


def _expand_config(arguments: list[str]) -> list[str]:
    """The arguments with a `~` of --config=~/FILE.py expanded.

    Raises InputError where there is no such file: ml_collections puts its complaint off until the
    config is used.
    """
    expanded = list(arguments)
    for index, given in enumerate(arguments):
        match = re.fullmatch(r"(--?config)(?:=(.*))?", given)
        if not match or (match[2] is None and index + 1 == len(arguments)):
            continue
        own = match[2] is not None
        value = paths.expand(match[2] if own else arguments[index + 1])
        expanded[index if own else index + 1] = f"{match[1]}={value}" if own else value
        file = value.split(":")[0]
        if not Path(file).is_file():
            new = old_names.CONFIGS.get(Path(file).stem)
            hint = f"it is {Path(file).with_stem(new)} now" if new else "configs/ holds the jobs"
            raise InputError(f"--config={file}: no such file; {hint}")
    return expanded


def fail(error: Exception | str) -> None:
    print("mtl_jax: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    command_line.protect_output()
    app.run(main, flags_parser=parse_flags)
