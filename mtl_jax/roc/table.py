"""Tables of scores: tasks kept apart, lesions made of views, two tables paired. No statistic."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtl_jax.roc.lesions import view_to_lesion


@dataclass(frozen=True)
class Table:
    """Scored rows: `labels` and `scores`, and the ids that the file has, by field."""

    name: str
    labels: list[float]
    scores: list[float]
    ids: dict[str, list[str]]


def by_task(tables: Sequence[Table], task: str | None) -> list[tuple[str, list[Table]]]:
    """Return the rows of each task apart: (task, `tables` with its rows alone), in the order of the
    first table; of `task` alone where it is given. Where no table names tasks: ('', `tables`).

    Raises ValueError where a table does not name tasks but another names several, where a row
    names none, or where a task is not in every table.
    """
    tasks = [list(dict.fromkeys(table.ids.get("task", ()))) for table in tables]
    if task is None and max(map(len, tasks)) <= 1 and not all(tasks):
        return [("", list(tables))]
    for table, found in zip(tables, tasks, strict=True):
        if not found:
            raise ValueError(f"{table.name}: has no column task, by which tasks are kept apart")
        if "" in found:
            row = table.ids["task"].index("") + 1
            raise ValueError(f"{table.name}: row {row} below the header names no task")
    wanted = [task] if task is not None else list(dict.fromkeys(sum(tasks, [])))
    for table, found in zip(tables, tasks, strict=True):
        for name in wanted:
            if name not in found:
                raise ValueError(
                    f"{table.name}: has no row of task {name!r}; its tasks are {', '.join(found)}:"
                    " name one of them with --task NAME"
                )
    return [(name, [_of_task(table, name) for table in tables]) for name in wanted]


def by_lesion(table: Table) -> Table:
    """One row a lesion, its score the mean over its rows."""
    missing = [f for f in ("case", "lesion") if f not in table.ids]
    if missing:
        raise ValueError(f"{table.name}: --unit lesion needs a column {' and '.join(missing)}")
    named = table.ids["lesion"]
    sides = table.ids.get("laterality")
    if sides is not None:  # the first lesion of either breast may be called 1
        named = [f"{lesion}\0{side}" for lesion, side in zip(named, sides, strict=True)]
    try:
        labels, scores, cases, lesions = view_to_lesion(
            table.labels, table.scores, table.ids["case"], named
        )
    except ValueError as error:
        raise ValueError(f"{table.name}: {error}") from None
    ids = {"case": list(cases), "lesion": [lesion.partition("\0")[0] for lesion in lesions]}
    if sides is not None:
        ids["laterality"] = [lesion.partition("\0")[2] for lesion in lesions]
    return Table(table.name, list(labels), list(scores), ids)


def pair(table: Table, other: Table) -> list[float]:
    """The scores of `other` in the order of the rows of `table`, found by the ids that both have,
    or by row where they share none. Raises ValueError where the rows do not pair."""
    shared = [f for f in table.ids if f in other.ids]
    keys, other_keys = (_keys(t, shared) for t in (table, other))
    at = {key: i for i, key in enumerate(other_keys)}
    for t, k in ((table, keys), (other, other_keys)):
        if len(set(k)) < len(k):
            twice = Counter(k).most_common(1)[0][0]
            raise ValueError(f"{t.name}: {say(shared, twice)} appears more than once; "
                             "a column roi would tell its rows apart")  # fmt: skip
    for t, here, there, place in ((other, keys, at, table), (table, other_keys, set(keys), other)):
        lost = [key for key in here if key not in there]
        if lost:
            raise ValueError(f"{t.name}: {len(lost)} rows of {place.name} have no partner, "
                             f"the first is {say(shared, lost[0])}")  # fmt: skip
    order = [at[key] for key in keys]
    wrong = [i for i, j in enumerate(order) if table.labels[i] != other.labels[j]]
    if wrong:
        raise ValueError(f"{other.name}: {len(wrong)} labels differ from {table.name}, "
                         f"the first is of {say(shared, keys[wrong[0]])}")  # fmt: skip
    return [other.scores[j] for j in order]


def _keys(table: Table, fields: list[str]) -> list[tuple]:
    columns: Iterable = (table.ids[f] for f in fields) if fields else [range(len(table.labels))]
    return list(zip(*columns, strict=True))


def say(fields: Sequence[str], key: tuple) -> str:
    """Return a key of these fields as messages name it, such as 'case p1, lesion 2'."""
    return ", ".join(f"{f} {k}" for f, k in zip(fields or ["row"], key, strict=True))


def _of_task(table: Table, task: str) -> Table:
    keep = [i for i, name in enumerate(table.ids["task"]) if name == task]
    ids = {field: [column[i] for i in keep] for field, column in table.ids.items()}
    labels, scores = ([column[i] for i in keep] for column in (table.labels, table.scores))
    return Table(table.name, labels, scores, ids)
