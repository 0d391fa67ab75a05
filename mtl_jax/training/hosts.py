"""Several processes, on one machine or many, that train one network together by `jax.distributed`.

Process 0 leads. What they say to each other beside arrays goes through the key-value store that
`jax.distributed` keeps for itself: waiting there has no time limit and takes no device. Knows no
study.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # the store has no public door; Orbax goes in here too
from jax.experimental.multihost_utils import broadcast_one_to_all

from mtl_jax import stop
from mtl_jax.environment import starting
from mtl_jax.nouns import InputError, TrainState
from mtl_jax.training.checkpoint import Checkpoints

BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# How many there are, as each launcher says it: by hand, Open MPI, srun. A batch script's own
# process has SLURM_NTASKS as well, and is alone.
COUNTS = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
GIVEN_UP = 60  # seconds that a process at its end waits for the others' before JAX aborts them
POLL = 500  # milliseconds of waiting between two moments at which a signal is noticed

_count, _number = 1, 0  # of processes, and which of them this is
_said = 0  # how many words this process has said


class Elsewhere(Exception):
    """Another process failed; `status` is the exit status it ends with."""

    def __init__(self, number: int, message: str, status: int) -> None:
        super().__init__(f"process {number}: {message}")
        self.status = status


def several(environment: Mapping[str, str]) -> bool:
    """Whether this process was started as one of several."""
    return any(_whole(environment, name, "1") > 1 for name in COUNTS)


def join(device_count: int) -> None:
    """Meets the other processes, before anything touches a device; JAX aborts after five minutes.

    InputError, the same in each, where they do not have `device_count` devices together.
    """
    global _count, _number
    by_hand: dict[str, Any] = {}
    if "JAX_NUM_PROCESSES" in os.environ:
        missing = [name for name in BY_HAND if name not in os.environ]
        if missing:
            raise InputError(f"the environment says JAX_NUM_PROCESSES, but not {missing[0]}")
        by_hand = {
            "num_processes": _whole(os.environ, "JAX_NUM_PROCESSES"),
            "process_id": _whole(os.environ, "JAX_PROCESS_ID"),
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(**by_hand, shutdown_timeout_seconds=GIVEN_UP)
    except ValueError as error:
        raise InputError(
            f"there are several processes, but JAX does not find how they meet ({error}); set "
            f"{', '.join(BY_HAND)} for each, or config.devices to 1 for processes on their own"
        ) from error
    stop.listen()  # JAX has put a handler of its own there
    with starting():
        _count, _number = jax.process_count(), jax.process_index()
    each = [len(jax.local_devices(process_index=n)) for n in range(_count)]
    if len(set(each)) > 1:
        raise InputError(f"the {_count} processes have {each} devices; each must have as many")
    if sum(each) != device_count:
        raise InputError(
            f"config.devices is {device_count}; the {_count} processes have {sum(each)} together:"
            f" set it to {sum(each)}"
        )


def leads() -> bool:
    """Whether this process is the one that writes and prints; alone, it is."""
    return _number == 0


def alone() -> bool:
    """Whether no other process trains with this one."""
    return _count == 1


def share(word: str = "") -> list[str]:
    """What every process says at this point, in the order of their numbers; waits for them all.

    Elsewhere, in each of them, where one has failed.
    """
    if alone():
        return [word]
    turn = _say({"word": word})
    heard = [_hear(turn, number) for number in range(_count)]
    for number, said in enumerate(heard):
        if "failed" in said:
            raise Elsewhere(number, said["failed"], said["status"])
    return [said["word"] for said in heard]


def fail(error: BaseException, status: int) -> None:
    """Tells the others that this process is about to end with `status`; they learn it where they
    next share. A follower waits until the leader has come that far."""
    if _count == 1:  # they have not met
        return
    turn = _say({"failed": str(error) or repr(error), "status": status})
    if not leads():
        _hear(turn, 0)


def agreed(asked: int) -> int:
    """The signal that any process was asked to stop with, or 0: the same in each."""
    return max(map(int, share(str(asked))))


def same(what: str) -> None:
    """InputError, in each process, where they do not all say the same `what` of their training."""
    said = share(what)
    for number, other in enumerate(said):
        if other != said[0]:
            raise InputError(
                f"the processes would train differently: process 0 has {said[0]}, process {number}"
                f" {other}; give them the same files, and devices of one kind"
            )


def of_leader(tree: Any) -> Any:
    """The leader's arrays, on the host, in every process; all have the same shapes."""
    return tree if alone() else broadcast_one_to_all(jax.device_get(tree))


class Shared:
    """The checkpoints of a training by several processes: the leader's, of which all go on."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def save(self, epoch: int, state: TrainState) -> None:
        if leads():
            self._checkpoints.save(epoch, state)
        share()  # the next step, too, needs a leader that has not failed

    def resume(self, state: TrainState, most: int | None = None) -> tuple[int, TrainState]:
        begin, state = self._checkpoints.resume(state, most) if leads() else (0, state)
        share()
        begin, state = of_leader((np.int32(begin), state))
        return int(begin), state

    def close(self, keep: int) -> None:
        if leads():
            self._checkpoints.close(keep)


def _say(what: dict[str, Any]) -> int:
    global _said
    turn, _said = _said, _said + 1
    store = distributed.global_state.client
    store.key_value_set(_key(turn, _number), json.dumps(what))
    if turn > 1:  # all have heard it: each has said what follows
        store.key_value_delete(_key(turn - 2, _number))
    return turn


def _hear(turn: int, number: int) -> dict[str, Any]:
    """Waits without end; JAX aborts this process when that one dies."""
    while True:
        try:
            said = distributed.global_state.client.blocking_key_value_get(_key(turn, number), POLL)
            return json.loads(said)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _key(turn: int, number: int) -> str:
    return f"mtl_jax/{turn}/{number}"


def _whole(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(name, default)
    if not text.isdecimal():
        raise InputError(f"the environment says {name}={text!r}; it must be a whole number")
    return int(text)
