"""Identify patients by a namespace and an id, as keys that are stored with the shards.

Written case ids may be pseudonyms, and the same id may mean another patient in another collection.
Shards therefore store, for every case, a digest of namespace and id: without a secret if the ids
are published, with the user's key if they are private.
"""

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.data.privacy import KEY_VARIABLE
from mtl_jax.types import GROUPS, PATIENTS, Collection, InputError, RoiSet

CBIS_DDSM, DDSM, PRIVATE = "cbis_ddsm", "ddsm", "manifest"
# Collections with published ids: the same id is the same patient everywhere.
PUBLISHED = (CBIS_DDSM, DDSM, "inbreast", "vindr_mammo", "cmmd", "cdd_cesm", "mini_mias")
PUBLIC = (*PUBLISHED, "phantom")
NAMESPACE_ALIASES = {"curated_breast_imaging_ddsm": CBIS_DDSM}  # as TFDS calls it
COLUMNS: dict[str, type] = dict.fromkeys(("case_id", "patient", "similar", "headers"), str)
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_.:-]*")
# Ids within folder and file names: P_00001 in Mass-Training_P_00001_LEFT_CC, and case3085 or
# B-3085-1 in DDSM, whose numbers are unique across its institutions.
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
# Invisible letters and variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def choose_namespace(source: str, name: str, stated: str = "") -> str:
    """Return the namespace of the collection `name` of a source; `stated` is from its manifest.

    A public collection has its own namespace, whatever source reads it. All manifests that state
    no namespace share one.
    """
    if stated:
        return _public_namespace(stated) or stated
    if source in PUBLIC:
        return source
    return _public_namespace(name) or (PRIVATE if source == PRIVATE else f"{source}:{name}")


def collection_namespace(source: str, collection: Collection) -> str:
    """Return the namespace of the cases of a collection that `source` read.

    Groups of images have a namespace of their own, because no id of another collection can name
    one. It has blanks, so that no manifest can state it.
    """
    if collection.cases_are == GROUPS:
        return f"groups of {collection.name}"
    return choose_namespace(source, collection.name, collection.namespace)


def normalize_namespace(text: str, where: str) -> str:
    """Return the namespace of a manifest in lower case; the InputError names `where`."""
    text = text.casefold()
    if text and not _NAMESPACE.fullmatch(text):
        raise InputError(f"{where}: namespace {text!r} is invalid: use letters, digits and _-.:")
    return text


def _public_namespace(name: str) -> str:
    """Return the public namespace that `name` spells, in any case and punctuation; '' if none."""
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    names = {public.replace("_", ""): public for public in PUBLISHED}
    names |= {alias.replace("_", ""): public for alias, public in NAMESPACE_ALIASES.items()}
    return names.get(plain, "")


def canonical_id(namespace: str, patient_id: str) -> tuple[str, bool]:
    """Return the id in the published form of its namespace, and whether it has such a form."""
    if namespace not in _PATTERNS:
        return patient_id, True
    pattern, form = _PATTERNS[namespace]
    match = pattern.search(patient_id)
    return (form.format(int(match[1])), True) if match else (patient_id, False)


def reject_duplicate_ids(namespace: str, name: str, ids: Iterable[str]) -> None:
    """Raise InputError if two ids, as P_00001_LEFT_CC and P_00001_LEFT_MLO, are one patient."""
    first_of: dict[str, str] = {}
    for patient_id in ids:
        patient = canonical_id(namespace, patient_id)[0]
        first = first_of.setdefault(patient, patient_id)
        if first != patient_id:
            raise InputError(
                f"{name}: patient_id {first!r} and {patient_id!r} are one patient of {namespace}, "
                f"{patient}; write {patient} in the rows of both"
            )


def guess_namespace(namespace: str, ids: Iterable[str]) -> str:
    """Return the public namespace whose form all ids of a private namespace have; '' if none."""
    private_ids = [] if namespace in PUBLIC else list(ids)
    for public, pattern in _STRICT_PATTERNS.items():
        if private_ids and all(map(pattern.fullmatch, private_ids)):
            return public
    return ""


def normalize_id(patient_id: str) -> str:
    """Return what a person may read as the id; an empty result matches no other.

    Case, invisible characters, separators and leading zeros are dropped, in NFKC.
    """
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
    plain = re.sub(r"\d+", lambda run: run[0].lstrip("0") or "0", "".join(kept))
    # Only separators between two numbers are kept: they distinguish 1-23 from 12-3.
    return re.sub(r"(?<!\d)-+|-+(?!\d)", "", re.sub("-+", "-", plain))


