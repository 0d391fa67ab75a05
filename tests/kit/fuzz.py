"""Damage a file at random, reproducibly by a seed."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from mtl_jax.types import InputError

PIECES = (b"", b"\0", b'"', b";", b",", b"\n", b"\xff", b"-1", b"nan", b"1e999", b"9" * 400, b"<")


def damaged(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` variants of `data` with bytes removed, repeated, reversed or changed."""
    rng = random.Random(seed)
    for _ in range(count):
        bad = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(bad) + 1)
            end = min(len(bad), at + rng.choice((0, 1, 2, 8, 60)))
            kind = rng.randrange(5)
            if kind == 0:
                bad[at:end] = rng.choice(PIECES)
            elif kind == 1:
                bad[at:at] = bad[at:end]
            elif kind == 2:
                bad[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
            elif kind == 3:
                bad[at:end] = reversed(bad[at:end])
            elif rng.random() < 0.2:
                del bad[at:]
        yield bytes(bad)


def outcomes(file: Path, count: int, seed: int, read: Callable[[], object]) -> dict[str, int]:
    """Return how many of `count` damaged variants of `file` were read and how many rejected.

    Fail for an error of several lines and for any other exception.
    """
    original = file.read_bytes()
    counts = {"read": 0, "rejected": 0}
    try:
        for bad in damaged(original, count, seed):
            file.write_bytes(bad)
            try:
                read()
                counts["read"] += 1
            except InputError as error:
                assert "\n" not in str(error) and "\r" not in str(error), repr(str(error))
                counts["rejected"] += 1
    finally:
        file.write_bytes(original)
    return counts
