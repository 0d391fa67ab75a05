"""What the columns and words of a user's table mean: options of a command, or a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mtl_jax.data.from_table.boxes import FORMS
from mtl_jax.data.from_table.numbers import DECIMALS
from mtl_jax.data.from_table.words import VALUES
from mtl_jax.data.sources import location
from mtl_jax.data.sources.manifest_rows import OPTIONAL, REQUIRED
from mtl_jax.io import paths
from mtl_jax.types import InputError

LOCATIONS = tuple(kind for kind in location.KINDS if kind != "box")  # a box is --box
MAPPED = (
    *(name for name in REQUIRED if name != "dataset"),
    "group_id",
    *(name for name in OPTIONAL if name not in ("coord_origin", "notes")),
    *LOCATIONS,
)
UNITS = ("px", "mm")
PIXEL_UNITS = {"um": 1.0, "mm": 1000.0}


@dataclass(frozen=True)
class TableMapping:
    """The meaning of a table.

    `map` has the column of each field of a manifest, `value` the words for each value of a field,
    `constant` the fields with one value in all rows. `box` names four columns, or one with four
    numbers. `images` are the folders of the images and masks.
    """

    map: dict[str, str] = field(default_factory=dict)
    value: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    constant: dict[str, str] = field(default_factory=dict)
    box: tuple[str, ...] = ()
    box_form: str = ""
    unit: str = ""  # of the boxes: px or mm; '' is px
    first_pixel: int = 0
    pixel_unit: str = "um"
    decimal: str = ""
    sheet: str | None = None
    one_lesion_per_breast: bool = False
    images: tuple[Path, ...] = ()

    def known_columns(self) -> tuple[str, ...]:
        """Return the names of columns that the user gave."""
        return (*self.map.values(), *self.box)


def read_mapping(path: Path | None, options: Mapping[str, Any]) -> TableMapping:
    """Return the mapping of a TOML file and of `options`, which have precedence.

    Both have the fields of `TableMapping`; options that are None were not given. Raises one
    InputError that names the file or option of everything that is invalid.
    """
    settings = _read_file(path) if path else {}
    for name, value in options.items():
        if isinstance(value, dict):
            settings[name] = dict(settings.get(name, {})) | value
        elif value is not None:
            settings[name] = value
    mapping = TableMapping(**settings)
    faults = _faults(mapping)
    if faults:
        raise InputError("; ".join(faults))
    return mapping


def parse_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return {FIELD: VALUE} of options such as --map FIELD=COLUMN."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {text}: expected FIELD=VALUE")
        name = name.strip()
        if name in pairs:
            raise InputError(f"{option} {text}: {name} is given twice; keep one")
        pairs[name] = value.strip()
    return pairs


def parse_values(texts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Return {FIELD: {VALUE: WORDS}} of options such as --value truth:malignant=Positive,1."""
    values: dict[str, dict[str, list[str]]] = {}
    for text in texts:
        target, equals, words = text.partition("=")
        name, colon, value = target.partition(":")
        if not (name and colon and equals and words):
            raise InputError(
                f"--value {text}: expected FIELD:VALUE=WORD,..., as in truth:malignant=Positive,1"
            )
        known = values.setdefault(name.strip(), {}).setdefault(value.strip(), [])
        known += [word.strip() for word in words.split(",")]
    return values


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--mapping {path}: not a readable TOML file ({reason})") from error
    kinds = {one.name: one.type for one in fields(TableMapping)}
    settings: dict[str, Any] = {}
    for name, value in content.items():
        if name not in kinds:
            similar = get_close_matches(name, kinds, 1)
            hint = f"did you mean {similar[0]}?" if similar else f"expected {', '.join(kinds)}"
            raise InputError(f"--mapping {path}: {name} does not exist; {hint}")
        settings[name] = _file_value(name, value, path)
    return settings


