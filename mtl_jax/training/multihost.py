"""Several processes that run the same program and train one network together (SPMD).

`jax.distributed` connects them; they exchange nothing but arrays, in collectives that all of them
enter in the same order. Process 0 alone writes files and prints. Knows no study.
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

from mtl_jax.environment import starting
from mtl_jax.io import signals
from mtl_jax.training.devices import batch_sharding
from mtl_jax.types import InputError

T = TypeVar("T")

JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# The number of processes as each launcher gives it: by hand, Open MPI, srun. The process of a batch
# script has SLURM_NTASKS as well, and is the only one.
COUNTS = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
SHUTDOWN_TIMEOUT = 60  # seconds between the end of the first process and the last, else JAX aborts them
GRACE_PERIOD = 20  # seconds in which a process that failed waits for the others to end as well
# Process 0 may compute statistics for hours while the others wait in a collective. Gloo (CPUs)
# gives up after 30 minutes by default; NCCL (GPUs) never does.
COLLECTIVE_TIMEOUT = "--xla_cpu_collective_timeout_seconds=2000000"


def is_multiprocess(environment: Mapping[str, str]) -> bool:
    """Return whether this process was started as one of several."""
    return any(_whole(environment, name, "1") > 1 for name in COUNTS)


def is_primary() -> bool:
    """Return whether this is process 0, which alone writes files and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def session(device_count: int) -> Iterator[None]:
    """Connect the processes and run the block in each; only process 0 prints.

    A process that fails ends with its own exit status. The others do so as well where they fail
    alike or in `on_primary`; else JAX aborts them.
    """
    initialize(device_count)
    try:
        with contextlib.ExitStack() as stack:
            if not is_primary():  # a signal counts at the end of an epoch
                stack.enter_context(signals.deferred())
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    except BaseException as error:
        status = _exit_status(error)
        silent = not is_primary() and status != 1
        _abandon_after_grace(status, error if silent and isinstance(error, InputError) else None)
        if silent:
            sys.exit(status)
        raise


def initialize(device_count: int) -> None:
    """Connect the processes, before anything touches a device; JAX aborts after five minutes.

    InputError where they do not have `device_count` devices together.
    """
    by_hand: dict[str, Any] = {}
    if "JAX_NUM_PROCESSES" in os.environ:
        missing = [name for name in JAX_VARIABLES if name not in os.environ]
        if missing:
            raise InputError(f"the environment says JAX_NUM_PROCESSES, but not {missing[0]}")
        by_hand = {
            "num_processes": _whole(os.environ, "JAX_NUM_PROCESSES"),
            "process_id": _whole(os.environ, "JAX_PROCESS_ID"),
            "cluster_detection_method": "deactivate",
        }
    os.environ["XLA_FLAGS"] = f"{COLLECTIVE_TIMEOUT} {os.environ.get('XLA_FLAGS', '')}"
    try:
        jax.distributed.initialize(**by_hand, shutdown_timeout_seconds=SHUTDOWN_TIMEOUT)
    except ValueError as error:
        raise InputError(
            f"there are several processes, but JAX does not find how they meet ({error}); set "
            f"{', '.join(JAX_VARIABLES)} for each, or config.devices to 1 for processes on their own"
        ) from error
    signals.listen()  # JAX has installed a handler of its own
    with starting():
        count = jax.process_count()
    each = [len(jax.local_devices(process_index=n)) for n in range(count)]
    if len(set(each)) > 1:
        _reject(f"the {count} processes have {each} devices; each must have as many")
    if sum(each) != device_count:
        _reject(
            f"config.devices is {device_count}; the {count} processes have {sum(each)} together:"
            f" set it to {sum(each)}"
        )
    _connect(device_count)


def _connect(device_count: int) -> None:
    """Run a first collective over the processes and one over all devices while none is late: Gloo
    waits 30 seconds for a first one, whatever its timeout is."""
    sync_global_devices("connect")
    rows = np.zeros(device_count, np.int32)
    sharding = batch_sharding(device_count)
    array = jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index])
    process_allgather(array, tiled=True)


def on_primary(job: Callable[[], T]) -> T | None:
    """Call `job` in process 0 alone, for which the others wait, and return its result there.

    Where it fails, all processes end with the same exit status.
    """
    if jax.process_count() == 1:
        return job()
    result, failure = None, None
    if is_primary():
        try:
            result = job()
        except BaseException as error:
            failure = error
    status = int(broadcast_one_to_all(np.int32(_exit_status(failure))))
    if failure:
        raise failure
    if status:
        sys.exit(status)
    return result


def primary_first(job: Callable[[], T]) -> T:
    """Call `job` in process 0, then in the others, which find the files that it made."""
    result = on_primary(job)
    return job() if result is None else result


def from_primary(decide: Callable[[], Any]) -> Any:
    """Return the JSON value that `decide` returns in process 0, in every process."""
    return json.loads(_gather(json.dumps(on_primary(decide)))[0])


def broadcast_from_primary(tree: Any) -> Any:
    """Return the arrays of process 0, on the host; those of all have the same shapes."""
    return tree if jax.process_count() == 1 else broadcast_one_to_all(jax.device_get(tree))


def agreed_signal(number: int) -> int:
    """Return the signal that any process was stopped with, or 0: the same in each."""
    return int(process_allgather(np.int32(number)).max())


def assert_same(description: str) -> None:
    """Raise InputError where the processes describe their training differently."""
    first, *others = _gather(description)
    for number, other in enumerate(others, start=1):
        if other != first:
            _reject(
                f"the processes would train differently: process 0 has {first}, process {number}"
                f" {other}; give them the same files, and devices of one kind"
            )


def _gather(text: str) -> list[str]:
    """Return the text of each process."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = process_allgather(np.int32(len(data)))
    rows = process_allgather(np.pad(data, (0, sizes.max() - len(data))))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def _reject(message: str) -> None:
    """End every process, all of which call this; process 0 says why."""
    raise InputError(message) if is_primary() else SystemExit(2)


def _exit_status(error: BaseException | None) -> int:
    """Return the exit status that the command ends with."""
    if error is None:
        return 0
    if isinstance(error, signals.Stopped):
        return 128 + error.number
    if isinstance(error, SystemExit):
        return int(error.code or 0)
    return 2 if isinstance(error, InputError) else 1


def _abandon_after_grace(status: int, unsaid: InputError | None) -> None:
    """End this process after a while even if the others go on, for which JAX would abort it.

    `unsaid` is printed then: had the others failed alike, process 0 would have said it.
    """

    def abandon() -> None:
        if unsaid:
            line = " ".join(str(unsaid).split())
            print(f"mtl_jax: process {jax.process_index()}: {line}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    timer = threading.Timer(GRACE_PERIOD, abandon)
    timer.daemon = True
    timer.start()


def _whole(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(name, default)
    if not text.isdecimal():
        raise InputError(f"the environment says {name}={text!r}; it must be a whole number")
    return int(text)
