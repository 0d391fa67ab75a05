"""Write and read parameters with Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mtl_jax.types import Params


def make_checkpointer() -> ocp.StandardCheckpointer:
    """Return a checkpointer for this process, which does not wait for other processes."""
    process = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
    return ocp.StandardCheckpointer(multiprocessing_options=options)


def write_tree(params: Params, folder: Path, dtype: type[np.floating] = np.float32) -> None:
    """Write nested dicts of arrays as `dtype` to `folder`, which must not exist."""
    params = jax.tree.map(lambda array: np.asarray(array, dtype), params)
    with make_checkpointer() as orbax:
        orbax.save(folder.absolute(), params)
    # Orbax writes the absolute path of the folder into this file, and weights are shared.
    marker = folder / "commit_success.txt"
    if marker.is_file():
        marker.write_text("Checkpoint commit was successful.\n", encoding="utf-8")


def read_tree(folder: Path, shapes: dict[str, Any]) -> Params:
    """Return the arrays in `folder` as NumPy float32; `shapes` gives the structure, not checked."""
    target = jax.tree.map(
        lambda shape: np.empty(shape, np.float32), shapes, is_leaf=lambda x: isinstance(x, list)
    )
    with make_checkpointer() as orbax:
        return orbax.restore(folder.absolute(), target)
