"""Leave out ROIs that have one gray value from shards that an earlier version made.

The present version leaves them out when it makes shards, and records its checks in manifest.json.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mtl_jax.data.array_rows import Rows, iter_chunks
from mtl_jax.data.collection_checks import MAX_EXAMPLES, check_constant
from mtl_jax.data.plausibility import ONE_GRAY, constant_rows
from mtl_jax.exclusion_reasons import join_first
from mtl_jax.types import InputError, RoiSet


def leave_out(rois: RoiSet) -> RoiSet:
    """Return the ROIs of existing shards without those that have one gray value.

    The files are not changed. Prints a note that names the ROIs. Raises InputError if none is left.
    """
    if "checks" in rois.manifest or not len(rois):
        return rois
    constant = np.concatenate([constant_rows(chunk) for chunk in iter_chunks(Rows(rois.shards))])
    if not constant.any():
        return rois
    names = rois.index["roi_id"][constant].tolist()
    check = check_constant(names, len(rois))
    first = join_first(names, MAX_EXAMPLES)
    print(f"mtl_jax: note: {rois.name}: {check.message} ({first})", file=sys.stderr)
    if constant.all():
        raise InputError(f"{rois.name}: no ROI left: {ONE_GRAY}")
    index = {column: values[~constant] for column, values in rois.index.items()}
    kept_cases = set(index["case_id"].tolist())
    is_kept = [case in kept_cases for case in rois.patients.get("case_id", ())]
    manifest = rois.manifest
    recorded = {
        "checks": [check.record()],
        "counts": manifest.get("counts", {}) | {"constant": len(names)},
        "decisions": [*manifest["decisions"], f"{rois.name}: {check.message}"],
        "left_out": [*manifest["left_out"], *([name, ONE_GRAY] for name in names)],
    }
    return replace(
        rois,
        index=index,
        shards=tuple(_split(rois.shards, constant)),
        manifest=manifest | recorded,
        patients={column: values[is_kept] for column, values in rois.patients.items()},
    )


def _split(shards: tuple[np.ndarray, ...], without: np.ndarray) -> Iterator[np.ndarray]:
    """Yield views of the shards that together have all rows but `without`, bool (n,)."""
    begin = 0
    for shard in shards:
        rows = np.flatnonzero(without[begin : begin + len(shard)])
        edges = [-1, *rows.tolist(), len(shard)]
        for first, end in zip(edges, edges[1:], strict=False):
            if end > first + 1:
                yield shard[first + 1 : end]
        begin += len(shard)
