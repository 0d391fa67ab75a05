"""Write, open and verify a folder of ROI shards.

A folder holds roi-00000.npy, roi-00001.npy, ... of (n, 128, 128) int16 counts; index.csv with one
line per ROI in the same order; patients.csv with one line per case (data/patients.py); audit.csv
with one line per item of the collection; manifest.json with the SHA-256 of each of these; and
manifest.sha256 with the SHA-256 of manifest.json.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.data.patients import COLUMNS as PATIENT_COLUMNS
from mtl_jax.imaging.roi import GRAY_PER_COUNT, RoiSettings
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import reject_formula
from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import ROI_PIXELS, InputError, RoiSet

# Increase it when the layout changes, or the imaging gives other pixels for the same settings.
FORMAT_VERSION = 4
WITHOUT_DEVICE = "sha256_without_device"
MANIFEST_SHA256, PATIENTS = "manifest.sha256", "patients.csv"
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("roi_id", "case_id", "lesion_id", "view", "laterality", "modality"), str),
    "label": int,  # 1 malignant, 0 benign
    **dict.fromkeys(("truth_source", "split", "image"), str),
    **dict.fromkeys(("pixel_um_row", "pixel_um_col"), float),
    "spacing_source": str,
    **dict.fromkeys(("centre_row", "centre_col"), float),  # pixels of the ROI
    **dict.fromkeys(("height_mm", "width_mm"), float),  # of the lesion
    "outside": float,  # fraction of the ROI outside its image
    "note": str,  # what was corrected
    "noted": str,  # what was noticed and not changed
}
DEVICE = "device"  # digitizer or detector: a further column, if an image of the collection has one
OPTIONAL_COLUMNS = ("noted",)  # may be missing in shards of this format; then empty


def write(
    out_dir: Path,
    name: str,
    index: list[dict[str, Any]],
    chunks: Iterable[np.ndarray],
    manifest: Mapping[str, Any],
    audit: str,
    patients: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write the shards of a collection to the folder `out_dir` atomically.

    `index` holds the rows of index.csv. Each of `chunks` (n, 128, 128) int16 becomes one shard;
    together they have as many ROIs as `index`. `manifest` holds entries in addition to those of the
    format, `audit` is the text of audit.csv, and `patients` are the rows of patients.csv, empty if
    each case is one patient. A folder that another process has created meanwhile is kept.
    """
    with atomic.write_folder(out_dir) as draft:
        shards = []
        for number, chunk in enumerate(chunks):
            _check_pixels(chunk, f"chunk {number} of {name}")
            file = draft / _shard_name(number)
            with file.open("wb") as stream:
                np.save(stream, chunk, allow_pickle=False)
            shards.append(
                {"file": file.name, "rois": len(chunk), "sha256": atomic.file_sha256(file)}
            )
        if sum(shard["rois"] for shard in shards) != len(index):
            raise ValueError(f"{name}: {len(index)} index lines for another number of ROIs")
        index_entry = _write_index(draft / "index.csv", index)
        _write_table(draft / PATIENTS, PATIENT_COLUMNS, patients)
        (draft / "audit.csv").write_text(audit, encoding="utf-8", newline="")
        format_entries = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "gray_per_count": GRAY_PER_COUNT,
            "roi_pixels": ROI_PIXELS,
            "pixel_um": roi_settings(manifest).pixel_um,
            "shards": shards,
            "index": index_entry,
            "patients": {"file": PATIENTS, "sha256": atomic.file_sha256(draft / PATIENTS)},
            "audit": {"file": "audit.csv", "sha256": atomic.file_sha256(draft / "audit.csv")},
        }
        text = json.dumps({**format_entries, **manifest}, indent=1, ensure_ascii=False) + "\n"
        (draft / "manifest.json").write_text(text, encoding="utf-8")
        (draft / MANIFEST_SHA256).write_text(
            _manifest_checksum(draft / "manifest.json"), encoding="utf-8"
        )


