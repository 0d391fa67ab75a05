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
from typing import NamedTuple

import pytest
import yaml

from mtl_jax import weights
from mtl_jax.io import shipped_files

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_copied_paths() -> list[str]:
    """Return the paths of the checkout that the Dockerfile copies."""
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def test_image_copies_existing_files_and_the_default_weights() -> None:
    paths = read_copied_paths()
    assert "checkpoints/formulas" in paths and all((ROOT / path).exists() for path in paths)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {Path(path).parts[0] for path in paths} & set(ignored)


def test_lower_bounds_are_the_oldest_versions_that_are_tested() -> None:
    extras = PROJECT["optional-dependencies"]
    bounds = {*PROJECT["dependencies"], *extras["onnx"], *extras["sr"], *extras["tensorboard"]}
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
    assert {"onnx", "sr"} == set(image.split(",")) <= set(PROJECT["optional-dependencies"])


def test_image_runs_the_command_as_a_user_whose_home_is_the_mounted_folder() -> None:
    lines = [line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines()]
    steps = dict(line for line in lines if len(line) == 2)  # the last of each instruction
    (command,) = json.loads(steps["ENTRYPOINT"])
    assert command in PROJECT["scripts"]
    assert steps["ENV"] == f"HOME={steps['WORKDIR']}" and steps["USER"] != "root"


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


def test_the_wheel_has_every_config_and_file_of_the_default_weights() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data_files = project["tool"]["setuptools"]["data-files"]
    packed = {
        f"{folder}/{path.name}"
        for folder, patterns in data_files.items()
        for pattern in patterns
        for path in ROOT.glob(pattern)
    }
    files = [*(ROOT / "configs").glob("*.py"), *(ROOT / "checkpoints" / "formulas").rglob("*")]
    expected = {f"share/mtl_jax/{f.relative_to(ROOT)}" for f in files if f.is_file()}
    assert packed == expected


class Installation(NamedTuple):
    """A virtual environment with the wheel, and an empty folder to work in."""

    bin: Path
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """Run a program of the environment, without the variables of the tests."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XDG"))}
        return subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=self.folder,
            env=variables | {"MTL_JAX_CACHE": str(self.folder.parent / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Build a wheel from the files that the Docker image copies, and install it."""
    folder = tmp_path_factory.mktemp("installation")
    source, environment = folder / "source", folder / "venv"
    for path in read_copied_paths():
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, source / path)
        else:
            source.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / path, source / path)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder / "wheel", source], check=True)
    (wheel,) = (folder / "wheel").iterdir()
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    # Use the other packages of the test environment, but not its .pth files (editable installs).
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "other_packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "empty").mkdir()
    return Installation(environment / "bin", folder / "empty")


@pytest.mark.slow
def test_an_installed_wheel_finds_the_default_weights(installation: Installation) -> None:
    program = (
        "import json, mtl_jax; from mtl_jax import weights;"
        "print(json.dumps([mtl_jax.__file__, weights.find('shipped').metadata]))"
    )
    done = installation.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    file, metadata = json.loads(done.stdout)
    assert Path(file).is_relative_to(installation.bin.parent)
    assert metadata == weights.find("shipped").metadata


@pytest.mark.slow
def test_an_installed_wheel_runs_its_jobs_in_an_empty_folder(installation: Installation) -> None:
    done = installation.run("mtl-jax", "list", "jobs")
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {path.stem} " in done.stdout for path in (ROOT / "configs").glob("*.py"))
    job = ("mtl-jax", "run", "--workdir=w")
    done = installation.run(*job, "--config=configs/mttl.py", "--config.epochs=3")
    assert done.returncode == 2 and "did you mean config.train.epochs?" in done.stderr
    assert "note: there is no configs/mttl.py here; using " in done.stderr
    done = installation.run(
        *job,
        "--config=mttl:demo",
        "--config.data.phantom.cases=16",
        "--config.data.phantom.target_cases=32",
        "--dry_run",
    )
    assert done.returncode == 0 and "to do: 2 of 2 runs" in done.stdout, done.stderr
    assert not list(installation.folder.iterdir())
    done = installation.run("mtl-jax", "run", "--config=paper", "--workdir=w")
    assert done.returncode == 2 and "mtl-jax convert --download" in done.stderr
    assert [path.name for path in installation.folder.iterdir()] == ["w"]
    done = installation.run("mtl-jax", "cache", "--clear", "sfm")
    assert done.returncode == 0 and done.stdout.startswith("deleted ")
