"""Whether JAX can start as the environment variables say. Knows no job.

JAX reads its variables when it is imported and finds its devices when it first needs one, deep
inside a job: what is wrong with them is said here, in one line, before the job begins.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from mtl_jax.nouns import InputError

TRUE = ("y", "yes", "t", "true", "on", "1")  # as JAX reads a variable
DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")


def refuse_double_precision() -> None:
    """Raise InputError where JAX computes in float64, or would once it is imported."""
    jax = sys.modules.get("jax")
    if jax is None:
        enabled = os.environ.get("JAX_ENABLE_X64", "").lower() in TRUE
    else:
        enabled = jax.config.jax_enable_x64
    if enabled:
        raise InputError(
            "JAX_ENABLE_X64 is set, and networks are trained and score in float32: unset it"
        )


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """In this block JAX is imported or finds its devices. Raises InputError where it cannot."""
    try:
        yield
    except (InputError, ImportError):
        raise
    # JAX raises ValueError, RuntimeError or AssertionError, as the plug-in of a platform likes.
    except Exception as error:
        variables = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        asked = [f"{name}={variables[name]}" for name in DEVICES if variables.get(name)]
        reason = (str(error).splitlines() or [""])[0].partition(" (set JAX_")[0].rstrip(".")
        named = [name for name in variables if name in reason or name.lower() in reason]
        if named:  # a value that JAX does not take
            raise InputError(
                f"{named[0]}={variables[named[0]]}: JAX does not start ({reason}); mend or unset it"
            ) from error
        raise InputError(
            f"{' '.join(asked) or 'JAX'}: JAX finds no such device here"
            f" ({reason or 'it gives no reason'}); set JAX_PLATFORMS=cpu, or unset it to take what"
            " there is"
        ) from error


def start_jax() -> None:
    """Import JAX and find its devices. Raises InputError where the environment keeps it from it."""
    refuse_double_precision()
    with starting():
        import jax

        jax.devices()
