"""Imports are quick: a package is imported by the code that uses it, and by no other."""

import subprocess
import sys
from pathlib import Path

import pytest

# The import names of all dependencies except NumPy.
PACKAGES = {
    *("PIL", "absl", "filelock", "flax", "imagecodecs", "jax", "jinja2", "matplotlib"),
    *("ml_collections", "openTSNE", "openpyxl", "optax", "orbax", "pandas", "pydicom"),
    *("safetensors", "scipy", "skimage", "sklearn", "tensorflow_datasets", "tifffile", "tqdm"),
}
FLAGS = {"absl", "ml_collections"}
IMAGES = {"PIL", "imagecodecs", "pydicom", "scipy", "tifffile", "tqdm"}
INGEST = {*IMAGES, "filelock", "pandas"}
REPORT = {*FLAGS, "PIL", "filelock", "jinja2", "matplotlib", "pandas", "scipy"}
UNUSED_AT_START = {"matplotlib", "openTSNE", "openpyxl", "sklearn", "tensorflow_datasets"}
READ_MANIFEST = (
    "from mtl_jax.data.sources import SOURCES; assert SOURCES['manifest']('m.csv').views"
)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import mtl_jax", set()),
        ("import mtl_jax.roc", {"scipy"}),
        ("import mtl_jax.data.sources", set()),
        ("import mtl_jax.main", FLAGS | {"filelock"}),
        (READ_MANIFEST, INGEST),
        ("import mtl_jax.data.ingest", INGEST | {"jinja2"}),
        ("import mtl_jax.report", REPORT),
        ("import mtl_jax.bundle", PACKAGES - UNUSED_AT_START),
        ("import mtl_jax.experiments.runner", PACKAGES - UNUSED_AT_START),
    ],
)
def test_packages_are_imported_where_they_are_used(
    code: str, allowed: set[str], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(
        "dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,centre\n"
        "mine,P1,1,CC,a.pgm,malignant,100,1;1\n"
    )
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 255\n\1\2\3\4")
    code += "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert PACKAGES & set(done.stdout.split()) <= allowed
