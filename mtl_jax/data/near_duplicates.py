"""Find images listed under two cases, and near-duplicate ROIs of different cases, by pixels."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from mtl_jax.data.array_rows import Rows, concatenate, iter_chunks
from mtl_jax.types import RoiSet

MIN_CORRELATION = 0.98  # of the BLOCK means of two ROIs that count as near-duplicates
BLOCK = 4  # side in pixels of the blocks whose means are compared
FREQUENCIES = 6  # side of the block of cosine coefficients that selects candidates
N_PROJECTIONS = 64  # number of random orderings of the ROIs
MAX_STEP = 8  # neighbours in each ordering that are compared, so that the work is not quadratic
CHUNK_PAIRS = 2048


class NearDuplicate(NamedTuple):
    """Two ROIs as (index of the collection, row), and their correlation."""

    a: tuple[int, int]
    b: tuple[int, int]
    correlation: float


def pixel_digest(values: np.ndarray) -> str:
    """Return a digest of an array: equal for files with equal pixels, whatever else they hold."""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def images_of_several_cases(digests: Sequence[str], cases: Sequence[set[str]]) -> set[int]:
    """Return the indices of images whose pixel digests, unless empty, belong to several cases."""
    cases_of: dict[str, set[str]] = {}
    for digest, image_cases in zip(digests, cases, strict=True):
        cases_of.setdefault(digest, set()).update(image_cases)
    return {i for i, digest in enumerate(digests) if digest and len(cases_of[digest]) > 1}


def find_near_duplicates(collections: Sequence[RoiSet]) -> list[NearDuplicate]:
    """Return pairs of ROIs of different cases that correlate above MIN_CORRELATION.

    The correlation is that of the best of the eight orientations, so brightness and contrast do
    not matter. ROIs are compared as 32x32 block means. Hashes of their lowest cosine coefficients
    select candidates, so that the work grows with the number of ROIs, not with its square. An
    unchanged copy is always found; docs/reliability.md states how many others are.
    """
    rows, cases, fingerprints = [], [], []
    for number, rois in enumerate(collections):
        rows += [(number, row) for row in range(len(rois))]
        cases += [f"{number}\t{case}" for case in rois.index["case_id"]]
        fingerprints += [
            _fingerprints(_normalized(chunk)) for chunk in iter_chunks(Rows(rois.shards))
        ]
    if not fingerprints:
        return []
    all_fingerprints, case = np.concatenate(fingerprints), np.array(cases)
    textured = np.flatnonzero(all_fingerprints.any((1, 2)))  # flat ROIs have no correlation
    vectors = all_fingerprints[textured].reshape(len(textured), -1)
    if not len(vectors):
        return []
    candidates = set()
    for i, j in _candidate_pairs(vectors):
        a, b = textured[i], textured[j]
        different = case[a] != case[b]
        candidates |= set(zip(a[different].tolist(), b[different].tolist(), strict=True))
    pairs = sorted({(min(pair), max(pair)) for pair in candidates})
    pixels, near_duplicates = concatenate([Rows(rois.shards) for rois in collections]), []
    for start in range(0, len(pairs), CHUNK_PAIRS):
        chunk = pairs[start : start + CHUNK_PAIRS]
        a, b = (_normalized(pixels[np.array(chunk)[:, side]]) for side in (0, 1))
        for (i, j), correlation in zip(chunk, _correlations(a, b).tolist(), strict=True):
            if correlation >= MIN_CORRELATION:
                near_duplicates.append(NearDuplicate(rows[i], rows[j], round(correlation, 4)))
    return near_duplicates


def _normalized(pixels: np.ndarray) -> np.ndarray:
    """Return the BLOCK means (n, 32, 32) of the ROIs with mean 0 and norm 1; 0 for a flat ROI."""
    count, side = len(pixels), pixels.shape[1] // BLOCK
    means = pixels.reshape(count, side, BLOCK, side, BLOCK).mean((2, 4), dtype=np.float32)
    means -= means.mean((1, 2), keepdims=True)
    length = np.sqrt((means**2).sum((1, 2), keepdims=True))
    return np.divide(means, length, out=np.zeros_like(means), where=length > 1e-3)


def _fingerprints(means: np.ndarray) -> np.ndarray:
    """Return the lowest cosine coefficients (n, f, f), equal for the eight orientations of an ROI.

    A flip changes the sign of odd frequencies, a transposition exchanges rows and columns. Taking
    absolute values and combining transposed pairs never increases the distance of two ROIs.
    """
    lowest = slice(None), slice(FREQUENCIES), slice(FREQUENCIES)
    size = np.abs(dctn(means, axes=(1, 2), norm="ortho")[lowest])
    transposed = size.transpose(0, 2, 1)
    lower = np.tri(FREQUENCIES, k=-1)
    folded = np.where(lower, np.abs(size - transposed), size + transposed) / np.sqrt(2)
    return np.where(np.eye(FREQUENCIES), size, folded)


def _candidate_pairs(fingerprints: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of near fingerprints (n, d), by locality-sensitive hashing.

    Candidates are on the same side of several random hyperplanes and adjacent in the order along
    the first one (Indyk and Motwani 1998). Each hyperplane is orthogonal to the difference of two
    random fingerprints, so that it splits dense parts of the data.
    """
    rng, radius = np.random.default_rng(0), np.sqrt(2 - 2 * MIN_CORRELATION)
    planes = max(1, int(np.log2(len(fingerprints))) - 3)
    for _ in range(N_PROJECTIONS):
        ends = rng.integers(len(fingerprints), size=(2, planes))
        along = fingerprints @ (fingerprints[ends[0]] - fingerprints[ends[1]]).T
        sides = (along > np.median(along, axis=0)) @ (1 << np.arange(planes))
        order = np.lexsort((along[:, 0], sides))
        for step in range(1, min(MAX_STEP, len(order) - 1) + 1):
            i, j = order[:-step], order[step:]
            same = np.flatnonzero(sides[i] == sides[j])
            i, j = i[same], j[same]
            close = ((fingerprints[i] - fingerprints[j]) ** 2).sum(1) <= radius**2
            yield i[close], j[close]


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation (n,) of each ROI of `a` with that of `b` in its best orientation."""
    oriented = [b[:, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    oriented += [roi.transpose(0, 2, 1) for roi in oriented]
    return np.max([np.einsum("nij,nij->n", a, roi) for roi in oriented], axis=0)
