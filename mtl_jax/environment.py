"""Check that JAX can start with the current environment variables, before a job begins.

JAX reads its variables when it is imported and finds its devices when it first needs one, which
may be late in a job. Invalid settings are reported here in one line.
"""

import contextlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from mtl_jax.types import InputError

TRUE_VALUES = ("y", "yes", "t", "true", "on", "1")  # as JAX reads a variable
UNSUPPORTED = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
DEVICE_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")
PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"
DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops"
# The files of which JAX needs one to open an NVIDIA GPU (jax/_src/hardware_utils.py).
NVIDIA_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")


def reject_settings() -> None:
    """Raise InputError if JAX is set to float64, to a precision, or to strict promotion."""
    if _setting("JAX_ENABLE_X64").lower() in TRUE_VALUES:
        raise InputError("JAX_ENABLE_X64 is set, but networks train and score in float32: unset it")
    if _setting(PRECISION) not in ("", "None"):
        raise InputError(
            f"{PRECISION}={_setting(PRECISION)} is not supported: unset it; config.train.precision"
            " is the precision of the training, and all else is float32"
        )
    for name, value in UNSUPPORTED.items():
        if _setting(name) == value:
            raise InputError(f"{name}={value} is not supported: unset it")


def _setting(name: str) -> str:
    """Return a setting of JAX: from JAX if it is imported, otherwise from the environment."""
    jax = sys.modules.get("jax")
    if jax is None:
        return os.environ.get(name, "")
    value = getattr(jax.config, name.lower())
    return "" if value is None else str(value)


def use_cpu() -> None:
    """Make JAX compute on the CPU and open no other device in this process, if it has not started.

    Environment variables stay as they are, because processes that this one starts inherit them.
    """
    with report_start_errors():
        import jax

        jax.config.update("jax_platforms", "cpu")
        if os.environ.get("JAX_PLATFORM_NAME"):  # which JAX would look for among its platforms
            jax.config.update("jax_platform_name", "cpu")


def computes_on_cpu() -> bool:
    """Return whether JAX will compute on the CPU, without starting it.

    It will if its settings say so, or if no other platform is installed. Of a plug-in for CUDA, the
    devices are looked for as JAX does; any other plug-in is taken to have one.
    """
    platforms = _setting("JAX_PLATFORMS")
    requested = platforms
    if platforms != "cpu":
        requested = os.environ.get("JAX_PLATFORM_NAME") or platforms
    if requested:
        return requested.lower().split(",")[0] == "cpu"
    plugins = {entry_point.value for entry_point in entry_points(group="jax_plugins")}
    package = importlib.util.find_spec("jax_plugins")
    if package is not None:
        locations = package.submodule_search_locations
        plugins |= {module.name for module in pkgutil.iter_modules(locations)}
    names = {plugin.rpartition(".")[2] for plugin in plugins}
    if importlib.util.find_spec("libtpu") or any(not name.startswith("xla_cuda") for name in names):
        return False
    return not (names and any(Path(file).exists() for file in NVIDIA_FILES))


def set_deterministic(deterministic: bool) -> None:
    """Set XLA's deterministic operations for the GPU programs of this process, before JAX starts.

    XLA reads XLA_FLAGS once, when JAX finds its devices, and the processes that this one starts
    inherit the variable. A compiler option would not reach programs of `jax.pmap`. Raises
    InputError if XLA_FLAGS contradicts `deterministic` or is read already.
    """
    if is_deterministic() == deterministic:
        return
    if not deterministic:
        raise InputError(
            f"XLA_FLAGS has {DETERMINISTIC_FLAG}, but config.deterministic is False: set it to"
            " True, or start a new process without this flag"
        )
    if _has_jax_started():
        raise InputError(
            "config.deterministic=True: JAX has started without deterministic operations in this"
            " process; start a new one, and run the study before anything else uses JAX"
        )
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC_FLAG}=true".strip()


def is_deterministic() -> bool:
    """Return whether XLA_FLAGS sets deterministic operations; the last such flag counts."""
    flags = [flag.partition("=") for flag in os.environ.get("XLA_FLAGS", "").split()]
    values = [value.lower() for name, _, value in flags if name == DETERMINISTIC_FLAG]
    return bool(values) and values[-1] in ("", "true", "1")


def _has_jax_started() -> bool:
    """Return whether JAX has found its devices."""
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    count = jax.config.jax_num_cpu_devices
    try:  # once it has started, JAX rejects another value
        jax.config.update("jax_num_cpu_devices", count + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", count)
    return False


@contextlib.contextmanager
def report_start_errors() -> Iterator[None]:
    """Raise InputError if JAX cannot be imported or find its devices in the block."""
    try:
        yield
    except (InputError, ImportError):
        raise
    # The plug-ins of the platforms raise ValueError, RuntimeError or AssertionError.
    except Exception as error:
        variables = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        devices = [f"{name}={variables[name]}" for name in DEVICE_VARIABLES if variables.get(name)]
        reason = (str(error).splitlines() or [""])[0].partition(" (set JAX_")[0].rstrip(".")
        named = [name for name in variables if name in reason or name.lower() in reason]
        if named:  # a value that JAX rejects
            raise InputError(
                f"{named[0]}={variables[named[0]]}: JAX does not start ({reason}); correct it or"
                " unset it"
            ) from error
        raise InputError(
            f"{' '.join(devices) or 'JAX'}: JAX finds no such device here"
            f" ({reason or 'it gives no reason'}); set JAX_PLATFORMS=cpu, or unset it to use the"
            " available devices"
        ) from error


def start_jax() -> None:
    """Import JAX and find its devices; raise InputError if the environment prevents it."""
    reject_settings()
    with report_start_errors():
        import jax

        jax.devices()
