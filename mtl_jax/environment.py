"""Whether JAX can start as the environment variables say.

JAX reads its variables when it is imported and finds its devices when it first needs one, deep
inside a job: what is wrong with them is said here, in one line, before the job begins.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from mtl_jax.types import InputError

TRUE_VALUES = ("y", "yes", "t", "true", "on", "1")  # as JAX reads a variable
UNSUPPORTED = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
DEVICE_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")


def reject_settings() -> None:
    """Raise InputError where JAX is set, or will be once it is imported, to compute in float64 or
    to a mode that programs have to be written for."""
    if _setting("JAX_ENABLE_X64").lower() in TRUE_VALUES:
        raise InputError(
            "JAX_ENABLE_X64 is set, and networks are trained and score in float32: unset it"
        )
    for name, value in UNSUPPORTED.items():
        if _setting(name) == value:
            raise InputError(f"{name}={value} is not supported: unset it")


def _setting(name: str) -> str:
    """Return what a variable of JAX says, or what was set in Python since JAX was imported."""
    jax = sys.modules.get("jax")
    return os.environ.get(name, "") if jax is None else str(getattr(jax.config, name.lower()))


@contextlib.contextmanager
def report_start_errors() -> Iterator[None]:
    """In this block JAX is imported or finds its devices. Raises InputError where it cannot."""
    try:
        yield
    except (InputError, ImportError):
        raise
    # JAX raises ValueError, RuntimeError or AssertionError, as the plug-in of a platform likes.
    except Exception as error:
        variables = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        asked = [f"{name}={variables[name]}" for name in DEVICE_VARIABLES if variables.get(name)]
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
    reject_settings()
    with report_start_errors():
        import jax

        jax.devices()
