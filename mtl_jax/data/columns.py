"""A long table in little memory: its columns packed, and unpacked when asked for. Knows not what
they mean."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class _Packed(NamedTuple):
    """Some lines of one column."""

    dtype: np.dtype
    data: bytes


class Columns(Mapping[str, np.ndarray]):
    """Each column as an array with an entry a line, which is made anew at every asking: ask once,
    and not in a loop. It is read-only, as writing to it would change nothing here.

    What is kept is zlib's, of the bytes of the entries in the order of HDF5's shuffle filter: the
    first byte of each, then the second of each. Ids, file names and numbers take a few bytes so,
    and what says the same in most lines next to none.
    """

    def __init__(
        self, kinds: Mapping[str, type], blocks: Iterable[Sequence[Sequence[str]]]
    ) -> None:
        """`kinds`: str, int or float of each column; `blocks`: some lines after others, as their
        columns of text. ValueError, OverflowError: a text is not of its kind."""
        self._dtypes = {name: np.dtype(kind) for name, kind in kinds.items()}
        self._packed: dict[str, list[_Packed]] = {name: [] for name in kinds}
        self._counts: list[int] = []
        for texts in blocks:
            for (name, kind), column in zip(kinds.items(), texts, strict=True):
                entries = np.array([kind(text) for text in column], kind)
                self._dtypes[name] = max(self._dtypes[name], entries.dtype, key=_bytes)
                self._packed[name].append(_pack(entries))
            self._counts.append(len(texts[0]))

    @property
    def lines(self) -> int:
        return sum(self._counts)

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        return sum(len(part.data) for parts in self._packed.values() for part in parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, name: str) -> np.ndarray:
        parts = self.parts(name)
        column, begin = np.empty(self.lines, self._dtypes[name]), 0
        for entries in parts:
            column[begin : begin + len(entries)] = entries
            begin += len(entries)
        column.flags.writeable = False
        return column

    def parts(self, name: str) -> Iterator[np.ndarray]:
        """The column some lines after others, in the blocks that it was made from."""
        return map(_unpack, self._packed[name])


def _bytes(dtype: np.dtype) -> int:
    return dtype.itemsize


def _pack(entries: np.ndarray) -> _Packed:
    by_place = entries.view(np.uint8).reshape(len(entries), -1).T
    return _Packed(entries.dtype, zlib.compress(by_place.tobytes(), 1))


def _unpack(packed: _Packed) -> np.ndarray:
    by_place = np.frombuffer(zlib.decompress(packed.data), np.uint8)
    return by_place.reshape(packed.dtype.itemsize, -1).T.copy().view(packed.dtype)[:, 0]