def _file_value(name: str, value: Any, path: Path) -> Any:
    """Return a value of a mapping file in the type of its field; InputError if it has another."""
    if name == "box":
        value = value.split(",") if isinstance(value, str) else value
        if isinstance(value, list):
            return tuple(str(column).strip() for column in value)
    elif name == "images":
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(one, str) and one for one in value):
            return tuple(map(paths.path, value))
    elif name in ("map", "constant") and isinstance(value, dict):
        return {field_name: str(one) for field_name, one in value.items()}
    elif name == "value" and isinstance(value, dict):
        if all(isinstance(words, dict) for words in value.values()):
            return {
                field_name: {
                    target: [str(word) for word in (one if isinstance(one, list) else [one])]
                    for target, one in words.items()
                }
                for field_name, words in value.items()
            }
    elif name not in ("map", "constant", "value"):
        default = getattr(TableMapping(), name)
        if type(value) is (str if default is None else type(default)):
            return value
    raise InputError(
        f"--mapping {path}: {name} = {value!r} is invalid (docs/howto/from_a_table.md)"
    )


def _faults(mapping: TableMapping) -> list[str]:
    faults = []
    for option, given in (("--map", mapping.map), ("--constant", mapping.constant)):
        for name in given:
            if name == "box":
                faults.append(f"{option} box: name the columns of the box with --box")
            elif name not in MAPPED:
                similar = get_close_matches(name, MAPPED, 1)
                hint = f"did you mean {similar[0]}?" if similar else ", ".join(MAPPED)
                faults.append(f"{option} {name}: not a field of a manifest; {hint}")
    faults += [
        f"{name} is given by both --map and --constant; keep one"
        for name in mapping.map
        if name in mapping.constant
    ]
    for name, values in mapping.value.items():
        if name not in VALUES:
            faults.append(f"--value {name}: expected one of {', '.join(VALUES)}")
            continue
        for value in values:
            if value not in VALUES[name]:
                expected = ", ".join(one for one in VALUES[name] if one)
                faults.append(f"--value {name}:{value}: expected one of {expected}")
        faults += _repeated_words(name, values)
    if len(mapping.box) not in (0, 1, 4):
        faults.append(
            f"--box {','.join(mapping.box)}: expected the names of four columns separated by"
            " commas, or of one column with four numbers"
        )
    for option, value, valid in (
        ("--box-form", mapping.box_form, ("", *FORMS)),
        ("--unit", mapping.unit, ("", *UNITS)),
        ("--first-pixel", mapping.first_pixel, (0, 1)),
        ("--pixel-unit", mapping.pixel_unit, tuple(PIXEL_UNITS)),
        ("--decimal", mapping.decimal, ("", *DECIMALS)),
    ):
        if value not in valid:
            expected = ", ".join(str(one) for one in valid if one != "")
            faults.append(f"{option} {value} is invalid: expected one of {expected}")
    if not mapping.box:
        given = (
            ("--box-form", mapping.box_form),
            ("--unit", mapping.unit == "mm"),
            ("--first-pixel", mapping.first_pixel),
        )
        faults += [
            f"{option} is for the columns of --box only: give --box, or omit it and convert the"
            f" column to pixels ({', '.join(LOCATIONS)}; docs/manifest.md)"
            for option, value in given
            if value
        ]
    if mapping.unit == "mm" and mapping.first_pixel:
        faults.append("--first-pixel 1: boxes in mm are from the corner of the image; omit it")
    if mapping.one_lesion_per_breast and "lesion_id" in mapping.map:
        faults.append("--one-lesion-per-breast: lesion_id is mapped to a column; keep one")
    return faults


def _repeated_words(name: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a fault for each word that would have two values."""
    meanings: dict[str, list[str]] = {}
    for value, words in values.items():
        for word in dict.fromkeys(word.strip().casefold() for word in words):
            meanings.setdefault(word, []).append(value)
    return [
        f"--value {name}: {word!r} is given as {' and as '.join(targets)}; keep one"
        for word, targets in meanings.items()
        if len(targets) > 1
    ]
