"""A prepared TFDS dataset and its features by name."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from mtl_jax.types import InputError


class Field(NamedTuple):
    """Where a value stands in an example, and what kind of feature it is."""

    parts: tuple[str, ...]
    several: bool  # inside a Sequence: one value a lesion
    feature: Any  # of one value


def open_dataset(name: str) -> Any:
    """Return the prepared dataset NAME, NAME/CONFIG or that in a folder. InputError: there is
    none."""
    folder = Path(name)
    try:
        if folder.is_dir():
            _reject_foreign_features(folder)
            found = tfds.builder_from_directory(folder)
        else:
            found = tfds.builder(name)
        if not found.is_prepared():
            raise InputError(f"not prepared in {found.data_dir_root}")
    except InputError as error:
        raise InputError(f"tfds {name}: {error}") from error
    # TFDS raises many types, from a name that it does not know to a damaged file.
    except Exception as error:
        raise InputError(f"tfds {name}: no such prepared dataset ({_first_line(error)})") from error
    return found


def choose_splits(found: Any, wanted: str) -> list[str]:
    """Return the names of all splits, or `wanted` alone."""
    names = sorted(found.info.splits)
    if wanted and wanted.partition("[")[0] not in names:
        raise InputError(f"tfds {found.name}: no split {wanted!r}; it has {', '.join(names)}")
    return [wanted] if wanted else names


def open_split(found: Any, split: str, skip: Field | None) -> Any:
    """Random access to the examples of a split; the feature `skip` is not decoded."""
    decoders = None
    if skip is not None:
        decoders = tfds.decode.SkipDecoding()
        for part in reversed(skip.parts):
            decoders = {part: decoders}
    try:
        return found.as_data_source(split=split, decoders=decoders)
    except Exception as error:
        raise InputError(
            f"tfds {found.name}: {split} is not open to random access ({_first_line(error)});"
            " prepare the dataset with file_format='array_record'"
        ) from error


def read_example(examples: Any, number: int, where: str) -> dict[str, Any]:
    """Return one decoded example. InputError begins with `where`."""
    try:
        return examples[number]
    except Exception as error:
        reason = _first_line(error)
        hint = ": pip install opencv-python-headless" if "OpenCV" in reason else ""
        raise InputError(f"{where}: cannot be decoded ({reason}){hint}") from error


def find_field(found: Any, path: str) -> Field:
    """Return the feature that `path` names, such as 'image' or 'abnormalities/mask'."""
    feature, several = found.info.features, False
    for part in path.split("/"):
        feature, several = _inside(feature, several)
        names = sorted(feature) if isinstance(feature, tfds.features.FeaturesDict) else []
        if part not in names:
            listed = ", ".join(names) or "no more features"
            raise InputError(f"tfds {found.name}: no feature {path!r}; there are {listed}")
        feature = feature[part]
    return Field(tuple(path.split("/")), *reversed(_inside(feature, several)))


def get_values(content: dict[str, Any], field: Field) -> list[Any]:
    """Return what an example holds in a field: one value, or one a lesion where there are
    several."""
    value: Any = content
    for part in field.parts:
        value = value[part]
    return list(value) if field.several else [value]


def format_value(value: Any, feature: Any) -> str:
    """Return a value as text: the name of a class, the words of a text, the digits of a number."""
    if isinstance(feature, tfds.features.ClassLabel):
        return str(feature.int2str(int(value)))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _inside(feature: Any, several: bool) -> tuple[Any, bool]:
    if isinstance(feature, tfds.features.Sequence):
        return feature.feature, True
    return feature, several


def _reject_foreign_features(folder: Path) -> None:
    """The names of classes in features.json are imported: none but those of TFDS itself."""
    stack = [json.loads((folder / "features.json").read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                stack.append(value)
            elif key in ("pythonClassName", "type") and not _known(str(value)):
                raise InputError(f"features.json names {value!r}, which is not a feature of TFDS")


def _known(name: str) -> bool:
    return "." not in name or name.startswith("tensorflow_datasets.core.features.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def is_relative(feature: Any) -> bool:
    """Return whether a box counts from 0 to 1 across the image, top, left, bottom, right, as
    TFDS's do."""
    return isinstance(feature, tfds.features.BBoxFeature)


def hash_files(found: Any) -> str:
    """Of the dataset's files as they are, so that a dataset prepared anew gives new images."""
    files = [p for p in sorted(Path(found.data_dir).iterdir()) if p.is_file()]
    facts = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr((found.info.full_name, facts)).encode()).hexdigest()[:12]
