"""Tables of scores: tasks kept apart, lesions made of views, two tables paired. No statistic."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtl_jax.roc.lesion_scores import view_to_lesion

IDS = ("case", "lesion", "roi")  # which name what a row is of; a view or side alone does not


@dataclass(frozen=True)
class Table:
    """Scored rows: `labels` and `scores`, the ids that the file has, by field, and the line of each
    row (of a lesion: of its first one). `notes` say which columns were taken and ignored."""

    name: str
    labels: list[float]
    scores: list[float]
    ids: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()


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
            line = table.lines[table.ids["task"].index("")]
            raise ValueError(f"{table.name}: line {line} names no task; fill it in")
    wanted = [task] if task is not None else list(dict.fromkeys(sum(tasks, [])))
    for table, found in zip(tables, tasks, strict=True):
        for name in wanted:
            if name not in found:
                raise ValueError(
                    f"{table.name}: has no row of task {name!r}; its tasks are {', '.join(found)}:"
                    " name one of them with --task NAME"
                )
    return [(name, [_select_task(table, name) for table in tables]) for name in wanted]


def by_lesion(table: Table) -> Table:
    """Return one row a lesion, its score the mean over its rows."""
    missing = [f for f in ("case", "lesion") if f not in table.ids]
    if missing:
        raise ValueError(f"{table.name}: --unit lesion needs a column {' and '.join(missing)}; add"
                         " it, or choose --unit view")  # fmt: skip
    named = table.ids["lesion"]
    if "" in named:
        raise ValueError(f"{table.name}: {named.count('')} of {len(named)} rows have no lesion id,"
                         f" the first in line {table.lines[named.index('')]}; fill it in, or choose"
                         " --unit view")  # fmt: skip
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
    rows = zip(reversed(table.ids["case"]), reversed(named), reversed(table.lines), strict=True)
    first = {(case, lesion): line for case, lesion, line in rows}
    lines = [first[key] for key in zip(cases, lesions, strict=True)]
    return Table(table.name, list(labels), list(scores), ids, lines)


def shared_fields(table: Table, other: Table) -> list[str]:
    """Return the fields by which rows pair: those that both have, or none where neither has an id,
    so that rows pair by their order. Raises ValueError where ids are there, and none is shared."""
    shared = [f for f in table.ids if f in other.ids]
    if any(f in IDS for f in shared):
        return shared
    for t, lacking in ((table, other), (other, table)):
        named = [f for f in IDS if any(t.ids.get(f, ()))]
        if named:
            raise ValueError(
                f"{lacking.name}: has no column {' or '.join(named)}, by which its rows pair with"
                f" those of {t.name}; add it"
            )
    return []


def pair(table: Table, other: Table) -> list[float]:
    """Return the scores of `other` in the order of the rows of `table`, found by `shared_fields`.
    Raises ValueError where the rows do not pair."""
    shared = shared_fields(table, other)
    keys, other_keys = (_keys(t, shared) for t in (table, other))
    at = {key: i for i, key in enumerate(other_keys)}
    for t, k in ((table, keys), (other, other_keys)):
        if len(set(k)) < len(k):
            twice = Counter(k).most_common(1)[0][0]
            raise ValueError(f"{t.name}: {format_key(shared, twice)} appears more than once; "
                             "a column roi would tell its rows apart")  # fmt: skip
    for t, here, there, place in ((other, keys, at, table), (table, other_keys, set(keys), other)):
        lost = [key for key in here if key not in there]
        if lost:
            raise ValueError(f"{t.name}: {len(lost)} rows of {place.name} have no partner, "
                             f"the first is {format_key(shared, lost[0])}")  # fmt: skip
    order = [at[key] for key in keys]
    _reject_other_rows(table, other, order, [format_key(shared, key) for key in keys])
    return [other.scores[j] for j in order]


def _reject_other_rows(
    table: Table, other: Table, order: Sequence[int], names: Sequence[str]
) -> None:
    """Raise ValueError where paired rows differ in their label or in a field that both have."""
    columns = {"label": (table.labels, other.labels)}
    columns |= {f: (table.ids[f], other.ids[f]) for f in table.ids if f in other.ids}
    for field, (here, there) in columns.items():
        wrong = [i for i, j in enumerate(order) if here[i] != there[j]]
        if wrong:
            raise ValueError(
                f"{other.name}: {len(wrong)} rows differ in {field} from {table.name}, the first is"
                f" {names[wrong[0]]}"
            )


def _keys(table: Table, fields: list[str]) -> list[tuple]:
    rows = range(1, len(table.labels) + 1)
    columns: Iterable = (table.ids[f] for f in fields) if fields else [rows]
    return list(zip(*columns, strict=True))


def format_key(fields: Sequence[str], key: tuple) -> str:
    """Return a key of these fields as messages name it, such as 'case p1, lesion 2'."""
    return ", ".join(f"{f} {k}" for f, k in zip(fields or ["row"], key, strict=True))


def _select_task(table: Table, task: str) -> Table:
    keep = [i for i, name in enumerate(table.ids["task"]) if name == task]
    ids = {field: [column[i] for i in keep] for field, column in table.ids.items()}
    labels, scores, lines = ([column[i] for i in keep] for column in (
        table.labels, table.scores, table.lines))  # fmt: skip
    return Table(table.name, labels, scores, ids, lines)
