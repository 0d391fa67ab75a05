"""Read pixel size and magnification from a DICOM header."""

import contextlib
import itertools

from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_functional_group, get_value
from mtl_jax.imaging.dicom_view import get_view_modifiers
from mtl_jax.imaging.table_vs_header import SAME_SPACING, same_spacing
from mtl_jax.imaging.value_checks import SPACING_FIELDS, check_pixel_um
from mtl_jax.types import InputError, Note

# The spacing in the detector plane comes first, not divided by the magnification: the paper works
# in the detector plane, and only some devices write a calibrated PixelSpacing.
SPACING_TAGS = SPACING_FIELDS[:3]
FACTOR = "EstimatedRadiographicMagnificationFactor"
MEASURES = SPACING_FIELDS[3]
DETECTOR_PLANE = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
# Contact views have factors of 1.05 to 1.1, magnification views of 1.5 to 2.
MAX_CONTACT_MAGNIFICATION = 1.2
MAX_MAGNIFICATION = 3.0  # distances with a larger ratio are wrong
FACTOR_TOLERANCE = 0.05

CONTACT_GEOMETRY = "the spacings of the header differ by the geometry of a contact view"
PLANE_UNKNOWN = "PixelSpacing is the only spacing: it may be corrected for magnification or not"
IMPLAUSIBLE_FACTOR = "EstimatedRadiographicMagnificationFactor is below 1: ignored"
IMPLAUSIBLE_DISTANCES = (
    "DistanceSourceToDetector and DistanceSourceToPatient are implausible: ignored"
)
FACTOR_DIFFERS = "the magnification factor of the header differs from its distances"
MODIFIER_DECIDES = "the view modifier is magnification, but the factor is that of a contact view"

Spacing = tuple[str, float, float]


def get_spacing(header: Dataset, frame: int = 0) -> tuple[tuple[float, float], str] | None:
    """Return the pixel size (row, column) in um and its header field; None if none states it.

    An implausible size and contradictory spacings of a contact view are errors.
    """
    sources = _sources(header, frame)
    used = next((spacing for source in sources if (spacing := _read(*source))), None)
    if used is None:
        return None
    field, row, column = used
    check_pixel_um((row, column), field)
    if not is_magnified(header):
        for first, second in itertools.combinations(list_spacings(header, frame), 2):
            _check_pair(first, second)
    return (row, column), field


def list_spacings(header: Dataset, frame: int = 0) -> tuple[Spacing, ...]:
    """Return every spacing of two positive numbers, (field, row, column); the first is used."""
    spacings = []
    for source in _sources(header, frame):
        with contextlib.suppress(InputError):
            spacings.append(_read(*source))
    return tuple(filter(None, spacings))


def plausible_spacings(header: Dataset, frame: int = 0) -> tuple[Spacing, ...]:
    """Return the plausible spacings, also the detector's divided by a contact magnification."""
    spacings = list_spacings(header, frame)
    factor = get_magnification(header)
    if factor is not None and 1 < factor <= MAX_CONTACT_MAGNIFICATION:
        spacings += tuple(
            (f"{field} / {FACTOR}", row / factor, column / factor)
            for field, row, column in spacings
            if field in DETECTOR_PLANE
        )
    plausible = []
    for field, row, column in spacings:
        with contextlib.suppress(InputError):
            check_pixel_um((row, column), field)
            plausible.append((field, row, column))
    return tuple(plausible)


def spacing_notes(header: Dataset, frame: int = 0) -> tuple[Note, ...]:
    """Return notes on spacings of the header that differ without contradicting each other."""
    spacings, factor = list_spacings(header, frame), get_magnification(header)
    notes = [
        Note(CONTACT_GEOMETRY, f"{_format(first)}; {_format(second)}")
        for first, second in itertools.combinations(spacings, 2)
        if not _same(first, second)
    ]
    if not {field for field, _, _ in spacings} & {*DETECTOR_PLANE} and factor:
        if factor > 1 + SAME_SPACING:
            notes.append(Note(PLANE_UNKNOWN, f"a factor of {factor:g}"))
    return tuple(notes)


def get_magnification(header: Dataset) -> float | None:
    """Return EstimatedRadiographicMagnificationFactor; None if it is absent or not positive."""
    return _positive(header, FACTOR)


