"""No patient is in training and test; patients are recognized across collections."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit.dicom import write_dicom
from test_study import make_approaches, make_roi_set

from mtl_jax import config, patient_notes
from mtl_jax.data import crosswalk, duplicate_patients, ingest, patients
from mtl_jax.experiments import console, guards, leak_checks, splits, study_inputs
from mtl_jax.experiments.run_lists import cross_validation_runs, independent_test_runs
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.report import tables
from mtl_jax.report.read_workdir import WorkFolder
from mtl_jax.types import InputError, RoiSet

ROI = RoiSettings()
FOLDS = 2


def make_collection(
    name: str, patient_ids: list[str], split: str = "", namespace: str = "manifest", seed: int = 0
) -> RoiSet:
    """Return a collection without pixels, with one case for each of these patients."""
    rois = make_roi_set(name, len(patient_ids), split, seed=seed)
    cases = list(dict.fromkeys(rois.index["case_id"].tolist()))
    keys = patients.PatientKeys(namespace, None)
    rows = patients.make_rows(keys, dict(zip(patient_ids, cases, strict=True)), {})
    columns = {c: np.array([row[c] for row in rows], str) for c in patients.COLUMNS}
    columns["patient"] = np.array([keys.patient(patient_id) for patient_id in patient_ids])
    columns["case_id"] = np.array(cases)
    manifest = rois.manifest | {"namespace": namespace, "patient_key": keys.fingerprint}
    return replace(rois, patients=columns, manifest=manifest | {"ids_as_published": True})


# Random layouts


def random_layout(rng: np.random.Generator) -> tuple[dict[str, RoiSet], dict[str, list[str]]]:
    """Return one to four collections that share patients, with or without an official split, and
    the patient of each case."""
    collections, case_patients = {}, {}
    for number in range(rng.integers(1, 5)):
        name, namespace = "tuvw"[number], ["one", "two"][rng.integers(2)]
        count = int(rng.integers(8, 40))
        numbers = rng.choice(60, count, replace=False)
        ids = [f"{namespace}:{i}" for i in numbers]
        if rng.random() < 0.2:
            ids[1] = ids[0]  # one patient under two case ids
        official = "yes" if rng.random() < 0.4 else ""
        rois = make_collection(name, [f"{i}/{p}" for i, p in enumerate(ids)], official, namespace)
        keys = patients.PatientKeys(namespace, None)
        table = dict(rois.patients) | {
            "patient": np.array([keys.patient(patient_id) for patient_id in ids])
        }
        marks = np.array(["test", "train", ""])[rng.integers(0, 3, count)] if official else [""]
        index = dict(rois.index) | {"split": np.repeat(np.resize(marks, count), 2)}
        collections[name] = replace(rois, index=index, patients=table)
        case_patients[name] = ids
    return collections, case_patients


def patients_of_rows(case_patients: list[str], rows: np.ndarray) -> set[str]:
    """Return the patients of these rows; each case has two rows."""
    return {case_patients[row // 2] for row in rows.tolist()}


def check_runs(
    collections: Mapping[str, RoiSet], case_patients: dict[str, list[str]], seed: int
) -> int:
    """Check every run of a job on these collections; return the number of runs."""
    rng = np.random.default_rng(seed)
    test_each, names = bool(rng.integers(2)), list(collections)
    candidates = ["sttl"]
    if len(names) > 1:
        candidates += ["mttl", "mttl+without=t", f"mttl+without={names[-1]}", f"sttl+of={names[1]}"]
    approach_list = make_approaches(
        tuple(rng.permutation(candidates)[: rng.integers(1, 5)]), "t", tuple(names)
    )
    auxiliaries = study_inputs.evaluated_auxiliaries("t", test_each, names, approach_list)
    rules = splits.SplitRules(
        False, int(rng.integers(1, 3)), FOLDS, float(rng.choice([0, 0.3])), seed
    )
    split = splits.make_split(collections, "t", auxiliaries, rules)
    assert split.from_record(json.loads(json.dumps(split.record()))).excluded == dict(
        split.excluded
    )
    fold_cases = {case for parts in split.partitions for part in parts for case in part}
    assert fold_cases <= set(split.train)
    test_patients: set[str] = set()
    marked = {
        name: set(rois.index["case_id"][rois.index["split"] == "test"].tolist())
        for name, rois in collections.items()
    }
    for name in ("t", *auxiliaries):
        cases = list(dict.fromkeys(collections[name].index["case_id"].tolist()))
        test_cases = set(split.test if name == "t" else split.auxiliary_tests[name])
        assert marked[name] in (set(), test_cases)
        test_patients |= {
            patient
            for case, patient in zip(cases, case_patients[name], strict=True)
            if case in test_cases
        }
    cases = list(dict.fromkeys(collections["t"].index["case_id"].tolist()))
    target_patients = dict(zip(cases, case_patients["t"], strict=True))
    assert not {target_patients[case] for case in split.train} & test_patients
    runs = cross_validation_runs(
        approach_list, ("C1",), range(1, rules.n_partitions + 1), FOLDS, 0, (0,)
    )
    runs += independent_test_runs(approach_list, "C1", 0, (0,), (None, 4))
    checked = 0
    for run in runs:
        try:
            splits.reject_unfit(run, collections, split)
            training, scored = splits.run_rows(run, collections, split)
        except InputError:
            continue
        checked += 1
        evaluated = set(test_patients)
        for name, rows in scored.items():
            evaluated |= patients_of_rows(case_patients[name], rows)
        for name, rows in training.items():
            task_patients = case_patients[name]
            assert not patients_of_rows(task_patients, rows) & evaluated, (run.id, name)
            assert not set(rows.tolist()) & set(scored[name].tolist())
            if name != "t":  # auxiliary collections are used whole
                assert patients_of_rows(task_patients, rows) == set(task_patients) - evaluated
                assert len(rows) == sum(2 for patient in task_patients if patient not in evaluated)
        labels = collections[run.tasks[0]].index["label"]
        for rows in (training, scored):
            assert set(labels[rows[run.tasks[0]]].tolist()) == {0, 1}
    return checked


def test_no_evaluated_patient_is_in_any_training_set_of_1000_layouts() -> None:
    n_runs = n_rejected = 0
    for seed in range(1000):
        try:
            n_runs += check_runs(*random_layout(np.random.default_rng(seed)), seed)
        except InputError:
            n_rejected += 1
    assert n_runs > 3000 and n_rejected < 400, (n_runs, n_rejected)


# Cases that a job excludes from training


def hospital() -> dict[str, RoiSet]:
    """Return `t` with 12 patients, and `x` with the same 12 and 6 more."""
    return {
        "t": make_collection("t", [f"p{i}" for i in range(12)]),
        "x": make_collection("x", [f"p{i}" for i in range(18)]),
    }


def test_excluded_cases_are_counted_and_reported() -> None:
    rois = hospital()
    split = splits.make_split(rois, "t", (), splits.SplitRules(True, 1, 2, 0.5, 0))
    # Two views per case; a fold has 3 of the 6 training cases, whose patients are also in `x`.
    counts = {"cases": 6, "rois": 12, "cases_in_a_fold": 3, "rois_in_a_fold": 6}
    assert split.record()["held_out"] == {"x": counts}
    assert split.record()["evaluated"] == {"t": split.test}
    assert patient_notes.exclusion_note(counts) == (
        "6 cases (12 ROIs) are excluded from training because their patients are in a test set;"
        " at most 3"
        " more (6 ROIs) are excluded while their patients are in the held-out fold"
    )
    alone = splits.make_split({"t": rois["t"]}, "t", (), splits.SplitRules(True, 1, 2, 0.5, 0))
    assert alone.record()["held_out"] == {}


def test_a_second_test_set_includes_test_patients_and_avoids_the_targets_training_cases() -> None:
    rois = hospital()
    split = splits.make_split(rois, "t", ("x",), splits.SplitRules(True, 0, 3, 0.5, 0))
    test_patients_in_x = {f"x{case[1:]}" for case in split.test}
    assert len(split.train) == 6 and test_patients_in_x <= set(split.auxiliary_tests["x"])
    # Half of each class of `x`: test patients of `t`, then only patients who are not in `t`.
    assert len(split.auxiliary_tests["x"]) == 9
    assert all(int(case[1:]) >= 12 for case in set(split.auxiliary_tests["x"]) - test_patients_in_x)


def test_patients_of_an_official_test_set_are_excluded_from_the_targets_folds() -> None:
    rois = hospital()
    marks = np.array(["test" if i < 2 else "train" for i in range(18)]).repeat(2)
    rois["x"] = replace(rois["x"], index=dict(rois["x"].index) | {"split": marks})
    unevaluated = splits.make_split(rois, "t", (), splits.SplitRules(False, 1, 2, 0.0, 0))
    assert len(unevaluated.train) == 12 and unevaluated.official_tests_in_training == ("x",)
    split = splits.make_split(rois, "t", ("x",), splits.SplitRules(False, 1, 2, 0.0, 0))
    assert (
        split.train
        == sorted(f"t{i:02d}" for i in range(2, 12))
        == sorted(sum(split.partitions[0], []))
    )
    assert split.excluded_counts["t"]["cases"] == 2 and split.official_tests_in_training == ()


def test_equal_ids_in_two_namespaces_are_two_patients() -> None:
    rois = hospital()
    rois["x"] = make_collection("x", [f"p{i}" for i in range(18)], namespace="elsewhere")
    split = splits.make_split(rois, "t", (), splits.SplitRules(True, 1, 2, 0.5, 0))
    assert split.excluded_counts == {} and split.excluded["x"] == []


def test_near_duplicates_of_one_patient_are_not_reported() -> None:
    rois = hospital()
    rois = {name: replace(r, shards=(random_pixels(len(r)),)) for name, r in rois.items()}
    split = splits.make_split(rois, "t", (), splits.SplitRules(True, 0, 3, 0.5, 0))
    assert leak_checks.find_near_duplicates_across_split(rois, split) == []
    rois["x"] = replace(rois["x"], patients={})
    split = splits.make_split(rois, "t", (), splits.SplitRules(True, 0, 3, 0.5, 0))
    assert len(leak_checks.find_near_duplicates_across_split(rois, split)) == 24


def random_pixels(count: int) -> np.ndarray:
    """Return ROIs; the n-th ROI of every collection is the same."""
    rois = [
        np.random.default_rng(row).integers(-999, 999, (32, 32)).repeat(4, 0).repeat(4, 1)
        for row in range(count)
    ]
    return np.stack(rois).astype(np.int16)


# Patient ids and namespaces


@pytest.mark.parametrize(
    ("source", "name", "stated", "namespace"),
    [
        ("cbis_ddsm", "cbis_ddsm", "", "cbis_ddsm"),
        ("tfds", "curated_breast_imaging_ddsm", "", "cbis_ddsm"),
        ("tfds", "toy", "", "tfds:toy"),
        ("phantom", "sfm", "", "phantom"),
        ("manifest", "films", "", "manifest"),
        ("manifest", "CBIS-DDSM", "", "cbis_ddsm"),
        ("manifest", "ddsm", "", "ddsm"),
        ("manifest", "films", "our.hospital", "our.hospital"),
        ("manifest", "films", "cbis-ddsm", "cbis_ddsm"),
        ("vindr_mammo", "vindr_mammo", "", "vindr_mammo"),
    ],
)
def test_the_namespace_depends_on_source_name_and_manifest(
    source: str, name: str, stated: str, namespace: str
) -> None:
    assert patients.choose_namespace(source, name, stated) == namespace


@pytest.mark.parametrize(
    ("namespace", "first", "second"),
    [
        ("cbis_ddsm", "P_00001", "Mass-Training_P_00001_LEFT_CC"),
        ("ddsm", "case3085", "B-3085-1"),
        ("ddsm", "case0029", "C_0029_1.LEFT_CC.png"),
        ("ddsm", "cancers/cancer_05/case0029", "C-0029-1"),
    ],
)
def test_one_published_id_in_several_forms_is_one_patient(
    namespace: str, first: str, second: str
) -> None:
    keys = patients.PatientKeys(namespace, b"of some user" * 3)
    assert (
        keys.patient(first)
        == keys.patient(second)
        == patients.PatientKeys(namespace, None).patient(first)
    )
    assert keys.patient(first) != keys.patient(first.replace("0", "7"))


def test_digests_of_private_ids_depend_on_the_users_key() -> None:
    ours, theirs = (patients.PatientKeys("manifest", key * 32) for key in (b"a", b"b"))
    assert ours.patient("P1") != theirs.patient("P1") and ours.similar("P1") != theirs.similar("P1")
    assert (
        ours.fingerprint != theirs.fingerprint != patients.PatientKeys("manifest", None).fingerprint
    )
    assert patients.PatientKeys("cbis_ddsm", b"a" * 32).fingerprint == ""


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("P-007", "p7", True),
        ("M\u00fcller", "Mu\u0308ller", True),
        ("\uff30\uff11", "P1", True),  # full width
        ("P1", "P\u200b1", True),  # a zero width space
        ("P1", "P1\ufe0f", True),  # a mark that chooses a glyph
        ("Stra\u00dfe 1", "STRASSE-01", True),
        ("\u0661\u0662", "12", True),  # Arabic digits
        ("A 1/2", "a_1-02", True),
        ("1-23", "12-3", False),
        ("P70", "P7", False),
        ("P0", "P", False),
    ],
)
def test_ids_that_a_person_would_take_for_the_same(first: str, second: str, same: bool) -> None:
    assert (patients.normalize_id(first) == patients.normalize_id(second)) is same


def test_an_id_without_letters_or_digits_matches_no_other() -> None:
    assert patients.normalize_id("--- ") == patients.normalize_id("\u200b") == ""
    assert patients.PatientKeys("manifest", None).similar("...") == ""


# From files


def manifest(folder: Path, name: str, ids: list[str], **extra_columns: str) -> str:
    """Write a manifest with one DICOM image per patient, without PatientIDs in the headers."""
    rng = np.random.default_rng(len(name))
    columns = ["dataset", "patient_id", "lesion_id", "view", "image_path", "truth", "pixel_um"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, "centre", *extra_columns])
        for i, patient_id in enumerate(ids):
            image = f"{name}{i}.dcm"
            write_dicom(
                folder / image, rng.integers(0, 4096, (290, 280)).astype(np.uint16), PatientID=""
            )
            truth = ("malignant", "benign")[i % 2]
            table.writerow(
                [name, patient_id, "1", "CC", image, truth, 100, "150;140", *extra_columns.values()]
            )
    return f"manifest:{folder / name}.csv"


def load(spec: str, cache: Path, **rules: bool) -> RoiSet:
    return ingest.load(spec, cache, ROI, {}, ingest.Rules(**rules))


def test_two_manifests_of_one_hospital_share_their_patients(tmp_path: Path) -> None:
    ids = [f"W{i}" for i in range(8)]
    a = load(manifest(tmp_path, "films", ids), tmp_path / "c")
    b = load(manifest(tmp_path, "digital", ids[::-1]), tmp_path / "c")
    c = load(manifest(tmp_path, "far", ids, namespace="Elsewhere"), tmp_path / "c")
    namespaces = [rois.manifest["namespace"] for rois in (a, b, c)]
    assert namespaces == ["manifest", "manifest", "elsewhere"]
    patient_sets = [set(rois.patients["patient"].tolist()) for rois in (a, b, c)]
    assert patient_sets[0] == patient_sets[1] and not patient_sets[0] & patient_sets[2]
    split = splits.make_split(
        {"films": a, "digital": b, "far": c}, "films", (), splits.SplitRules(True, 0, 2, 0.5, 0)
    )
    assert (
        split.excluded_counts["digital"]["cases"] == len(split.test) == 4
        and not split.excluded["far"]
    )


def test_one_namespace_and_two_keys_are_rejected(tmp_path: Path) -> None:
    ids = ["a", "b"]
    a = load(manifest(tmp_path, "films", ids), tmp_path / "c")
    b = load(manifest(tmp_path, "digital", ids), tmp_path / "c", pseudonymise=False)
    with pytest.raises(InputError, match="films and digital share the namespace.*make the shards"):
        crosswalk.apply_crosswalk({"films": a, "digital": b}, None)
    c = load(manifest(tmp_path, "far", ids, namespace="far"), tmp_path / "c", pseudonymise=False)
    assert set(crosswalk.apply_crosswalk({"films": a, "far": c}, None)) == {"films", "far"}


def test_a_manifest_has_one_namespace(tmp_path: Path) -> None:
    spec = manifest(tmp_path, "m", ["a", "b"], namespace="here")
    path = Path(spec.partition(":")[2])
    path.write_text(path.read_text().replace("here", "there", 1))
    with pytest.raises(
        InputError, match="line 3: namespace 'here' differs from .there. in the rows above"
    ):
        load(spec, tmp_path / "c")
    path.write_text(path.read_text().replace("here", "o v"))
    with pytest.raises(InputError, match="line 2: namespace 'to v' is invalid: use letters"):
        load(spec, tmp_path / "c")


def test_doubtful_ids_headers_and_copies_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    spec = manifest(tmp_path, "m", ["Zed-1", "zed 01", "Nob", "Ann"])
    gray = np.random.default_rng(9).integers(0, 4000, (290, 280)).astype(np.uint16)
    for i, header in enumerate(("Dent", "Ford", "Dent", "")):
        write_dicom(tmp_path / f"m{i}.dcm", gray + np.uint16(i), PatientID=header)
    write_dicom(tmp_path / "more.dcm", gray + np.uint16(3), PatientID="Prefect")
    write_dicom(tmp_path / "again.dcm", gray + np.uint16(2), PatientID="Zaphod")
    path = Path(spec.partition(":")[2])
    lines = [
        "m,Ann,1,MLO,more.dcm,benign,100,150;140",
        "m,Nob,1,MLO,again.dcm,malignant,100,150;140",
    ]
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    rois = load(spec, tmp_path / "c")
    written_ids = dict.fromkeys(rois.index["case_id"].tolist())
    notes = [text for text in rois.manifest["decisions"] if text.startswith("m: 1 ")]
    first, second, nob, ann = written_ids
    assert (
        f"the first {first} and {second}" in notes[0] and "differ only in case, blanks" in notes[0]
    )
    assert f"several PatientIDs in their headers: {nob}" in notes[1]
    assert f"are listed under several cases, one under {nob}, {first}" in notes[2] or (
        f"are listed under several cases, one under {first}, {nob}" in notes[2]
    )
    assert "2 images are stored twice" in rois.manifest["decisions"][-1]
    errors = capsys.readouterr().err
    assert all(f"mtl_jax: note: {text}" in errors for text in notes)
    folder = next((tmp_path / "c").glob("m-*"))
    for file in folder.iterdir():
        for name in (b"Dent", b"Ford", b"Prefect", b"Zaphod", b"Zed", b"Nob"):
            assert name not in file.read_bytes()


def test_similar_ids_of_two_collections_are_reported(tmp_path: Path) -> None:
    a = load(manifest(tmp_path, "a", ["W-01", "W-02", "W-03"]), tmp_path / "c")
    b = load(manifest(tmp_path, "b", ["w1", "W-02", "V"]), tmp_path / "c")
    (pair,) = patients.find_similar([a, b])
    cases = [rois.index["case_id"][0] for rois in (a, b)]
    assert (pair["a"], pair["b"]) == (["a", cases[0]], ["b", cases[1]])
    assert pair["why"] == "similar ids"
    assert f"the first is {cases[0]} of a and {cases[1]} of b" in patient_notes.similar_ids_note(
        [pair]
    )
    gray = np.random.default_rng(9).integers(0, 4096, (290, 280)).astype(np.uint16)
    specs = [manifest(tmp_path, name, ["x", name]) for name in ("c", "d")]
    for name in "cd":
        write_dicom(tmp_path / f"{name}1.dcm", gray, PatientID="Dent")
    (pair,) = patients.find_similar([load(spec, tmp_path / "c") for spec in specs])
    assert pair["why"] == "the same PatientID in the headers"
    # Without a key no digests of the headers are stored, because they could be guessed.
    plain = load(specs[0], tmp_path / "p", pseudonymise=False)
    assert set(plain.patients["headers"].tolist()) == {""}


def test_ids_with_a_public_form_are_recognized() -> None:
    ids = ["P_00001", "P_00022"]
    assert patients.guess_namespace("manifest", ids) == "cbis_ddsm"
    assert not patients.guess_namespace("cbis_ddsm", ids)
    assert not patients.guess_namespace("manifest", [*ids, "Q1"])
    assert patients.guess_namespace("manifest", ["A-1234-1"]) == "ddsm"
    assert "look like those of ddsm" in duplicate_patients.check_ids("ddsm", {"A-1234-1": "x"})[0]


def test_ids_with_a_public_form_are_reported_at_every_start(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    ids = [f"P_0000{i}" for i in range(8)]
    c = config.default()
    c.data.sources = (manifest(tmp_path, "mine", ids),)
    c.data.target, c.data.cache, c.approaches = "mine", str(tmp_path / "c"), ("sttl",)
    for _ in range(2):  # with new shards and with existing ones
        inputs = study_inputs.prepare_inputs(c, dry_run=True)
        console.print_inputs(c, inputs)
        assert "note: mine: its patient ids look like those of cbis_ddsm" in capsys.readouterr().out
    (tmp_path / "work").mkdir()
    guards.record_study(tmp_path / "work", c, inputs)
    folds = json.loads((tmp_path / "work" / "folds.json").read_text())
    assert folds["ids_look_like"] == {"mine": "cbis_ddsm"}
    spec = manifest(tmp_path / "stated", "mine", ids, namespace="ours")
    assert not patients.guessed_namespaces({"mine": load(spec, tmp_path / "c")})


@pytest.mark.parametrize(
    ("namespace", "prefix_a", "prefix_b"),
    [("cbis_ddsm", "P_0000", "0000"), ("ddsm", "case000", "000")],
)
def test_one_public_namespace_and_ids_of_two_forms_are_rejected(
    tmp_path: Path, namespace: str, prefix_a: str, prefix_b: str
) -> None:
    """The same four patients in two tables; only one table has a prefix."""
    a, b = (
        load(
            manifest(tmp_path, name, [f"{prefix}{i}" for i in range(1, 5)], namespace=namespace),
            tmp_path / "c",
        )
        for name, prefix in (("a", prefix_a), ("b", prefix_b))
    )
    form = f"b is of the form {patients.ID_FORMS[namespace]}.*write the ids in this form"
    for order in ({"a": a, "b": b}, {"b": b, "a": a}):
        with pytest.raises(InputError, match=form) as rejected:
            crosswalk.apply_crosswalk(order, None)
        assert "\n" not in str(rejected.value)
    assert set(crosswalk.apply_crosswalk({"b": b}, None)) == {"b"}
    again = load(manifest(tmp_path, "d", [f"{prefix_a}1"], namespace=namespace), tmp_path / "c")
    assert set(crosswalk.apply_crosswalk({"a": a, "d": again}, None)) == {"a", "d"}


def test_patients_csv_must_list_the_cases_of_the_index(tmp_path: Path) -> None:
    rois = load(manifest(tmp_path, "m", ["a", "b"]), tmp_path / "c")
    folder = next((tmp_path / "c").glob("m-*"))
    path = folder / "patients.csv"
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and len(rois.patients["patient"]) == 2
    path.write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(InputError, match=r"patients.csv: wrong checksum.*make the shards again"):
        load(f"shards:{folder}", tmp_path / "c")


# CBIS-DDSM together with DDSM


def cbis_and_ddsm(tmp_path: Path, cbis: list[str], ddsm: list[str]) -> dict[str, RoiSet]:
    specs = manifest(tmp_path, "cbis_ddsm", cbis), manifest(tmp_path, "ddsm", ddsm)
    return {rois.name: rois for rois in (load(spec, tmp_path / "c") for spec in specs)}


def test_cbis_ddsm_beside_ddsm_needs_a_crosswalk(tmp_path: Path) -> None:
    rois = cbis_and_ddsm(tmp_path, ["P_00001", "P_00004"], ["B-3085-1", "C-0029-1"])
    with pytest.raises(InputError, match=r"CBIS-DDSM \(cbis_ddsm\) and DDSM \(ddsm\).*crosswalk"):
        crosswalk.apply_crosswalk(rois, None)
    path = tmp_path / "pairs.csv"
    path.write_text("patient_id,ddsm_case\nP_00001,case3085\nP_00001,B_3085_1\nP_00004,case1436\n")
    result = crosswalk.apply_crosswalk(rois, str(path))
    assert crosswalk.describe_matches(result) == [
        "crosswalk: 1 of 2 CBIS-DDSM patients (cbis_ddsm) are DDSM cases here"
    ]
    same = set(result["cbis_ddsm"].patients["patient"]) & set(result["ddsm"].patients["patient"])
    assert len(same) == 1


@pytest.mark.parametrize(
    ("names", "ids", "unstated"),
    [
        (("masses", "ddsm"), (["P_00001", "P_00002"], ["B-3085-1", "case0001"]), "masses"),
        (("cbis_ddsm", "films"), (["P_00001", "P_00002"], ["B-3085-1", "case0001"]), "films"),
        (("masses", "films"), (["P_00001", "P_00002"], ["B-3085-1", "case0001"]), "masses"),
    ],
)
def test_other_collection_names_do_not_circumvent_the_crosswalk(
    tmp_path: Path, names: tuple[str, str], ids: tuple[list[str], list[str]], unstated: str
) -> None:
    unstated_pair = [
        load(manifest(tmp_path, name, collection_ids), tmp_path / "c")
        for name, collection_ids in zip(names, ids, strict=True)
    ]
    path = tmp_path / "pairs.csv"
    path.write_text("patient_id,ddsm_case\nP_00001,case3085\nP_00002,case0001\n")
    for table in (None, str(path)):  # a crosswalk does not concern private ids
        with pytest.raises(
            InputError, match=f"{unstated}: patient ids look like .*column namespace"
        ):
            crosswalk.apply_crosswalk({rois.name: rois for rois in unstated_pair}, table)
    # The namespace column decides: ids of that form may be other patients.
    private = [
        load(manifest(tmp_path / "s", name, collection_ids, namespace=f"of-{name}"), tmp_path / "c")
        for name, collection_ids in zip(names, ids, strict=True)
    ]
    assert crosswalk.apply_crosswalk({rois.name: rois for rois in private}, None)
    collections = zip(names, ids, ("cbis_ddsm", "ddsm"), strict=True)
    public = [
        load(manifest(tmp_path / "b", name, collection_ids, namespace=namespace), tmp_path / "c")
        for name, collection_ids, namespace in collections
    ]
    matched = crosswalk.apply_crosswalk({rois.name: rois for rois in public}, str(path))
    assert len(crosswalk.describe_matches(matched)) == 1


def test_patients_missing_in_the_crosswalk_are_named_by_published_id_or_pseudonym(
    tmp_path: Path, pseudonym_key: Path
) -> None:
    rois = cbis_and_ddsm(tmp_path, ["P_00001", "P_00004"], ["B-3085-1", "C-0029-1"])
    path = tmp_path / "pairs.csv"
    path.write_text("patient_id,ddsm_case\nP_00001,case3085\n")
    with pytest.raises(InputError) as rejected:
        crosswalk.apply_crosswalk(rois, str(path))
    message = str(rejected.value)
    lookup = next(word for word in message.split() if word.startswith("lookup-cbis_ddsm-"))
    pseudonym = rois["cbis_ddsm"].patients["case_id"].tolist()[1]
    assert (
        f"1 of 2 patients of cbis_ddsm have no ddsm_case (such as pseudonym {pseudonym}" in message
    )
    rows = (pseudonym_key.parent / lookup).read_text().splitlines()
    assert f"case,{pseudonym},P_00004" in rows
    spec = f"manifest:{tmp_path / 'cbis_ddsm.csv'}"
    rois["cbis_ddsm"] = load(spec, tmp_path / "c", pseudonymise=False)
    with pytest.raises(InputError, match=r"1 of 2 patients.*\(such as P_00004\)"):
        crosswalk.apply_crosswalk(rois, str(path))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("P_00001,case3085", "1 of 2 patients of cbis_ddsm have no ddsm_case"),
        ("P_00001,case1\nP_00001,case2", "line 3: patient P_00001 has another ddsm_case"),
        ("P_00001,whatever", "line 2: ddsm_case 'whatever' is not of the form case3085"),
        ("one,case3085", "line 2: patient_id 'one' is not of the form P_00001"),
    ],
)
def test_a_crosswalk_that_cannot_be_used_is_rejected(
    tmp_path: Path, rows: str, reason: str
) -> None:
    rois = cbis_and_ddsm(tmp_path, ["P_00001", "P_00004"], ["B-3085-1", "C-0029-1"])
    path = tmp_path / "pairs.csv"
    path.write_text(f"patient_id,ddsm_case\n{rows}\n")
    with pytest.raises(InputError, match=reason):
        crosswalk.apply_crosswalk(rois, str(path))
    rois["ddsm"] = cbis_and_ddsm(tmp_path / "o", ["P_00001"], ["of ours"])["ddsm"]
    with pytest.raises(InputError, match="not every patient_id of ddsm is of the form case3085"):
        crosswalk.apply_crosswalk(rois, str(path))


def test_the_real_crosswalk_excludes_the_test_patients(shared: Path) -> None:
    """All 709 matched patients of both collections: no test patient of one collection is in the
    training set of the other."""
    path = shared / "data" / "ddsm299" / "masses.csv"
    with path.open(newline="") as file:
        pairs = {row["patient_id"]: row["ddsm_case"] for row in csv.DictReader(file)}
        # The films are named by institution and number, A_1436_1.LEFT_CC.png.
        file.seek(0)
        films = {row["patient_id"]: row["image"][:8] for row in csv.DictReader(file)}
    assert len(pairs) == 709
    cbis = make_collection("cbis_ddsm", list(pairs), namespace="cbis_ddsm")
    ddsm = make_collection("ddsm", [f.replace("_", "-") for f in films.values()], namespace="ddsm")
    rois = crosswalk.apply_crosswalk({"ddsm": ddsm, "cbis_ddsm": cbis}, str(path))
    assert "709 of 709 CBIS-DDSM patients" in crosswalk.describe_matches(rois)[0]
    split = splits.make_split(rois, "ddsm", (), splits.SplitRules(True, 0, 4, 0.5, 0))
    ids = list(dict.fromkeys(ddsm.index["case_id"].tolist()))
    test_patients = {
        pairs[p] for p, case in zip(films, ids, strict=True) if case in set(split.test)
    }
    runs = independent_test_runs(make_approaches(("mttl",), "ddsm", tuple(rois)), "C1", 0, (0,))
    rows = splits.run_rows(runs[0], rois, split)[0]["cbis_ddsm"]
    training_patients = {pairs[list(pairs)[row // 2]] for row in rows.tolist()}
    assert len(test_patients) > 300 and len(training_patients) > 300
    assert not test_patients & training_patients


def test_cbis_ddsm_and_ddsm_without_a_crosswalk_are_rejected_early() -> None:
    c = config.default()
    c.data.target = "ddsm"
    for other in ("cbis_ddsm:x", "tfds:curated_breast_imaging_ddsm/original-mass"):
        c.data.sources = (other, "ddsm:y")
        with pytest.raises(InputError, match="CBIS-DDSM or DDSM, not both.*config.data.crosswalk"):
            config.validate(c)
    c.data.crosswalk = "pairs.csv"
    config.validate(c)
    c.data.sources = ("tfds:curated_breast_imaging_ddsm/original-calc:train", "cbis_ddsm:x")
    with pytest.raises(InputError, match="they contain the same images"):
        config.validate(c)
    c.data.sources = ("tfds:curated_breast_imaging_ddsm/original-calc", "cbis_ddsm_extra:x")
    config.validate(c)


def test_a_job_reports_shared_patients_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Two manifests of one hospital: from the files to the screen and the report."""
    ids = [f"W{i}" for i in range(8)]
    films = manifest(tmp_path, "films", ids)
    digital = manifest(tmp_path, "digital", ids, split="test")
    c = config.default()
    c.data.sources, c.data.target, c.data.cache = (films, digital), "films", str(tmp_path / "c")
    inputs = study_inputs.prepare_inputs(c, dry_run=True)
    console.print_inputs(c, inputs)
    output = capsys.readouterr().out
    assert (
        "digital: 4 cases (4 ROIs) are excluded from training because their patients are in a"
        in output
    )
    assert "digital: its official test set is used for training" in output
    record = inputs.split.record()
    assert record["official_test_learned"] == ["digital"] and set(record["evaluated"]) == {"films"}
    described = {"name": "digital", "official_test_learned": True}
    work = WorkFolder({}, {}, record, {}, {}, {}, {}, None)
    assert tables.patient_exclusions(work, described) == [
        "No patient is in both a training and an evaluation set: 4 cases (4 ROIs) are"
        " excluded from training because their patients are in a test set.",
        "The official test set is used for training: this job does not evaluate it.",
    ]
    c.approaches = ("mttl", "sttl+of=digital")
    assert set(study_inputs.prepare_inputs(c, dry_run=True).split.evaluated) == {"films", "digital"}


def test_another_crosswalk_changes_the_digest_of_the_patients(tmp_path: Path) -> None:
    rois = cbis_and_ddsm(tmp_path, ["P_00001", "P_00004"], ["B-3085-1", "C-0029-1"])
    path, digests = tmp_path / "pairs.csv", set()
    for case in ("case3085", "case1"):
        path.write_text(f"patient_id,ddsm_case\nP_00001,{case}\nP_00004,case1436\n")
        digests.add(
            patients.patients_digest(crosswalk.apply_crosswalk(rois, str(path))["cbis_ddsm"])
        )
    assert len(digests) == 2


def test_two_ids_of_one_patient_in_a_published_namespace_are_rejected() -> None:
    patients.reject_duplicate_ids("cbis_ddsm", "cb", ["P_00001", "P_00002"])
    patients.reject_duplicate_ids(
        "manifest", "own", ["P_00001", "P_1"]
    )  # private ids are as written
    with pytest.raises(InputError, match="cb: patient_id .*LEFT_CC' and .*LEFT_MLO' are one pat"):
        patients.reject_duplicate_ids("cbis_ddsm", "cb", ["P_00001_LEFT_CC", "P_00001_LEFT_MLO"])
