"""Write phantom images as DICOM files: raw digital mammograms, digitized films and masks.

Headers are functions of the arguments, so that equal images give equal files. Each file states that
it is a phantom.
"""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from mtl_jax.phantom.case import Breast, View
from mtl_jax.phantom.receptor import RECEPTORS

# PS3.16 CID 4014, and the PatientOrientation of an image that is not rotated.
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
ORIENTATION = {("CC", "L"): ["A", "R"], ("CC", "R"): ["P", "L"]}
ORIENTATION |= {("MLO", "L"): ["A", "FR"], ("MLO", "R"): ["P", "FL"]}
ANGLE = {"CC": 0, "MLO": 45}
SIMULATED = "Simulated image with known truth: no patient"
IMPLEMENTATION = f"{uid.PYDICOM_ROOT_UID}1"


def make_uid(*words: str) -> str:
    """Return a UID that is a function of `words`."""
    return str(uid.generate_uid(entropy_srcs=list(words)))


def make_digital(kind: str, seed: int, patient: str, breast: Breast, view: View) -> Dataset:
    """Return a raw detector image: Digital Mammography X-Ray Image Storage - For Processing."""
    words = (kind, str(seed), patient)
    header = _header(uid.DigitalMammographyXRayImageStorageForProcessing, words, patient, view.view)
    pixel_mm = RECEPTORS[kind].pixel_mm
    header.ImageType = ["ORIGINAL", "PRIMARY", ""]
    header.PresentationIntentType = "FOR PROCESSING"
    header.PixelIntensityRelationship, header.PixelIntensityRelationshipSign = "LIN", 1
    header.PresentationLUTShape = "INVERSE"  # dense tissue is displayed bright
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, 0, "US"
    header.ImageLaterality, header.OrganExposed = breast.laterality, "BREAST"
    header.AnatomicRegionSequence = _code("76752008", "Breast")
    header.ViewCodeSequence = _code(VIEW_CODES[view.view][0], VIEW_CODES[view.view][1])
    header.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    header.PatientOrientation = ORIENTATION[view.view, breast.laterality]
    header.PositionerType, header.PositionerPrimaryAngle = "MAMMOGRAPHIC", ANGLE[view.view]
    header.BodyPartThickness = f"{breast.compressed_mm:.1f}"
    header.BreastImplantPresent, header.PartialView = "NO", "YES"
    header.PartialViewDescription = "the surroundings of one lesion"
    header.DetectorType, header.FieldOfViewShape = "SCINTILLATOR", "RECTANGLE"
    header.ImagerPixelSpacing = [pixel_mm, pixel_mm]
    header.EstimatedRadiographicMagnificationFactor = 1
    header.AcquisitionContextSequence = Sequence()
    header.LossyImageCompression = "00"
    _set_pixels(header, view.stored, RECEPTORS[kind].bits, "MONOCHROME1")
    return header


def make_film(
    kind: str,
    seed: int,
    patient: str,
    breast: Breast,
    view: View,
    study: str = "",
    series: str = "",
) -> Dataset:
    """Return a digitized film: Secondary Capture, gray linear in OD. Empty UIDs are derived."""
    words = (kind, str(seed), patient)
    header = _header(uid.SecondaryCaptureImageStorage, words, patient, view.view, study, series)
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.ConversionType = "DF"
    header.SecondaryCaptureDeviceManufacturerModelName = "simulated laser scanner"
    header.PatientOrientation = ORIENTATION[view.view, breast.laterality]
    header.Laterality = breast.laterality
    pixel_mm = RECEPTORS[kind].pixel_mm
    header.NominalScannedPixelSpacing = [pixel_mm, pixel_mm]
    _set_pixels(header, view.stored, RECEPTORS[kind].bits, "MONOCHROME2")
    return header


def make_derived(
    film: Dataset, name: str, pixels: np.ndarray, bits: int, study: str, series: str
) -> Dataset:
    """Return the `name` 'mask' (bits 8) or 'crop' of `film` in another series, as in CBIS-DDSM."""
    words = (str(film.SOPInstanceUID), name)
    header = _header(
        uid.SecondaryCaptureImageStorage, words, str(film.PatientID), name, study, series
    )
    header.ImageType = ["DERIVED", "SECONDARY"]
    header.ConversionType = "WSD"
    header.PatientOrientation = film.PatientOrientation
    header.Laterality = film.Laterality
    _set_pixels(header, pixels, bits, "MONOCHROME2")
    return header


def write(path: Path, header: Dataset) -> None:
    """Write a DICOM file; a mask is run-length encoded."""
    if header.BitsAllocated == 8:
        header.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, header, enforce_file_format=True)


def _header(
    sop_class: str,
    words: tuple[str, ...],
    patient: str,
    name: str,
    study: str = "",
    series: str = "",
) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.file_meta.ImplementationClassUID = IMPLEMENTATION
    header.file_meta.ImplementationVersionName = "MTL_JAX"
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = sop_class
    header.SOPInstanceUID = make_uid(*words, name, "image")
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.StudyInstanceUID = study or make_uid(*words, "study")
    header.SeriesInstanceUID = series or make_uid(*words, name, "series")
    header.SpecificCharacterSet = "ISO_IR 100"
    header.PatientName, header.PatientID = f"PHANTOM^{patient}", patient
    header.PatientBirthDate, header.PatientSex = "", "F"
    header.PatientComments = header.ImageComments = SIMULATED
    header.QualityControlImage, header.BurnedInAnnotation = "YES", "NO"
    header.StudyDate, header.StudyTime, header.StudyID = "20000101", "000000", "1"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.Modality, header.SeriesNumber, header.InstanceNumber = "MG", 1, 1
    header.ContentDate = header.ContentTime = header.AcquisitionDate = header.AcquisitionTime = ""
    header.Manufacturer, header.ManufacturerModelName = "mtl_jax", "phantom"
    header.BodyPartExamined = "BREAST"
    return header


def _set_pixels(header: Dataset, pixels: np.ndarray, bits: int, photometric: str) -> None:
    allocated = 8 if bits <= 8 else 16
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, photometric
    header.BitsAllocated, header.BitsStored, header.HighBit = allocated, bits, bits - 1
    header.PixelRepresentation = 0
    words = pixels.astype("u1" if allocated == 8 else "<u2").tobytes()
    header.PixelData = words + b"\0" * (len(words) % 2)
    header["PixelData"].VR = "OB" if allocated == 8 else "OW"


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return Sequence([item])
