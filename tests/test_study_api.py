"""The Python API of the main job: a study is configured, run, interrupted, resumed and read."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict
from scipy import stats

import mtl_jax
from mtl_jax import roc
from mtl_jax.io import signals, workdir
from mtl_jax.training import malloc, writers
from mtl_jax.types import InputError

pytestmark = pytest.mark.usefixtures("small_alexnet")
ROOT = Path(__file__).parents[1]
EPOCHS = 3


def tiny_config(cache: Path) -> ConfigDict:
    """Return the config of a study that takes seconds."""
    c = mtl_jax.load_config("sttl:demo")
    c.network, c.folds = "C1-C5", 2
    c.data.sources, c.data.cache = ("phantom:sfm",), str(cache)
    c.data.phantom.cases, c.data.phantom.difficulty = 14, 0.0
    c.train.epochs, c.train.batch_size, c.train.checkpoint_minutes = EPOCHS, 32, 99.0
    c.train.validation_epochs = 0
    c.statistics.bootstrap, c.analysis.enabled = 100, False
    return c


def read_epochs(folder: Path) -> list[list[int]]:
    """Return the epochs in the history of each run."""
    paths = sorted(folder.glob("runs/*/history.jsonl"))
    return [[json.loads(line)["epoch"] for line in p.read_text().splitlines()] for p in paths]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Interrupt a study in its first epoch, as by Ctrl-C, and return its folder."""
    folder = tmp_path_factory.mktemp("api")
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        write = writers.Writers.write

        def interrupt(self: writers.Writers, record: dict[str, float]) -> None:
            write(self, record)
            signal.raise_signal(signal.SIGINT)

        patch.setattr(writers.Writers, "write", interrupt)
        with pytest.raises(KeyboardInterrupt, match="call again to resume"):
            mtl_jax.run_study(tiny_config(folder / "cache"), folder / "study")
    assert signal.getsignal(signal.SIGINT) is before and not malloc._keeping
    yield folder


@pytest.fixture(scope="module")
def study(interrupted: Path) -> mtl_jax.Study:
    """Resume the study in another thread than the main one, where no signal can be handled."""
    assert read_epochs(interrupted / "study") == [[1]]
    with workdir.lock(interrupted / "study"):  # it was released
        pass
    c = tiny_config(interrupted / "cache")
    settings = c.to_dict()
    with ThreadPoolExecutor(1) as pool:
        study = pool.submit(mtl_jax.run_study, c, interrupted / "study").result()
    assert c.to_dict() == settings
    return study


def test_an_interrupted_study_resumes_after_its_last_epoch(study: mtl_jax.Study) -> None:
    assert read_epochs(study.folder) == [list(range(1, EPOCHS + 1))] * 2


def test_the_tables_are_those_of_the_work_folder(study: mtl_jax.Study) -> None:
    results = json.loads((study.folder / "results.json").read_text())
    assert study.auc["auc"].tolist() == [row["auc"] for row in results["auc"]]
    assert len(study.comparisons) == len(results["comparisons"])
    assert study.report_path.read_text().startswith("<!doctype html>")
    assert "phantom results" in study.summary()


def test_trivial_predictors_are_evaluated_on_the_cases_of_the_networks(
    study: mtl_jax.Study, interrupted: Path
) -> None:
    """Compute the AUC of the mean gray from the shards, in the folds of the predictions."""
    row = next(
        row
        for row in study.results["shortcuts"]
        if (row["predictor"], row["unit"]) == ("mean gray", "view")
    )
    (folder,) = (path for path in (interrupted / "cache").glob("sfm-*") if path.is_dir())
    pixels = np.concatenate([np.load(path) for path in sorted(folder.glob("roi-*.npy"))])
    ids = pd.read_csv(folder / "index.csv")["roi_id"]
    mean = dict(zip(ids, pixels.mean((1, 2)), strict=True))
    aucs = []
    for _, fold in study.predictions.groupby("fold"):
        gray = fold["roi_id"].map(mean)
        malignant = fold["truth"].to_numpy() == 1
        u = stats.mannwhitneyu(gray[malignant], gray[~malignant]).statistic
        aucs.append(u / malignant.sum() / (~malignant).sum())
    assert row["collection"] == "sfm" and row["auc"] == pytest.approx(np.mean(aucs))
    assert row["n_malignant"] + row["n_benign"] == len(study.predictions)
    assert "AUCs of trivial predictors" in study.report_path.read_text()


def test_the_auc_follows_from_the_predictions(study: mtl_jax.Study) -> None:
    """Compute the mean AUC over folds from the table, at the level of lesions."""
    predictions = study.predictions
    assert set(predictions["fold"]) == {1, 2} and set(predictions["approach"]) == {"sttl"}
    aucs = []
    for _, fold in predictions.groupby("fold"):
        lesions = fold.groupby(["case_id", "lesion_id"]).agg({"truth": "first", "score": "mean"})
        aucs.append(roc.empirical(lesions["truth"], lesions["score"]).auc)
    is_lesion = (study.auc["unit"] == "lesion") & (study.auc["method"] == "empirical")
    row = study.auc[is_lesion & study.auc["headline"]].iloc[0]
    assert row["auc"] == pytest.approx(np.mean(aucs), abs=1e-6)


def test_a_finished_study_is_opened_and_not_trained_again(
    study: mtl_jax.Study, interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.folder / "predictions.csv").unlink()
    scores = sorted(study.folder.glob("runs/*/scores.csv"))
    times = [path.stat().st_mtime_ns for path in scores]
    again = mtl_jax.run_study(tiny_config(interrupted / "cache"), str(study.folder))
    assert "2 of 2 runs already finished" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in scores] == times
    opened = mtl_jax.open_study(study.folder)
    assert opened == again == study
    assert opened.predictions.equals(study.predictions)


