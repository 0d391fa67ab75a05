"""Write docs/settings.md, the table of all settings, from mtl_jax/config.py.

python tools/make_settings_page.py [--out docs/settings.md]
"""

import argparse
import itertools
import re
import sys
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax.io import atomic, command_line, paths
from mtl_jax.settings_table import Setting, list_settings

OPTION = re.compile(r"--[\w.=:]+")  # an option of a command, shown as code
PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
INTRODUCTION = """# Settings

Give any setting as `--config.FIELD=VALUE`, or set it in a config file
(`c.train.epochs = 100`). The third column names the section of Samala et al.
2017 that the setting follows. `mtl_jax/config.py` also has the valid values;
an invalid value is rejected with the rule before anything is read. The presets
`paper` and `demo` change some defaults (`config.apply_preset`); the file of a
job in `configs/` changes others.

<!-- Written by tools/make_settings_page.py from the comments in mtl_jax/config.py. -->
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=paths.path, default=PAGE, help="page to write")
    atomic.write_text(parser.parse_args(arguments).out, render())
    return 0


def render() -> str:
    """Return the page in Markdown: a table for each part of `config.default`."""
    parts = [INTRODUCTION]
    for heading, settings in itertools.groupby(list_settings(), lambda one: one.heading):
        rows = "\n".join(_row(setting) for setting in settings if _has_row(setting))
        parts.append(
            f"## {heading}\n\n| field | default | section | meaning |\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _has_row(setting: Setting) -> bool:
    """Return whether there is something to say: a section of settings may have no comment."""
    return bool(setting.meaning) or not isinstance(setting.default, ConfigDict)


def _row(setting: Setting) -> str:
    section = isinstance(setting.default, ConfigDict)
    field = f"**`{setting.field}`**" if section else f"`{setting.field}`"
    default = "" if section else f"`{setting.default!r}`"
    meaning = OPTION.sub(r"`\g<0>`", setting.meaning.replace("|", "\\|"))
    return f"| {field} | {default} | {', '.join(setting.references)} | {meaning} |"


if __name__ == "__main__":
    sys.exit(command_line.run(main))
