"""The table of settings has every setting, with a meaning, and the page of docs/ is current."""

import runpy
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mtl_jax import config
from mtl_jax.config_diff import flatten
from mtl_jax.settings_table import Setting, list_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def settings() -> dict[str, Setting]:
    return {setting.field: setting for setting in list_settings()}


def test_every_setting_has_its_default_and_a_meaning(settings: dict[str, Setting]) -> None:
    defaults = flatten(config.default().to_dict())
    listed = {
        field: setting.default
        for field, setting in settings.items()
        if not isinstance(setting.default, ConfigDict)
    }
    assert listed == defaults
    assert [field for field in listed if not settings[field].meaning] == []


def test_comments_of_one_and_of_several_lines_are_joined(settings: dict[str, Setting]) -> None:
    """Compare with three comments of config.py, read by hand."""
    assert settings["folds"] == Setting(
        "folds", 4, "number of folds of the target's training cases (2.4)", ("2.4",), "The study"
    )
    assert settings["train.match_steps"].meaning == (
        "True: more epochs for runs with fewer ROIs, so that each takes at least as many steps as "
        "a run on all collections"
    )
    assert settings["data.truth_policy"].meaning.startswith("Accepted reference standards:")
    assert settings["model.backbone"].references == ("Table 3",)


def test_the_page_is_written_from_the_code() -> None:
    render = runpy.run_path(str(ROOT / "tools" / "make_settings_page.py"))["render"]
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == render(), "run: python tools/make_settings_page.py"
