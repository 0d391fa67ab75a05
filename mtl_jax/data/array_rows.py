"""Rows of arrays in files, picked by number and read when asked for."""

import math
import mmap
from collections.abc import Iterator, Sequence

import numpy as np

from mtl_jax.types import InputError

CHUNK_ROWS = 256  # rows that whoever goes through all of them has in memory


class Rows:
    """Rows (n, ...) of one or more arrays of one kind, put one after another without copying.

    `rows[numbers]`, in any order and also twice, and `rows[begin:end]` are new arrays. What lies
    in a mapped file is read from the file, in the order in which it lies there: pages of the
    mapping would count as memory of this process until the system wants them back. Rows of other
    arrays are copied.
    """

    def __init__(self, parts: Sequence[np.ndarray], numbers: np.ndarray | None = None) -> None:
        """`numbers` (n,): which rows of all `parts` these are, in order; None: all."""
        self._parts, self._begins = tuple(parts), np.cumsum([0, *map(len, parts)])
        count = int(self._begins[-1])
        kind = np.int32 if count < 2**31 else np.int64  # to be held for each of a million rows
        self._numbers = (
            np.arange(count, dtype=kind) if numbers is None else np.asarray(numbers, kind)
        )
        self.dtype = parts[0].dtype
        self.shape = (len(self._numbers), *parts[0].shape[1:])
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, which: np.ndarray) -> "Rows":
        """These of the rows, by number; nothing is read."""
        return Rows(self._parts, self._numbers[which])

    def __getitem__(self, which: np.ndarray | slice) -> np.ndarray:
        asked = self._numbers[which]
        numbers, place = np.unique(asked, return_inverse=True)
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        part = np.searchsorted(self._begins, numbers, side="right") - 1
        breaks = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(part) != 0)) + 1
        ends = [*breaks.tolist(), len(numbers)] if len(numbers) else []
        for first, end in zip([0, *ends], ends, strict=False):  # rows that lie side by side
            whose = part[first]
            _read_rows(
                self._parts[whose], int(numbers[first] - self._begins[whose]), found[first:end]
            )
        return found if np.array_equal(asked, numbers) else found[place]


ArrayOrRows = np.ndarray | Rows


def concatenate(tables: Sequence[ArrayOrRows]) -> Rows:
    """Return the rows of all of `tables`, one table after another."""
    every = [table if isinstance(table, Rows) else Rows([table]) for table in tables]
    if len(every) == 1:
        return every[0]
    parts: list[np.ndarray] = []
    numbers = []
    for rows in every:
        numbers.append(np.add(rows._numbers, sum(map(len, parts)), dtype=np.int64))
        parts += rows._parts
    return Rows(parts, np.concatenate(numbers))


def iter_chunks(table: ArrayOrRows) -> Iterator[np.ndarray]:
    """Yield all rows of `table` in order, AT_ONCE of them at a time."""
    for begin in range(0, len(table), CHUNK_ROWS):
        yield table[begin : begin + CHUNK_ROWS]


def _read_rows(part: np.ndarray, begin: int, into: np.ndarray) -> None:
    """The rows of `part` from `begin` on, as many as `into` has room for."""
    # Only the mapping itself tells where it begins in its file: a view of it does not.
    mapped = isinstance(part, np.memmap) and isinstance(part.base, mmap.mmap)
    if not (mapped and part.flags.c_contiguous):
        into[...] = part[begin : begin + len(into)]
        return
    try:
        with open(part.filename, "rb", buffering=0) as file:
            file.seek(part.offset + begin * into[0].nbytes)
            rest = memoryview(into).cast("B")
            while rest:
                count = file.readinto(rest)
                if not count:
                    raise EOFError("it ends early")
                rest = rest[count:]
    except (OSError, EOFError) as error:
        raise InputError(
            f"{part.filename}: cannot be read any more ({error}); start the job again"
        ) from error
