"""The audit of an ingest: one row for each lesion view and each item left out."""

from collections.abc import Sequence
from typing import Any

from mtl_jax.data import image_notes
from mtl_jax.data.collection_checks import Check
from mtl_jax.exclusion_reasons import group_by_reason
from mtl_jax.io.csv_safe import escape_formula, format_csv
from mtl_jax.types import LesionView, RoiSet

COLUMNS = (
    *("decision", "item", "image", "case_id", "lesion_id", "view", "laterality", "modality"),
    *("label", "truth_source", "split", "reason"),
)
KEPT, NOTED, REPAIRED, LEFT_OUT = "kept", "noted", "repaired", "left out"
COUNT_NAMES = (
    *("images", "rois", "lesions", "cases", "malignant", "benign"),
    *("repaired", "noted", "left_out"),
)
MAX_REASONS = 8  # reasons shown on the screen


def make_rows(
    views: Sequence[LesionView],
    images: Sequence[str],
    reasons: Sequence[str],
    left_out: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Return the rows of audit.csv: the views, kept or left out for a reason, then `left_out`."""
    table = []
    for view, image, reason in zip(views, images, reasons, strict=True):
        if reason:
            decision, text = LEFT_OUT, reason
        else:
            decision = REPAIRED if view.note else NOTED if view.noted else KEPT
            text = image_notes.SEPARATOR.join(filter(None, (view.note, view.noted)))
        row = {column: getattr(view, column) for column in COLUMNS if hasattr(view, column)}
        row |= {"decision": decision, "item": item_name(view), "image": image}
        table.append(row | {"reason": text})
    table += [{"decision": LEFT_OUT, "item": name, "reason": text} for name, text in left_out]
    return table


def check_rows(name: str, checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return a row of audit.csv for each check of the collection called `name`."""
    return [{"decision": NOTED, "item": name, "reason": check.message} for check in checks]


def item_name(view: LesionView) -> str:
    """Return the name of a lesion view: case/lesion/view."""
    return f"{view.case_id}/{view.lesion_id}/{view.view}"


def format_table(table: Sequence[dict[str, Any]]) -> str:
    """Return audit.csv as text."""
    return format_csv(
        COLUMNS, ([escape_formula(str(row.get(name, ""))) for name in COLUMNS] for row in table)
    )


def format_summary(collections: Sequence[RoiSet]) -> str:
    """Return a table of the collections' counts, then a line per note and per reason."""
    width = max(len("collection"), *(len(rois.name) for rois in collections))
    lines = [" ".join([f"{'collection':{width}}", *(f"{name:>9}" for name in COUNT_NAMES)])]
    for rois in collections:
        counts = rois.manifest["counts"]
        lines.append(
            " ".join([f"{rois.name:{width}}", *(f"{counts.get(n, 0):9d}" for n in COUNT_NAMES)])
        )
    lines += [line for rois in collections for line in summary_lines(rois)]
    return "\n".join(lines)


def summary_lines(rois: RoiSet) -> list[str]:
    """Return a line per check, per kind of note on the ROIs, and per reason for leaving items out.

    What a check counts is not repeated.
    """
    checks = rois.manifest.get("checks", [])
    kinds = tuple(check["kind"] for check in checks)
    lines = [f"{rois.name}: check: {check['message']}" for check in checks]
    lines += image_notes.format_lines(rois, kinds)
    reasons = [
        (reason, items)
        for reason, items in group_by_reason(rois.manifest["left_out"])
        if not reason.startswith(kinds)
    ]
    lines += [
        f"{rois.name}: {len(items)} left out: {reason}" for reason, items in reasons[:MAX_REASONS]
    ]
    if len(reasons) > MAX_REASONS:
        others = sum(len(items) for _, items in reasons[MAX_REASONS:])
        lines.append(f"{rois.name}: {others} left out for other reasons: see audit.csv")
    return lines
