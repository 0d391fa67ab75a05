"""Settings and fixtures of all tests."""

import atexit
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# JAX reads the variables when it is imported. Programs, also quick ones, are compiled once for all
# tests, the workers of pytest-xdist, which inherit the variables, and the commands that they start,
# in a folder that no test deletes.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mtl_jax-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# Always the same examples, so that a test run is reproducible.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

BEGIN = time.monotonic()
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stop-after",
        type=float,
        default=math.inf,
        metavar="MINUTES",
        help="skip the tests that have not begun by then",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() - BEGIN > 60 * item.config.getoption("stop_after"):
        pytest.skip("no time is left (--stop-after)")


@pytest.fixture(scope="session", autouse=True)
def pseudonym_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set a key file of the tests, so that they do not use the one in the user's home."""
    path = tmp_path_factory.mktemp("key") / "key"
    os.environ["MTL_JAX_KEY_FILE"] = str(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set folders of the tests for the cache and the weights of the user."""
    folder = tmp_path_factory.mktemp("user")
    os.environ["MTL_JAX_CACHE"] = str(folder / "cache")
    os.environ["XDG_DATA_HOME"] = str(folder / "data")
    return folder


@pytest.fixture
def no_compiled_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes of a test compile their programs: JAX before 0.10 warns of stored ones."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")


@pytest.fixture(scope="module")
def small_alexnet() -> Iterator[None]:
    """Let jobs of this process train and score AlexNet with few fully connected nodes."""
    from kit import small_head  # imports JAX

    with small_head.as_alexnet():
        yield


@pytest.fixture(scope="module")
def narrow_alexnet() -> Iterator[None]:
    """Let jobs of this process use AlexNet with few feature maps, which fits no stored weights."""
    from kit import small_network  # imports JAX

    with small_network.as_alexnet():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real films, weights and rating data next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder 'shared' with real films and weights is not next to the checkout")
    return SHARED
