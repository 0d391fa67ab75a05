"""Replace backbones by small ones for jobs of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from mtl_jax import config
from mtl_jax.experiments.compute_cost import layer_operations


@contextmanager
def replaced(**modules: str) -> Iterator[None]:
    """Let config.BACKBONES name these modules; also undo what jobs change there."""
    with mock.patch.dict(config.BACKBONES, modules):
        layer_operations.cache_clear()  # it depends on the name of a backbone alone
        try:
            yield
        finally:
            layer_operations.cache_clear()
