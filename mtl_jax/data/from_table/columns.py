"""Find the columns of a table that hold the fields of a manifest."""

from dataclasses import replace
from difflib import get_close_matches

from mtl_jax.data.from_table.mapping import LOCATIONS, MAPPED, TableMapping
from mtl_jax.data.from_table.read_table import Table, find_column
from mtl_jax.data.sources.manifest_rows import CASE_COLUMNS, KEEP_ONE
from mtl_jax.types import InputError

NEEDED = ("truth", "image_path")


def resolve_columns(table: Table, mapping: TableMapping) -> tuple[dict[str, str], TableMapping]:
    """Return the column of each field, and the mapping with the table's spelling of the box.

    A field that the user did not map is taken from the column of the same name. Raises one
    InputError that lists every column that is missing or repeated, and the columns of the table.
    """
    faults: list[str] = []

    def resolve(name: str, option: str) -> str:
        matches = find_column(table.columns, name)
        if len(matches) != 1:
            message = f"{len(matches)} columns have this name: rename all but one"
            faults.append(f"{option}: {message if matches else _no_column(name, table)}")
        return matches[0] if matches else name

    columns = {
        name: resolve(column, f"--map {name}={column}") for name, column in mapping.map.items()
    }
    box = tuple(resolve(column, f"--box {column}") for column in mapping.box)
    named = {*mapping.map, *mapping.constant}
    if named & set(CASE_COLUMNS):  # a column of the other name is then not meant
        named |= set(CASE_COLUMNS)
    for name in MAPPED:
        if name not in named and find_column(table.columns, name):
            columns[name] = resolve(name, f"column {name}")
    if find_column(table.columns, "coord_origin"):
        faults.append(
            "column coord_origin: rows are counted from the top here: convert the locations and"
            " delete the column"
        )
    given = {*columns, *mapping.constant}
    if mapping.one_lesion_per_breast:
        columns.pop("lesion_id", None)
    elif "lesion_id" not in given:
        faults.append(
            "lesion_id is not mapped: --map lesion_id=COLUMN, or --one-lesion-per-breast if no"
            " breast has two"
        )
    if set(CASE_COLUMNS) <= given:
        faults.append(f"{' and '.join(CASE_COLUMNS)} are both given: {KEEP_ONE}")
    elif not set(CASE_COLUMNS) & given:
        faults.append(
            "patient_id is not mapped: --map patient_id=COLUMN, or --map group_id=COLUMN if the"
            " table has no patient ids"
        )
    faults += [f"{name} is not mapped: --map {name}=COLUMN" for name in NEEDED if name not in given]
    if not box and not given & set(LOCATIONS):
        faults.append(
            "no location: --box with the columns of the lesion's box, or --map centre=COLUMN (or"
            " circle, polygon, mask_path)"
        )
    mapped = {*mapping.map.values(), *mapping.box}
    if mapped and not any(find_column(table.columns, name) for name in mapped):
        faults.append(
            f"the first {table.unit} with text is read as the header: delete a title or"
            " other text above the names of the columns"
        )
    if faults:
        shown = ", ".join(repr(column) for column in table.columns if column)
        raise InputError(f"{table.path}: {'; '.join(faults)}; its columns are {shown}")
    return columns, replace(mapping, box=box)


def _no_column(name: str, table: Table) -> str:
    by_case = {column.casefold(): column for column in table.columns}
    similar = get_close_matches(name.casefold(), by_case, 1)
    return "no such column" + (f" (did you mean {by_case[similar[0]]!r}?)" if similar else "")
