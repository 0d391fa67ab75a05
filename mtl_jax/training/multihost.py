"""Train one network by several processes that run the same program (SPMD).

`jax.distributed` connects them. They exchange only arrays, in collectives that all processes enter
in the same order. Process 0 alone writes files and prints.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import (
    broadcast_one_to_all,
    process_allgather,
    sync_global_devices,
)

from mtl_jax.environment import report_start_errors
from mtl_jax.io import signals
from mtl_jax.training.devices import batch_sharding
from mtl_jax.types import InputError

T = TypeVar("T")

JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# The variable with the number of processes: set by the user, by Open MPI, by srun. SLURM_NTASKS is
# also set in the batch script itself, which is a single process.
COUNT_VARIABLES = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
SHUTDOWN_TIMEOUT = 60  # seconds between the end of the first and the last process; then JAX aborts
GRACE_PERIOD = 20  # seconds that a failed process waits for the others to end as well
# Process 0 may compute statistics for hours while the others wait in a collective. The timeout of
# Gloo (CPUs) is 30 minutes by default; NCCL (GPUs) has none.
COLLECTIVE_TIMEOUT = "--xla_cpu_collective_timeout_seconds=2000000"


def is_multiprocess(environment: Mapping[str, str]) -> bool:
    """Return whether this process was started as one of several."""
    return any(_read_count(environment, name, "1") > 1 for name in COUNT_VARIABLES)


def is_primary() -> bool:
    """Return whether this is process 0, which alone writes files and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def session(device_count: int) -> Iterator[None]:
    """Connect the processes and run the block in each; only process 0 prints.

    A process that fails ends with its own exit code. The others end with the same one if they fail
    in the same way or in `on_primary`; otherwise JAX aborts them.
    """
    initialize(device_count)
    try:
        with contextlib.ExitStack() as stack:
            if not is_primary():  # signals are handled at the end of an epoch
                stack.enter_context(signals.defer())
                devnull = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(devnull))
                stack.enter_context(contextlib.redirect_stderr(devnull))
            yield
    except BaseException as error:
        status = _exit_code(error)
        silent = not is_primary() and status != 1
        _exit_after_grace(status, error if silent and isinstance(error, InputError) else None)
        if silent:
            sys.exit(status)
        raise


def initialize(device_count: int) -> None:
    """Connect the processes before any device is used; JAX aborts after five minutes.

    Raises InputError if they do not have `device_count` devices together.
    """
    options: dict[str, Any] = {}
    if "JAX_NUM_PROCESSES" in os.environ:
        missing = [name for name in JAX_VARIABLES if name not in os.environ]
        if missing:
            raise InputError(
                f"the environment variable {missing[0]} is missing: set {', '.join(JAX_VARIABLES)}"
                " together"
            )
        options = {
            "num_processes": _read_count(os.environ, "JAX_NUM_PROCESSES"),
            "process_id": _read_count(os.environ, "JAX_PROCESS_ID"),
            "cluster_detection_method": "deactivate",
        }
    os.environ["XLA_FLAGS"] = f"{COLLECTIVE_TIMEOUT} {os.environ.get('XLA_FLAGS', '')}"
    try:
        jax.distributed.initialize(**options, shutdown_timeout_seconds=SHUTDOWN_TIMEOUT)
    except ValueError as error:
        raise InputError(
            f"several processes were started, but JAX cannot connect them ({error}); set"
            f" {', '.join(JAX_VARIABLES)} for each, or config.devices=1 for separate processes"
        ) from error
    signals.install_handlers()  # JAX has installed a handler of its own
    with report_start_errors():
        count = jax.process_count()
    local_counts = [len(jax.local_devices(process_index=n)) for n in range(count)]
    if len(set(local_counts)) > 1:
        _reject(
            f"the {count} processes have {local_counts} devices; give each the same number of"
            " devices"
        )
    if sum(local_counts) != device_count:
        _reject(
            f"config.devices={device_count} is invalid: the {count} processes have"
            f" {sum(local_counts)} together; set it to {sum(local_counts)}"
        )
    _connect(device_count)


def _connect(device_count: int) -> None:
    """Run a first collective over the processes and one over all devices.

    Gloo waits only 30 seconds for a first collective, whatever its timeout is, and no process is
    late yet.
    """
    sync_global_devices("connect")
    rows = np.zeros(device_count, np.int32)
    sharding = batch_sharding(device_count)
    array = jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index])
    process_allgather(array, tiled=True)


def on_primary(job: Callable[[], T]) -> T | None:
    """Call `job` in process 0 while the others wait, and return its result; None in the others.

    If it fails, all processes end with the same exit code.
    """
    if jax.process_count() == 1:
        return job()
    result, failure = None, None
    if is_primary():
        try:
            result = job()
        except BaseException as error:
            failure = error
    status = int(broadcast_one_to_all(np.int32(_exit_code(failure))))
    if failure:
        raise failure
    if status:
        sys.exit(status)
    return result


def primary_first(job: Callable[[], T]) -> T:
    """Call `job` in process 0, then in the others, which can read the files that it wrote."""
    result = on_primary(job)
    return job() if result is None else result


def from_primary(decide: Callable[[], Any]) -> Any:
    """Return the JSON value that `decide` returns in process 0, in every process."""
    return json.loads(_gather(json.dumps(on_primary(decide)))[0])


def broadcast_from_primary(tree: Any) -> Any:
    """Return the arrays of process 0 on the host; all processes pass arrays of the same shapes."""
    return tree if jax.process_count() == 1 else broadcast_one_to_all(jax.device_get(tree))


def agreed_signal(number: int) -> int:
    """Return the signal that any process received, or 0; the result is the same in each process."""
    return int(process_allgather(np.int32(number)).max())


def assert_same(description: str) -> None:
    """Raise InputError if `description` differs between the processes."""
    first, *others = _gather(description)
    for number, other in enumerate(others, start=1):
        if other != first:
            _reject(
                f"the processes would train differently: process 0 has {first}, process {number}"
                f" {other}; give them the same files, and devices of one kind"
            )


def _gather(text: str) -> list[str]:
    """Return the texts of all processes."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = process_allgather(np.int32(len(data)))
    rows = process_allgather(np.pad(data, (0, sizes.max() - len(data))))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def _reject(message: str) -> None:
    """End the process with exit code 2, and with `message` in process 0. All processes call it."""
    raise InputError(message) if is_primary() else SystemExit(2)


def _exit_code(error: BaseException | None) -> int:
    """Return the exit code of the command."""
    if error is None:
        return 0
    if isinstance(error, signals.Stopped):
        return 128 + error.number
    if isinstance(error, SystemExit):
        return int(error.code or 0)
    return 2 if isinstance(error, InputError) else 1


def _exit_after_grace(status: int, error: InputError | None) -> None:
    """End this process after GRACE_PERIOD even if the others continue; JAX would abort it.

    `error` is printed then. If all processes had failed in the same way, process 0 would have
    printed it before.
    """

    def end_process() -> None:
        if error:
            line = " ".join(str(error).split())
            print(f"mtl_jax: process {jax.process_index()}: {line}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    timer = threading.Timer(GRACE_PERIOD, end_process)
    timer.daemon = True
    timer.start()


def _read_count(environment: Mapping[str, str], name: str, default: str = "") -> int:
    """Return the integer in an environment variable."""
    text = environment.get(name, default)
    if not text.isdecimal():
        raise InputError(
            f"the environment variable {name}={text!r} is invalid: expected an integer"
        )
    return int(text)
