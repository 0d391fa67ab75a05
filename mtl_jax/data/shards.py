"""Regions of interest on disk: write, open and verify one folder of shards. Knows no sources.

A folder holds roi-00000.npy, roi-00001.npy, ... of (n, 128, 128) int16 counts, index.csv with one
line a region in the same order, patients.csv with one line a case (data/patients.py), audit.csv
with one line for everything the collection held,
manifest.json with the SHA-256 of each of these, and manifest.sha256 with that of manifest.json.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import whole
from mtl_jax.cells import refuse_formula
from mtl_jax.data.columns import Columns
from mtl_jax.data.patients import COLUMNS as PATIENT_COLUMNS
from mtl_jax.imaging.roi import GRAY_PER_COUNT, PIXEL_UM, ROI_PIXELS
from mtl_jax.nouns import InputError, RoiSet

# Raise it when the layout changes, or when the imaging gives other pixels for the same settings.
FORMAT_VERSION = 4
SEAL, PATIENTS = "manifest.sha256", "patients.csv"
LINES_AT_ONCE = 4096  # of index.csv
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("roi_id", "case_id", "lesion_id", "view", "laterality", "modality"), str),
    "label": int,  # 1 malignant, 0 benign
    **dict.fromkeys(("truth_source", "split", "image"), str),
    **dict.fromkeys(("pixel_um_row", "pixel_um_col"), float),
    "spacing_source": str,
    **dict.fromkeys(("centre_row", "centre_col"), float),  # pixels of 200 um
    **dict.fromkeys(("height_mm", "width_mm"), float),  # of the lesion
    "outside": float,  # fraction of the region outside its image
    "note": str,  # what was corrected
    "noted": str,  # what was noticed and left as it is
}
ADDED = ("noted",)  # columns that shards of this format may lack: empty there


def write(
    out_dir: Path,
    name: str,
    index: list[dict[str, Any]],
    chunks: Iterable[np.ndarray],
    manifest: Mapping[str, Any],
    audit: str,
    patients: Sequence[Mapping[str, str]] = (),
) -> None:
    """Writes the folder `out_dir` whole or not at all.

    Each chunk, (n, 128, 128) int16, becomes one shard; together they are as many as `index` has
    lines. `manifest` holds what is known of the making; the format's own fields are added here.
    `audit` is the text of audit.csv; `patients` are the lines of patients.csv, none where each case
    is a patient of its own.
    A folder that appeared meanwhile, as from another process with the same work, is left standing.
    """
    with whole.folder(out_dir) as draft:
        shards = []
        for number, chunk in enumerate(chunks):
            _check_pixels(chunk, f"chunk {number} of {name}")
            file = draft / _shard_name(number)
            with file.open("wb") as stream:
                np.save(stream, chunk, allow_pickle=False)
            shards.append({"file": file.name, "rois": len(chunk), "sha256": whole.digest(file)})
        if sum(shard["rois"] for shard in shards) != len(index):
            raise ValueError(f"{name}: {len(index)} index lines for other than as many regions")
        _write_table(draft / "index.csv", COLUMNS, index)
        _write_table(draft / PATIENTS, PATIENT_COLUMNS, patients)
        (draft / "audit.csv").write_text(audit, encoding="utf-8", newline="")
        own = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "gray_per_count": GRAY_PER_COUNT,
            "roi_pixels": ROI_PIXELS,
            "pixel_um": PIXEL_UM,
            "shards": shards,
            "index": {"file": "index.csv", "sha256": whole.digest(draft / "index.csv")},
            "patients": {"file": PATIENTS, "sha256": whole.digest(draft / PATIENTS)},
            "audit": {"file": "audit.csv", "sha256": whole.digest(draft / "audit.csv")},
        }
        text = json.dumps({**own, **manifest}, indent=1, ensure_ascii=False) + "\n"
        (draft / "manifest.json").write_text(text, encoding="utf-8")
        (draft / SEAL).write_text(_seal(draft / "manifest.json"), encoding="utf-8")


def open_shards(folder: Path, verify: bool = True) -> RoiSet:
    """The regions in `folder`, memory-mapped and read-only; every file is hashed if `verify`.

    InputError: no such folder, another format version, a checksum or a count that is wrong.
    """
    manifest = _manifest(folder)
    if verify:
        _check_seal(folder)  # before it is believed of the others
    try:
        name = str(manifest["name"])
        tables = ("index", "patients", "audit")
        index_sha256, patients_sha256, audit_sha256 = (manifest[file]["sha256"] for file in tables)
        listed = [(str(s["file"]), int(s["rois"]), s["sha256"]) for s in manifest["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}/manifest.json: damaged ({error}){_CURE}") from error
    if [file for file, _, _ in listed] != [_shard_name(number) for number in range(len(listed))]:
        raise InputError(f"{folder}/manifest.json: its shards are misnamed{_CURE}")
    shards = []
    for file, rois, sha256 in listed:
        path = _checked(folder / file, sha256 if verify else None)
        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_pixels(shard, str(path))
        except ValueError as error:
            raise InputError(f"{path}: not a shard ({error}){_CURE}") from error
        if len(shard) != rois:
            raise InputError(f"{path}: {len(shard)} regions, manifest.json says {rois}{_CURE}")
        shards.append(shard)
    index = _index(_checked(folder / "index.csv", index_sha256 if verify else None))
    path = _checked(folder / PATIENTS, patients_sha256 if verify else None)
    patients = _index(path, PATIENT_COLUMNS)
    _checked(folder / "audit.csv", audit_sha256 if verify else None)
    rois = RoiSet(name, index, tuple(shards), manifest, patients if patients.lines else {})
    if index.lines != len(rois):
        raise InputError(f"{folder}: {index.lines} index lines for {len(rois)} regions{_CURE}")
    _check_index(index, folder)
    if patients.lines:
        _check_patients(patients, index, path)
    return rois


_CURE = "; delete the folder and make the shards again"


def content(rois: RoiSet) -> str:
    """SHA-256 of what the regions are and of whom, whenever and wherever the shards were made."""
    parts = [shard["sha256"] for shard in rois.manifest["shards"]]
    tables = (rois.manifest[name] for name in ("index", "patients") if name in rois.manifest)
    parts += [table["sha256"] for table in tables]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def refuse_replaced(rois: RoiSet) -> None:
    """Raise InputError where other shards stand in the folder from which `rois` was opened: rows
    are read from the files when they are asked for. Arrays that are no files are left alone."""
    folders = {Path(s.filename).parent for s in rois.shards if isinstance(s, np.memmap)}
    for folder in folders:
        if not (folder / "manifest.json").is_file() or _manifest(folder) != rois.manifest:
            raise InputError(
                f"{folder}: these shards have been replaced while the job ran; put back those that "
                "it began with, or name another --workdir, and start again"
            )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder}: no shards here (no manifest.json)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}){_CURE}") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format version {version}, here {FORMAT_VERSION}{_CURE}")
    return manifest


def _write_table(
    path: Path, columns: Mapping[str, type], lines: Iterable[Mapping[str, Any]]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(lines)


def _index(path: Path, columns: Mapping[str, type] = COLUMNS) -> Columns:
    try:
        return Columns(columns, _cells(path, columns))
    except (ValueError, OverflowError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}){_CURE}") from error


def _cells(path: Path, columns: Mapping[str, type]) -> Iterator[list[tuple[str, ...]]]:
    """LINES_AT_ONCE lines of a table after another, by column. ValueError: of unlike lengths."""
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.reader(stream)
        header = next(table, None)
        absent = [name for name in columns if name in ADDED and name not in (header or ())]
        if header != [name for name in columns if name not in absent]:
            raise InputError(f"{path}: its columns are not {', '.join(columns)}{_CURE}")
        while lines := list(islice(table, LINES_AT_ONCE)):
            # Those that may be absent are the last.
            yield [*zip(*lines, strict=True), *[("",) * len(lines)] * len(absent)]


def _check_index(index: Columns, folder: Path) -> None:
    """By hashes, and by the texts themselves where hashes are the same and should not be: sets of a
    million texts would take hundreds of megabytes."""
    path = folder / "index.csv"
    ids = np.sort(_hashes(index, "roi_id"))
    if (ids[1:] == ids[:-1]).any() and len(set(index["roi_id"].tolist())) != index.lines:
        raise InputError(f"{path}: a roi_id stands twice{_CURE}")
    for column in ("roi_id", "case_id", "lesion_id", "view"):
        for part in index.parts(column):
            for text in set(part.tolist()):
                refuse_formula(text, f"{path}: {column}")
    label, lesion = index["label"], _hashes(index, "case_id", "lesion_id")
    order = np.argsort(lesion)
    unlike = (np.diff(lesion[order]) == 0) & (np.diff(label[order]) != 0)
    if unlike.any() or not np.isin(label, (0, 1)).all():
        _refuse_labels(index, path)


def _check_patients(patients: Columns, index: Columns, path: Path) -> None:
    """A case that it does not list would be nobody, and could be learned and tested."""
    listed, cases = (np.sort(_hashes(table, "case_id")) for table in (patients, index))
    if not np.array_equal(listed, np.unique(cases)):
        raise InputError(f"{path}: its cases are not those of index.csv, each once{_CURE}")


def _hashes(index: Columns, *names: str) -> np.ndarray:
    """Of what each line has in these columns, (n,) int64."""
    lines = (
        line
        for parts in zip(*map(index.parts, names), strict=True)
        for line in zip(*(part.tolist() for part in parts), strict=True)
    )
    return np.fromiter(map(hash, lines), np.int64, index.lines)


def _refuse_labels(index: Columns, path: Path) -> None:
    """InputError where a label is neither 0 nor 1, or a lesion has both."""
    labels: dict[tuple[str, str], int] = {}
    for case, lesion, label in zip(
        *(index[name].tolist() for name in ("case_id", "lesion_id", "label")), strict=True
    ):
        if label not in (0, 1) or labels.setdefault((case, lesion), label) != label:
            raise InputError(f"{path}: lesion {case}/{lesion}: label {label}{_CURE}")


def _check_seal(folder: Path) -> None:
    seal, manifest = folder / SEAL, folder / "manifest.json"
    said = seal.read_text(encoding="utf-8", errors="replace") if seal.is_file() else ""
    if said != _seal(manifest):
        raise InputError(f"{manifest}: its bytes are not those that {SEAL} tells of{_CURE}")


def _check_pixels(shard: np.ndarray, name: str) -> None:
    if shard.dtype != np.int16 or shard.shape[1:] != (ROI_PIXELS, ROI_PIXELS):
        raise ValueError(f"{name} is {shard.dtype} {shard.shape}, not int16 (n, 128, 128)")


def _checked(path: Path, sha256: str | None) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: missing{_CURE}")
    if sha256 is not None and whole.digest(path) != sha256:
        raise InputError(f"{path}: wrong checksum, its bytes have changed{_CURE}")
    return path


def _seal(manifest: Path) -> str:
    """The manifest's own checksum, in the form that `sha256sum -c` reads."""
    return f"{whole.digest(manifest)}  {manifest.name}\n"


def _shard_name(number: int) -> str:
    return f"roi-{number:05d}.npy"
