"""Who is the same patient: a namespace and an id in it, as a key that is kept with the shards.

Case ids as written may be pseudonyms, and one id may mean another patient elsewhere. So shards hold
for every case the digest of namespace and id: without a secret where ids are published, by the
user's key where they are private.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.data.privacy import KEY_VARIABLE
from mtl_jax.types import InputError, RoiSet

CBIS_DDSM, DDSM, PRIVATE = "cbis_ddsm", "ddsm", "manifest"
# Collections whose ids are published: the same id is the same patient on every machine.
PUBLISHED = (CBIS_DDSM, DDSM, "inbreast", "vindr_mammo", "cmmd", "cdd_cesm", "mini_mias")
PUBLIC = (*PUBLISHED, "phantom")
NAMESPACE_ALIASES = {"curated_breast_imaging_ddsm": CBIS_DDSM}  # as TFDS calls it
COLUMNS: dict[str, type] = dict.fromkeys(("case_id", "patient", "similar", "headers"), str)
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_.:-]*")
# An id of these two within folder and file names, as P_00001 in Mass-Training_P_00001_LEFT_CC, and
# case3085 or B-3085-1 for DDSM, whose numbers are unique among its institutions.
_PATTERNS = {
    CBIS_DDSM: (re.compile(r"(?<![A-Z0-9])P_?0*(\d{1,5})(?![A-Z0-9])", re.I), "P_{:05d}"),
    DDSM: (
        re.compile(r"(?<![A-Z0-9])(?:CASE|[ABCD][-_])0*(\d{1,5})(?![A-Z0-9])", re.I),
        "case{:04d}",
    ),
}
_STRICT_PATTERNS = {
    CBIS_DDSM: re.compile(r"(?:\w+-\w+_)?P_\d{5}(?:_\w+)?"),
    DDSM: re.compile(r"case\d{4}|[ABCD][-_]\d{4}[-_]\d"),
}
ID_FORMS = {CBIS_DDSM: "P_00001", DDSM: "case3085 or B-3085-1"}  # in messages
# Letters that show nothing, and marks that only choose a glyph.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def choose_namespace(source: str, name: str, said: str = "") -> str:
    """Return the namespace of the collection `name` of a source; `said` is what its manifest says.

    A public collection has its own, under whichever source it comes; all other manifests share one.
    """
    if said:
        return _public_namespace(said) or said
    if source in PUBLIC:
        return source
    return _public_namespace(name) or (PRIVATE if source == PRIVATE else f"{source}:{name}")


def normalize_namespace(text: str, where: str) -> str:
    """Return what a manifest says, in small letters. InputError names `where`."""
    text = text.casefold()
    if text and not _NAMESPACE.fullmatch(text):
        raise InputError(f"{where}: namespace {text!r}: use letters, digits and _-.:")
    return text


def _public_namespace(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    names = {one.replace("_", ""): one for one in PUBLISHED}
    names |= {one.replace("_", ""): namespace for one, namespace in NAMESPACE_ALIASES.items()}
    return names.get(plain, "")


def canonical_id(namespace: str, patient_id: str) -> tuple[str, bool]:
    """Return the id as the namespace writes it, and whether it has the form of an id there."""
    if namespace not in _PATTERNS:
        return patient_id, True
    pattern, form = _PATTERNS[namespace]
    found = pattern.search(patient_id)
    return (form.format(int(found[1])), True) if found else (patient_id, False)


def reject_duplicate_ids(namespace: str, name: str, ids: Iterable[str]) -> None:
    """Raise InputError where two ids of the collection `name` are one patient in its namespace, as
    P_00001_LEFT_CC and P_00001_LEFT_MLO: the statistics take each case id for a patient."""
    first: dict[str, str] = {}
    for own in ids:
        patient = canonical_id(namespace, own)[0]
        other = first.setdefault(patient, own)
        if other != own:
            raise InputError(
                f"{name}: patient_id {other!r} and {own!r} are one patient of {namespace}, "
                f"{patient}; write {patient} in the rows of both"
            )


def guess_namespace(namespace: str, ids: Iterable[str]) -> str:
    """Return the public namespace that all these ids of a private one are written in; '' if
    none."""
    listed = [] if namespace in PUBLIC else list(ids)
    for other, strict in _STRICT_PATTERNS.items():
        if listed and all(strict.fullmatch(one) for one in listed):
            return other
    return ""


def normalize_id(patient_id: str) -> str:
    """Return what a person would take for the id: without Unicode form, case, invisible characters,
    separators and leading zeros. '' is like nothing."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", patient_id).casefold())
    kept = []
    for char in _INVISIBLE.sub("", text):
        kind = unicodedata.category(char)
        if kind == "Nd":
            kept.append(str(unicodedata.decimal(char)))
        elif kind[0] in "LMN":
            kept.append(char)
        elif kind not in ("Cf", "Cc"):
            kept.append("-")
    runs = re.sub(r"\d+", lambda run: run[0].lstrip("0") or "0", "".join(kept))
    # Between two numbers a separator tells 1-23 from 12-3; elsewhere it tells nothing.
    return re.sub(r"(?<!\d)-+|-+(?!\d)", "", re.sub("-+", "-", runs))


