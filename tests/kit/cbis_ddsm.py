"""Write CBIS-DDSM as downloaded: its tables, and DICOM films, masks and crops in any layout."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.dicom import digitized_film, write_dicom

# tables: folders as in the tables; nbia: by date and description, with metadata.csv; bare: the
# same without it; flat: one folder per series; renamed: folders as in the tables, files 1-1.dcm.
LAYOUTS = ("tables", "nbia", "bare", "flat", "renamed")
NAMES = {"mass": "Mass", "calc": "Calc", "train": "Training", "test": "Test"}
METADATA = (
    "Series UID,Collection,3rd Party Analysis,Data Description URI,Subject ID,Study UID,"
    "Study Description,Study Date,Series Description,Manufacturer,Modality,SOP Class Name,"
    "SOP Class UID,Number of Images,File Size,File Location,Download Timestamp"
).split(",")


@dataclass
class Lesion:
    """One row of a table and its files.

    `film` is stored gray (H, W), `box` (top, left, bottom, right) of the mask in pixels of the
    film; lesions of one view share a film.
    `mask_scale` writes the mask smaller or larger than the film; `swapped` puts it into the file
    that the table calls the crop; `separate_series` gives crop and mask their own series, both
    files 000000.dcm; `crop` replaces the film's pixels inside the box.
    """

    film: np.ndarray
    box: tuple[int, int, int, int]
    patient: str = "P_00001"
    side: str = "LEFT"
    view: str = "CC"
    number: int = 1
    pathology: str = "MALIGNANT"
    part: str = "mass-train"
    mask_scale: float = 1.0
    swapped: bool = False
    separate_series: bool = False
    crop: np.ndarray | None = None

    @property
    def folder(self) -> str:
        """Return the folder of the full film, which is the PatientID in its header too."""
        kind, split = self.part.split("-")
        return f"{NAMES[kind]}-{NAMES[split]}_{self.patient}_{self.side}_{self.view}"

    def path(self, file_kind: str) -> str:
        """Return the path of the 'film', 'crop' or 'mask' as in the table."""
        if file_kind == "film":
            return f"{self.folder}/{uid(self.folder)}/{uid(self.folder, 'film')}/000000.dcm"
        home = f"{self.folder}_{self.number}"
        first = "crop" if self.part.startswith("mass") else "mask"
        name = "000000" if self.separate_series or file_kind == first else "000001"
        series = file_kind if self.separate_series else "both"
        study = series if self.separate_series else ""
        return f"{home}/{uid(home, study)}/{uid(home, series)}/{name}.dcm"

    def mask(self) -> np.ndarray:
        """Return the mask, 0 and 255, of `mask_scale` times the film's size."""
        shape = [round(size * self.mask_scale) for size in self.film.shape]
        mask = np.zeros(shape, np.uint8)
        top, left, bottom, right = (round(edge * self.mask_scale) for edge in self.box)
        mask[top:bottom, left:right] = 255
        return mask

    def pixels(self, file_kind: str) -> tuple[np.ndarray, int]:
        """Return pixels and bits of the file that the table calls `file_kind`."""
        if file_kind == "film":
            return self.film, 16
        if (file_kind == "mask") != self.swapped:
            return self.mask(), 8
        top, left, bottom, right = self.box
        return (self.film[top:bottom, left:right] if self.crop is None else self.crop), 16


def uid(*words: str) -> str:
    digits = int(hashlib.sha256("/".join(words).encode()).hexdigest(), 16) % 10**37 + 10**37
    return f"1.3.6.1.4.1.9590.100.1.2.{digits}"


def make_cbis_ddsm(folder: Path, lesions: list[Lesion], layout: str = "tables") -> Path:
    """Write the tables of all parts of `lesions` and their images; return `folder`."""
    for part in sorted({lesion.part for lesion in lesions}):
        kind, split = part.split("-")
        table = folder / f"{kind}_case_description_{split}_set.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        chosen = [lesion for lesion in lesions if lesion.part == part]
        table.write_bytes(table_text(chosen, kind).encode())
    write_images(folder, lesions, layout)
    return folder


def table_text(lesions: list[Lesion], kind: str) -> str:
    """Return a table as TCIA writes it: one path of each row ends in a quoted line break."""
    facts = ("shape", "margins") if kind == "mass" else ("type", "distribution")
    density = "breast_density" if kind == "mass" else "breast density"
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["patient_id", density, "left or right breast", "image view", "abnormality id"]
        + [
            "abnormality type",
            *(f"{kind} {fact}" for fact in facts),
            "assessment",
            "pathology",
            "subtlety",
        ]
        + ["image file path", "cropped image file path", "ROI mask file path"]
    )
    for lesion in lesions:
        paths = [lesion.path("film"), lesion.path("crop"), lesion.path("mask")]
        paths[2 if kind == "mass" else 1] += "\n"
        name = "mass" if kind == "mass" else "calcification"
        cells = [lesion.patient, 3, lesion.side, lesion.view, lesion.number, name, "A", "B", 4]
        table.writerow([*cells, lesion.pathology, 4, *paths])
    return out.getvalue()


def write_images(folder: Path, lesions: list[Lesion], layout: str) -> None:
    """Write the DICOM files of `lesions`; `path` may return the paths of a real table."""
    metadata_rows: dict[str, list[str]] = {}
    for number, lesion in enumerate(lesions):
        for file_kind in ("film", "crop", "mask"):
            home, study, series, name = lesion.path(file_kind).split("/")
            new_name = f"1-{int(name[:6]) + 1}.dcm"
            description = "full mammogram" if file_kind == "film" else "ROI mask"
            dated = f"CBIS-DDSM/{home}/07-20-2016-DDSM-{number:05d}"
            described = f"{dated}/1.000000-{description} images-{series[-5:]}"
            relative_path = {
                "tables": f"{home}/{study}/{series}/{name}",
                "nbia": f"{described}/{new_name}",
                "bare": f"{described}/{new_name}",
                "flat": f"{series}/{new_name}",
                "renamed": f"CBIS-DDSM/{home}/{study}/{series}/{new_name}",
            }[layout]
            # The film of two lesions is one file.
            if series in metadata_rows and file_kind == "film":
                continue
            location = ".\\" + relative_path.rpartition("/")[0].replace("/", "\\")
            metadata_rows[series] = [series, "CBIS-DDSM", "", "", home, study, "", "07-20-2016"]
            metadata_rows[series] += [
                f"{description} images",
                "",
                "MG",
                "",
                "",
                "1",
                "",
                location,
                "",
            ]
            pixels, bits = lesion.pixels(file_kind)
            tags = digitized_film(
                NominalScannedPixelSpacing=None,
                SeriesInstanceUID=series,
                StudyInstanceUID=study,
                PatientID=home,
                PatientOrientation=lesion.view,
            )
            write_dicom(folder / relative_path, pixels, bits=bits, **tags)
    if layout == "nbia":
        with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([METADATA, *metadata_rows.values()])
