"""CBIS-DDSM and DDSM in one job: which patient of the one is which case of the other.

Both hold the same patients under ids that do not correspond. A crosswalk is a CSV with the columns
patient_id (P_00001) and ddsm_case (case3085 or B-3085-1); further columns are not used.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mtl_jax.data import patients
from mtl_jax.data.patients import CBIS_DDSM, DDSM, Keys, canonical, space
from mtl_jax.data.sources import table
from mtl_jax.nouns import InputError, RoiSet

FIELD = "config.data.crosswalk"
FORMS = {CBIS_DDSM: "P_00001", DDSM: "case3085 or B-3085-1"}
BOTH = (
    "config.data.sources hold CBIS-DDSM ({}) and DDSM ({}), which are of the same patients under"
    f" ids that do not correspond: leave one out, or give {FIELD} a CSV with the columns patient_id"
    " and ddsm_case"
)


def read(path: Path) -> dict[str, str]:
    """{key of the CBIS-DDSM patient: key of the DDSM case}. InputError: no such table, an id that
    is none, a patient with two cases."""
    found: dict[str, tuple[str, str]] = {}
    keys = {name: Keys(name, None) for name in (CBIS_DDSM, DDSM)}
    for place, row in table.read(path, ("patient_id", "ddsm_case")):
        said = {CBIS_DDSM: row["patient_id"], DDSM: row["ddsm_case"]}
        for name, text in said.items():
            if not canonical(name, text)[1]:
                column = "patient_id" if name == CBIS_DDSM else "ddsm_case"
                raise InputError(f"{place}: {column} {text!r} is not of the form {FORMS[name]}")
        case = canonical(DDSM, said[DDSM])[0]
        pair = (case, keys[DDSM].patient(case))
        if found.setdefault(keys[CBIS_DDSM].patient(said[CBIS_DDSM]), pair) != pair:
            raise InputError(
                f"{place}: patient {said[CBIS_DDSM]} has another ddsm_case in a row above; a"
                " patient is one case"
            )
    return {patient: key for patient, (_, key) in found.items()}


def joined(collections: Mapping[str, RoiSet], path: str | None) -> dict[str, RoiSet]:
    """`collections`, those of CBIS-DDSM with the patients of DDSM where both are there.

    InputError: both are there and no crosswalk is given, or it lacks a patient; two collections of
    one private namespace have ids of different keys.
    """
    patients.refuse_other_keys(list(collections.values()))
    by_space = {
        name: [rois for rois in collections.values() if space(rois) == name]
        for name in (CBIS_DDSM, DDSM)
    }
    cbis, ddsm = by_space[CBIS_DDSM], by_space[DDSM]
    if not (cbis and ddsm):
        return dict(collections)
    if not path:
        names = (", ".join(rois.name for rois in group) for group in (cbis, ddsm))
        raise InputError(BOTH.format(*names))
    for rois in (*cbis, *ddsm):
        if not rois.patients or not rois.manifest.get("ids_as_published"):
            form = FORMS[space(rois)]
            raise InputError(
                f"{FIELD} cannot be used: not every patient_id of {rois.name} is of the form"
                f" {form}; write them so"
            )
    case_of = read(Path(path))
    return dict(collections) | {rois.name: _joined(rois, case_of, path) for rois in cbis}


def matched(collections: Mapping[str, RoiSet]) -> list[str]:
    """A line for each collection of CBIS-DDSM that stands beside DDSM: how many are in both."""
    ddsm = {
        patient
        for rois in collections.values()
        if space(rois) == DDSM and rois.patients
        for patient in rois.patients["patient"].tolist()
    }
    lines = []
    for rois in collections.values() if ddsm else ():
        if space(rois) == CBIS_DDSM:
            own = set(rois.patients["patient"].tolist())
            lines.append(
                f"crosswalk: {len(own & ddsm)} of {len(own)} CBIS-DDSM patients ({rois.name}) are"
                " DDSM cases here"
            )
    return lines


def _joined(rois: RoiSet, case_of: Mapping[str, str], path: str) -> RoiSet:
    own = rois.patients["patient"].tolist()
    cases = rois.patients["case_id"].tolist()
    lacking = [case for case, key in zip(cases, own, strict=True) if key not in case_of]
    if lacking:
        raise InputError(
            f"{path}: {len(lacking)} of {len(own)} patients of {rois.name}, such as {lacking[0]},"
            f" have no ddsm_case: add them, or leave them or one of the collections out ({FIELD})"
        )
    return replace(rois, patients=patients.with_patients(rois, [case_of[key] for key in own]))
