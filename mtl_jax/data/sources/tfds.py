"""Any prepared TFDS dataset of mammograms or patches: what the user says of it.

Which feature is what is for the user to say, but for the datasets in KNOWN.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.types import Collection, InputError

REQUIRED = ("image", "label", "case_id")
OPTIONAL = ("box", "mask", "lesion_id", "view", "laterality", "pixel_um")
KNOWN = {
    "curated_breast_imaging_ddsm": (
        *("image:image", "label:abnormalities/pathology", "mask:abnormalities/mask"),
        *("case_id:patient", "lesion_id:abnormalities/id", "view:view", "laterality:breast"),
    )
}
TRUTHS = ("unstated", "biopsy", "followup", "birads", "simulated")
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
    """Return the labelled lesions of the dataset `path`: NAME, NAME/CONFIG or a folder, and
    ':SPLIT' for one split alone.

    `fields` are 'ours:theirs', such as 'label:pathology' or 'mask:abnormalities/mask': image, label
    and case_id; box or mask, without which each image is a crop of a lesion; lesion_id, view,
    laterality, pixel_um. Values inside a Sequence are one a lesion. A label is malignant or benign
    if its name begins so, or if it is 1 or 0. `pixel_um` holds where no field says it. Decoded
    images are written under `folder`, once. InputError: anything that the dataset has not.
    """
    # TFDS takes a second to load, which no other source should pay.
    from mtl_jax.data.sources import tfds_fields, tfds_lesions

    if modality not in ("", "SFM", "DM"):
        raise InputError(f"config.data.tfds.modality {modality!r} is none of SFM, DM, empty")
    if truth_source not in TRUTHS:
        listed = ", ".join(TRUTHS)
        raise InputError(f"config.data.tfds.truth_source {truth_source!r} is none of {listed}")
    name, split = _name_and_split(path)
    found = tfds_fields.open_dataset(name)
    splits = tfds_fields.choose_splits(found, split)
    named = _named(fields or KNOWN.get(found.name, ()), found.name, sorted(found.info.features))
    if "pixel_um" not in named and pixel_um is None:
        raise InputError(
            f"tfds {found.name}: no feature says the pixel size: set config.data.tfds.pixel_um"
        )
    mapping = {ours: tfds_fields.find_field(found, theirs) for ours, theirs in named.items()}
    home = Path(folder) / f"tfds-{found.name}-{tfds_fields.hash_files(found)}"
    same = {
        "collection": found.name,
        "modality": modality,
        "truth_source": truth_source,
        "spacing_source": "the dataset" if "pixel_um" in mapping else "set by the user",
    }
    views, left_out = tfds_lesions.read_views(found, splits, mapping, pixel_um, home, same)
    described = ", ".join(f"{ours} from {theirs}" for ours, theirs in sorted(named.items()))
    marked = "box" in named or "mask" in named
    decisions = (
        f"{found.name}: {found.info.full_name}, splits {', '.join(splits)}; a validation split is"
        " counted as training",
        f"{found.name}: {described}",
        f"{found.name}: {'lesions as marked' if marked else 'each image is a crop of a lesion'}",
    )
    return Collection(found.name, home, views, left_out, decisions)


def _name_and_split(path: str) -> tuple[str, str]:
    """Return a split begins with a letter, where a version ('NAME:1.0.0') does not."""
    if Path(path).is_dir():
        return path, ""
    name, split = _PATH.fullmatch(path).groups()
    return name, split or ""


def _named(fields: Sequence[str], dataset: str, features: Sequence[str]) -> dict[str, str]:
    """Return {'label': 'pathology'} from ('label:pathology',), whole and of known names."""
    named: dict[str, str] = {}
    for item in fields:
        ours, _, theirs = item.partition(":")
        if ours not in (*REQUIRED, *OPTIONAL) or not theirs or ours in named:
            raise InputError(
                f"config.data.tfds.fields: {item!r} is not ours:theirs with a new one of"
                f" {', '.join((*REQUIRED, *OPTIONAL))}"
            )
        named[ours] = theirs
    missing = [name for name in REQUIRED if name not in named]
    if missing:
        raise InputError(
            f"config.data.tfds.fields: missing {', '.join(missing)}; write name:feature each;"
            f" features of {dataset} are {', '.join(features)}"
        )
    if "box" in named and "mask" in named:
        raise InputError("config.data.tfds.fields: box and mask exclude each other")
    return named
