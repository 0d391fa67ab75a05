"""The wheel and the Docker image contain every file that a job with default settings reads."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mtl_jax import weights
from mtl_jax.io import shipped_files

ROOT = Path(__file__).parents[1]


def read_copied_paths() -> list[str]:
    """Return the paths of the checkout that the Dockerfile copies."""
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def test_image_copies_existing_files_and_the_default_weights() -> None:
    paths = read_copied_paths()
    assert "checkpoints/formulas" in paths and all((ROOT / path).exists() for path in paths)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {Path(path).parts[0] for path in paths} & set(ignored)


@pytest.mark.parametrize("scheme", ["data", "user", "target"])
def test_default_weights_are_found_where_a_wheel_installs_them(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check an installation for all users, for one user, and with pip install --target."""
    monkeypatch.setattr(
        shipped_files, "__file__", str(tmp_path / "target/mtl_jax/io/shipped_files.py")
    )
    user_scheme = sysconfig.get_preferred_scheme("user")
    monkeypatch.setattr(
        sysconfig,
        "get_path",
        lambda _, name: str(tmp_path / ("user" if name == user_scheme else "data")),
    )
    folder = tmp_path / scheme / "share/mtl_jax/checkpoints/formulas"
    assert (
        shipped_files.find("checkpoints/formulas") == tmp_path / "target/checkpoints/formulas"
    )  # the path in the error message
    folder.mkdir(parents=True)
    assert shipped_files.find("checkpoints/formulas") == folder


@pytest.mark.slow
def test_wheel_built_from_the_files_of_the_image_finds_the_default_weights(tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "venv"
    for path in read_copied_paths():
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, source / path)
        else:
            source.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / path, source / path)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path / "wheel", source], check=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    # Use the other packages of the test environment, but not its .pth files (editable installs).
    site_packages = sysconfig.get_path("purelib")
    environment_variables = {
        key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
    }
    program = (
        f"import sys, json; sys.path.append({site_packages!r});"
        "import mtl_jax; from mtl_jax import weights;"
        "print(json.dumps([mtl_jax.__file__, weights.find('shipped').metadata]))"
    )
    done = subprocess.run(
        [python, "-c", program],
        cwd=tmp_path,
        env=environment_variables,
        check=True,
        capture_output=True,
        text=True,
    )
    file, metadata = json.loads(done.stdout)
    assert Path(file).is_relative_to(environment)
    assert metadata == weights.find("shipped").metadata
