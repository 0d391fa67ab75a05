"""The wheel and the Docker image contain every file that a job with default settings reads."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from mtl_jax import weights
from mtl_jax.weights import find_weights

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


def read_extras() -> tuple[dict[str, list[str]], list[str]]:
    """Return the requirements of each extra, and those that every user needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"], project["dependencies"]


def test_lower_bounds_are_the_oldest_versions_that_are_tested() -> None:
    extras, dependencies = read_extras()
    bounds = {*dependencies, *extras["onnx"], *extras["sr"], *extras["tensorboard"]}
    lines = (ROOT / "tests/oldest_versions.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert sorted(pins) == sorted(bound.replace(">=", "==") for bound in bounds)
    # The tests need the same packages, whose bounds must admit the oldest versions.
    names = {bound.split(">=")[0] for bound in bounds}
    assert {line for line in extras["dev"] if line.split(">=")[0] in names} <= bounds


def test_image_and_conda_environment_have_the_same_extras() -> None:
    (image,) = re.findall(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == [f"--editable=.[{image}]"]
    assert {"onnx", "sr"} == set(image.split(",")) <= set(read_extras()[0])


@pytest.mark.parametrize("scheme", ["data", "user", "target"])
def test_default_weights_are_found_where_a_wheel_installs_them(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check an installation for all users, for one user, and with pip install --target."""
    monkeypatch.setattr(
        find_weights, "__file__", str(tmp_path / "target/mtl_jax/weights/find_weights.py")
    )
    user_scheme = sysconfig.get_preferred_scheme("user")
    monkeypatch.setattr(
        sysconfig,
        "get_path",
        lambda _, name: str(tmp_path / ("user" if name == user_scheme else "data")),
    )
    folder = tmp_path / scheme / "share/mtl_jax/checkpoints/formulas"
    assert (
        find_weights.find_shipped_folder() == tmp_path / "target/checkpoints/formulas"
    )  # the path in the error message
    folder.mkdir(parents=True)
    assert find_weights.find_shipped_folder() == folder


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
