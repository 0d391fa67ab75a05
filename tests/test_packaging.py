"""What the wheel and the Docker image hold: all that a job with default settings reads."""

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
from mtl_jax.weights import find_weights

ROOT = Path(__file__).parents[1]


def copied() -> list[str]:
    """The paths of the checkout that the Dockerfile copies."""
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def test_the_image_copies_what_is_there_and_the_default_weights() -> None:
    paths = copied()
    assert "checkpoints/formulas" in paths and all((ROOT / path).exists() for path in paths)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {Path(path).parts[0] for path in paths} & set(ignored)


@pytest.mark.parametrize("where", ["data", "user", "beside"])
def test_the_default_weights_are_found_where_a_wheel_installs_them(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all users, for one of them, and with pip install --target."""
    monkeypatch.setattr(
        find_weights, "__file__", str(tmp_path / "beside/mtl_jax/weights/find_weights.py")
    )
    user = sysconfig.get_preferred_scheme("user")
    monkeypatch.setattr(
        sysconfig,
        "get_path",
        lambda _, scheme: str(tmp_path / ("user" if scheme == user else "data")),
    )
    place = tmp_path / where / "share/mtl_jax/checkpoints/formulas"
    assert (
        find_weights.find_shipped_folder() == tmp_path / "beside/checkpoints/formulas"
    )  # to be named as absent
    place.mkdir(parents=True)
    assert find_weights.find_shipped_folder() == place


@pytest.mark.slow
def test_a_wheel_built_from_what_the_image_copies_finds_the_default_weights(tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "venv"
    for path in copied():
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
    # The other packages are those of the tests; a .pth file there, of an editable install, is not
    # read.
    libraries = sysconfig.get_path("purelib")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    program = (
        f"import sys, json; sys.path.append({libraries!r});"
        "import mtl_jax; from mtl_jax import weights;"
        "print(json.dumps([mtl_jax.__file__, weights.find('shipped').metadata]))"
    )
    done = subprocess.run(
        [python, "-c", program], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
    )
    file, card = json.loads(done.stdout)
    assert Path(file).is_relative_to(environment)
    assert card == weights.find("shipped").metadata
