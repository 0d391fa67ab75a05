"""Describe what an ingest will leave out and note of a table, with the lines of the table."""

from collections.abc import Iterable

from mtl_jax.data import collection_checks, duplicate_patients, image_notes
from mtl_jax.data.extract_collection import Outcome
from mtl_jax.data.ingest_plan import Plan
from mtl_jax.exclusion_reasons import group_by_reason, join_first

MAX_ROWS = 10  # that a sentence names


def describe(plan: Plan, outcome: Outcome) -> list[str]:
    """Return a sentence for each reason, check of the collection, similar id and kind of note."""
    cases_are = plan.collection.cases_are
    rows = [" ".join(view.where.split()[-2:]) for view in plan.collection.views]
    left_out = [(rows[number], reason) for number, reason in enumerate(outcome.reasons) if reason]
    checks = collection_checks.check_collection(outcome.checked_views(plan.views), ())
    noted = {
        number: [*image_notes.parse_notes(plan.views[number]), *outcome.notes.get(number, ())]
        for number in sorted(outcome.extracted)
    }
    sentences = [
        f"left out by an ingest: {reason}: {_rows(items)}"
        for reason, items in group_by_reason(left_out)
    ]
    sentences += [f"check: {check.message}" for check in checks]
    sentences += [
        *duplicate_patients.check_ids(plan.record["ids_look_like"], plan.written_ids, cases_are),
        *duplicate_patients.check_images(outcome.images, cases_are),
    ]
    for entry in image_notes.count_notes((rows[n], notes) for n, notes in noted.items()):
        of_kind = [
            rows[number]
            for number, notes in noted.items()
            if (entry["kind"], entry["corrected"]) in {(n.kind, n.corrected) for n in notes}
        ]
        decision = "corrected" if entry["corrected"] else "noted"
        detail = f" (the first: {entry['detail']})" if entry["detail"] else ""
        sentences.append(f"{decision}: {entry['kind']}{detail}: {_rows(of_kind)}")
    return sentences


def _rows(rows: Iterable[str]) -> str:
    """Return '2 rows (line 7, line 9)'."""
    listed = list(rows)
    count = "1 row" if len(listed) == 1 else f"{len(listed)} rows"
    return f"{count} ({join_first(listed, MAX_ROWS)})"
