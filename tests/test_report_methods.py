"""The methods section names optimizer, schedule, loss and early stopping as the run had them."""

import copy

import pytest
from finished_work import make_folder

from mtl_jax.report import methods, read_workdir


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> read_workdir.WorkFolder:
    folder = tmp_path_factory.mktemp("methods")
    return read_workdir.read(make_folder(folder, cases=30, epochs=1, analysed=False))


def training_text(work: read_workdir.WorkFolder, **settings: object) -> str:
    c = copy.deepcopy(work.config)
    c["train"] |= settings
    return methods.paragraphs(work._replace(config=c))[2]


def test_the_settings_of_the_paper(work: read_workdir.WorkFolder) -> None:
    text = training_text(work)
    assert "by stochastic gradient descent with momentum 0.9, with batch size" in text
    assert "a learning rate decreasing exponentially from" in text
    assert "the loss was the cross-entropy. Each epoch" in text


def test_other_settings(work: read_workdir.WorkFolder) -> None:
    stopping = {"fraction": 0.2, "interval": 3, "patience": 4}
    text = training_text(
        work,
        optimizer="adamw",
        schedule="cosine",
        warmup=0.05,
        loss="focal",
        focal_gamma=1.5,
        early_stopping=stopping,
    )
    assert "by AdamW (Loshchilov and Hutter 2019), with batch size" in text
    assert "momentum" not in text and "exponentially" not in text
    assert "decreasing by half a cosine from" in text
    assert "rising linearly in the first 5% of the steps" in text
    assert "the loss was the focal loss (Lin et al. 2017) with gamma 1.5." in text
    assert "Of the target's training patients, 20% were not trained on" in text
    assert "4 evaluations in a row, every 3 epochs" in text


def test_names_without_a_text_are_given_as_in_the_config(work: read_workdir.WorkFolder) -> None:
    text = training_text(work, optimizer="lion", schedule="linear", loss="mine")
    assert "by lion, with" in text and "(schedule linear)" in text and "the loss was mine." in text


def test_the_platform_of_workers_with_gpus_is_stated(work: read_workdir.WorkFolder) -> None:
    """The job itself, the driver of a Ray cluster, has the CPU as its only device."""
    work = work._replace(environment=work.environment | {"devices": ["cpu"]})
    for platform, devices in (
        ("cpu", "(cpu). The method"),
        ("gpu", "(cpu; the networks were trained on: gpu). The method"),
    ):
        versions = [{"jax": "0.10.2", "platform": platform}]
        results = work.results | {"provenance": {"versions": versions, "mixed": False}}
        assert devices in methods.paragraphs(work._replace(results=results))[-1]


@pytest.mark.parametrize(
    ("platform", "matmul", "trained", "sentence"),
    [
        ("cpu", "highest", "float32", "Training and scoring used float32, on CPUs."),
        ("cpu", None, "float32", "Training and scoring used float32, on CPUs."),
        ("cpu", "highest", "tf32", "Training and scoring used float32, on CPUs."),
        ("gpu", "highest", "float32", "Training and scoring used float32 without TF32, on GPUs."),
        (
            "gpu",
            "highest",
            "tf32",
            "Training used float32 with matrix products and convolutions in TF32 where the GPU has "
            "it and scoring float32 without TF32, on GPUs.",
        ),
        (
            "gpu",
            "highest",
            "bfloat16",
            "Training used bfloat16, with parameters in float32, and scoring float32 without TF32, "
            "on GPUs.",
        ),
        (
            "gpu",
            None,
            "float32",
            "Training and scoring used float32, with matrix products and convolutions of the "
            "precision default of JAX (TF32 on recent NVIDIA GPUs), on GPUs.",
        ),
    ],
)
def test_the_precision_and_the_devices(
    work: read_workdir.WorkFolder, platform: str, matmul: str | None, trained: str, sentence: str
) -> None:
    provenance = {"platform": platform, "precision": {"matmul": matmul, "train": trained}}
    results = copy.deepcopy(work.results)
    for run in results["runs"]:
        run["provenance"] = provenance
    recorded = work._replace(results=results)
    text = training_text(recorded, precision=trained)
    assert text.endswith(f"split seed 0. {sentence}")
    for run in results["runs"]:
        run["provenance"] = provenance | {"deterministic": True}
    text = training_text(recorded, precision=trained)
    assert text.endswith("Operations on GPUs were deterministic.") == (platform == "gpu")
