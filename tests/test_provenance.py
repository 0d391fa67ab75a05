"""A resumed study is rejected if its weights, versions, precision or data have changed."""

import copy
import json
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from test_study import make_approaches, make_roi_set

from mtl_jax import config, main, report, weights
from mtl_jax.analysis import write_results
from mtl_jax.data import ingest, shards
from mtl_jax.experiments import provenance, splits, time_steps, train_runs
from mtl_jax.experiments.hand_crafted import conventional_scores
from mtl_jax.experiments.run_lists import independent_test_runs
from mtl_jax.experiments.runner import run_study, show_plan
from mtl_jax.training import malloc, software
from mtl_jax.types import InputError

pytestmark = pytest.mark.usefixtures("small_alexnet")
PAPER = pytest.param("paper", marks=pytest.mark.slow)  # has the longest study
JOBS = ("mttl", "transfer", PAPER)
OTHER_WEIGHTS = "sttl+weights=analytic"  # an approach of the study transfer


class Studies:
    """The work folder of each study, and two versions of the weights and shards that they use.

    `weights` and `shards` are the paths in the configs; `other_weights` and `other_shards` can be
    swapped with them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shipped = weights.find("shipped")
        for name, factor in (("weights", 1.0), ("other_weights", 1.25)):
            params = {
                path: np.float32(a * factor)
                for path, a in flatten_dict(shipped.params, sep="/").items()
            }
            params = unflatten_dict(params, sep="/")
            weights_metadata = weights.make_metadata(
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
            weights.save(weights.Weights(params, weights_metadata), folder / name)
        for name, seed in (("shards", 0), ("other_shards", 1)):
            c = config.default()
            c.data.phantom.seed, c.data.phantom.cases = seed, 12
            settings = ingest.read_settings(c.data.to_dict(), folder / "cache")
            for collection in ("sfm", "dm"):
                ingest.make_shards(f"phantom:{collection}", folder / name, *settings)

    def make_config(self, name: str) -> config.ConfigDict:
        c = config.default()
        c.network, c.weights = "C1-C5", str(self.folder / "weights")
        c.approaches = ("mttl", "sttl") if name == "mttl" else ("sttl",)
        c.data.sources = tuple(
            f"shards:{self.folder}/shards/{collection}" for collection in ("sfm", "dm")
        )
        c.data.cache = str(self.folder / "cache")
        c.folds, c.train.epochs, c.train.batch_size = 2, 1, 32
        c.statistics.bootstrap, c.analysis.enabled = 100, False
        if name == "paper":
            c.study = "paper"
            c.splits.count = c.splits.initializations = c.depth.initializations = 1
            c.splits.networks = c.depth.networks = ("C1-C5",)
            c.cross_validation.initializations = 1
        if name == "transfer":
            c.approaches = ("sttl", OTHER_WEIGHTS)
        config.validate(c)
        return c

    def swap(self, name: str) -> None:
        """Swap the folders `name` and other_`name`."""
        (self.folder / name).rename(self.folder / "swapped")
        (self.folder / f"other_{name}").rename(self.folder / name)
        (self.folder / "swapped").rename(self.folder / f"other_{name}")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    studies = Studies(tmp_path_factory.mktemp("provenance"))
    for name in ("mttl", "transfer"):
        run_study(studies.make_config(name), studies.folder / name)
    return studies


@pytest.fixture
def name(studies: Studies, request: pytest.FixtureRequest) -> str:
    """Return the name of a finished study."""
    if not (studies.folder / request.param).exists():
        run_study(studies.make_config(request.param), studies.folder / request.param)
    return request.param


def set_newer_version(monkeypatch: pytest.MonkeyPatch, package: str = "jax") -> None:
    """Simulate that another version of `package` is installed."""
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "9.9" if n == package else version(n))


def rejection_message(
    studies: Studies, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Return the one-line error of the command line; check exit code 2 and that no file changed."""
    before = file_states(studies.folder / name)
    flags = {"config": studies.make_config(name), "workdir": str(studies.folder / name)}
    flags |= {"dry_run": False, "accept_versions": False}
    monkeypatch.setattr(main, "FLAGS", SimpleNamespace(**flags))
    monkeypatch.setattr(main.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: None)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        main.main([])
    errors = capsys.readouterr().err.splitlines()
    lines = [line for line in errors if line.startswith("mtl_jax:")]
    assert exit_info.value.code == 2 and len(lines) == 1
    assert file_states(studies.folder / name) == before
    return lines[0]


