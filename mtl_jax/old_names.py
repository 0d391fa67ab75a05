"""Names of earlier versions and what replaced them, in 0.2.0 if not stated otherwise.

Old names are rejected with the new one in commands, config files and work folders. Weight folders
and model bundles of 0.1.0 load: their keys are renamed while they are read.
"""

from collections.abc import Mapping
from typing import Any

from mtl_jax.config_diff import flatten

SINCE = "0.2.0"
# Fields of the config, by their dotted names; a name without a dot is a section too.
FIELDS = {
    "lanes": "replicas",
    "cache": "feature_cache",
    "model.trunk": "model.backbone",
    "learning_curve.draws": "learning_curve.subsets",
    "analysis.regions": "analysis.max_rois",
    "analysis.rois": "analysis.roi_ids",
    "analysis.starts": "analysis.n_init",
    "analysis.pictures": "analysis.show_rois",
    "source.start": "pretraining.initialization",
    "source.held_out": "pretraining.validation_images",
    "source.epoch_images": "pretraining.images_per_epoch",
    "source.standardized_weights": "pretraining.weight_standardization",
    "source.optimizer": "train.optimizer",
    "source.schedule": "train.schedule",
    "source.warmup": "train.warmup",
    "source": "pretraining",
}
REMOVED = {
    "analysis.momentum": "t-SNE always uses the paper's 0.5",
    "analysis.learning_rate": "t-SNE always uses the paper's 500",
    "analysis.trees": "the random forest always has 500 trees",
    "ray.retries": "a run whose worker dies is always restarted up to 5 times",
    "source.name": "the name of the weights is that of their images",
}
# Fields of 0.2.0, which the config.json of every study has: they had no effect on other studies,
# or replaced settings have the same default. What became of each since.
COMPARE_BY_APPROACHES = (
    "compare weights by config.approaches, such as ('sttl+weights=random', "
    "'sttl+weights=shipped'), in the study test or cross_validation with its initializations"
)
REMOVED_IN_0_3 = {
    "transfer.weights": COMPARE_BY_APPROACHES,
    "transfer.initializations": COMPARE_BY_APPROACHES,
    "transfer.study": COMPARE_BY_APPROACHES,
    "pretraining.optimizer": "set config.train.optimizer (adamw for adam)",
    "pretraining.schedule": "set config.train.schedule",
    "pretraining.warmup": "set config.train.warmup",
    "train.checkpoint_epochs": "set config.train.checkpoint_minutes",
    "train.tensorboard": "set config.train.writers to ('tensorboard',)",
}
TRANSFER = "transfer"  # a study of 0.2.0
VALUES = {
    ("study", "source"): "pretraining",
    ("data.unusable", "refuse"): "reject",
    ("pretraining.images", "formulas"): "synthetic",
    ("train.optimizer", "adam"): "adamw",
}
CONFIGS = {"trunks": "backbones"}  # files in configs/
MODULES = {
    "mtl_jax.nouns": "mtl_jax.types",
    "mtl_jax.study": "mtl_jax.experiments",
    "mtl_jax.source_task": "mtl_jax.pretraining",
    "mtl_jax.models.trunks": "mtl_jax.models.registry",
    "mtl_jax.models.network": "mtl_jax.models.base",
}
FUNCTIONS = {"mtl_jax.config.at_preset": "mtl_jax.config.apply_preset"}
KEYS = {  # of JSON files
    "trunk": "backbone",
    "regions": "rois",
    "areas": "aucs",
    "regions_learned": "rois_learned",
    "regions_scored": "rois_scored",
}


def field_message(field: str) -> str:
    """Return what became of a field such as 'source.optimizer'; '' for one that never existed."""
    if field.partition(".")[0] == TRANSFER:
        return f"config.{field} was removed in 0.3.0: {COMPARE_BY_APPROACHES}"
    if field in REMOVED_IN_0_3:
        return f"config.{field} was removed in 0.3.0: {REMOVED_IN_0_3[field]}"
    if field in REMOVED:
        return f"config.{field} was removed in {SINCE}: {REMOVED[field]}; delete it"
    for old in (field, field.partition(".")[0]):
        if old in FIELDS:
            return f"config.{field} is config.{FIELDS[old]}{field[len(old) :]} since {SINCE}"
    return ""


def value_message(field: str, value: str) -> str:
    """Return what became of a value of a field, or '' for one that never existed."""
    if (field, value) == ("study", TRANSFER):
        return f"removed in 0.3.0: {COMPARE_BY_APPROACHES}"
    new = VALUES.get((field, value), "")
    return new and f"did you mean {new!r}?"


def module_message(name: str) -> str:
    """Return what became of a module, or '' for one that 0.1.0 did not have."""
    for old, new in MODULES.items():
        if name == old or name.startswith(f"{old}."):
            return f"{name} moved to {new} in {SINCE}: change the import"
    return ""


def function_message(name: str) -> str:
    """Return what became of a function that config files call, or '' for any other name."""
    new = FUNCTIONS.get(name, "")
    return new and f"{name} is {new} since {SINCE}: change the config file"


def rename_keys(tree: Any) -> Any:
    """Return JSON data of 0.1.0 with its keys renamed; data of this version is returned equal."""
    if isinstance(tree, Mapping):
        return {KEYS.get(key, key): rename_keys(value) for key, value in tree.items()}
    return [rename_keys(item) for item in tree] if isinstance(tree, list) else tree


def old_fields(config: Mapping[str, Any]) -> list[str]:
    """Return the fields of a config.json that only 0.1.0 wrote."""
    stored = [f"{field}." for field in flatten(config)]
    return [old for old in (*FIELDS, *REMOVED) if any(f.startswith(f"{old}.") for f in stored)]
