"""Make a manifest and a contact sheet from a table in another form, such as that of a hospital.

    mtl-jax manifest masses.csv --images films --map patient_id=MRN
        --map lesion_id=Lesion --map view=View --map image_path=File --map truth=Pathology
        --map pixel_um=Spacing --pixel-unit mm --box x,y,w,h --unit mm

The table is a CSV file or an Excel workbook with a row for each lesion in each image. All faults
are listed at once with their lines, and nothing is written until there is none. Then the images are
read as by an ingest, and OUT/manifest.csv, its decisions and the contact sheet are written: pages
of all images with the boxes and ROIs. docs/howto/from_a_table.md describes every option.
"""

import argparse
import contextlib
import re
import shlex
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mtl_jax import config
from mtl_jax.data import contact_sheet, ingest, preview_ingest
from mtl_jax.data.contact_strip import write_private
from mtl_jax.data.extract_collection import Outcome, extract_plan
from mtl_jax.data.from_table.boxes import FORMS
from mtl_jax.data.from_table.manifest_table import ManifestRows, make_rows
from mtl_jax.data.from_table.mapping import (
    MAPPED,
    PIXEL_UNITS,
    UNITS,
    TableMapping,
    parse_pairs,
    parse_values,
    read_mapping,
)
from mtl_jax.data.from_table.numbers import DECIMALS
from mtl_jax.data.from_table.read_table import Table, read_table
from mtl_jax.data.image_names import ImageMatcher
from mtl_jax.data.ingest_plan import Plan, plan_collection
from mtl_jax.data.sources import manifest
from mtl_jax.data.sources.manifest_rows import KNOWN
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging.resample import is_coarser
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io import atomic, paths
from mtl_jax.io.csv_safe import format_csv
from mtl_jax.types import Collection, InputError

MANIFEST = "manifest.csv"
DECISIONS = "manifest.decisions.txt"
MAX_PRINTED = 50  # errors; more are written to a file


def main(arguments: list[str] | None = None) -> int:
    flags = _parser().parse_args(arguments)
    return _make_manifest(flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=paths.path, metavar="TABLE", help="CSV or .xlsx file")
    parser.add_argument("--sheet", help="sheet of the workbook, if it has several")
    parser.add_argument(
        "--images",
        type=paths.path,
        action="append",
        metavar="FOLDER",
        help="folder of images or masks; may be repeated (default: that of the table)",
    )
    parser.add_argument(
        "--out",
        type=paths.path,
        metavar="FOLDER",
        help="folder of the manifest and the contact sheet (default: the first of the images)",
    )
    parser.add_argument("--name", help="name of the collection (default: that of the table)")
    parser.add_argument("--mapping", type=paths.path, metavar="FILE", help="options in a TOML file")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help=f"column of a field; the fields are {', '.join(MAPPED)}",
    )
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="FIELD:VALUE=WORD,...",
        help="words that mean a value, as in truth:malignant=Positive,1 or laterality:L=links",
    )
    parser.add_argument(
        "--constant",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="value of a field in all rows, as in modality=DM",
    )
    parser.add_argument(
        "--truth-source",
        choices=manifest.CHOICES["truth_source"],
        help="reference standard of all rows (default: unstated)",
    )
    parser.add_argument(
        "--one-lesion-per-breast",
        action="store_const",
        const=True,
        help="lesion_id is the laterality, if the table names no lesions",
    )
    parser.add_argument("--box", metavar="A,B,C,D", help="columns of the box, or the only one")
    parser.add_argument(
        "--box-form", choices=tuple(FORMS), help="order of the box (default: by known names)"
    )
    parser.add_argument("--unit", choices=UNITS, help="unit of the box (default: px)")
    parser.add_argument(
        "--first-pixel", type=int, choices=(0, 1), help="number of the first pixel (default: 0)"
    )
    parser.add_argument(
        "--pixel-unit", choices=tuple(PIXEL_UNITS), help="unit of the pixel size (default: um)"
    )
    parser.add_argument("--decimal", choices=tuple(DECIMALS), help="decimal mark, if ambiguous")
    parser.add_argument(
        "--workers",
        type=int,
        default=config.default().data.workers,
        help="processes that read images, each up to 1 GiB (default: %(default)s)",
    )
    parser.add_argument("--no-contact-sheet", action="store_true", help="write no contact sheet")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing manifest")
    return parser


