"""What a reader takes from a file of weights."""

from typing import Any, NamedTuple

import numpy as np


class Source(NamedTuple):
    """Arrays by their names in the file, notes on what else it holds, and the settings of local
    response normalization as a card has them, false where the format states none."""

    arrays: dict[str, np.ndarray]
    left_out: tuple[str, ...] = ()
    lrn: bool | dict[str, Any] = False
