"""CBIS-DDSM and DDSM in one job: which patient of the one is which case of the other.

Both hold the same patients under ids that do not correspond. A crosswalk is a CSV with the columns
patient_id (P_00001) and ddsm_case (case3085 or B-3085-1); further columns are not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mtl_jax.data import patients, privacy
from mtl_jax.data.patients import (
    CBIS_DDSM,
    DDSM,
    ID_FORMS,
    PatientKeys,
    assumed_namespace,
    canonical_id,
    namespace_of,
)
from mtl_jax.data.sources import table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.types import InputError, RoiSet

FIELD = "config.data.crosswalk"
BOTH_COLLECTIONS = (
    "config.data.sources hold CBIS-DDSM ({}) and DDSM ({}), which are of the same patients under"
    f" ids that do not correspond: leave one out, or give {FIELD} a CSV with the columns patient_id"
    " and ddsm_case"
)


def read_crosswalk(path: Path) -> dict[str, str]:
    """Return {key of the CBIS-DDSM patient: key of the DDSM case}. InputError: no such table, ids
    that are none, patients with two cases."""
    found: dict[str, tuple[str, str]] = {}
    keys = {name: PatientKeys(name, None) for name in (CBIS_DDSM, DDSM)}
    faults = TableErrors(path)
    for place, row in table.read_rows(path, ("patient_id", "ddsm_case"), faults=faults):
        with faults.collected(place):
            ids = {CBIS_DDSM: row["patient_id"], DDSM: row["ddsm_case"]}
            for name, text in ids.items():
                if not canonical_id(name, text)[1]:
                    column = "patient_id" if name == CBIS_DDSM else "ddsm_case"
                    raise InputError(
                        f"{place}: {column} {text!r} is not of the form {ID_FORMS[name]}"
                    )
            case = canonical_id(DDSM, ids[DDSM])[0]
            pair = (case, keys[DDSM].patient(case))
            if found.setdefault(keys[CBIS_DDSM].patient(ids[CBIS_DDSM]), pair) != pair:
                raise InputError(
                    f"{place}: patient {ids[CBIS_DDSM]} has another ddsm_case in a row above; a"
                    " patient is one case"
                )
    faults.check()
    return {patient: key for patient, (_, key) in found.items()}


def apply_crosswalk(collections: Mapping[str, RoiSet], path: str | None) -> dict[str, RoiSet]:
    """Return `collections`, those of CBIS-DDSM with the patients of DDSM where both are there.

    InputError: both are there and no crosswalk is given, or it lacks a patient; two collections of
    one namespace have ids of different keys or forms.
    """
    patients.reject_mixed_keys(list(collections.values()))
    patients.reject_mixed_id_forms(list(collections.values()))
    by_space = {
        name: [rois for rois in collections.values() if assumed_namespace(rois) == name]
        for name in (CBIS_DDSM, DDSM)
    }
    cbis, ddsm = by_space[CBIS_DDSM], by_space[DDSM]
    if not (cbis and ddsm):
        return dict(collections)
    _reject_guessed(cbis, ddsm)
    if not path:
        names = (", ".join(rois.name for rois in group) for group in (cbis, ddsm))
        raise InputError(BOTH_COLLECTIONS.format(*names))
    for rois in (*cbis, *ddsm):
        if not rois.patients or not rois.manifest.get("ids_as_published"):
            form = ID_FORMS[namespace_of(rois)]
            raise InputError(
                f"{FIELD} cannot be used: not every patient_id of {rois.name} is of the form"
                f" {form}; write them so"
            )
    case_of = read_crosswalk(Path(path))
    return dict(collections) | {rois.name: _replace_patients(rois, case_of, path) for rois in cbis}


def describe_matches(collections: Mapping[str, RoiSet]) -> list[str]:
    """Return a line for each collection of CBIS-DDSM that stands beside DDSM: how many are in
    both."""
    ddsm = {
        patient
        for rois in collections.values()
        if namespace_of(rois) == DDSM and rois.patients
        for patient in rois.patients["patient"].tolist()
    }
    lines = []
    for rois in collections.values() if ddsm else ():
        if namespace_of(rois) == CBIS_DDSM:
            own = set(rois.patients["patient"].tolist())
            lines.append(
                f"crosswalk: {len(own & ddsm)} of {len(own)} CBIS-DDSM patients ({rois.name}) are"
                " DDSM cases here"
            )
    return lines


def _reject_guessed(cbis: Sequence[RoiSet], ddsm: Sequence[RoiSet]) -> None:
    """Raise InputError if one is taken for CBIS-DDSM or DDSM by the form of its ids alone."""
    for rois, others in (*((one, ddsm) for one in cbis), *((one, cbis) for one in ddsm)):
        assumed = assumed_namespace(rois)
        if assumed != namespace_of(rois):
            raise InputError(
                f"config.data.sources: the ids of {rois.name} have the form of those of {assumed},"
                f" and {', '.join(one.name for one in others)} would be of the same patients under"
                f" other ids: give the manifest of {rois.name} a column namespace, {assumed}, or"
                " another name if they are other patients; or leave it out"
            )


def _replace_patients(rois: RoiSet, case_of: Mapping[str, str], path: str) -> RoiSet:
    own = rois.patients["patient"].tolist()
    cases = rois.patients["case_id"].tolist()
    lacking = [case for case, key in zip(cases, own, strict=True) if key not in case_of]
    if lacking:
        raise InputError(
            f"{path}: {len(lacking)} of {len(own)} patients of {rois.name} have no ddsm_case"
            f" ({_example(rois, lacking)}): add them, or leave them or one of the collections out"
            f" ({FIELD})"
        )
    return replace(rois, patients=patients.replace_patients(rois, [case_of[key] for key in own]))


def _example(rois: RoiSet, cases: Sequence[str]) -> str:
    """Return the first of these cases as a table may write it, or where its id is found."""
    published, known = canonical_id(namespace_of(rois), cases[0])
    if known:
        return f"such as {published}"
    lookup = privacy.lookup_name(rois.name, str(rois.manifest.get("fingerprint", "")))
    return (
        f"such as pseudonym {cases[0]}, whose original is in {lookup} beside the key that the"
        f" shards were made with, here {privacy.key_path()}"
    )
