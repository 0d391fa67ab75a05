"""The content of a checkpoint file as its reader returns it."""

from typing import Any, NamedTuple

import numpy as np


class Source(NamedTuple):
    """Arrays of a checkpoint file by their names in it."""

    arrays: dict[str, np.ndarray]
    left_out: tuple[str, ...] = ()  # notes on its other content
    lrn: bool | dict[str, Any] = False  # as in the metadata; False if the format does not state it
