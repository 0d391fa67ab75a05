"""Each silent mix of runs is rejected in one line: weights, versions, precision and data changed
under a study that is resumed."""

import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from test_study import approaches, made_up

from mtl_jax import config, main, report, weights
from mtl_jax.analysis import write_results
from mtl_jax.data import ingest, shards
from mtl_jax.experiments import provenance, splits, train_runs
from mtl_jax.experiments.compare_weights import run_transfer, show_plan
from mtl_jax.experiments.hand_crafted import conventional_scores
from mtl_jax.experiments.run_lists import independent_test_runs
from mtl_jax.experiments.runner import run_study
from mtl_jax.training import software
from mtl_jax.types import InputError

JOBS: dict[str, Callable] = {"mttl": run_study, "paper": run_study, "transfer": run_transfer}


class Place:
    """A folder with two sets of weights and two of shards, one of each under the path that the jobs
    name, and the work folder of each job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shipped = weights.find("shipped")
        for name, factor in (("weights", 1.0), ("other_weights", 1.25)):
            params = {
                path: np.float32(a * factor)
                for path, a in flatten_dict(shipped.params, sep="/").items()
            }
            params = unflatten_dict(params, sep="/")
            card = weights.make_metadata(
                params,
                backbone="alexnet",
                name="made for a test",
                source="none",
                sha256="",
                file_format="npz",
                input_stats=shipped.metadata["input"],
                lrn=False,
                note="made for a test",
            )
            weights.save(weights.Weights(params, card), folder / name)
        for name, seed in (("shards", 0), ("other_shards", 1)):
            c = config.default()
            c.data.phantom.seed, c.data.phantom.cases = seed, 12
            settings = ingest.read_settings(c.data.to_dict(), folder / "cache")
            for collection in ("sfm", "dm"):
                ingest.make_shards(f"phantom:{collection}", folder / name, *settings)

    def job(self, name: str) -> config.ConfigDict:
        c = config.default()
        c.network, c.weights = "C1-C5", str(self.folder / "weights")
        c.approaches = ("mttl", "sttl") if name == "mttl" else ("sttl",)
        c.data.sources = tuple(f"shards:{self.folder}/shards/{one}" for one in ("sfm", "dm"))
        c.data.cache = str(self.folder / "cache")
        c.folds, c.train.epochs, c.train.batch_size = 2, 1, 32
        c.statistics.bootstrap, c.analysis.enabled = 100, False
        if name == "paper":
            c.study = "paper"
            c.splits.count = c.splits.initializations = c.depth.initializations = 1
            c.splits.networks = c.depth.networks = ("C1-C5",)
            c.cross_validation.initializations = 1
        if name == "transfer":
            c.study = "transfer"
            c.transfer.weights, c.transfer.initializations = (c.weights, "analytic"), 1
        config.validate(c)
        return c

    def swap(self, name: str) -> None:
        """Exchanges what stands under the path `name` for the other; again: back."""
        (self.folder / name).rename(self.folder / "held")
        (self.folder / f"other_{name}").rename(self.folder / name)
        (self.folder / "held").rename(self.folder / f"other_{name}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("provenance"))
    for name, run in JOBS.items():
        run(made.job(name), made.folder / name)
    return made


def newer(monkeypatch: pytest.MonkeyPatch, package: str = "jax") -> None:
    """Simulates that another version of `package` is installed."""
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "9.9" if n == package else version(n))


def rejected(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line by which the command line ends the job with exit code 2. It changes no file."""
    before = contents(place.folder / name)
    flags = {"config": place.job(name), "workdir": str(place.folder / name)}
    flags |= {"dry_run": False, "accept_versions": False}
    monkeypatch.setattr(main, "FLAGS", SimpleNamespace(**flags))
    monkeypatch.setattr(main.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(main.malloc, "keep_freed_memory", lambda: None)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main.main([])
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mtl_jax:")]
    assert ended.value.code == 2 and len(lines) == 1 and contents(place.folder / name) == before
    return lines[0]


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize("name", JOBS)
def test_weights_made_again_under_their_path(
    place: Place,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place.swap("weights")
    try:
        line = rejected(place, name, monkeypatch, capsys)
    finally:
        place.swap("weights")
    digests = [
        json.loads((place.folder / folder / "card.json").read_text())["arrays_sha256"][:12]
        for folder in ("weights", "other_weights")
    ]
    assert f"weights.arrays_sha256 is {digests[0]}..., not {digests[1]}..." in line
    assert "run sttl-C1-C5-" in line or "run mttl-C1-C5-" in line
    assert "name another --workdir" in line and "--accept_versions" not in line


@pytest.mark.parametrize(
    ("name", "package"),
    [*(("mttl", package) for package in software.PACKAGES), ("paper", "jax"), ("transfer", "jax")],
)
def test_another_version(
    place: Place,
    name: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    was = metadata.version(package)
    newer(monkeypatch, package)
    line = rejected(place, name, monkeypatch, capsys)
    assert f"versions.{package} is '{was}', not '9.9'" in line and "--accept_versions" in line


@pytest.mark.parametrize("name", JOBS)
def test_another_precision(
    place: Place,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with jax.default_matmul_precision("bfloat16"):
        line = rejected(place, name, monkeypatch, capsys)
    assert "precision.matmul is None, not 'bfloat16'" in line

    job = place.job
    monkeypatch.setattr(place, "job", lambda name: with_half_precision(job(name)))
    line = rejected(place, name, monkeypatch, capsys)
    assert "another config: train.precision is 'float32', not 'bfloat16'" in line
    held = place.folder / name / "config.json"
    held.rename(held.with_suffix(".held"))  # the runs themselves know it too
    try:
        with pytest.raises(InputError, match="precision.train is 'float32', not 'bfloat16'"):
            JOBS[name](place.job(name), place.folder / name)
    finally:
        held.with_suffix(".held").replace(held)


def with_half_precision(c: config.ConfigDict) -> config.ConfigDict:
    c.train.precision = "bfloat16"
    return c


@pytest.mark.parametrize("name", JOBS)
def test_other_data_under_its_path(
    place: Place,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    was, now = (
        shards.content_digest(shards.open_shards(place.folder / folder / "sfm"))[:12]
        for folder in ("shards", "other_shards")
    )
    place.swap("shards")
    try:
        line = rejected(place, name, monkeypatch, capsys)
    finally:
        place.swap("shards")
    assert f"data.content.sfm is {was}..., not {now}..." in line


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("random", "enable_x64", True),
        ("random", "prng_impl", "rbg"),
        ("random", "seed_offset", 5),
    ],
)
def test_another_setting_of_jax(
    section: str,
    setting: str,
    value: object,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = software.record()
    other = recorded | {section: recorded[section] | {setting: value}}
    monkeypatch.setattr(software, "record", lambda: json.loads(json.dumps(other)))
    line = rejected(place, "mttl", monkeypatch, capsys)
    assert f"{section}.{setting} is {recorded[section][setting]!r}, not {value!r}" in line


def test_a_run_that_records_no_provenance(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((place.folder / "mttl" / "runs").glob("sttl-*/run.json"))
    whole = path.read_text()
    path.write_text(json.dumps({k: v for k, v in json.loads(whole).items() if k != "provenance"}))
    try:
        line = rejected(place, "mttl", monkeypatch, capsys)
        c = place.job("mttl")
        c.accept_versions = True  # nothing says that versions alone differ
        with pytest.raises(InputError, match="has no provenance"):
            run_study(c, place.folder / "mttl")
    finally:
        path.write_text(whole)
    assert f"run {path.parent.name}: its run.json has no provenance" in line


@pytest.mark.parametrize("damage", ["another run's", "cut", "edited", "empty"])
def test_scores_that_the_run_did_not_write(
    damage: str,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = next((place.folder / "mttl" / "runs").glob("sttl-*/scores.csv"))
    other = next((place.folder / "mttl" / "runs").glob("mttl-*/scores.csv"))
    written = path.read_text()
    path.write_text(
        {
            "another run's": other.read_text(),
            "cut": "\n".join(written.splitlines()[:4]) + "\n",
            "edited": written.replace(",0.", ",1.", 1),
            "empty": "",
        }[damage]
    )
    assert path.read_text() != written
    try:
        line = rejected(place, "mttl", monkeypatch, capsys)
    finally:
        path.write_text(written)
    assert f"not the scores that run {path.parent.name} wrote" in line


def test_shards_replaced_while_the_job_runs(place: Place, tmp_path: Path) -> None:
    c = place.job("transfer")
    c.study, c.approaches, c.cross_validation.initializations = "cross_validation", ("sttl",), 1
    write, calls = train_runs.atomic.write_text, []

    def swap_after_the_first_run(path: Path, text: str) -> None:
        write(path, text)
        if path.name == "scores.csv" and not calls:
            calls.append(path)
            place.swap("shards")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_runs.atomic, "write_text", swap_after_the_first_run)
        try:
            with pytest.raises(InputError, match="were replaced while the job ran"):
                run_study(c, tmp_path / "w")
        finally:
            place.swap("shards")
    assert len(list((tmp_path / "w").glob("runs/*/scores.csv"))) == 1


def test_training_in_double_precision_is_rejected_in_one_line(place: Place, tmp_path: Path) -> None:
    with jax.enable_x64(True), pytest.raises(InputError, match="JAX_ENABLE_X64 is set"):
        run_study(place.job("mttl"), tmp_path / "w")


def test_a_checkpoint_is_not_resumed_with_other_weights(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.folder / "mttl", tmp_path / "w")
    for path in (tmp_path / "w").glob("runs/*/scores.csv"):
        path.unlink()
    place.swap("weights")
    try:
        with pytest.raises(
            InputError, match="checkpoint is of another training run: weights.arrays"
        ):
            run_study(place.job("mttl"), tmp_path / "w")
    finally:
        place.swap("weights")


def test_accepted_versions_are_marked_for_ever(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, c = tmp_path / "w", place.job("mttl")
    shutil.copytree(place.folder / "mttl", folder)
    assert not json.loads((folder / "results.json").read_text())["provenance"]["mixed"]
    run = folder / "runs" / "mttl-C1-C5-test-seed0"
    (run / "scores.csv").unlink()  # its training is finished, by the version of now
    was = metadata.version("jax")
    newer(monkeypatch)
    with pytest.raises(InputError, match="was trained with other versions: versions.jax"):
        run_study(c, folder)
    c.accept_versions = True
    mixed = run_study(c, folder)["provenance"]
    assert mixed["mixed"] and {each["jax"] for each in mixed["versions"]} == {was, "9.9"}
    recorded = json.loads((run / "run.json").read_text())["provenance"]
    assert recorded["versions"]["jax"] == "9.9"
    assert [each["jax"] for each in recorded["versions_before"]] == [was]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["jax"] == "9.9"
    assert [each["packages"]["jax"] for each in environment["before"]] == [was]

    text = report.summary(folder).splitlines()
    assert any(line.endswith("(mixed versions)") for line in text)
    assert [x for x in text if x.startswith("note: ")][0].startswith("note: Mixed versions: ")
    page = report.write(folder).read_text(encoding="utf-8")
    assert "Mixed versions: the results were computed with 2" in page

    c.accept_versions = False
    for undo in (False, True):
        if undo:
            monkeypatch.undo()
        with pytest.raises(InputError, match="with other versions"):
            run_study(c, folder)


def test_another_platform_is_accepted_like_a_version(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, c = tmp_path / "w", place.job("transfer")
    shutil.copytree(place.folder / "transfer", folder)
    elsewhere = software.record() | {"platform": "gpu"}
    monkeypatch.setattr(software, "record", lambda: json.loads(json.dumps(elsewhere)))
    with pytest.raises(InputError, match="platform is 'cpu', not 'gpu'.*--accept_versions"):
        run_transfer(c, folder)
    c.accept_versions = True
    results = run_transfer(c, folder)  # all is done: nothing is trained elsewhere
    assert not results["provenance"]["mixed"]
    c.executor = "ray"  # whose workers train: this process may be elsewhere
    runs = independent_test_runs(approaches(("sttl",), "sfm", ("sfm", "dm")), "C1-C5", 0, (0,))
    c.accept_versions = False
    own = SimpleNamespace(record=lambda run: json.loads(json.dumps(recorded(folder) | elsewhere)))
    elsewhere["precision"] = recorded(folder)["precision"]
    provenance.reject_mixed(runs, folder / "weights" / "analytic", own, c)


def recorded(folder: Path) -> dict:
    (path,) = (folder / "weights" / "analytic").glob("runs/*/run.json")
    return json.loads(path.read_text())["provenance"]


def test_transfer_goes_through_the_checks_of_every_study(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.folder / "transfer"
    assert json.loads((folder / "folds.json").read_text())["collections"].keys() == {"sfm", "dm"}
    show_plan(place.job("transfer"), tmp_path)
    plan = capsys.readouterr().out
    assert "to do: 2 of 2 runs" in plan and "split of sfm:" in plan
    assert "operations a second" in plan and not list(tmp_path.iterdir())
    c = place.job("transfer")
    c.transfer.weights = ("nowhere", "analytic")
    show_plan(c, tmp_path)
    assert "nowhere: not counted: nowhere: has no converted weights" in capsys.readouterr().out
    c.data.sources, c.data.target = c.data.sources[1:], "dm"
    c.transfer.study, c.data.test_fraction, c.folds = "cross_validation", 0.0, 6
    with pytest.raises(InputError, match="fold"):
        show_plan(c, tmp_path)


def test_rois_learned_and_scored_are_recorded_and_not_only_their_collections() -> None:
    """A changed split or exclusion leaves the shards as they are."""
    rois, c = made_up("t", 30), config.default()
    found = weights.find("random")
    (run,) = independent_test_runs(approaches(("sttl",), "t", ("t",)), "C1", 0, (0,))
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
    )
    here = provenance.Provenance({"t": rois}, split, found, c).record(run)
    fewer = split._replace(train=split.train[1:])
    there = provenance.Provenance({"t": rois}, fewer, found, c).record(run)
    assert here["data"]["content"] == there["data"]["content"]
    assert here["data"]["learned"] != there["data"]["learned"]
    assert here["data"]["scored"] == there["data"]["scored"]


def test_settings_without_effect_on_the_numbers_are_not_recorded() -> None:
    rois, found = made_up("t", 30), weights.find("random")
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
    )
    (run,) = independent_test_runs(approaches(("sttl",), "t", ("t",)), "C1", 0, (0,))

    def made(**changes: object) -> dict:
        c = config.default()
        c.update_from_flattened_dict(changes)
        return provenance.Provenance({"t": rois}, split, found, c).record(run)

    same = {"train.checkpoint_epochs": 3, "train.tensorboard": True, "data.cache": "elsewhere"}
    assert made(**same) == made()
    for field, value in (("train.momentum", 0.8), ("train.epochs", 3), ("model.dropout", 0.1)):
        assert made(**{field: value}) != made()


def test_findings_and_conventional_scores_are_made_again_from_other_data(
    place: Place, tmp_path: Path
) -> None:
    """A file in the work folder is read only by a job of the same provenance."""
    folder = tmp_path / "conventional"
    (run,) = independent_test_runs(approaches(("sttl",), "sfm", ("sfm",)), "C1", 0, (0,))

    def scores(shards_folder: str) -> tuple[np.ndarray, int]:
        rois = shards.open_shards(place.folder / shards_folder / "sfm")
        split = splits.make_split(
            {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
        )
        here = provenance.Provenance({"sfm": rois}, split, weights.find("random"), config.default())
        made_from = {run.id: here.record(run)}
        found = conventional_scores(folder, [run], {"sfm": rois}, split, 0, made_from)
        return found["lda"].score, (folder / "lda.csv").stat().st_mtime_ns

    first, made = scores("shards")
    again, kept = scores("shards")
    other, remade = scores("other_shards")
    assert np.array_equal(first, again) and kept == made < remade
    assert first.shape != other.shape or not np.array_equal(first, other)

    (tmp_path / "maps.npz").write_text("old")
    write_results.delete_stale(tmp_path, "one")  # nothing says what it was made from
    assert not (tmp_path / "maps.npz").exists() and (folder / "lda.csv").exists()
    (tmp_path / "maps.npz").write_text("new")
    write_results.delete_stale(tmp_path, "one")
    assert (tmp_path / "maps.npz").exists()
    write_results.delete_stale(tmp_path, "two")
    assert not (tmp_path / "maps.npz").exists()
