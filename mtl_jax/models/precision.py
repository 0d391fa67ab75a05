"""The precision of matrix products and convolutions, by the names of `config.train.precision`.

Recent NVIDIA GPUs compute float32 products in TF32 (10 bits of mantissa instead of 23) unless a
program demands all bits. Only the levels below reach the convolutions of cuDNN, too: an algorithm
such as F32_F32_F32 leaves them in TF32. docs/scaling.md lists what each name does on each device.
"""

import contextlib

import jax
import jax.numpy as jnp

FLOAT32 = "float32"  # of everything but the training step, whatever config.train.precision is
HIGHEST = "highest"  # JAX's name of all bits of float32
LEVELS = {"tf32": "high", "bfloat16": "default"}  # JAX's names; of all others: HIGHEST


def matmul_precision(precision: str) -> contextlib.AbstractContextManager[None]:
    """Return a context in which traced products and convolutions have this precision.

    Their gradients have it too. It replaces the default of JAX and of an enclosing context.
    """
    return jax.default_matmul_precision(LEVELS.get(precision, HIGHEST))


def compute_dtype(precision: str) -> jnp.dtype:
    """Return the dtype that parameters and activations are cast to; TF32 is stored as float32."""
    return jnp.dtype(FLOAT32 if precision == "tf32" else precision)
