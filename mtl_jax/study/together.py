"""A job of several processes: the leader does it as if alone, the others train with it.

How they meet and talk is hosts.py's. The others read what the config names, and write nothing.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import environment, stop
from mtl_jax.config import SOURCE
from mtl_jax.nouns import InputError, Run
from mtl_jax.study.execute import execute
from mtl_jax.study.materials import as_settings, prepare_from
from mtl_jax.training import hosts

END = "end"


def together(job: Callable[[], None], c: ConfigDict) -> None:
    """Does `job`, or follows the process that does; alone where there is only one.

    Ends all of them with the exit status of the one that failed, and says why once.
    """
    if not hosts.several(os.environ):
        environment.start_jax()
        return job()
    if c.executor != "local":
        raise InputError(
            f"config.executor is {c.executor!r}; where several processes train one network "
            "together it must be local"
        )
    if c.study == SOURCE:
        raise InputError("the source task is learned by one process: start it once")
    try:
        hosts.join(c.devices)
        if not hosts.leads():
            return _follow()
        job()
        hosts.share(END)
    except hosts.Elsewhere as other:
        if hosts.leads():
            print(f"mtl_jax: {other}", file=sys.stderr)
        sys.exit(other.status)
    except BaseException as error:
        status = _status(error)
        hosts.fail(error, status)
        if hosts.leads() or status == 1:
            raise
        sys.exit(status)


def announce(run: Run, c: ConfigDict) -> None:
    """Tells those who follow that the leader is about to train `run` of `c`."""
    hosts.share(json.dumps({"run": asdict(run), "settings": as_settings(c)}))


def _follow() -> None:
    """Trains with the leader until it is done. A signal is told to the leader, who decides."""
    with stop.deferred():
        while (word := hosts.share()[0]) != END:
            announced = json.loads(word)
            run = {k: tuple(v) if isinstance(v, list) else v for k, v in announced["run"].items()}
            with tempfile.TemporaryDirectory() as scratch, _quiet():
                c, materials = prepare_from(announced["settings"])
                execute([Run(**run)], [Path(scratch)], *materials.of_runs, c)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The leader prints the same."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _status(error: BaseException) -> int:
    """The exit status that the command line ends with."""
    if isinstance(error, stop.Stopped):
        return 128 + error.number
    return 2 if isinstance(error, InputError) else 1
