"""The help text of the main job: its jobs, the most used settings, examples and exit codes."""

import operator
from collections.abc import Sequence

from mtl_jax import config, jobs
from mtl_jax.io.text_table import align

USAGE = "mtl-jax run --config=JOB[:PRESET] --workdir=DIR [--config.FIELD=VALUE ...]"
SETTINGS = {  # the most used ones, and their meaning
    "data.sources": "name:path of each collection",
    "data.target": "the collection that is tested",
    "network": "frozen convolutions: C0 (none), C1 ... C1-C5",
    "weights": "initial weights: imagenet for mammograms",
    "approaches": "multi-task and single-task training",
    "folds": "number of folds of a cross-validation",
    "seed": "seed of initial weights, epoch order and dropout",
    "train.epochs": "number of epochs",
    "train.learning_rate": "learning rate of the first step",
    "devices": "GPUs or CPU devices that share the work",
}


def help_text() -> str:
    """Return the text of `mtl-jax run --help`."""
    defaults = config.default()
    settings = [
        (field, f"{meaning} (default: {_format(operator.attrgetter(field)(defaults))})")
        for field, meaning in SETTINGS.items()
    ]
    return f"""\
Usage: {USAGE}
       python -m mtl_jax.main --config=configs/NAME.py --workdir=DIR [--config.FIELD=VALUE ...]

Train and evaluate networks, and write DIR/report.html. Rerun a command to resume it.

JOB is one of these names, or a config file of your own:
{_table(list(jobs.describe().items()))}
PRESET is paper (the default: the paper's settings) or demo (a short job). pretrain also has cpu.

Options:
  --config.FIELD=VALUE  set any field of mtl_jax/config.py (docs/settings.md)
  --dry_run             print the plan and its cost, without training
  --accept_versions     resume runs of other package versions, and mark the results as mixed

The most used fields, with the defaults of the preset paper (mtl-jax list has more names):
{_table(settings)}

Examples:
  mtl-jax run --config=mttl:demo --workdir=runs/demo
  mtl-jax run --config=sttl --workdir=runs/mias --config.weights=imagenet \\
    --config.data.sources="('mini_mias:PATH',)" --config.data.target=mini_mias
  mtl-jax run --config=paper --workdir=runs/paper --dry_run

Exit codes: 0 done, 2 invalid input (one line on stderr), 1 error in this package,
130 stopped by Ctrl-C and 143 by SIGTERM (rerun the same command to resume).

For research only, not for clinical use."""


def _format(value: object) -> str:
    """Return a default; the items of a tuple without quotes."""
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(align(rows, "  "))