class PatientKeys:
    """Digests of the ids of one namespace, by the user's `secret` (None: ids are not hidden)."""

    def __init__(self, namespace: str, secret: bytes | None) -> None:
        self.namespace = namespace
        self._secret = None if namespace in PUBLIC else secret
        header = f"header\0{namespace}".encode()
        # Headers may name a patient even where the ids of the table are published.
        self.of_headers = hashlib.sha256(header).digest()
        self.keeps_headers = secret is not None  # without a secret they could be guessed
        if secret is not None:
            self.of_headers = hmac.digest(secret, header, "sha256")

    @property
    def fingerprint(self) -> str:
        """Tells one secret from another, and gives none away; '' where there is none."""
        if self._secret is None:
            return ""
        return hmac.digest(self._secret, b"fingerprint", "sha256").hex()[:12]

    def patient(self, patient_id: str) -> str:
        return self._digest("patient", canonical_id(self.namespace, patient_id)[0])

    def similar(self, patient_id: str) -> str:
        text = normalize_id(canonical_id(self.namespace, patient_id)[0])
        return self._digest("similar", text) if text else ""

    def _digest(self, kind: str, text: str) -> str:
        said = f"{kind}\0{self.namespace}\0{text}".encode()
        if self._secret is None:
            return hashlib.sha256(said).hexdigest()[:16]
        return hmac.digest(self._secret, said, "sha256").hex()[:16]


def header_digest(key: bytes, patient_id: str) -> str:
    """Of a header's PatientID, '' where it says none."""
    text = patient_id.strip()
    return hmac.digest(key, text.encode(), "sha256").hex()[:16] if text else ""


def make_rows(
    keys: PatientKeys, shown: Mapping[str, str], headers: Mapping[str, Iterable[str]]
) -> list[dict[str, str]]:
    """Return the lines of patients.csv, from the case id that is written of each patient id, and
    the digests of the PatientIDs in the headers of each case's images where there is a secret."""
    return [
        {
            "case_id": case,
            "patient": keys.patient(own),
            "similar": keys.similar(own),
            "headers": " ".join(sorted(filter(None, headers.get(case, ()))))
            if keys.keeps_headers
            else "",
        }
        for own, case in shown.items()
    ]


def namespace_of(rois: RoiSet) -> str:
    """Return the namespace of a collection; one made without patients has one of its own."""
    return str(rois.manifest.get("namespace") or f"collection:{rois.name}")


def assumed_namespace(rois: RoiSet) -> str:
    """Return the public namespace whose form the ids have where nobody said another, else its
    own."""
    return str(rois.manifest.get("ids_look_like") or namespace_of(rois))


def guessed_namespaces(collections: Mapping[str, RoiSet]) -> dict[str, str]:
    """Return the public namespace whose form the ids have, of each collection that has such and
    does not say whose they are."""
    found = {name: rois.manifest.get("ids_look_like", "") for name, rois in collections.items()}
    return {name: other for name, other in found.items() if other}


