"""Find the DICOM files of CBIS-DDSM series in any layout of the download.

A header is read only where neither a folder nor a table names the series.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError


@dataclass
class SeriesFiles:
    """DICOM files by SeriesInstanceUID, how many series each method found, and unreadable files."""

    series: dict[str, list[Path]] = field(default_factory=dict)
    found_by: Counter[str] = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)


def find_series(root: Path, uids: set[str]) -> SeriesFiles:
    """Return the `.dcm` files below `root` that belong to the series in `uids`.

    A series is identified by the name of its folder, else by a metadata.csv (as the NBIA retriever
    writes), else by the DICOM header. If a series is in two folders, the first one in order is
    used.
    """
    images_by_folder: dict[Path, list[Path]] = {}
    tables = []
    for directory, subfolders, names in os.walk(root):
        subfolders.sort()
        folder = Path(directory)
        images = [folder / name for name in sorted(names) if name.lower().endswith(".dcm")]
        if images:
            images_by_folder[folder] = images
        tables += [folder / name for name in names if name == "metadata.csv"]
    uid_of_folder = {}
    for table in tables:
        uid_of_folder |= _read_metadata(table)
    files = SeriesFiles()
    for folder, images in images_by_folder.items():
        uid, method = folder.name, "folder name"
        if uid not in uids:
            uid, method = uid_of_folder.get(folder, ""), "metadata.csv"
        if not uid:
            _add_by_header(images, uids, files)
        elif uid in uids and uid not in files.series:
            files.series[uid] = images
            files.found_by[method] += 1
    return files


def _read_metadata(table: Path) -> dict[Path, str]:
    """Return the series of each folder that a metadata.csv lists."""
    try:
        rows = read_csv(table, uneven=[])
    except (InputError, OSError) as error:
        raise InputError(f"{table}: not a CSV in UTF-8; download it again or delete it") from error
    uid_of_folder = {}
    for row in rows.to_dict("records"):
        uid, location = row.get("Series UID"), row.get("File Location")
        if uid and location:
            # Written on Windows, the separators are backslashes.
            parts = [
                part for part in location.replace("\\", "/").split("/") if part not in ("", ".")
            ]
            uid_of_folder[table.parent.joinpath(*parts)] = uid.strip()
    return uid_of_folder


def _add_by_header(images: list[Path], uids: set[str], files: SeriesFiles) -> None:
    images_by_uid: dict[str, list[Path]] = {}
    for image in images:
        try:
            header = pydicom.dcmread(
                image, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
            )
            uid = str(header.SeriesInstanceUID)
        # pydicom raises many exception types for a damaged header.
        except Exception:
            files.damaged.append(image)
            continue
        if uid in uids and uid not in files.series:
            images_by_uid.setdefault(uid, []).append(image)
    for uid, series_images in images_by_uid.items():
        files.series[uid] = series_images
        files.found_by["DICOM header"] += 1