class PatientKeys:
    """Digests of the ids of one namespace, keyed by the user's `secret` (None: not keyed)."""

    def __init__(self, namespace: str, secret: bytes | None) -> None:
        self.namespace = namespace
        self._secret = None if namespace in PUBLIC else secret
        header = f"header\0{namespace}".encode()
        # Headers may name a patient even if the ids of the table are published.
        self.header_key = hashlib.sha256(header).digest()
        self.writes_header_digests = secret is not None  # unkeyed digests can be guessed
        if secret is not None:
            self.header_key = hmac.digest(secret, header, "sha256")

    @property
    def fingerprint(self) -> str:
        """Return a digest that identifies the secret without revealing it; '' without a secret."""
        if self._secret is None:
            return ""
        return hmac.digest(self._secret, b"fingerprint", "sha256").hex()[:12]

    def patient(self, patient_id: str) -> str:
        """Return the key of a patient."""
        return self._digest("patient", canonical_id(self.namespace, patient_id)[0])

    def similar(self, patient_id: str) -> str:
        """Return a digest that similar ids share; '' if the id has no letters or digits."""
        text = normalize_id(canonical_id(self.namespace, patient_id)[0])
        return self._digest("similar", text) if text else ""

    def _digest(self, kind: str, text: str) -> str:
        message = f"{kind}\0{self.namespace}\0{text}".encode()
        if self._secret is None:
            return hashlib.sha256(message).hexdigest()[:16]
        return hmac.digest(self._secret, message, "sha256").hex()[:16]


def header_digest(key: bytes, patient_id: str) -> str:
    """Return the digest of a header's PatientID; '' if it is empty."""
    text = patient_id.strip()
    return hmac.digest(key, text.encode(), "sha256").hex()[:16] if text else ""


def make_rows(
    keys: PatientKeys, written_ids: Mapping[str, str], headers: Mapping[str, Iterable[str]]
) -> list[dict[str, str]]:
    """Return the rows of patients.csv, given the case id that is written for each patient id.

    `headers` holds the digests of the PatientIDs in the headers of each written case, which are
    stored only if they are keyed by a secret.
    """
    return [
        {
            "case_id": case,
            "patient": keys.patient(patient_id),
            "similar": keys.similar(patient_id),
            "headers": " ".join(sorted(filter(None, headers.get(case, ()))))
            if keys.writes_header_digests
            else "",
        }
        for patient_id, case in written_ids.items()
    ]


def cases_are(rois: RoiSet) -> str:
    """Return what the cases of a collection are: PATIENTS, or GROUPS of images."""
    return str(rois.manifest.get("cases_are", PATIENTS))


def namespace_of(rois: RoiSet) -> str:
    """Return the namespace of a collection; shards without patients have their own."""
    return str(rois.manifest.get("namespace") or f"collection:{rois.name}")


def assumed_namespace(rois: RoiSet) -> str:
    """Return the public namespace that the form of the ids suggests, or else the own one."""
    return str(rois.manifest.get("ids_look_like") or namespace_of(rois))


def guessed_namespaces(collections: Mapping[str, RoiSet]) -> dict[str, str]:
    """Return the public namespaces that ids suggest, for the collections that state none."""
    guesses = {name: rois.manifest.get("ids_look_like", "") for name, rois in collections.items()}
    return {name: public for name, public in guesses.items() if public}


def patients_digest(rois: RoiSet) -> str:
    """Return a digest of the patients of all cases, which depends on the crosswalk."""
    lines = (f"{case}\0{patient}" for case, patient in sorted(patient_of_case(rois).items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def patients_of(rois: RoiSet, cases: Iterable[str]) -> set[str]:
    """Return the patients of these cases of a collection."""
    if not rois.patients:
        return {f"{rois.name}\0{case}" for case in cases}
    chosen = set(cases)
    return {patient for case, patient in patient_of_case(rois).items() if case in chosen}


def patient_of_case(rois: RoiSet) -> dict[str, str]:
    """Return {case: patient}; empty if each case is one patient."""
    if not rois.patients:
        return {}
    columns = (rois.patients[name].tolist() for name in ("case_id", "patient"))
    return dict(zip(*columns, strict=True))


def cases_of_patients(rois: RoiSet, patients: set[str]) -> set[str]:
    """Return the cases of a collection that belong to these patients."""
    if not patients:
        return set()
    if not rois.patients:
        prefix = f"{rois.name}\0"
        return {key.removeprefix(prefix) for key in patients if key.startswith(prefix)}
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
    """Raise InputError if collections of one published namespace have ids of different forms."""
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
    """Return pairs of cases that count as two patients, but may be one of their namespace."""
    pairs: dict[tuple[str, ...], dict[str, Any]] = {}
    counts = Counter(map(namespace_of, collections))
    reasons = (("similar", "similar ids"), ("headers", "the same PatientID in the headers"))
    for column, reason in reasons:
        cases: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
        for rois in collections:
            namespace = namespace_of(rois)
            if not rois.patients or counts[namespace] < 2:
                continue
            columns = (rois.patients[name].tolist() for name in ("case_id", "patient", column))
            for case, patient, digests in zip(*columns, strict=True):
                for digest in digests.split():
                    by_patient = cases.setdefault((namespace, digest), {})
                    for other_patient, (name, other_case) in by_patient.items():
                        if other_patient != patient and name != rois.name:
                            pair = {"a": [name, other_case], "b": [rois.name, case], "why": reason}
                            pairs.setdefault((name, other_case, rois.name, case), pair)
                    by_patient.setdefault(patient, (rois.name, case))
    return list(pairs.values())


def replace_patients(rois: RoiSet, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of `rois.patients` with other patient keys, in the order of its rows."""
    return {name: rois.patients[name] for name in COLUMNS} | {"patient": np.array(keys, str)}
