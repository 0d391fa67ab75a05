"""Groups of images in place of patients, where a collection has no patient ids."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from finished_work import make_folder
from kit.command import run_command
from kit.dicom import write_dicom
from test_imaging import write_pgm

from mtl_jax import config
from mtl_jax.commands import make_manifest
from mtl_jax.data import crosswalk, duplicate_patients, ingest, patients
from mtl_jax.data.sources import manifest
from mtl_jax.experiments import console, guards, results, splits, study_inputs
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.report import methods, page, phrases, read_workdir, statements
from mtl_jax.types import InputError, RoiSet, Run

ROI = RoiSettings()
GROUPS = ("1", "1", "2", "2", "3", "3", "4", "4")  # of eight images
HEADER = "dataset,{},lesion_id,view,image_path,truth,pixel_um,centre"


def write_manifest(
    folder: Path, name: str, column: str = "group_id", ids: tuple[str, ...] = GROUPS, **cells: str
) -> Path:
    """Write a manifest with one image of one lesion in each row; `cells` are further columns."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    lines = [",".join((HEADER.format(column), *cells))]
    for i, case in enumerate(ids):
        write_pgm(folder / f"{name}{i}.pgm", rng.integers(0, 4096, (290, 280)), 4095)
        truth = ("malignant", "benign")[i // 2 % 2]
        row = (name, case, str(i), "CC", f"{name}{i}.pgm", truth, "100", "150;140")
        lines.append(",".join((*row, *cells.values())))
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.csv"


def load(path: Path, cache: Path, **rules: bool) -> RoiSet:
    return ingest.load(f"manifest:{path}", cache, ROI, {}, ingest.Rules(**rules))


def test_a_group_takes_the_place_of_a_patient(tmp_path: Path) -> None:
    rois = load(write_manifest(tmp_path, "runs"), tmp_path / "c", pseudonymise=False)
    assert rois.index["case_id"].tolist() == list(GROUPS)
    assert (patients.cases_are(rois), rois.manifest["counts"]["cases"]) == ("groups", 4)
    expected = (
        "runs: no patient ids; groups of images (group_id) take the place of patients: a case is a"
        " group"
    )
    assert expected in rois.manifest["decisions"]
    # The images 2k and 2k + 1 of a group are on one side of every split.
    for seed in range(10):
        rules = splits.SplitRules(False, 1, 2, 0.0, seed)
        split = splits.make_split({"runs": rois}, "runs", (), rules)
        for fold in range(2):
            run = Run("sttl", ("runs",), "C1", fold, 0)
            training, evaluation = splits.run_rows(run, {"runs": rois}, split)
            images = [
                {int(rois.index["lesion_id"][row]) // 2 for row in rows["runs"]}
                for rows in (training, evaluation)
            ]
            assert len(images[0]) == len(images[1]) == 2 and not images[0] & images[1]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("patient_id,group_id", "columns patient_id and group_id: keep one, group_id only if"),
        ("other", r"missing column patient_id \(.*; a collection without patient ids has group_id"),
        ("Group ID", "column 'Group ID' is invalid: write group_id$"),
    ],
)
def test_a_manifest_has_either_patients_or_groups(tmp_path: Path, header: str, reason: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(HEADER.format(header) + "\n")
    with pytest.raises(InputError, match=f"m.csv: {reason}"):
        manifest.read_collection(str(path))


def test_the_errors_of_rows_name_the_group(tmp_path: Path) -> None:
    ids = ("1", "", *GROUPS[2:])
    with pytest.raises(InputError, match="line 3: group_id is empty$"):
        manifest.read_collection(str(write_manifest(tmp_path, "a", ids=ids)))
    path = write_manifest(tmp_path, "b", split="train")
    path.write_text(path.read_text().replace("train", "test", 1))
    with pytest.raises(InputError, match="group 1 has split train here and test.*each group one"):
        manifest.read_collection(str(path))
    path = write_manifest(tmp_path, "c", namespace="hospital")
    with pytest.raises(InputError, match="line 2: namespace names the owner of patient ids: leave"):
        manifest.read_collection(str(path))


def test_groups_match_no_patients_and_no_groups_of_another_collection(tmp_path: Path) -> None:
    """Also if the ids look like those of a public collection, and with another key."""
    ids = tuple(f"P_0000{i}" for i in GROUPS)
    paths = [
        write_manifest(tmp_path, "runs", ids=ids),
        write_manifest(tmp_path, "more", ids=ids),
        write_manifest(tmp_path, "films", "patient_id", ids),
        write_manifest(tmp_path, "cbis", "patient_id", ids, namespace="cbis_ddsm"),
        write_manifest(tmp_path, "ddsm", "patient_id", ("case0001",) * 8),
    ]
    runs, more, films, cbis, ddsm = (load(path, tmp_path / "c") for path in paths)
    found = [set(rois.patients["patient"].tolist()) for rois in (runs, more, films, cbis)]
    assert len(set.union(*found)) == sum(map(len, found)) == 16
    assert runs.manifest["namespace"] == "groups of runs"
    assert runs.manifest["ids_look_like"] == "" != films.manifest["ids_look_like"]
    assert patients.find_similar([runs, more, films, cbis]) == []
    plain = load(paths[1], tmp_path / "plain", pseudonymise=False)
    names = {"runs": runs, "more": plain, "ddsm": ddsm}
    assert set(crosswalk.apply_crosswalk(names, None)) == set(names)
    # No manifest of patients can state the namespace of the groups.
    with pytest.raises(InputError, match="namespace 'groups of runs' is invalid"):
        manifest.read_collection(
            str(write_manifest(tmp_path, "x", "patient_id", namespace="groups of runs"))
        )


def test_a_patient_in_two_groups_is_noted_and_two_patients_in_a_group_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = write_manifest(tmp_path, "m")
    gray = np.random.default_rng(9).integers(0, 4000, (290, 280)).astype(np.uint16)
    headers = ("Dent", "Ford", "Dent", "", "", "", "", "")
    for i, header in enumerate(headers):
        write_dicom(tmp_path / f"m{i}.dcm", gray + np.uint16(i), PatientID=header)
    path.write_text(path.read_text().replace(".pgm", ".dcm"))
    rois = load(path, tmp_path / "c")
    first, second = list(dict.fromkeys(rois.index["case_id"].tolist()))[:2]
    output = capsys.readouterr().err
    assert "1 PatientIDs of the headers are listed under several groups, one under" in output
    assert first in output and second in output
    assert "give them one group_id" in output
    assert "several PatientIDs" not in output


def test_similar_ids_of_groups_are_called_groups() -> None:
    (note,) = duplicate_patients.check_ids("", {"a1": "x", "A-1": "y"}, "groups")
    assert "count as different groups" in note and "if they are one group" in note


def test_shards_of_before_keep_their_fingerprint(tmp_path: Path) -> None:
    """`conflicts` was added later: at its default it changes no fingerprint."""
    path = write_manifest(tmp_path, "films", "patient_id")

    def fingerprint(**options: object) -> str:
        found = ingest.make_plan(
            "manifest", str(path), ROI, {"outside": False, **options}, ingest.Rules()
        )
        assert "cases_are" not in found.record
        return found.fingerprint

    before = fingerprint()
    assert fingerprint(conflicts="reject") == before != fingerprint(conflicts="leave_out")


def test_folds_json_and_results_name_the_collections_of_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    c = config.default()
    paths = [write_manifest(tmp_path, "films", "patient_id"), write_manifest(tmp_path, "runs")]
    c.data.sources = tuple(f"manifest:{path}" for path in paths)
    c.data.target, c.data.cache = "films", str(tmp_path / "c")
    inputs = study_inputs.prepare_inputs(c, dry_run=True)
    console.print_inputs(c, inputs)
    assert "excluded" not in capsys.readouterr().out  # the ids are equal
    (tmp_path / "work").mkdir()
    guards.record_study(tmp_path / "work", c, inputs)
    folds = json.loads((tmp_path / "work" / "folds.json").read_text())
    assert folds["cases_are"] == {"runs": "groups"}
    described = results._describe_collection(inputs.collections["runs"], False)
    assert described["cases_are"] == "groups"
    # Without groups folds.json is that of earlier versions, with which it is compared.
    c.data.sources, c.approaches = c.data.sources[:1], ("sttl",)
    (tmp_path / "other").mkdir()
    guards.record_study(tmp_path / "other", c, study_inputs.prepare_inputs(c, dry_run=True))
    assert "cases_are" not in json.loads((tmp_path / "other" / "folds.json").read_text())


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> read_workdir.WorkFolder:
    folder = tmp_path_factory.mktemp("report")
    return read_workdir.read(make_folder(folder, cases=30, epochs=1, analysed=False))


def call_groups(work: read_workdir.WorkFolder, *names: str) -> read_workdir.WorkFolder:
    """Return the work folder with groups as the cases of these collections."""
    collections = [
        c | {"cases_are": "groups" if c["name"] in names else "patients"}
        for c in work.results["collections"]
    ]
    return work._replace(results=work.results | {"collections": collections})


def report_texts(work: read_workdir.WorkFolder) -> str:
    texts = [*methods.paragraphs(work), *phrases.warnings(work)]
    return "\n".join([*texts, statements.describe_main_result(work)])


def test_the_report_says_groups_where_cases_are_groups(work: read_workdir.WorkFolder) -> None:
    target = work.results["target"]
    names = [c["name"] for c in work.results["collections"]]
    before, after = report_texts(work), report_texts(call_groups(work, *names))
    assert "group" not in before
    cases = work.headline_aucs("lesion")[0]["n_cases"]
    assert f"benign lesions of {cases} patients)" in before
    assert f"benign lesions of {cases} groups)" in after
    assert "clustered by patient" in before and "clustered by patient" not in after
    assert "clustered by group" in after and "variance between groups only" in after
    assert f"{target}: no patient ids; groups of images (group_id) take the place of" in after
    assert "of 30 groups of images, which take the place of patients" in after
    # One of two evaluated collections has groups: the words on the target alone do not change.
    other = next(name for name in names if name != target)
    mixed = report_texts(call_groups(work, other))
    assert f"{other}: no patient ids" in mixed and f"{target}: no patient ids" not in mixed
    assert "clustered by patient or group" in mixed
    assert f"benign lesions of {cases} patients)" in mixed
    assert "AUC includes the variance over patients (Obuchowski 1997)" in mixed


def test_the_page_says_groups_in_tables_and_captions(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path, cases=30, epochs=1, analysed=False)
    saved = json.loads((folder / "results.json").read_text())
    for collection in saved["collections"]:
        collection["cases_are"] = "groups"
    row = {"collection": saved["target"], "predictor": "mean gray", "unit": "lesion"}
    limits = {"auc": 0.6, "se": 0.1, "ci_low": 0.4, "ci_high": 0.8}
    saved["shortcuts"] = [row | limits | {"n_malignant": 5, "n_benign": 5}]
    (folder / "results.json").write_text(json.dumps(saved))
    html = page.write(folder).read_text()
    assert "as those of the networks, with intervals clustered by group." in html
    assert '<th class="n">Groups</th>' in html and '<th class="n">Patients</th>' not in html
    assert f"Cases of {saved['target']} are groups of images" in html
    assert "variance over groups (Obuchowski 1997)" in html
    assert "by patient" not in html and "of the patients" not in html


def test_scores_of_groups_and_patients_are_clustered_by_both(
    work: read_workdir.WorkFolder,
) -> None:
    names = [c["name"] for c in work.results["collections"]]
    mixed = call_groups(work, names[1])
    assert mixed.clusters(names) == "patients or groups"
    assert mixed.clusters(names, plural=False) == "patient or group"
    assert mixed.clusters(names[:1]) == "patients" and mixed.clusters(names[1:2]) == "groups"


def test_a_table_without_patient_ids_becomes_a_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [("run", "mass", "file", "v", "truth", "um", "c"), ("7", "1", "a.pgm", "CC", "benign")]
    write_pgm(tmp_path / "a.pgm", np.arange(290 * 280).reshape(290, 280) % 4096, 4095)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], (*rows[1], "100", "150;140")])
    maps = {"lesion_id": "mass", "image_path": "file", "view": "v", "pixel_um": "um", "centre": "c"}
    options = [f"--map={name}={column}" for name, column in maps.items()]
    table = [str(tmp_path / "t.csv"), "--no-contact-sheet", *options]
    assert run_command(make_manifest, *table) == 2
    assert "or --map group_id=COLUMN if the table has no patient ids" in capsys.readouterr().err
    assert run_command(make_manifest, *table, "--map=group_id=run", "--map=patient_id=run") == 2
    assert "patient_id and group_id are both given: keep one" in capsys.readouterr().err
    assert run_command(make_manifest, *table, "--map=group_id=run") == 0
    assert "1 groups" in capsys.readouterr().out
    (view,) = manifest.read_collection(str(tmp_path / "manifest.csv")).views
    assert view.case_id == "7"
