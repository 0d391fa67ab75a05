"""Names of 0.1.0 are rejected with the new name, in commands and in config files."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtl_jax import config, main, old_names
from mtl_jax.types import InputError

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> str:
    """Return the one line on stderr of a job that ends with exit code 2."""
    command = [sys.executable, "-m", "mtl_jax.main", "--workdir=w", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(("old", "new"), old_names.FIELDS.items())
def test_an_old_field_is_rejected_with_its_new_name(old: str, new: str) -> None:
    for equals in ("=1", ""):  # --config.FIELD=VALUE and --config.FIELD VALUE
        with pytest.raises(InputError, match=f"config.{old} is config.{new} since 0.2.0"):
            main.reject_old_fields(["main.py", f"--config.{old}{equals}"])


@pytest.mark.parametrize("old", old_names.REMOVED)
def test_a_removed_field_is_rejected_with_the_reason(old: str) -> None:
    with pytest.raises(InputError, match=f"config.{old} was removed in 0.2.0: .*; delete it"):
        main.reject_old_fields([f"--config.{old}=1"])


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--config.cache=off", "config.cache is config.feature_cache since 0.2.0"),
        ("--config.source.size=96", "config.source.size is config.pretraining.size since 0.2.0"),
        ("--config.study=source", "(did you mean 'pretraining'?)"),
    ],
)
def test_an_old_name_on_the_command_line(argument: str, expected: str) -> None:
    assert expected in run("--config=configs/mttl.py", argument)


def test_an_old_config_file() -> None:
    ((old, new),) = old_names.CONFIGS.items()
    line = run(f"--config=configs/{old}.py:demo")
    assert f"no such file; it is configs/{new}.py now" in line
    assert f"no such job; it is {new} now" in run(f"--config={old}:demo")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("c.cache = 'off'", "config.cache is config.feature_cache since 0.2.0"),
        (
            "c.train.epoch = 3",
            "config.train.epoch does not exist; did you mean config.train.epochs",
        ),
        ("c.source.size = 96", "config.source is config.pretraining since 0.2.0"),
        ("config.at_preset(c, preset)", "at_preset is mtl_jax.config.apply_preset since 0.2.0"),
        ("config.no_such(c)", "module 'mtl_jax.config' has no attribute 'no_such'"),
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
    (old, new), (old_inner, new_inner), *_ = old_names.KEYS.items()
    data = {old: "vgg16", "training": [{old_inner: 3, "name": old_inner}]}
    renamed = {new: "vgg16", "training": [{new_inner: 3, "name": old_inner}]}
    assert old_names.rename_keys(data) == renamed == old_names.rename_keys(renamed)
