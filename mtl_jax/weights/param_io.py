"""Parameters on disk through Orbax, the only place here that imports it.

It checks nothing: `folder` does.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mtl_jax.types import Params


def make_checkpointer() -> ocp.StandardCheckpointer:
    """Orbax's, for this process: of several that train together, none waits for the others."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def write_tree(params: Params, folder: Path, dtype: type[np.floating] = np.float32) -> None:
    """Write nested dicts of arrays as `dtype` to `folder`, which must not exist."""
    params = jax.tree.map(lambda array: np.asarray(array, dtype), params)
    with make_checkpointer() as orbax:
        orbax.save(folder.absolute(), params)
    # Orbax writes the folder's full name here, and weights are handed on to others.
    marker = folder / "commit_success.txt"
    if marker.is_file():
        marker.write_text("Checkpoint commit was successful.\n", encoding="utf-8")


def read_tree(folder: Path, shapes: dict[str, Any]) -> Params:
    """Return the arrays in `folder` as NumPy float32; ValueError or OSError where they are not
    there.

    `shapes` gives the structure asked for; a stored array may still have a shape of its own.
    """
    target = jax.tree.map(
        lambda shape: np.empty(shape, np.float32), shapes, is_leaf=lambda x: isinstance(x, list)
    )
    with make_checkpointer() as orbax:
        return orbax.restore(folder.absolute(), target)
