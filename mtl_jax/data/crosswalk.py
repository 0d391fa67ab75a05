"""Match the patients of CBIS-DDSM to the cases of DDSM if both are in one job.

Both collections hold the same patients under different ids. A crosswalk is a CSV with the columns
patient_id (P_00001) and ddsm_case (case3085 or B-3085-1); other columns are ignored.
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
    "config.data.sources contains CBIS-DDSM ({}) and DDSM ({}), which hold the same patients under"
    f" different ids: remove one, or set {FIELD} to a CSV with the columns patient_id and ddsm_case"
)


def read_crosswalk(path: Path) -> dict[str, str]:
    """Return {patient key in CBIS-DDSM: patient key in DDSM}."""
    ddsm_of: dict[str, tuple[str, str]] = {}
    keys = {name: PatientKeys(name, None) for name in (CBIS_DDSM, DDSM)}
    errors = TableErrors(path)
    for where, row in table.read_rows(path, ("patient_id", "ddsm_case"), errors):
        with errors.collect(where):
            ids = {CBIS_DDSM: row["patient_id"], DDSM: row["ddsm_case"]}
            for name, text in ids.items():
                if not canonical_id(name, text)[1]:
                    column = "patient_id" if name == CBIS_DDSM else "ddsm_case"
                    raise InputError(
                        f"{where}: {column} {text!r} is not of the form {ID_FORMS[name]}"
                    )
            case = canonical_id(DDSM, ids[DDSM])[0]
            pair = (case, keys[DDSM].patient(case))
            if ddsm_of.setdefault(keys[CBIS_DDSM].patient(ids[CBIS_DDSM]), pair) != pair:
                raise InputError(
                    f"{where}: patient {ids[CBIS_DDSM]} has another ddsm_case in an earlier row;"
                    " expected one case per patient"
                )
    errors.check()
    return {patient: key for patient, (_, key) in ddsm_of.items()}


def apply_crosswalk(collections: Mapping[str, RoiSet], path: str | None) -> dict[str, RoiSet]:
    """Return `collections`; if DDSM is among them, CBIS-DDSM gets the patient keys of DDSM.

    Collections of one namespace must have ids of one key and form.
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
                f" {form}; write the ids in this form"
            )
    ddsm_keys = read_crosswalk(Path(path))
    return dict(collections) | {
        rois.name: _replace_patients(rois, ddsm_keys, path) for rois in cbis
    }


def describe_matches(collections: Mapping[str, RoiSet]) -> list[str]:
    """Return a line for each CBIS-DDSM collection beside DDSM: the number of patients in both."""
    ddsm = {
        patient
        for rois in collections.values()
        if namespace_of(rois) == DDSM and rois.patients
        for patient in rois.patients["patient"].tolist()
    }
    lines = []
    for rois in collections.values() if ddsm else ():
        if namespace_of(rois) == CBIS_DDSM:
            cbis = set(rois.patients["patient"].tolist())
            lines.append(
                f"crosswalk: {len(cbis & ddsm)} of {len(cbis)} CBIS-DDSM patients ({rois.name}) are"
                " DDSM cases here"
            )
    return lines


def _reject_guessed(cbis: Sequence[RoiSet], ddsm: Sequence[RoiSet]) -> None:
    """Raise InputError if a collection counts as CBIS-DDSM or DDSM only by the form of its ids."""
    for rois, others in (*((r, ddsm) for r in cbis), *((r, cbis) for r in ddsm)):
        assumed = assumed_namespace(rois)
        if assumed != namespace_of(rois):
            raise InputError(
                f"{rois.name}: patient ids look like {assumed} ids, so {rois.name} may share"
                f" patients with {', '.join(r.name for r in others)}. Set the manifest column"
                f" namespace to {assumed}, or to a different name if the patients differ"
            )


def _replace_patients(rois: RoiSet, ddsm_keys: Mapping[str, str], path: str) -> RoiSet:
    keys = rois.patients["patient"].tolist()
    cases = rois.patients["case_id"].tolist()
    missing = [case for case, key in zip(cases, keys, strict=True) if key not in ddsm_keys]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(keys)} patients of {rois.name} have no ddsm_case"
            f" ({_example(rois, missing)}): add rows for them to the crosswalk ({FIELD}), or remove"
            " one collection from config.data.sources"
        )
    return replace(rois, patients=patients.replace_patients(rois, [ddsm_keys[key] for key in keys]))


def _example(rois: RoiSet, cases: Sequence[str]) -> str:
    """Return the published id of the first case, or its pseudonym and the file with its id."""
    published, is_published = canonical_id(namespace_of(rois), cases[0])
    if is_published:
        return f"such as {published}"
    lookup = privacy.lookup_name(rois.name, str(rois.manifest.get("fingerprint", "")))
    return (
        f"such as pseudonym {cases[0]}, whose original id is in {lookup} in the folder of the key"
        f" that the shards were made with; the current key is {privacy.key_path()}"
    )
