"""Where the real material for tests is, and small made-up inputs that several rooms' tests use."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# JAX reads it when it is imported. Programs are compiled once for all tests and the commands they
# start, and not kept in caches that a test deletes.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mtl_jax-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# The same examples each time, so that a run can be repeated.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def key_of_pseudonyms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of the tests' own: they touch nothing in the user's home."""
    path = tmp_path_factory.mktemp("key") / "key"
    os.environ["MTL_JAX_KEY_FILE"] = str(path)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real films, weights and rating data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder 'shared' with real films and weights is not beside the checkout")
    return SHARED
