"""Tables of scores: group rows by task, average views by lesion, pair two tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtl_jax.roc.lesion_scores import view_to_lesion

IDS = ("case", "lesion", "roi")  # a view or a laterality alone identifies no row


@dataclass(frozen=True)
class Table:
    """The rows of a file: `labels`, `scores`, `ids` by field, and the line of each row.

    The line of a lesion is that of its first row. `notes` list the columns used and ignored.
    """

    name: str
    labels: list[float]
    scores: list[float]
    ids: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()


def by_task(tables: Sequence[Table], task: str | None) -> list[tuple[str, list[Table]]]:
    """Return (task, the tables with the rows of this task) for each task, or for `task` only.

    The order is that of the first table. Without tasks it is [('', `tables`)]. Raises ValueError if
    only some tables have tasks, a row has no task, or a task is not in every table.
    """
    tasks = [list(dict.fromkeys(table.ids.get("task", ()))) for table in tables]
    if task is None and max(map(len, tasks)) <= 1 and not all(tasks):
        return [("", list(tables))]
    for table, table_tasks in zip(tables, tasks, strict=True):
        if not table_tasks:
            raise ValueError(
                f"{table.name}: has no column task, which --task and files with several tasks need;"
                " add it"
            )
        if "" in table_tasks:
            line = table.lines[table.ids["task"].index("")]
            raise ValueError(f"{table.name}: line {line} has no task; fill it in")
    names = [task] if task is not None else list(dict.fromkeys(sum(tasks, [])))
    for table, table_tasks in zip(tables, tasks, strict=True):
        for name in names:
            if name not in table_tasks:
                raise ValueError(
                    f"{table.name}: has no row of task {name!r}; choose one of its tasks with"
                    f" --task: {', '.join(table_tasks)}"
                )
    return [(name, [_select_task(table, name) for table in tables]) for name in names]


def by_lesion(table: Table) -> Table:
    """Return one row per lesion, with the mean score over its rows."""
    missing = [f for f in ("case", "lesion") if f not in table.ids]
    if missing:
        raise ValueError(
            f"{table.name}: lesion-level analysis needs a column {' and '.join(missing)}; add it,"
            " or use --unit view"
        )
    lesion_ids = table.ids["lesion"]
    if "" in lesion_ids:
        line = table.lines[lesion_ids.index("")]
        raise ValueError(
            f"{table.name}: {lesion_ids.count('')} of {len(lesion_ids)} rows have no lesion id; the"
            f" first is line {line}; fill it in, or use --unit view"
        )
    sides = table.ids.get("laterality")
    if sides is not None:  # both breasts may have a lesion 1
        lesion_ids = [f"{lesion}\0{side}" for lesion, side in zip(lesion_ids, sides, strict=True)]
    try:
        labels, scores, cases, lesions = view_to_lesion(
            table.labels, table.scores, table.ids["case"], lesion_ids
        )
    except ValueError as error:
        raise ValueError(f"{table.name}: {error}") from None
    ids = {"case": list(cases), "lesion": [lesion.partition("\0")[0] for lesion in lesions]}
    if sides is not None:
        ids["laterality"] = [lesion.partition("\0")[2] for lesion in lesions]
    rows = zip(
        reversed(table.ids["case"]), reversed(lesion_ids), reversed(table.lines), strict=True
    )
    first_line = {(case, lesion): line for case, lesion, line in rows}
    lines = [first_line[key] for key in zip(cases, lesions, strict=True)]
    return Table(table.name, list(labels), list(scores), ids, lines)


def shared_fields(table: Table, other: Table) -> list[str]:
    """Return the fields that pair the rows of two tables: all that both have.

    Without ids in either table it is [], and rows pair by their order. Raises ValueError if a table
    has ids but the tables share none.
    """
    shared = [f for f in table.ids if f in other.ids]
    if any(f in IDS for f in shared):
        return shared
    for with_ids, without_ids in ((table, other), (other, table)):
        fields = [f for f in IDS if any(with_ids.ids.get(f, ()))]
        if fields:
            raise ValueError(
                f"{without_ids.name}: has no column {' or '.join(fields)}, which pairs its rows"
                f" with those of {with_ids.name}; add it"
            )
    return []


def pair(table: Table, other: Table) -> list[float]:
    """Return the scores of `other` in the order of the rows of `table`, paired by `shared_fields`.

    Raises ValueError if a row has no partner, or partners differ in their label.
    """
    shared = shared_fields(table, other)
    keys, other_keys = _row_keys(table, shared), _row_keys(other, shared)
    for name, row_keys in ((table.name, keys), (other.name, other_keys)):
        if len(set(row_keys)) < len(row_keys):
            repeated = Counter(row_keys).most_common(1)[0][0]
            raise ValueError(
                f"{name}: {format_key(shared, repeated)} appears more than once; add a column roi"
            )
    sides = ((table.name, keys, other.name, other_keys), (other.name, other_keys, table.name, keys))
    for name, row_keys, partner_name, partner_keys in sides:
        partners = set(partner_keys)
        unpaired = [key for key in row_keys if key not in partners]
        if unpaired:
            raise ValueError(
                f"{partner_name}: {len(unpaired)} rows of {name} are missing; the first is"
                f" {format_key(shared, unpaired[0])}; compare scores of the same cases"
            )
    other_row = {key: i for i, key in enumerate(other_keys)}
    order = [other_row[key] for key in keys]
    _reject_different_rows(table, other, order, [format_key(shared, key) for key in keys])
    return [other.scores[j] for j in order]


def _reject_different_rows(
    table: Table, other: Table, order: Sequence[int], names: Sequence[str]
) -> None:
    """Raise ValueError if paired rows differ in their label or in a field that both have."""
    columns = {"label": (table.labels, other.labels)}
    columns |= {f: (table.ids[f], other.ids[f]) for f in table.ids if f in other.ids}
    for field, (values, other_values) in columns.items():
        different = [i for i, j in enumerate(order) if values[i] != other_values[j]]
        if different:
            raise ValueError(
                f"{other.name}: {len(different)} rows have another {field} than in {table.name};"
                f" the first is {names[different[0]]}; correct one of the files"
            )


def _row_keys(table: Table, fields: list[str]) -> list[tuple]:
    rows = range(1, len(table.labels) + 1)
    columns: Iterable = (table.ids[f] for f in fields) if fields else [rows]
    return list(zip(*columns, strict=True))


def format_key(fields: Sequence[str], key: tuple) -> str:
    """Return a row key as text for messages, such as 'case p1, lesion 2'."""
    return ", ".join(f"{f} {k}" for f, k in zip(fields or ["row"], key, strict=True))


def _select_task(table: Table, task: str) -> Table:
    keep = [i for i, name in enumerate(table.ids["task"]) if name == task]
    ids = {field: [column[i] for i in keep] for field, column in table.ids.items()}
    columns = (table.labels, table.scores, table.lines)
    labels, scores, lines = ([column[i] for i in keep] for column in columns)
    return Table(table.name, labels, scores, ids, lines)