def patients_digest(rois: RoiSet) -> str:
    """Of who the cases of a collection are in this job: another crosswalk gives another."""
    lines = (f"{case}\0{patient}" for case, patient in sorted(patient_of_case(rois).items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def patients_of(rois: RoiSet, cases: Iterable[str]) -> set[str]:
    """Return the patients of these cases of a collection."""
    if not rois.patients:
        return {f"{rois.name}\0{case}" for case in cases}
    chosen = set(cases)
    return {patient for case, patient in patient_of_case(rois).items() if case in chosen}


def patient_of_case(rois: RoiSet) -> dict[str, str]:
    """Return {case: patient}; nothing where each case is a patient of its own."""
    if not rois.patients:
        return {}
    columns = (rois.patients[name].tolist() for name in ("case_id", "patient"))
    return dict(zip(*columns, strict=True))


def cases_of_patients(rois: RoiSet, patients: set[str]) -> set[str]:
    """Return the cases of a collection that are of these patients."""
    if not patients:
        return set()
    if not rois.patients:
        begin = f"{rois.name}\0"
        return {one.removeprefix(begin) for one in patients if one.startswith(begin)}
    return {case for case, patient in patient_of_case(rois).items() if patient in patients}


def reject_mixed_keys(collections: Sequence[RoiSet]) -> None:
    """Raise InputError if collections share a private namespace but not the key of their ids."""
    first_of: dict[str, RoiSet] = {}
    for rois in collections:
        namespace = namespace_of(rois)
        first = first_of.setdefault(namespace, rois)
        if rois.manifest.get("patient_key", "") != first.manifest.get("patient_key", ""):
            raise InputError(
                f"config.data.sources: {first.name} and {rois.name} share the namespace"
                f" {namespace!r}, but their ids were hashed with different keys, or only one's"
                " were hashed, so patients in both cannot be found: make the shards again with one"
                f" key ({KEY_VARIABLE}) and one data.pseudonymise, or give the manifests different"
                " values in the column namespace if they share no patient"
            )


def reject_mixed_id_forms(collections: Sequence[RoiSet]) -> None:
    """Raise InputError if collections share a published namespace and one has ids of another form.

    Such ids would count as other patients than the same ids in the published form.
    """
    for rois in collections:
        namespace = namespace_of(rois)
        others = [r.name for r in collections if r is not rois and namespace_of(r) == namespace]
        if others and namespace in ID_FORMS and not rois.manifest.get("ids_as_published"):
            raise InputError(
                f"config.data.sources: not every patient_id of {rois.name} is of the form"
                f" {ID_FORMS[namespace]}, so patients that are also in {', '.join(others)}, of the"
                f" same namespace {namespace!r}, cannot be found: write the ids in this form and"
                " make the shards again, or give its manifest another value in the column namespace"
                " if they share no patient"
            )


def find_similar(collections: Sequence[RoiSet]) -> list[dict[str, Any]]:
    """Pair of cases of two collections of one namespace that count as two patients and may be one:
    their ids read as the same, or the headers of their images name one patient."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for column, why in (("similar", "ids read as the same"), ("headers", "one PatientID in both")):
        seen: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
        for rois in collections:
            if (
                not rois.patients
                or sum(namespace_of(one) == namespace_of(rois) for one in collections) < 2
            ):
                continue
            columns = (rois.patients[name].tolist() for name in ("case_id", "patient", column))
            for case, patient, digests in zip(*columns, strict=True):
                for digest in digests.split():
                    by_patient = seen.setdefault((namespace_of(rois), digest), {})
                    for other, (name, one) in by_patient.items():
                        if other != patient and name != rois.name:
                            pair = {"a": [name, one], "b": [rois.name, case], "why": why}
                            found.setdefault((name, one, rois.name, case), pair)
                    by_patient.setdefault(patient, (rois.name, case))
    return list(found.values())


def replace_patients(rois: RoiSet, patient: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the table of a collection's patients with other keys, in the order of its lines."""
    return {name: rois.patients[name] for name in COLUMNS} | {"patient": np.array(patient, str)}
