"""Read any prepared TFDS dataset of mammograms or of patches around lesions.

The user maps its features to fields, except for the datasets in DEFAULT_FIELDS.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.data.sources.manifest import CHOICES
from mtl_jax.types import Collection, InputError

REQUIRED = ("image", "label", "case_id")
OPTIONAL = ("box", "mask", "lesion_id", "view", "laterality", "pixel_um")
DEFAULT_FIELDS = {
    "curated_breast_imaging_ddsm": (
        *("image:image", "label:abnormalities/pathology", "mask:abnormalities/mask"),
        *("case_id:patient", "lesion_id:abnormalities/id", "view:view", "laterality:breast"),
    )
}
TRUTH_SOURCES = CHOICES["truth_source"]
_CONFIG = "config.data.tfds"
_PATH = re.compile(r"(.*?)(?::([A-Za-z_]\w*(?:\[[-\d%:]*\])?))?", re.DOTALL)


def read_collection(
    path: str,
    *,
    fields: tuple[str, ...],
    pixel_um: float | None,
    modality: str,
    truth_source: str,
    folder: Path,
) -> Collection:
    """Return the labelled lesions of a dataset.

    `path` is NAME, NAME/CONFIG or a folder, optionally with ':SPLIT' to select one split. `fields`
    are 'FIELD:FEATURE', such as 'mask:abnormalities/mask', of REQUIRED and OPTIONAL; without box
    and mask, each image is a crop of a lesion. Features inside a Sequence have one value per
    lesion. A label is malignant or benign if its name begins so, or if it is 1 or 0. `pixel_um` is
    used if no feature states it. Decoded images are cached below `folder`.
    """
    # Importing TFDS takes a second, so other sources do not.
    from mtl_jax.data.sources import tfds_fields, tfds_lesions

    if modality not in ("", "SFM", "DM"):
        raise InputError(f"{_CONFIG}.modality={modality!r} is invalid: expected SFM, DM or ''")
    if truth_source not in TRUTH_SOURCES:
        expected = ", ".join(TRUTH_SOURCES)
        raise InputError(
            f"{_CONFIG}.truth_source={truth_source!r} is invalid: expected one of {expected}"
        )
    name, split = _split_path(path)
    dataset = tfds_fields.open_dataset(name)
    splits = tfds_fields.choose_splits(dataset, split)
    features = _parse_fields(
        fields or DEFAULT_FIELDS.get(dataset.name, ()), dataset.name, sorted(dataset.info.features)
    )
    if "pixel_um" not in features and pixel_um is None:
        raise InputError(
            f"tfds {dataset.name}: no feature states the pixel size: set {_CONFIG}.pixel_um"
        )
    mapping = {field: tfds_fields.find_field(dataset, path) for field, path in features.items()}
    home = Path(folder) / f"tfds-{dataset.name}-{tfds_fields.hash_files(dataset)}"
    constants = {
        "collection": dataset.name,
        "modality": modality,
        "truth_source": truth_source,
        "spacing_source": "the dataset" if "pixel_um" in mapping else "set by the user",
    }
    views, left_out = tfds_lesions.read_views(dataset, splits, mapping, pixel_um, home, constants)
    description = ", ".join(f"{field} from {path}" for field, path in sorted(features.items()))
    located = "box" in features or "mask" in features
    decisions = (
        f"{dataset.name}: {dataset.info.full_name}, splits {', '.join(splits)}; a validation split"
        " is counted as training",
        f"{dataset.name}: {description}",
        f"{dataset.name}: {'lesions as marked' if located else 'each image is a crop of a lesion'}",
    )
    return Collection(dataset.name, home, views, left_out, decisions)


def _split_path(path: str) -> tuple[str, str]:
    """Return name and split; a split begins with a letter, a version ('NAME:1.0.0') does not."""
    if Path(path).is_dir():
        return path, ""
    name, split = _PATH.fullmatch(path).groups()
    return name, split or ""


def _parse_fields(fields: Sequence[str], dataset: str, features: Sequence[str]) -> dict[str, str]:
    """Return {'label': 'pathology'} from ('label:pathology',)."""
    mapping: dict[str, str] = {}
    for item in fields:
        field, _, feature = item.partition(":")
        if field not in (*REQUIRED, *OPTIONAL) or not feature or field in mapping:
            raise InputError(
                f"{_CONFIG}.fields: {item!r} is invalid: expected FIELD:FEATURE with each of"
                f" {', '.join((*REQUIRED, *OPTIONAL))} at most once"
            )
        mapping[field] = feature
    missing = [name for name in REQUIRED if name not in mapping]
    if missing:
        raise InputError(
            f"{_CONFIG}.fields: missing {', '.join(missing)}; write FIELD:FEATURE of each;"
            f" features of {dataset} are {', '.join(features)}"
        )
    if "box" in mapping and "mask" in mapping:
        raise InputError(f"{_CONFIG}.fields: give box or mask, not both")
    return mapping