def _make_manifest(flags: argparse.Namespace) -> int:
    mapping = _mapping(flags)
    roots = mapping.images or (flags.table.parent,)
    folder = flags.out or (roots[0] if roots[0].is_dir() else roots[0].parent)
    path = folder / MANIFEST
    if path.exists() and not flags.overwrite:
        raise InputError(f"{path} exists: give --overwrite to replace it, or another --out")
    name = _collection_name(flags.table) if flags.name is None else flags.name
    if not manifest.NAME.fullmatch(name):
        origin = f"{flags.table}: the name" if flags.name is None else "--name"
        raise InputError(
            f"{origin} {name!r} cannot name a collection: give --name with letters, digits, '_',"
            " '-' and '.'"
        )
    table = read_table(flags.table, (*mapping.known_columns(), *MAPPED), mapping.sheet)
    with _new_folder(folder):
        return _write_manifest(flags, mapping, table, name, ImageMatcher(roots), path)


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Remove the folder and its parents, if they are new and the block leaves them empty."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    atomic.make_folder(folder)
    try:
        yield
    finally:
        for one in missing:
            with contextlib.suppress(OSError):  # it is not empty
                one.rmdir()


def _write_manifest(
    flags: argparse.Namespace,
    mapping: TableMapping,
    table: Table,
    name: str,
    matcher: ImageMatcher,
    path: Path,
) -> int:
    """Write the manifest of a table to `path`, or list the faults of the table."""
    folder = path.parent
    errors = TableErrors(flags.table)
    made = make_rows(table, mapping, name, matcher, folder, errors)
    # The rows are read back and their images are extracted by the rules of an ingest.
    has_groups = any(cells["group_id"] for _, cells in made.rows)
    collection = manifest.make_collection(
        folder,
        made.rows,
        errors,
        made.outside,
        case="group_id" if has_groups else "patient_id",
    )
    with tempfile.TemporaryDirectory() as scratch:
        extracted = None
        if collection.views:
            extracted = _extract(collection, Path(scratch), flags, errors)
        if errors:
            return _report(errors.grouped(), flags.table, folder)
        if extracted is None:
            raise InputError(f"{flags.table}: no row has the truth malignant or benign")
        plan, outcome = extracted
        found = preview_ingest.describe(plan, outcome)
        if not outcome.extracted:
            raise InputError(f"{flags.table}: no lesion is left: {'; '.join(found)}")
        made = made._replace(notes=[*made.notes, *found])
        _write(path, made, collection)
        sheet = None if flags.no_contact_sheet else _write_sheet(folder, plan, outcome)
    _print_result(path, made, collection, sheet, len(outcome.extracted))
    return 0


