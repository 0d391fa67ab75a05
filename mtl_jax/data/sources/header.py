"""What a source asks of one DICOM header, with reasons that name no folder. Decodes no pixels."""

from pathlib import Path
from typing import NamedTuple

import pydicom

from mtl_jax.imaging import dicom
from mtl_jax.nouns import InputError

TAGS = ["PatientID", "ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence"]
# SNOMED CT, and the SNOMED RT identifiers that older files hold in the same place.
VIEW_CODES = {
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
}


class Place(NamedTuple):
    """Whose breast an image shows, and how; '' where the header does not say."""

    patient: str
    laterality: str
    view: str


def pixel_size(path: Path) -> tuple[tuple[float, float], str] | None:
    """As `imaging.dicom.spacing`; an InputError gives the reason alone."""
    try:
        return dicom.spacing(path)
    except InputError as error:
        # What pydicom says may quote a name from the header.
        reason = str(error).removeprefix(f"{path}: ").partition(" (")[0]
        raise InputError(reason) from error


def place(path: Path) -> Place:
    """Patient, side and view of a mammogram. InputError gives the reason alone."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        side = header.get("ImageLaterality") or header.get("Laterality") or ""
        codes = [str(item.get("CodeValue", "")) for item in header.get("ViewCodeSequence") or ()]
        coded = next((VIEW_CODES[code] for code in codes if code in VIEW_CODES), "")
        view = coded or str(header.get("ViewPosition") or "").strip().upper()
        return Place(str(header.get("PatientID") or "").strip(), str(side).strip().upper(), view)
    # pydicom raises many types on a damaged header; whichever it is, the file is at fault.
    except Exception as error:
        raise InputError("its DICOM header cannot be read") from error
