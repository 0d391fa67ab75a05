"""Names of version 0.1.0 are rejected with the new name, on the command line and in config files."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtl_jax import config, old_names

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> str:
    """Return the one line on stderr of a job that ends with exit code 2."""
    command = [sys.executable, "-m", "mtl_jax.main", "--workdir=w", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--config.lanes=2", "config.lanes is config.replicas since 0.2.0"),
        ("--config.cache=off", "config.cache is config.feature_cache"),
        ("--config.model.trunk=vgg16", "config.model.trunk is config.model.backbone"),
        ("--config.source.size=96", "config.source.size is config.pretraining.size"),
        ("--config.source.start=random", "is config.pretraining.initialization"),
        ("--config.analysis.regions=60", "is config.analysis.max_rois"),
        ("--config.ray.retries=1", "config.ray.retries was removed in 0.2.0: "),
        (
            "--config.data.unusable=refuse",
            "expected one of reject, leave_out (did you mean 'reject'",
        ),
        ("--config.study=source", "(did you mean 'pretraining'?)"),
    ],
)
def test_an_old_name_on_the_command_line(argument: str, expected: str) -> None:
    assert expected in run("--config=configs/mttl.py", argument)


def test_an_old_config_file() -> None:
    line = run("--config=configs/trunks.py:demo")
    assert "no such file; it is configs/backbones.py now" in line


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("c.lanes = 2", "config.lanes is config.replicas since 0.2.0"),
        ("c.model.trunk = 'vgg16'", "config.model.trunk is config.model.backbone"),
        (
            "c.train.epoch = 3",
            "config.train.epoch does not exist; did you mean config.train.epochs",
        ),
        ("c.source.size = 96", "config.source is config.pretraining since 0.2.0"),
        ("from mtl_jax.nouns import InputError", "mtl_jax.nouns moved to mtl_jax.types in 0.2.0"),
    ],
)
def test_a_config_file_of_ones_own(tmp_path: Path, statement: str, expected: str) -> None:
    """Before, a field that does not exist was set and never read."""
    path = tmp_path / "own.py"
    path.write_text(
        "from mtl_jax import config\n\n\ndef get_config(preset='paper'):\n"
        f"    c = config.default()\n    {statement}\n    return c\n"
    )
    assert expected in run(f"--config={path}")


def test_new_names_exist_and_old_ones_do_not() -> None:
    def has(field: str) -> bool:
        section = config.default()
        for name in field.split("."):
            if name not in section:
                return False
            section = section[name]
        return True

    assert all(map(has, old_names.FIELDS.values()))
    assert not any(map(has, [*old_names.FIELDS, *old_names.REMOVED]))


def test_keys_of_json_files_are_renamed_at_every_depth() -> None:
    data = {"trunk": "vgg16", "training": [{"regions": 3, "name": "regions"}]}
    renamed = {"backbone": "vgg16", "training": [{"rois": 3, "name": "regions"}]}
    assert old_names.rename_keys(data) == renamed == old_names.rename_keys(renamed)