def _collection_name(table: Path) -> str:
    """Return the name of the table in the characters that a collection may have."""
    stem = unicodedata.normalize("NFKD", table.stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")


def _mapping(flags: argparse.Namespace) -> TableMapping:
    constants = parse_pairs(flags.constant, "--constant")
    if flags.truth_source:
        constants["truth_source"] = flags.truth_source
    names = ("box_form", "unit", "first_pixel", "pixel_unit", "decimal", "sheet")
    options = {name: getattr(flags, name) for name in (*names, "one_lesion_per_breast")}
    options["box"] = tuple(map(str.strip, flags.box.split(","))) if flags.box else None
    options["images"] = tuple(flags.images) if flags.images else None
    options["map"] = parse_pairs(flags.map, "--map")
    options["value"] = parse_values(flags.value)
    return read_mapping(flags.mapping, options | {"constant": constants})


def _extract(
    collection: Collection, scratch: Path, flags: argparse.Namespace, errors: TableErrors
) -> tuple[Plan, Outcome] | None:
    """Extract the ROIs as an ingest does; every lesion view that cannot be used is an error."""
    data = config.default().data
    data.workers = flags.workers
    roi, options, rules = ingest.read_settings(data.to_dict(), scratch)
    # Chosen with the job, so that the manifest has every reference standard and pixel size.
    rules, roi = replace(rules, truth_policy="birads"), replace(roi, upsample=True)
    try:
        plan = plan_collection("manifest", collection, roi, options["manifest"], rules)
    except InputError as error:
        errors.add(str(flags.table), str(error))
        return None
    outcome = extract_plan(plan, scratch, rules.workers, not flags.no_contact_sheet)
    # An error of an image is the same for all of its rows, and names them.
    for failure in dict.fromkeys(outcome.failures):
        errors.add(failure.partition(": ")[0], failure)
    return plan, outcome


def _report(messages: Sequence[str], table: Path, folder: Path) -> int:
    """List all errors of the table on the screen, or in a file if they are many."""
    count = "1 error" if len(messages) == 1 else f"{len(messages)} errors"
    print(f"{table}: {count}; no manifest is written", file=sys.stderr)
    shown = list(messages)
    if len(messages) > MAX_PRINTED:
        listing = folder / f"{table.stem}.errors.txt"
        with atomic.report_write_errors(listing):
            write_private(listing, "".join(f"{message}\n" for message in messages).encode())
        shown = [*messages[:MAX_PRINTED], f"all {len(messages)} errors are in {listing}"]
    for message in shown:
        print(f"  {message}", file=sys.stderr)
    return 2


def _write(path: Path, made: ManifestRows, collection: Collection) -> None:
    """Write the manifest and its decisions, and read it back."""
    columns = [name for name in KNOWN if any(cells[name] for _, cells in made.rows)]
    text = format_csv(columns, ([cells[name] for name in columns] for _, cells in made.rows))
    atomic.write_text(path, text)
    atomic.write_text(path.with_name(DECISIONS), "".join(f"{note}\n" for note in made.notes))
    reread = manifest.read_collection(str(path), made.outside)
    # Notes name lines of the table, and its lines are not those of the manifest.
    first, second = (
        [replace(view, where="", noted="") for view in one.views] for one in (reread, collection)
    )
    if first != second:
        raise ValueError(f"{path}: differs from the rows it was made of")


def _write_sheet(folder: Path, plan: Plan, outcome: Outcome) -> Path | None:
    name = f"{plan.collection.name}-{plan.fingerprint[:12]}"
    return contact_sheet.write(folder / "contact_sheets" / name, plan, outcome)


def _print_result(
    path: Path, made: ManifestRows, collection: Collection, sheet: Path | None, rois: int
) -> None:
    for note in [*made.notes, *collection.notices]:
        print(note)
    views = collection.views
    n_cases = len({view.case_id for view in views})
    lesions = {(view.case_id, view.lesion_id): view.label for view in views}
    print(
        f"{path}: {len(views)} lesion views, {len(lesions)} lesions"
        f" ({sum(lesions.values())} malignant), {n_cases} {collection.cases_are}"
        + (f"; {rois} ROIs, the others are left out by an ingest" if rois < len(views) else "")
    )
    if sheet is not None:
        print(f"contact sheet, to check every box: {sheet}")
    print(f"decisions: {path.with_name(DECISIONS)}")
    name, source = collection.name, f"manifest:{path}"
    is_coarse = any(is_coarser(view.pixel_um, RoiSettings().pixel_um) for view in views)
    needed = ["manifest.outside"] * made.outside + ["roi.upsample"] * is_coarse
    shards, job = (
        "".join(f" {option}{name}=True" for name in needed)
        for option in ("--set ", "--config.data.")
    )
    print("next, the ROIs, or the main job:")
    sources = shlex.quote(f'("{source}",)')
    print(f"  mtl-jax shards {shlex.quote(source)} --out shards{shards}")
    print(
        f"  mtl-jax run --config=sttl --workdir=runs/{name}"
        f" --config.data.sources={sources} --config.data.target={name}{job}"
    )
