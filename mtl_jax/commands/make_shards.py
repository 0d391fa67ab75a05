"""Make shards of 128x128 ROIs from collections of mammograms.

mtl-jax shards mini_mias:data/mini_mias manifest:mine/lesions.csv --out shards
Each collection is written to OUT/<collection>, which is a data source: shards:OUT/<collection>. Its
audit.csv has a row for every lesion view and for everything left out, with the reason. Lesion views
of images that cannot be used are left out, unless --strict or --set unusable=reject is given.
"""

import argparse
import re
from difflib import get_close_matches

from ml_collections import ConfigDict

from mtl_jax import config, config_diff
from mtl_jax.data import audit, ingest
from mtl_jax.io import paths
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    c = config.default()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source",
        nargs="+",
        type=paths.expand_source,
        help="name:path, as in mini_mias:data/mini_mias",
    )
    parser.add_argument("--out", type=paths.path, required=True, help="folder for the shards")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="reject a collection in which a value was corrected or an image cannot be used",
    )
    parser.add_argument(
        "--truth",
        choices=config.TRUTH_POLICIES,
        default=c.data.truth_policy,
        help="accepted reference standards (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=c.data.workers,
        help="processes that read images, each up to 1 GiB (default: %(default)s)",
    )
    parser.add_argument(
        "--no-contact-sheet",
        action="store_true",
        help="do not write OUT/contact_sheets, pages of the images with their boxes and ROIs",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any other field of config.data, as in mini_mias.classes=CIRC,SPIC",
    )
    flags = parser.parse_args(arguments)
    try:
        c.data.strict, c.data.truth_policy, c.data.workers = (
            flags.strict,
            flags.truth,
            flags.workers,
        )
        # Downloaded collections may have damaged files; the audit lists the lesions lost.
        c.data.unusable = "leave_out"
        for assignment in flags.set:
            assign(c.data, assignment)
        c.data.cache = str(flags.out)  # the sources that write files do so there
        config.expand_paths(c)
        config.validate(c)
        how = ingest.read_settings(c.data.to_dict(), flags.out)
        sheets = None if flags.no_contact_sheet else flags.out / "contact_sheets"
        made = [ingest.make_shards(spec, flags.out, *how, sheets) for spec in flags.source]
    except InputError as error:
        raise InputError(name_flags(str(error), c.data)) from error
    print(audit.format_summary(made))
    return 0


def name_flags(message: str, data: ConfigDict) -> str:
    """Return a message with the options of this command in place of fields of config.data."""
    message = message.replace("set config.data.strict=False", "omit --strict")
    message = message.replace("set config.data.roi", "give config.data.roi")
    for field, flag in (("truth_policy", "--truth"), ("workers", "--workers")):
        message = message.replace(f"config.data.{field}", flag)
    return re.sub(rf"config\.data\.(?=(?:{'|'.join(data)})\b)", "--set ", message)


def assign(data: ConfigDict, assignment: str) -> None:
    """Set a field such as mini_mias.classes=CIRC,SPIC, with the type that it has."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise InputError(f"--set {assignment}: expected FIELD=VALUE")
    known = config_diff.flatten(data.to_dict())
    *above, field = name.split(".")
    for part in above:
        data = data.get(part) if isinstance(data, ConfigDict) else None
    # An unset field is None but has a type.
    kind = data.get_type(field) if isinstance(data, ConfigDict) and field in data else None
    if kind not in (str, bool, int, float, tuple):
        similar = get_close_matches(name, known, 1)
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        raise InputError(f"--set {assignment}: config.data has no field {name!r}{hint}")
    try:
        if kind is bool:
            data[field] = {"true": True, "false": False}[text.lower()]
        else:
            data[field] = tuple(text.split(",")) if kind is tuple else kind(text)
    except (KeyError, ValueError) as error:
        raise InputError(f"--set {assignment}: expected {kind.__name__}, got {text!r}") from error
