"""Images that stand under two cases, and ROIs of different cases that look the same. One patient
under two ids by other films is beyond it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from mtl_jax.data.array_rows import Rows, concatenate, iter_chunks
from mtl_jax.types import RoiSet

MIN_CORRELATION = 0.98  # correlation at BLOCK means above which ROIs are called alike
BLOCK = 4  # pixels a side of the means that are compared
FREQUENCIES = 6  # a side of the cosine transform that finds candidates
N_PROJECTIONS = 64  # ways in which ROIs are put into an order
MAX_STEP = 8  # steps in that order that are looked at, so that the work is no square
CHUNK_PAIRS = 2048


class NearDuplicate(NamedTuple):
    """Two ROIs by (number of the collection, row), and their correlation."""

    a: tuple[int, int]
    b: tuple[int, int]
    correlation: float


def pixel_digest(values: np.ndarray) -> str:
    """Return the same text for two files with the same pixels, whatever else is in them."""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def images_of_several_cases(pixels: Sequence[str], cases: Sequence[set[str]]) -> set[int]:
    """Return numbers of the images whose pixels, by their digests, stand under more than one case;
    an empty digest is like no other."""
    under: dict[str, set[str]] = {}
    for digest, of in zip(pixels, cases, strict=True):
        under.setdefault(digest, set()).update(of)
    return {i for i, digest in enumerate(pixels) if digest and len(under[digest]) > 1}


def find_near_duplicates(collections: Sequence[RoiSet]) -> list[NearDuplicate]:
    """Pair of ROIs of different cases that correlate above ALIKE in one of the eight
    orientations, whatever their brightness and contrast.

    ROIs are compared as 32x32 means. Hashes of their lowest cosine frequencies find the
    candidates, so that the work grows with the number of ROIs and not with its square. A copy
    without change is always found; docs/reliability.md says how many others are.
    """
    rows, cases, prints = [], [], []
    for number, rois in enumerate(collections):
        rows += [(number, row) for row in range(len(rois))]
        cases += [f"{number}\t{case}" for case in rois.index["case_id"]]
        prints += [_fingerprints(_normalized(chunk)) for chunk in iter_chunks(Rows(rois.shards))]
    if not prints:
        return []
    own, case = np.concatenate(prints), np.array(cases)
    sought = np.flatnonzero(own.any((1, 2)))  # a flat ROI is like everything and nothing
    flat = own[sought].reshape(len(sought), -1)
    if not len(flat):
        return []
    candidates = set()
    for i, j in _candidate_pairs(flat):
        a, b = sought[i], sought[j]
        other = case[a] != case[b]
        candidates |= set(zip(a[other].tolist(), b[other].tolist(), strict=True))
    pairs = sorted({(min(pair), max(pair)) for pair in candidates})
    pixels, found = concatenate([Rows(rois.shards) for rois in collections]), []
    for start in range(0, len(pairs), CHUNK_PAIRS):
        some = pairs[start : start + CHUNK_PAIRS]
        a, b = (_normalized(pixels[np.array(some)[:, end]]) for end in (0, 1))
        for (i, j), correlation in zip(some, _correlations(a, b).tolist(), strict=True):
            if correlation >= MIN_CORRELATION:
                found.append(NearDuplicate(rows[i], rows[j], round(correlation, 4)))
    return found


def _normalized(pixels: np.ndarray) -> np.ndarray:
    """BLOCK means (n, 32, 32) of the ROIs, each of mean 0 and length 1; a flat one is 0."""
    count, side = len(pixels), pixels.shape[1] // BLOCK
    means = pixels.reshape(count, side, BLOCK, side, BLOCK).mean((2, 4), dtype=np.float32)
    means -= means.mean((1, 2), keepdims=True)
    length = np.sqrt((means**2).sum((1, 2), keepdims=True))
    return np.divide(means, length, out=np.zeros_like(means), where=length > 1e-3)


def _fingerprints(means: np.ndarray) -> np.ndarray:
    """Lowest frequencies (n, f, f) of the cosine transform, folded so that the eight orientations
    of an ROI give the same: turning it over changes the sign of odd frequencies, turning it
    aside exchanges rows and columns. Neither step takes two ROIs further apart."""
    lowest = slice(None), slice(FREQUENCIES), slice(FREQUENCIES)
    size = np.abs(dctn(means, axes=(1, 2), norm="ortho")[lowest])
    other = size.transpose(0, 2, 1)
    folded = np.where(np.tri(FREQUENCIES, k=-1), np.abs(size - other), size + other) / np.sqrt(2)
    return np.where(np.eye(FREQUENCIES), size, folded)


def _candidate_pairs(prints: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers of prints (n, d) that are near each other, by locality-sensitive hashing
    (Indyk and Motwani 1998): those on the same side of several random planes, and close in their
    order there.

    The planes stand across the line between two prints, so that they cut where there are many.
    """
    rng, radius = np.random.default_rng(0), np.sqrt(2 - 2 * MIN_CORRELATION)
    planes = max(1, int(np.log2(len(prints))) - 3)
    for _ in range(N_PROJECTIONS):
        ends = rng.integers(len(prints), size=(2, planes))
        along = prints @ (prints[ends[0]] - prints[ends[1]]).T
        sides = (along > np.median(along, axis=0)) @ (1 << np.arange(planes))
        order = np.lexsort((along[:, 0], sides))
        for step in range(1, min(MAX_STEP, len(order) - 1) + 1):
            i, j = order[:-step], order[step:]
            same = np.flatnonzero(sides[i] == sides[j])
            i, j = i[same], j[same]
            close = ((prints[i] - prints[j]) ** 2).sum(1) <= radius**2
            yield i[close], j[close]


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each ROI of `a` with that of `b` in its best orientation, (n,)."""
    turned = [b[:, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    turned += [one.transpose(0, 2, 1) for one in turned]
    return np.max([np.einsum("nij,nij->n", a, one) for one in turned], axis=0)