def is_magnified(header: Dataset) -> bool:
    """Return whether this is a magnification view.

    The view modifier decides, else a factor above 1.2, else the ratio of the distances from the
    source to the detector and to the patient. Ingest leaves such views out, because their pixels
    are smaller in the breast than ImagerPixelSpacing.
    """
    if "magnification" in get_view_modifiers(header):
        return True
    factor = get_magnification(header)
    if factor is not None and factor >= 1:
        return factor > MAX_CONTACT_MAGNIFICATION
    by_distance = _by_distance(header)
    return by_distance is not None and by_distance > MAX_CONTACT_MAGNIFICATION


def magnification_notes(header: Dataset) -> tuple[Note, ...]:
    """Return notes on view modifier, magnification factor and distances that disagree."""
    notes = []
    factor, by_distance = get_magnification(header), _by_distance(header)
    if factor is not None and factor < 1:
        notes.append(Note(IMPLAUSIBLE_FACTOR, f"{factor:g}"))
        factor = None
    if by_distance is None and _ratio(header) is not None:
        notes.append(Note(IMPLAUSIBLE_DISTANCES, f"ratio {_ratio(header):.3g}"))
    if "magnification" in get_view_modifiers(header):
        if factor is not None and factor <= MAX_CONTACT_MAGNIFICATION:
            notes.append(Note(MODIFIER_DECIDES, f"{factor:g}"))
    elif factor and by_distance and abs(factor / by_distance - 1) > FACTOR_TOLERANCE:
        if (factor > MAX_CONTACT_MAGNIFICATION) != (by_distance > MAX_CONTACT_MAGNIFICATION):
            raise InputError(
                f"{FACTOR} is {factor:g}, but DistanceSourceToDetector / DistanceSourceToPatient is"
                f" {by_distance:.3g}: only one of them is that of a magnification view; correct the"
                " header, or leave the image out"
            )
        notes.append(Note(FACTOR_DIFFERS, f"{factor:g} and {by_distance:.3g}"))
    return tuple(notes)


def _sources(header: Dataset, frame: int) -> list[tuple[Dataset, str, str]]:
    """Return dataset, keyword and field name of every possible spacing, in order of preference."""
    sources = [(header, tag, tag) for tag in SPACING_TAGS]
    return [*sources, (get_functional_group(header, MEASURES, frame), "PixelSpacing", MEASURES)]


def _read(dataset: Dataset, keyword: str, field: str) -> Spacing | None:
    """Return one spacing; None if it is absent. Raises InputError if not two positive numbers."""
    value = get_value(dataset, keyword)
    if value is None:
        return None
    try:
        row, column = (1000.0 * float(size) for size in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{field} is not two numbers: give pixel_um instead") from error
    if not (0 < row < float("inf") and 0 < column < float("inf")):
        raise InputError(f"{field} is {row:g} x {column:g} um, not positive: give pixel_um instead")
    return field, row, column


def _check_pair(first: Spacing, second: Spacing) -> None:
    """Raise InputError unless two spacings are equal or those of detector and breast in contact."""
    if (first[0] in DETECTOR_PLANE) == (second[0] in DETECTOR_PLANE):
        consistent = _same(first, second)
    else:
        detector, breast = (first, second) if first[0] in DETECTOR_PLANE else (second, first)
        ratios = (detector[1] / breast[1], detector[2] / breast[2])
        limit = MAX_CONTACT_MAGNIFICATION * 1.000001
        consistent = min(ratios) >= 1 - SAME_SPACING and max(ratios) <= limit
    if not consistent:
        raise InputError(
            f"{_format(first)} and {_format(second)} contradict each other: give pixel_um, and its"
            " source in spacing_source"
        )


def _same(first: Spacing, second: Spacing) -> bool:
    return same_spacing(first[1:], second[1:])


def _format(spacing: Spacing) -> str:
    field, row, column = spacing
    return f"{field} {row:g} x {column:g} um"


def _positive(header: Dataset, keyword: str) -> float | None:
    try:
        number = float(get_value(header, keyword))
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _ratio(header: Dataset) -> float | None:
    """Return DistanceSourceToDetector / DistanceSourceToPatient; None if one is absent."""
    detector = _positive(header, "DistanceSourceToDetector")
    patient = _positive(header, "DistanceSourceToPatient")
    return detector / patient if detector and patient else None


def _by_distance(header: Dataset) -> float | None:
    """Return the magnification by the distances; None if they are absent or implausible."""
    ratio = _ratio(header)
    return ratio if ratio is not None and 1 <= ratio <= MAX_MAGNIFICATION else None
