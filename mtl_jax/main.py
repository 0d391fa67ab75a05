"""python -m mtl_jax.main --config=configs/NAME.py --workdir=DIR [--config.FIELD=VALUE ...]

From flags to a config, a study and a report. Holds no logic of its own.
Exit status: 0 done, 2 the input is at fault (one line says where), 1 our fault; 130 stopped by
Ctrl-C, 143 by SIGTERM, with a checkpoint where it was.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mtl_jax import heap, stop
from mtl_jax.config import SOURCE, TRANSFER, validate
from mtl_jax.nouns import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="Which job, such as configs/mttl.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the results; made if not there")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the plan and its cost, and train nothing")
ACCEPT_VERSIONS = flags.DEFINE_bool(
    "accept_versions", False, "Go on with runs of other versions; results are marked as mixed"
)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    try:
        stop.listen()
        config = CONFIG.value
        config.accept_versions |= ACCEPT_VERSIONS.value
        validate(config)
        heap.keep()
        job = partial(JOBS.get(config.study, study), config, Path(WORKDIR.value))
        if config.devices > 1 and not DRY_RUN.value:
            together(job, config)
        else:
            job()
    except InputError as error:
        fail(error)
    except stop.Stopped as asked:
        print(f"mtl_jax: {asked}; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + asked.number)


# Each imports late: JAX takes seconds, and neither --help nor a misspelt field needs it.


def study(config: ConfigDict, folder: Path) -> None:
    from mtl_jax import report
    from mtl_jax.study.conduct import conduct, show_plan

    if DRY_RUN.value:
        show_plan(config, folder)
        return
    conduct(config, folder)
    print(report.summary(folder))
    print(f"report: {report.write(folder)}")


def source_task(config: ConfigDict, folder: Path) -> None:
    from mtl_jax.source_task import learn

    print(learn.plan(config) if DRY_RUN.value else learn.learn(config, folder))


def transfer(config: ConfigDict, folder: Path) -> None:
    from mtl_jax.study.transfer import describe, show_plan, transfer

    if DRY_RUN.value:
        show_plan(config, folder)
        return
    print(describe(transfer(config, folder)))


def together(job: Callable[[], None], config: ConfigDict) -> None:
    from mtl_jax.study import together

    together.together(job, config)


JOBS = {SOURCE: source_task, TRANSFER: transfer}  # all others are studies


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it is the user's input, in one line."""
    try:
        _refuse_missing_file(arguments)
        rest = flags.FLAGS(arguments)
        for flag in ("config", "workdir"):
            if flags.FLAGS[flag].value is None:
                raise InputError(f"--{flag} is missing. Usage: {__doc__.splitlines()[0]}")
        if len(rest) > 1:
            raise InputError(f"{rest[1]!r} is no flag. Usage: {__doc__.splitlines()[0]}")
    except (KeyError, AttributeError) as error:  # ml_collections, of a name it does not find
        near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
        hint = f"{near[2]!r}; did you mean {near[1]!r}?" if near else str(error).strip("'\"")
        fail(f"the config has no field {hint}")
    except (InputError, flags.Error, TypeError, ValueError) as error:
        fail(error)
    return rest


def _refuse_missing_file(arguments: list[str]) -> None:
    """Before ml_collections, which puts its complaint off until the config is used."""
    for given, following in zip(arguments, [*arguments[1:], ""], strict=True):
        match = re.fullmatch(r"--?config(?:=(.*))?", given)
        if match:
            path = (following if match[1] is None else match[1]).split(":")[0]
            if not Path(path).is_file():
                raise InputError(f"--config={path}: no such file; configs/ holds the jobs")


def fail(error: Exception | str) -> None:
    print("mtl_jax: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