def open_shards(folder: Path) -> RoiSet:
    """Return the ROIs in `folder`, memory-mapped and read-only, after checking every SHA-256."""
    manifest = _read_manifest(folder)
    _check_manifest(folder)  # first, because it holds the checksums of the other files
    try:
        name = str(manifest["name"])
        tables = ("index", "patients", "audit")
        index_sha256, patients_sha256, audit_sha256 = (manifest[file]["sha256"] for file in tables)
        listed = [(str(s["file"]), int(s["rois"]), s["sha256"]) for s in manifest["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}/manifest.json: damaged ({error}){CURE}") from error
    if [file for file, _, _ in listed] != [_shard_name(number) for number in range(len(listed))]:
        raise InputError(
            f"{folder}/manifest.json: the shards are not named roi-00000.npy, ...{CURE}"
        )
    shards = []
    for file, rois, sha256 in listed:
        path = _check_file(folder / file, sha256)
        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_pixels(shard, str(path))
        except ValueError as error:
            raise InputError(f"{path}: not a shard ({error}){CURE}") from error
        if len(shard) != rois:
            raise InputError(f"{path}: {len(shard)} ROIs, manifest.json says {rois}{CURE}")
        shards.append(shard)
    index = _read_table(_check_file(folder / "index.csv", index_sha256))
    path = _check_file(folder / PATIENTS, patients_sha256)
    patients = _read_table(path, PATIENT_COLUMNS)
    _check_file(folder / "audit.csv", audit_sha256)
    listed_cases = len(patients["case_id"])
    rois = RoiSet(name, index, tuple(shards), manifest, patients if listed_cases else {})
    lines = len(index["roi_id"])
    if lines != len(rois):
        raise InputError(
            f"{folder}: index.csv has {lines} rows, but the shards hold {len(rois)} ROIs{CURE}"
        )
    _check_index(index, folder)
    # The patient of every case must be known.
    if listed_cases and sorted(patients["case_id"]) != sorted(set(index["case_id"])):
        raise InputError(f"{path}: must list each case of index.csv exactly once{CURE}")
    return rois


CURE = "; delete the folder and make the shards again"


def roi_settings(manifest: Mapping[str, Any]) -> RoiSettings:
    """Return how the ROIs of shards with this manifest were made."""
    return RoiSettings.from_record(manifest.get("imaging", {}))


def content_digest(rois: RoiSet) -> str:
    """Return the SHA-256 of the ROIs, the index and the patients, whenever and wherever made.

    It does not depend on the devices, which change neither training nor scores: a finished study
    stays valid when they become known.
    """
    return hashlib.sha256(" ".join(_content(rois.manifest)).encode()).hexdigest()


def _content(manifest: Mapping[str, Any]) -> list[str]:
    """Return the checksums of the shards, the index without devices, and the patients."""
    tables = (manifest[name] for name in ("index", "patients") if name in manifest)
    entries = (*manifest["shards"], *tables)
    return [entry.get(WITHOUT_DEVICE, entry["sha256"]) for entry in entries]


def reject_replaced(rois: RoiSet) -> None:
    """Raise InputError if the folder of `rois`, from which rows are still read, was replaced."""
    folders = {Path(s.filename).parent for s in rois.shards if isinstance(s, np.memmap)}
    for folder in folders:
        present = (folder / "manifest.json").is_file()
        if not present or _content(_read_manifest(folder)) != _content(rois.manifest):
            raise InputError(
                f"{folder}: these shards were replaced while the job ran; restore the previous "
                "ones or name another --workdir, and start again"
            )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder}: no shards here (no manifest.json)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}){CURE}") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format version {version}, expected {FORMAT_VERSION}{CURE}")
    return manifest


def _write_index(path: Path, index: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write index.csv and return its entry in manifest.json."""
    _write_table(path, COLUMNS, ({name: row[name] for name in COLUMNS} for row in index))
    sha256 = atomic.file_sha256(path)
    if not any(DEVICE in row for row in index):
        return {"file": path.name, "sha256": sha256}
    _write_table(path, COLUMNS | {DEVICE: str}, index)
    return {"file": path.name, "sha256": atomic.file_sha256(path), WITHOUT_DEVICE: sha256}


def _write_table(
    path: Path, columns: Mapping[str, type], lines: Iterable[Mapping[str, Any]]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(lines)


def _read_table(path: Path, columns: Mapping[str, type] = COLUMNS) -> dict[str, np.ndarray]:
    """Return the columns as read-only arrays; text as objects, so that equal texts share memory."""
    try:
        cells = read_csv(path)
        for name in OPTIONAL_COLUMNS:
            if name in columns and name not in cells:
                cells[name] = ""  # optional columns are the last
        if columns is COLUMNS and DEVICE in cells:
            columns = COLUMNS | {DEVICE: str}
        if list(cells) != list(columns):
            raise ValueError(f"its columns are not {', '.join(columns)}")
        table = {
            name: np.array(cells[name], object).astype(object if kind is str else kind)
            for name, kind in columns.items()
        }
    except (ValueError, OverflowError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}){CURE}") from error
    for column in table.values():
        column.flags.writeable = False
    return table


def _check_index(index: Mapping[str, np.ndarray], folder: Path) -> None:
    path = folder / "index.csv"
    ids, cases, lesions, labels = (
        index[name].tolist() for name in ("roi_id", "case_id", "lesion_id", "label")
    )
    if len(set(ids)) != len(ids):
        raise InputError(f"{path}: a roi_id is repeated{CURE}")
    for column in ("roi_id", "case_id", "lesion_id", "view"):
        for text in set(index[column].tolist()):
            reject_formula(text, f"{path}: {column}")
    label_of: dict[tuple[str, str], int] = {}
    for case, lesion, label in zip(cases, lesions, labels, strict=True):
        name = f"{path}: lesion {case}/{lesion}"
        if label not in (0, 1):
            raise InputError(f"{name}: label {label} is invalid: expected 0 or 1{CURE}")
        if label_of.setdefault((case, lesion), label) != label:
            raise InputError(f"{name}: has both labels, 0 and 1{CURE}")


def _check_manifest(folder: Path) -> None:
    path, manifest = folder / MANIFEST_SHA256, folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path}: missing{CURE}")
    if path.read_text(encoding="utf-8", errors="replace") != _manifest_checksum(manifest):
        raise InputError(f"{manifest}: does not match the checksum in {MANIFEST_SHA256}{CURE}")


def _check_pixels(shard: np.ndarray, name: str) -> None:
    if shard.dtype != np.int16 or shard.shape[1:] != (ROI_PIXELS, ROI_PIXELS):
        raise ValueError(f"{name} is {shard.dtype} {shard.shape}, not int16 (n, 128, 128)")


def _check_file(path: Path, sha256: str) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: missing{CURE}")
    if atomic.file_sha256(path) != sha256:
        raise InputError(f"{path}: wrong checksum: the file has changed{CURE}")
    return path


def _manifest_checksum(manifest: Path) -> str:
    """Return the checksum of the manifest in the format of `sha256sum -c`."""
    return f"{atomic.file_sha256(manifest)}  {manifest.name}\n"


def _shard_name(number: int) -> str:
    return f"roi-{number:05d}.npy"
