"""The report names every backbone and every set of weights of a study."""

import json
from pathlib import Path

import pytest
from finished_work import make_folder

from mtl_jax import report
from mtl_jax.analysis.write_results import write_table
from mtl_jax.models import registry
from mtl_jax.report import methods, networks, phrases, read_workdir

MTTL, RANDOM, RESNET = "mttl", "mttl+weights=random", "mttl+backbone=resnet18+weights=random"


@pytest.fixture
def work(tmp_path: Path) -> read_workdir.WorkFolder:
    return read_workdir.read(make_folder(tmp_path / "w", approaches=("mttl",)))


def with_approaches(work: read_workdir.WorkFolder, *approaches: str) -> read_workdir.WorkFolder:
    """Return the work folder as if these approaches had the runs of mttl."""
    weights = {
        MTTL: work.results["weights"] | {"arrays_sha256": "a"},
        RANDOM: work.results["weights"] | {"name": "random", "arrays_sha256": "b"},
    }
    weights[RESNET] = weights[RANDOM]
    backbones = {MTTL: "alexnet", RANDOM: "alexnet", RESNET: "resnet18"}
    (run, *_) = work.runs
    runs = [
        run | {"id": f"{a}-run", "approach": a, "pretrained": ["C1"] if a == MTTL else []}
        for a in approaches
    ]
    results = work.results | {
        "runs": runs,
        "stages": [work.results["stages"][-1] | {"runs": [r["id"] for r in runs]}],
        "backbones": {n: registry.get(n).describe() for n in set(backbones.values())},
        "networks": {a: {"backbone": backbones[a], "weights": weights[a]} for a in approaches},
    }
    config = work.config | {"weights": "shipped"}
    return work._replace(results=results, config=config)


def test_a_study_of_one_network_reads_as_before(work: read_workdir.WorkFolder) -> None:
    one = with_approaches(work, MTTL)
    for text in (methods.paragraphs(one)[1], methods.paragraphs(work)[1]):
        assert text.startswith("The network was AlexNet with five convolutional")
        assert "Weights of C1 were those of" in text
    (backbone,) = networks.list_backbones(one)
    assert backbone.approaches == [MTTL] and len(backbone.starts) == 1
    assert backbone.layers == networks.list_backbones(work)[0].layers != []


def test_several_networks_are_named_with_their_approaches(work: read_workdir.WorkFolder) -> None:
    several = with_approaches(work, RESNET, RANDOM, MTTL)
    resnet, alexnet = networks.list_backbones(several)
    assert (resnet.approaches, alexnet.approaches) == ([RESNET], [RANDOM, MTTL])
    assert [start.weights["name"] for start in alexnet.starts] == ["random", "shipped"]
    assert [start.builtin for start in alexnet.starts] == [True, True]
    text = methods.paragraphs(several)[1]
    assert "The network of MTTL (backbone=resnet18, weights=random) was ResNet-18" in text
    assert "the network of MTTL (weights=random) and MTTL was AlexNet" in text
    assert "in MTTL, weights of C1 were those of shipped (made for a test)" in text
    assert "in MTTL (weights=random), weights of no layers were those of random" in text
    notes = [note for note in phrases.warnings(several) if "not ImageNet weights" in note]
    assert len(notes) == 3 and "The initial weights of MTTL (weights=random) are not" in notes[1]
    assert phrases.question(several).startswith("Which network, trained on ")
    assert phrases.question(several).endswith(", MTTL (weights=random) or MTTL?")


def test_each_backbone_has_its_table_of_layers(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "w")
    results = json.loads((folder / "results.json").read_text())
    weights = results["weights"] | {"arrays_sha256": "a"}
    results["networks"] = {
        "mttl": {"backbone": "alexnet", "weights": weights},
        "sttl": {"backbone": "resnet18", "weights": weights | {"name": "of ResNet-18"}},
    }
    results["backbones"] = {n: registry.get(n).describe() for n in ("alexnet", "resnet18")}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "analysis" / "layers.csv").unlink()
    header = ("layer", "nodes", "kernel", "stride", "map", "pooled", "parameters")
    for approach, count in (("mttl", 23296), ("sttl", 9408)):
        path = folder / "analysis" / f"layers-{approach}.csv"
        write_table(path, header, [("C1", 64, 11, 4, 31, 15, count)])
    page = report.write(folder).read_text(encoding="utf-8")
    section = page[page.index('id="network"') :]
    assert section.index("<h3>AlexNet</h3>") < section.index('<td class="n">23,296</td>')
    assert section.index("<h3>ResNet-18</h3>") < section.index('<td class="n">9,408</td>')
    assert "<h4>Weights of MTTL</h4>" in section and "<h4>Weights of STTL</h4>" in section
    assert "<td>of ResNet-18</td>" in section and "There are no deconvolution maps" in section
    assert "Feature maps of C1 to C5 of AlexNet projected" in page
    assert "STTL: There are no deconvolution maps" in page
    assert "transfer learning of AlexNet and ResNet-18" in page
