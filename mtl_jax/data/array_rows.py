"""Rows of arrays in files, selected by index and read only when used."""

import math
import mmap
import os
from collections.abc import Iterator, Sequence

import numpy as np

from mtl_jax.types import InputError

FileVersion = tuple[int, int] | None  # size and time of change; None: not read from a file
CHUNK_ROWS = 256  # rows that `iter_chunks` reads at a time


class Rows:
    """Rows (n, ...) of one or more arrays of one shape and dtype, concatenated without copying.

    `rows[indices]` and `rows[begin:end]` return new arrays; indices may be unordered and repeated.
    Rows of a memory-mapped file are read from the file in their order in it: pages of the mapping
    would count as memory of this process until the system reclaims them. Rows of other arrays are
    copied. A file that was replaced after the rows were selected is not read: InputError.
    """

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        indices: np.ndarray | None = None,
        versions: Sequence[FileVersion] | None = None,
    ) -> None:
        """Select the rows `indices` (n,) of the concatenated `parts`, in order; None: all rows.

        `versions` are those of the files of the parts; None: the present ones.
        """
        self._parts, self._begins = tuple(parts), np.cumsum([0, *map(len, parts)])
        self._versions = tuple(map(_version, parts) if versions is None else versions)
        count = int(self._begins[-1])
        dtype = np.int32 if count < 2**31 else np.int64  # saves memory with a million rows
        self._indices = (
            np.arange(count, dtype=dtype) if indices is None else np.asarray(indices, dtype)
        )
        self.dtype = parts[0].dtype
        self.shape = (len(self._indices), *parts[0].shape[1:])
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: np.ndarray) -> "Rows":
        """Return the rows with these indices, without reading them."""
        return Rows(self._parts, self._indices[indices], self._versions)

    def __getitem__(self, selection: np.ndarray | slice) -> np.ndarray:
        selected = self._indices[selection]
        indices, inverse = np.unique(selected, return_inverse=True)
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        part = np.searchsorted(self._begins, indices, side="right") - 1
        breaks = np.flatnonzero((np.diff(indices) != 1) | (np.diff(part) != 0)) + 1
        ends = [*breaks.tolist(), len(indices)] if len(indices) else []
        for first, end in zip([0, *ends], ends, strict=False):  # runs of adjacent rows
            number = part[first]
            begin = int(indices[first] - self._begins[number])
            _read_rows(self._parts[number], self._versions[number], begin, rows[first:end])
        return rows if np.array_equal(selected, indices) else rows[inverse]


ArrayOrRows = np.ndarray | Rows


def concatenate(tables: Sequence[ArrayOrRows]) -> Rows:
    """Return the rows of all `tables`, one table after another."""
    all_rows = [table if isinstance(table, Rows) else Rows([table]) for table in tables]
    if len(all_rows) == 1:
        return all_rows[0]
    parts: list[np.ndarray] = []
    versions: list[FileVersion] = []
    indices = []
    for rows in all_rows:
        indices.append(np.add(rows._indices, sum(map(len, parts)), dtype=np.int64))
        parts += rows._parts
        versions += rows._versions
    return Rows(parts, np.concatenate(indices), versions)


def iter_chunks(table: ArrayOrRows) -> Iterator[np.ndarray]:
    """Yield all rows of `table` in order, CHUNK_ROWS at a time."""
    for begin in range(0, len(table), CHUNK_ROWS):
        yield table[begin : begin + CHUNK_ROWS]


def _is_read_from_file(part: np.ndarray) -> bool:
    # Only the mapping itself knows its offset in the file; a view of it does not.
    mapped = isinstance(part, np.memmap) and isinstance(part.base, mmap.mmap)
    return mapped and part.flags.c_contiguous


def _version(part: np.ndarray) -> FileVersion:
    """Return size and time of the file of a part, if its rows are read from there."""
    if not _is_read_from_file(part):
        return None
    try:
        return _size_and_time(os.stat(part.filename))
    except OSError:  # reported when rows are read
        return None


def _size_and_time(status: os.stat_result) -> FileVersion:
    return status.st_size, status.st_mtime_ns


def _read_rows(part: np.ndarray, version: FileVersion, begin: int, out: np.ndarray) -> None:
    """Fill `out` with the rows of `part` from `begin` on."""
    if not _is_read_from_file(part):
        out[...] = part[begin : begin + len(out)]
        return
    try:
        with open(part.filename, "rb", buffering=0) as file:
            file.seek(part.offset + begin * out[0].nbytes)
            buffer = memoryview(out).cast("B")
            while buffer:
                count = file.readinto(buffer)
                if not count:
                    raise EOFError("the file is too short")
                buffer = buffer[count:]
            if version != _size_and_time(os.fstat(file.fileno())):
                raise InputError(
                    f"{part.filename}: was changed or replaced while the job ran; restore the"
                    " previous file or name another --workdir, and start again"
                )
    except (OSError, EOFError) as error:
        raise InputError(
            f"{part.filename}: cannot be read any more ({error}); start the job again"
        ) from error
