"""Where the DICOM files of each CBIS-DDSM series are, however the download is laid out."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError


@dataclass
class SeriesFiles:
    """SeriesFiles by SeriesInstanceUID, how many series were found by what, and what is damaged."""

    series: dict[str, list[Path]] = field(default_factory=dict)
    found_by: Counter[str] = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)


def find_series(root: Path, wanted: set[str]) -> SeriesFiles:
    """Return the `.dcm` files below `root` of each series in `wanted`, whatever their names.

    A series is known by the name of its folder, else by a metadata.csv (as the NBIA retriever
    writes), else by the header. Of a series in two folders the first in order counts.
    InputError: a metadata.csv that is no table.
    """
    folders: dict[Path, list[Path]] = {}
    tables = []
    for place, below, names in os.walk(root):
        below.sort()
        folder = Path(place)
        images = [folder / name for name in sorted(names) if name.lower().endswith(".dcm")]
        if images:
            folders[folder] = images
        tables += [folder / name for name in names if name == "metadata.csv"]
    located = {}
    for table in tables:
        located |= _located(table)
    files = SeriesFiles()
    for folder, images in folders.items():
        uid, means = folder.name, "folder name"
        if uid not in wanted:
            uid, means = located.get(folder, ""), "metadata.csv"
        if uid:
            if uid in wanted and uid not in files.series:
                files.series[uid] = images
                files.found_by[means] += 1
        else:
            _by_header(images, wanted, files)
    return files


def _located(table: Path) -> dict[Path, str]:
    """Return the series of each folder that a metadata.csv lists."""
    try:
        rows = read_csv(table, uneven=[])
    except (InputError, OSError) as error:
        raise InputError(f"{table}: not a CSV in UTF-8; fetch it again or delete it") from error
    located = {}
    for row in rows.to_dict("records"):
        uid, place = row.get("Series UID"), row.get("File Location")
        if uid and place:
            # Written on Windows, the separators are backslashes.
            parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".")]
            located[table.parent.joinpath(*parts)] = uid.strip()
    return located


def _by_header(images: list[Path], wanted: set[str], files: SeriesFiles) -> None:
    found: dict[str, list[Path]] = {}
    for image in images:
        try:
            header = pydicom.dcmread(
                image, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
            )
            uid = str(header.SeriesInstanceUID)
        # pydicom raises many types on a damaged header; whichever it is, the file is invalid.
        except Exception:
            files.damaged.append(image)
            continue
        if uid in wanted and uid not in files.series:
            found.setdefault(uid, []).append(image)
    for uid, places in found.items():
        files.series[uid] = places
        files.found_by["DICOM header"] += 1
