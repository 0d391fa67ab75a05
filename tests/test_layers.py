"""Imports go one way: each package imports only from the layers below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mtl_jax"
# From the lowest layer up. Packages of one layer do not import each other.
LAYERS = (
    ("types", "exclusion_reasons", "patient_notes", "config_diff"),
    ("old_names",),
    ("io", "environment"),
    ("config",),
    ("settings_table",),
    ("imaging", "models", "roc", "phantom", "jobs"),
    ("data", "weights"),
    ("training",),
    ("analysis", "pretraining"),
    ("experiments",),
    ("bundle", "report"),
    ("launch", "usage"),
    ("main", "study"),
    ("commands",),
    ("__init__",),
    ("__main__",),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# Packages that read finished files only, and so need none of the code that made them.
READERS = {"report": {*LAYERS[0], "io", "config", "roc"}}


def part(module: str) -> str:
    """Return the package or top-level module below mtl_jax that a dotted name belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names below mtl_jax that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mtl_jax":
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if node.module == "mtl_jax" else node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "mtl_jax")


FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def test_every_package_has_a_layer() -> None:
    assert {path.parts[0].removesuffix(".py") for path in FILES} == set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_module_imports_from_lower_layers_only(path: Path) -> None:
    here = path.parts[0].removesuffix(".py")
    for module in imports(ROOT / path):
        below = part(module)
        assert below == here or LAYER[below] < LAYER[here], f"{path} imports {module}"
        assert here not in READERS or below in READERS[here] | {here}, f"{path} imports {module}"