@pytest.mark.parametrize(
    ("name", "text", "cure"),
    [
        ("results.json", "null", "run the job again"),
        ("results.json", "{}", "run the job again"),
        ("config.json", "{", "delete this file"),
        ("folds.json", "[]", "delete this file"),
        ("environment.json", "", "delete this file"),
        ("timing.json", "{", "delete this file"),
        ("history.jsonl", '{"epoch"', "delete {run} and"),
        ("history.jsonl", None, "delete {run} and"),
        ("scores.csv", None, "delete {run} and"),
    ],
)
def test_the_stated_cure_of_a_damaged_file_works(
    study: mtl_jax.Study,
    interrupted: Path,
    tmp_path: Path,
    name: str,
    text: str | None,
    cure: str,
) -> None:
    folder = tmp_path / "w"
    shutil.copytree(study.folder, folder)
    run = sorted((folder / "runs").iterdir())[0]
    path = folder / name if (folder / name).exists() else run / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(InputError) as raised:
        mtl_jax.open_study(folder)
    message = str(raised.value)
    assert str(path) in message and cure.format(run=run) in message and "\n" not in message
    if "delete this file" in cure:
        path.unlink()
    elif path.parent == run:
        shutil.rmtree(run)
    again = mtl_jax.run_study(tiny_config(interrupted / "cache"), folder)
    assert again.results == study.results


def test_the_documented_lines_run(
    study: mtl_jax.Study, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the example of the README and of docs/api.md with the settings of the tiny study."""
    page = (ROOT / "docs" / "api.md").read_text()
    code = re.search(r"```python\n(import mtl_jax\n.*?)```", page, re.DOTALL)[1]
    assert code in (ROOT / "README.md").read_text()
    monkeypatch.chdir(interrupted)
    monkeypatch.setattr(mtl_jax, "run_study", lambda config, folder: study)
    names: dict[str, object] = {}
    exec(compile(code, "docs/api.md", "exec"), names)
    assert names["study"] is study


def test_no_study_is_opened_where_none_is_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        mtl_jax.open_study(tmp_path / "none")
    with pytest.raises(InputError, match="not a finished job"):
        mtl_jax.open_study(tmp_path)


def test_configs_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert mtl_jax.load_config("mttl").preset == "paper"
    file = tmp_path / "mine.py"
    file.write_text((ROOT / "configs" / "sttl.py").read_text() + "\nNAME = __name__\n")
    c = mtl_jax.load_config(f"{file}:demo")
    assert (c.preset, c.approaches) == ("demo", ("sttl",))
    with pytest.raises(AttributeError, match="epochs"):
        c.train.epoch = 3
    (tmp_path / "none.py").write_text("")
    for name, message in (
        ("mtll", "mtll: .*mttl"),
        (tmp_path / "no.py", "no such"),
        (tmp_path / "none.py", "get_config"),
        ("mttl:big", "preset 'big'"),
    ):
        with pytest.raises(InputError, match=message):
            mtl_jax.load_config(name)


def test_what_only_the_command_runs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = tiny_config(tmp_path)
    with pytest.raises(InputError, match="config is a dict; expected that of load_config"):
        mtl_jax.run_study(c.to_dict(), tmp_path / "w")
    c.study = "pretraining"
    with pytest.raises(InputError, match="not a study; run python -m mtl_jax.main"):
        mtl_jax.run_study(c, tmp_path / "w")
    c = tiny_config(tmp_path)
    c.devices = 2
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(InputError, match="several processes"):
        mtl_jax.run_study(c, tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_what_is_no_path_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, run_study(c, None) wrote its results to a folder named None."""
    monkeypatch.chdir(tmp_path)
    c = mtl_jax.load_config("mttl:demo")
    with pytest.raises(InputError, match="run_study: None is no path"):
        mtl_jax.run_study(c, None)
    with pytest.raises(InputError, match="open_study: 3 is no path"):
        mtl_jax.open_study(3)
    with pytest.raises(InputError, match="preset '' of --config is invalid"):
        mtl_jax.load_config("mttl:")
    assert not list(tmp_path.iterdir())


def test_an_invalid_setting_is_one_line(tmp_path: Path) -> None:
    c = tiny_config(tmp_path)
    c.folds = 1
    with pytest.raises(InputError, match="config.folds=1 is invalid: expected an integer >= 2"):
        mtl_jax.run_study(c, tmp_path / "w")


def test_float64_in_the_callers_jax_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax.config.update("jax_enable_x64", True)
    try:
        with pytest.raises(InputError, match="JAX_ENABLE_X64"):
            mtl_jax.run_study(tiny_config(tmp_path), tmp_path / "w")
    finally:
        jax.config.update("jax_enable_x64", False)


def test_an_interrupt_does_not_affect_the_next_call() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals.handle_interrupt():
        with signals.defer() as stopping:
            signal.raise_signal(signal.SIGINT)
            assert stopping()
    with signals.handle_interrupt(), signals.defer() as stopping:
        assert not stopping()
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_changes_no_handler() -> None:
    handlers = []

    def record() -> None:
        with signals.handle_interrupt():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_importing_the_package_imports_no_other() -> None:
    program = (
        "import sys, mtl_jax; assert 'run_study' in dir(mtl_jax);"
        "print([m for m in ('numpy', 'pandas', 'ml_collections', 'jax') if m in sys.modules]);"
        "mtl_jax.load_config('mttl'); print('jax' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout.split() == ["[]", "False"], process.stderr