def file_states(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize("name", JOBS, indirect=True)
def test_replaced_weights_are_rejected(
    studies: Studies,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    studies.swap("weights")
    try:
        line = rejection_message(studies, name, monkeypatch, capsys)
    finally:
        studies.swap("weights")
    digests = [
        json.loads((studies.folder / folder / "card.json").read_text())["arrays_sha256"][:12]
        for folder in ("weights", "other_weights")
    ]
    assert f"weights.arrays_sha256 is {digests[0]}..., not {digests[1]}..." in line
    assert "run sttl-C1-C5-" in line or "run mttl-C1-C5-" in line
    assert "name another --workdir" in line and "--accept_versions" not in line


@pytest.mark.parametrize(
    ("name", "package"),
    [
        *(("mttl", package) for package in software.PACKAGES),
        ("transfer", "jax"),
        pytest.param("paper", "jax", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_another_version_is_rejected(
    studies: Studies,
    name: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed = metadata.version(package)
    set_newer_version(monkeypatch, package)
    line = rejection_message(studies, name, monkeypatch, capsys)
    assert f"versions.{package} is '{installed}', not '9.9'" in line and "--accept_versions" in line


@pytest.mark.parametrize("name", JOBS, indirect=True)
def test_another_precision_is_rejected(
    studies: Studies,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = studies.make_config
    monkeypatch.setattr(studies, "make_config", lambda name: with_half_precision(original(name)))
    line = rejection_message(studies, name, monkeypatch, capsys)
    assert "another config: train.precision is 'float32', not 'bfloat16'" in line
    path = studies.folder / name / "config.json"
    path.rename(path.with_suffix(".moved"))  # the runs themselves record the precision, too
    try:
        with pytest.raises(InputError, match="precision.train is 'float32', not 'bfloat16'"):
            run_study(studies.make_config(name), studies.folder / name)
    finally:
        path.with_suffix(".moved").replace(path)


def with_half_precision(c: config.ConfigDict) -> config.ConfigDict:
    c.train.precision = "bfloat16"
    return c


@pytest.mark.parametrize("name", JOBS, indirect=True)
def test_replaced_data_are_rejected(
    studies: Studies,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored, current = (
        shards.content_digest(shards.open_shards(studies.folder / folder / "sfm"))[:12]
        for folder in ("shards", "other_shards")
    )
    studies.swap("shards")
    try:
        line = rejection_message(studies, name, monkeypatch, capsys)
    finally:
        studies.swap("shards")
    assert f"data.content.sfm is {stored}..., not {current}..." in line


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("random", "enable_x64", True),
        ("random", "prng_impl", "rbg"),
        ("random", "seed_offset", 5),
        ("precision", "matmul", "high"),
    ],
)
def test_another_jax_setting_is_rejected(
    section: str,
    setting: str,
    value: object,
    studies: Studies,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = software.record()
    other = recorded | {section: recorded[section] | {setting: value}}
    monkeypatch.setattr(software, "record", lambda: json.loads(json.dumps(other)))
    line = rejection_message(studies, "mttl", monkeypatch, capsys)
    assert f"{section}.{setting} is {recorded[section][setting]!r}, not {value!r}" in line


def test_deterministic_operations_are_recorded_and_others_rejected(
    studies: Studies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = software.record() | {"deterministic": True}
    monkeypatch.setattr(software, "record", lambda: json.loads(json.dumps(other)))
    line = rejection_message(studies, "mttl", monkeypatch, capsys)
    assert "deterministic is False, not True" in line


@pytest.mark.parametrize(("platform", "accepted"), [("cpu", True), ("gpu", False)])
def test_float32_of_earlier_versions_is_accepted_on_cpus_alone(
    studies: Studies, platform: str, accepted: bool
) -> None:
    """On a GPU it may have been TF32, and the scores and cached activations were, too."""
    path = next((studies.folder / "mttl" / "runs").glob("sttl-*/run.json"))
    expected = json.loads(path.read_text())["provenance"] | {"platform": platform}
    recorded = copy.deepcopy(expected)
    del recorded["deterministic"]
    recorded["precision"]["matmul"] = None
    run = SimpleNamespace(id=path.parent.name)
    if accepted:
        provenance._reject_difference(recorded, expected, run, False)
    else:
        with pytest.raises(InputError, match="precision.matmul is None, not 'highest'"):
            provenance._reject_difference(recorded, expected, run, False)


def test_a_run_without_provenance_is_rejected(
    studies: Studies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((studies.folder / "mttl" / "runs").glob("sttl-*/run.json"))
    text = path.read_text()
    path.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "provenance"}))
    try:
        line = rejection_message(studies, "mttl", monkeypatch, capsys)
        c = studies.make_config("mttl")
        c.accept_versions = True  # does not help: more than the versions may differ
        with pytest.raises(InputError, match="has no provenance"):
            run_study(c, studies.folder / "mttl")
    finally:
        path.write_text(text)
    assert f"{path.parent.name}/run.json: has no provenance" in line


@pytest.mark.parametrize("damage", ["another run's", "cut", "edited", "empty"])
def test_changed_scores_are_rejected(
    damage: str,
    studies: Studies,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = next((studies.folder / "mttl" / "runs").glob("sttl-*/scores.csv"))
    other = next((studies.folder / "mttl" / "runs").glob("mttl-*/scores.csv"))
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
        line = rejection_message(studies, "mttl", monkeypatch, capsys)
    finally:
        path.write_text(written)
    assert f"{path.parent.name}/scores.csv: does not match the checksum" in line


def test_shards_replaced_while_the_job_runs(studies: Studies, tmp_path: Path) -> None:
    c = studies.make_config("transfer")
    c.study, c.approaches, c.cross_validation.initializations = "cross_validation", ("sttl",), 1
    write_text, written = train_runs.atomic.write_text, []

    def swap_after_the_first_run(path: Path, text: str) -> None:
        write_text(path, text)
        if path.name == "scores.csv" and not written:
            written.append(path)
            studies.swap("shards")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_runs.atomic, "write_text", swap_after_the_first_run)
        try:
            with pytest.raises(InputError, match="were replaced while the job ran"):
                run_study(c, tmp_path / "w")
        finally:
            studies.swap("shards")
    assert len(list((tmp_path / "w").glob("runs/*/scores.csv"))) == 1


def test_training_in_double_precision_is_rejected_in_one_line(
    studies: Studies, tmp_path: Path
) -> None:
    with jax.enable_x64(True), pytest.raises(InputError, match="JAX_ENABLE_X64 is set"):
        run_study(studies.make_config("mttl"), tmp_path / "w")


def test_a_checkpoint_is_not_resumed_with_other_weights(studies: Studies, tmp_path: Path) -> None:
    shutil.copytree(studies.folder / "mttl", tmp_path / "w")
    for path in (tmp_path / "w").glob("runs/*/scores.csv"):
        path.unlink()
    studies.swap("weights")
    try:
        with pytest.raises(
            InputError, match="checkpoint is of another training run: weights.arrays"
        ):
            run_study(studies.make_config("mttl"), tmp_path / "w")
    finally:
        studies.swap("weights")


def test_accepted_versions_are_marked_as_mixed(
    studies: Studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, c = tmp_path / "w", studies.make_config("mttl")
    shutil.copytree(studies.folder / "mttl", folder)
    assert not json.loads((folder / "results.json").read_text())["provenance"]["mixed"]
    run = folder / "runs" / "mttl-C1-C5-test-seed0"
    (run / "scores.csv").unlink()  # its training is finished
    installed = metadata.version("jax")
    set_newer_version(monkeypatch)
    with pytest.raises(InputError, match="was trained with other versions: versions.jax"):
        run_study(c, folder)
    c.accept_versions = True
    mixed = run_study(c, folder)["provenance"]
    assert mixed["mixed"] and {v["jax"] for v in mixed["versions"]} == {installed, "9.9"}
    recorded = json.loads((run / "run.json").read_text())["provenance"]
    assert recorded["versions"]["jax"] == "9.9"
    assert [v["jax"] for v in recorded["versions_before"]] == [installed]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["jax"] == "9.9"
    assert [v["packages"]["jax"] for v in environment["before"]] == [installed]

    lines = report.summary(folder).splitlines()
    assert any(line.endswith("(mixed versions)") for line in lines)
    assert [line for line in lines if line.startswith("note: ")][0].startswith(
        "note: Mixed versions: "
    )
    page = report.write(folder).read_text(encoding="utf-8")
    assert "Mixed versions: the results were computed with 2" in page

    c.accept_versions = False
    for undo in (False, True):
        if undo:
            monkeypatch.undo()
        with pytest.raises(InputError, match="with other versions"):
            run_study(c, folder)


def test_another_platform_is_accepted_like_another_version(
    studies: Studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, c = tmp_path / "w", studies.make_config("transfer")
    shutil.copytree(studies.folder / "transfer", folder)
    gpu_record = software.record() | {"platform": "gpu"}
    monkeypatch.setattr(software, "record", lambda: json.loads(json.dumps(gpu_record)))
    with pytest.raises(InputError, match="platform is 'cpu', not 'gpu'.*--accept_versions"):
        run_study(c, folder)
    c.accept_versions = True
    results = run_study(c, folder)  # all runs are done
    assert not results["provenance"]["mixed"]
    c.executor = "ray"  # the workers train, so this process may have another platform
    approaches = make_approaches((OTHER_WEIGHTS,), "sfm", ("sfm", "dm"))
    runs = independent_test_runs(approaches, "C1-C5", 0, (0,))
    c.accept_versions = False
    gpu_record["precision"] = read_provenance(folder)["precision"]
    job_record = json.loads(json.dumps(read_provenance(folder) | gpu_record))
    job = SimpleNamespace(record=lambda run: dict(job_record))
    provenance.reject_mixed(runs, folder, job, c)


def read_provenance(folder: Path) -> dict:
    (path,) = (folder / "runs").glob(f"{OTHER_WEIGHTS}-*/run.json")
    return json.loads(path.read_text())["provenance"]


def test_the_plan_of_several_weights_names_each(
    studies: Studies,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_steps, "MAX_STEP_SECONDS", 0.0)  # time no step
    c = studies.make_config("transfer")
    c.approaches = ("sttl", OTHER_WEIGHTS, "sttl+weights=nowhere")
    show_plan(c, tmp_path)
    plan = capsys.readouterr().out
    assert "to do: 3 of 3 runs" in plan and "split of sfm:" in plan
    assert "estimated duration" in plan and not list(tmp_path.iterdir())
    for name, text in (
        ("sttl", "made for a test"),
        (OTHER_WEIGHTS, "Gabor"),
        ("sttl+weights=nowhere", "checkpoints/nowhere. They do not exist yet. Make them first"),
    ):
        (line,) = (line for line in plan.splitlines() if line.startswith(f"weights of {name}: "))
        assert text in line
    assert f"frozen with random values in {OTHER_WEIGHTS}, because" in plan
    with pytest.raises(InputError, match="config.approaches='sttl.weights=nowhere' is invalid"):
        run_study(c, tmp_path / "w")
    c.approaches = c.approaches[:2]
    c.data.sources, c.data.target = c.data.sources[1:], "dm"
    c.study, c.data.test_fraction, c.folds = "cross_validation", 0.0, 6
    with pytest.raises(InputError, match="fold"):
        show_plan(c, tmp_path)


def test_training_and_scored_rois_are_recorded() -> None:
    """A changed split or exclusion does not change the shards."""
    rois, c = make_roi_set("t", 30), config.default()
    random_weights = {"sttl": weights.find("random")}
    (run,) = independent_test_runs(make_approaches(("sttl",), "t", ("t",)), "C1", 0, (0,))
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
    )
    record = provenance.Provenance({"t": rois}, split, random_weights, c).record(run)
    smaller_split = split._replace(train=split.train[1:])
    other_record = provenance.Provenance({"t": rois}, smaller_split, random_weights, c).record(run)
    assert record["data"]["content"] == other_record["data"]["content"]
    assert record["data"]["learned"] != other_record["data"]["learned"]
    assert record["data"]["scored"] == other_record["data"]["scored"]


def test_settings_without_effect_on_the_numbers_are_not_recorded() -> None:
    rois, random_weights = make_roi_set("t", 30), {"sttl": weights.find("random")}
    split = splits.make_split(
        {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
    )
    (run,) = independent_test_runs(make_approaches(("sttl",), "t", ("t",)), "C1", 0, (0,))

    def record(**changes: object) -> dict:
        c = config.default()
        c.update_from_flattened_dict(changes)
        return provenance.Provenance({"t": rois}, split, random_weights, c).record(run)

    irrelevant = {
        "train.checkpoint_minutes": 3.0,
        "train.writers": ("tensorboard",),
        "data.cache": "elsewhere",
    }
    assert record(**irrelevant) == record()
    for field, value in (("train.momentum", 0.8), ("train.epochs", 3), ("model.dropout", 0.1)):
        assert record(**{field: value}) != record()


def test_analysis_files_and_conventional_scores_are_recomputed_from_other_data(
    studies: Studies, tmp_path: Path
) -> None:
    """A file in the work folder is read only by a job of the same provenance."""
    folder = tmp_path / "conventional"
    (run,) = independent_test_runs(make_approaches(("sttl",), "sfm", ("sfm",)), "C1", 0, (0,))

    def scores(shards_folder: str) -> tuple[np.ndarray, int]:
        rois = shards.open_shards(studies.folder / shards_folder / "sfm")
        split = splits.make_split(
            {rois.name: rois}, rois.name, (), splits.SplitRules(True, 0, 4, 0.5, 0)
        )
        random_weights = {"sttl": weights.find("random")}
        job = provenance.Provenance({"sfm": rois}, split, random_weights, config.default())
        records = {run.id: job.record(run)}
        tables = conventional_scores(folder, [run], {"sfm": rois}, split, 0, records)
        return tables["lda"].score, (folder / "lda.csv").stat().st_mtime_ns

    first, first_time = scores("shards")
    again, again_time = scores("shards")
    other, other_time = scores("other_shards")
    assert np.array_equal(first, again) and again_time == first_time < other_time
    assert first.shape != other.shape or not np.array_equal(first, other)

    (tmp_path / "maps.npz").write_text("old")
    write_results.delete_stale(tmp_path, "one")  # the provenance of this file is unknown
    assert not (tmp_path / "maps.npz").exists() and (folder / "lda.csv").exists()
    (tmp_path / "maps.npz").write_text("new")
    write_results.delete_stale(tmp_path, "one")
    assert (tmp_path / "maps.npz").exists()
    write_results.delete_stale(tmp_path, "two")
    assert not (tmp_path / "maps.npz").exists()
