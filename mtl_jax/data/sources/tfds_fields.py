"""Open prepared TFDS datasets and get the values of their features by name.

TensorFlow is never imported.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from mtl_jax.types import InputError


class Field(NamedTuple):
    """A feature and its path in an example."""

    parts: tuple[str, ...]
    per_lesion: bool  # inside a Sequence: one value per lesion
    feature: Any  # of one value


def open_dataset(name: str) -> Any:
    """Return the prepared dataset NAME, NAME/CONFIG or that in a folder, for TFDS alone."""
    folder = Path(name)
    try:
        if folder.is_dir():
            _reject_foreign_features(folder)
            dataset = tfds.builder_from_directory(folder)
        else:
            dataset = tfds.builder(name)
        if not dataset.is_prepared():
            raise InputError(f"not prepared in {dataset.data_dir_root}")
    except InputError as error:
        raise InputError(f"tfds {name}: {error}") from error
    # TFDS raises many exception types, from an unknown name to a damaged file.
    except Exception as error:
        raise InputError(f"tfds {name}: no such prepared dataset ({_first_line(error)})") from error
    return dataset


def choose_splits(dataset: Any, split: str) -> list[str]:
    """Return the names of all splits, or `split` alone if it is not empty."""
    names = sorted(dataset.info.splits)
    if split and split.partition("[")[0] not in names:
        raise InputError(f"tfds {dataset.name}: no split {split!r}; it has {', '.join(names)}")
    return [split] if split else names


def open_split(dataset: Any, split: str, skip: Field | None) -> Any:
    """Return a random access source of the examples of a split; `skip` is not decoded."""
    decoders = None
    if skip is not None:
        decoders = tfds.decode.SkipDecoding()
        for part in reversed(skip.parts):
            decoders = {part: decoders}
    try:
        return dataset.as_data_source(split=split, decoders=decoders)
    except Exception as error:
        raise InputError(
            f"tfds {dataset.name}: no random access to {split} ({_first_line(error)}); prepare the"
            " dataset with file_format='array_record'"
        ) from error


def read_example(examples: Any, number: int, where: str) -> dict[str, Any]:
    """Return a decoded example; `where` begins the message of an InputError."""
    try:
        return examples[number]
    except Exception as error:
        reason = _first_line(error)
        hint = ": pip install opencv-python-headless" if "OpenCV" in reason else ""
        raise InputError(f"{where}: cannot be decoded ({reason}){hint}") from error


def find_field(dataset: Any, path: str) -> Field:
    """Return the feature of a path such as 'image' or 'abnormalities/mask'."""
    feature, per_lesion = dataset.info.features, False
    for part in path.split("/"):
        feature, per_lesion = _unwrap_sequence(feature, per_lesion)
        names = sorted(feature) if isinstance(feature, tfds.features.FeaturesDict) else []
        if part not in names:
            listed = ", ".join(names) or "no more features"
            raise InputError(f"tfds {dataset.name}: no feature {path!r}; there are {listed}")
        feature = feature[part]
    feature, per_lesion = _unwrap_sequence(feature, per_lesion)
    return Field(tuple(path.split("/")), per_lesion, feature)


def get_values(example: dict[str, Any], field: Field) -> list[Any]:
    """Return the values of a field: one per lesion inside a Sequence, otherwise one."""
    value: Any = example
    for part in field.parts:
        value = value[part]
    return list(value) if field.per_lesion else [value]


def format_value(value: Any, feature: Any) -> str:
    """Return a value as text: the name of a class, decoded bytes or the digits of a number."""
    if isinstance(feature, tfds.features.ClassLabel):
        return str(feature.int2str(int(value)))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def hash_files(dataset: Any) -> str:
    """Return a hash of names, sizes and times of the files, which a new preparation changes."""
    files = [path for path in sorted(Path(dataset.data_dir).iterdir()) if path.is_file()]
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((dataset.info.full_name, facts)).encode()).hexdigest()[:12]


def _unwrap_sequence(feature: Any, per_lesion: bool) -> tuple[Any, bool]:
    if isinstance(feature, tfds.features.Sequence):
        return feature.feature, True
    return feature, per_lesion


def _reject_foreign_features(folder: Path) -> None:
    """Raise InputError if features.json names a class outside TFDS, because TFDS imports it."""
    stack = [json.loads((folder / "features.json").read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                stack.append(value)
            elif key in ("pythonClassName", "type") and not _is_tfds_class(str(value)):
                raise InputError(f"features.json names {value!r}, which is not a feature of TFDS")


def _is_tfds_class(name: str) -> bool:
    return "." not in name or name.startswith("tensorflow_datasets.core.features.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
