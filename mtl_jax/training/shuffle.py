"""A random order of very many things, on the host and in little memory. Knows not what they are."""

import math

import jax
import numpy as np
from jax.extend.random import threefry_2x32

AT_ONCE = 2**16  # numbers that are drawn at a time
PART = 2**19  # about how many are sorted at a time


def permute(key: jax.Array, order: np.ndarray) -> None:
    """Fills `order` (n,) int32 with `jax.random.permutation(key, n)`.

    As there, all are sorted by random numbers of 32 bits, so often that ties do not show. Here that
    takes 12 bytes each beside `order` for a moment, there (jax 0.10.2, CPU) 60 and twice the time.
    A key of a kind other than JAX's own, Threefry, gives an order of its own.
    """
    count = len(order)
    # One piece of memory, and small ones beside: the system gets back what is large, as a whole.
    values, into, bits = np.empty((3, count), np.uint32)
    for begin in range(0, count, AT_ONCE):
        values[begin : begin + AT_ONCE] = np.arange(begin, min(begin + AT_ONCE, count))
    for _ in range(math.ceil(3 * math.log(max(1, count)) / math.log(2**32 - 1))):
        key, own = jax.random.split(key)
        for begin in range(0, count, AT_ONCE):
            bits[begin : begin + AT_ONCE] = _bits(own, begin, min(begin + AT_ONCE, count))
        _sort(bits, values, into)
        values, into = into, values
    order[:] = values


def _bits(key: jax.Array, begin: int, end: int) -> np.ndarray:
    """`jax.random.bits(key, (n,))[begin:end]` for any n up to 2^32, without the others of the n:
    each is a hash of the key and its place (Threefry; Salmon et al. 2011)."""
    place = np.arange(begin, end, dtype=np.uint32)
    words = np.concatenate([np.zeros_like(place), place])
    # Keys of other kinds have more than two words.
    high, low = np.split(np.asarray(threefry_2x32(jax.random.key_data(key)[:2], words)), 2)
    return high ^ low


def _sort(bits: np.ndarray, values: np.ndarray, into: np.ndarray) -> None:
    """The values by their bits, those of equal bits in the order that they had. The range of bits
    is gone through a part at a time, as sorting all at once would take three times the memory."""
    parts, filled = -(-len(bits) // PART), 0
    for part in range(parts):
        first, last = (part << 32) // parts, (part + 1 << 32) // parts - 1
        places = np.flatnonzero((bits >= first) & (bits <= last))
        places = places[np.argsort(bits[places], kind="stable")]
        into[filled : filled + len(places)] = values[places]
        filled += len(places)
