"""The backbones and the pretrained weights that the approaches of a study start from."""

from typing import Any, NamedTuple

from mtl_jax.config import BUILTIN_WEIGHTS, parse_approach
from mtl_jax.report.backbone_descriptions import BackboneText, describe_backbone
from mtl_jax.report.read_workdir import WorkFolder


class StartingPoint(NamedTuple):
    """Weights that some approaches start from: their metadata, whether they are part of this
    package or random, and the first run."""

    approaches: list[str]
    weights: dict[str, Any]
    builtin: bool
    run: dict[str, Any]


class StudyBackbone(NamedTuple):
    """A backbone of the study, its layers (none without analyses) and its weights."""

    text: BackboneText
    layers: list[dict[str, str]]
    starts: list[StartingPoint]

    @property
    def approaches(self) -> list[str]:
        """The approaches with this backbone."""
        return [approach for start in self.starts for approach in start.approaches]


def list_backbones(work: WorkFolder) -> list[StudyBackbone]:
    """Return the distinct backbones of the last stage, each with its distinct weights."""
    backbones: dict[str, dict[tuple[str, ...], StartingPoint]] = {}
    for approach in work.approaches:
        network = work.results["networks"][approach]
        weights = network["weights"]
        starts = backbones.setdefault(network["backbone"], {})
        run = next(run for run in work.runs if run["approach"] == approach)
        start = StartingPoint([], weights, _is_builtin(work, approach), run)
        key = (weights["name"], weights.get("arrays_sha256", ""))
        starts.setdefault(key, start).approaches.append(approach)
    tables = work.findings.layers if work.findings else {}
    return [
        StudyBackbone(
            describe_backbone(work, name),
            next(
                (
                    tables[key]
                    for s in starts.values()
                    for key in (*s.approaches, "")
                    if key in tables
                ),
                [],
            ),
            list(starts.values()),
        )
        for name, starts in backbones.items()
    ]


def list_starts(work: WorkFolder) -> list[StartingPoint]:
    """Return the distinct weights that the approaches of the last stage start from."""
    return [start for backbone in list_backbones(work) for start in backbone.starts]


def _is_builtin(work: WorkFolder, approach: str) -> bool:
    _, options = parse_approach(approach)
    return options.get("weights", work.config["weights"]) in BUILTIN_WEIGHTS
