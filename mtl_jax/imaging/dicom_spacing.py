"""The pixel size that a DICOM header states, and what it says of magnification. Reads no pixel."""

import contextlib
import itertools

from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_functional_group, get_value
from mtl_jax.imaging.dicom_view import get_view_modifiers
from mtl_jax.imaging.table_vs_header import SAME_SPACING, same_spacing
from mtl_jax.imaging.value_checks import SPACING_FIELDS, check_pixel_um
from mtl_jax.types import InputError, Note

# The detector's own spacing comes first and undivided by any magnification: the paper works in the
# detector plane, and a calibrated PixelSpacing is there for some devices only.
SPACING_TAGS = SPACING_FIELDS[:3]
FACTOR = "EstimatedRadiographicMagnificationFactor"
MEASURES = SPACING_FIELDS[3]
DETECTOR_PLANE = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
# Contact views are at 1.05 to 1.1, magnification views at 1.5 to 2.
MAX_CONTACT_MAGNIFICATION = 1.2
MAX_MAGNIFICATION = 3.0  # distances that say more are wrong
SAME_FACTOR = 0.05

PLANES = "spacings of the header differ as by the geometry of a contact view"
PLANE_UNSTATED = "PixelSpacing is the only spacing: it may be divided by the magnification or not"
ODD_FACTOR = "EstimatedRadiographicMagnificationFactor is below 1: ignored"
ODD_DISTANCES = "the header's distances of source, patient and detector are impossible: ignored"
OTHER_FACTOR = "the header's magnification factor differs from its distances"
MODIFIER_DECIDES = "the view is said to be magnified, the magnification factor says it is not"

Spacing = tuple[str, float, float]


def get_spacing(header: Dataset, frame: int = 0) -> tuple[tuple[float, float], str] | None:
    """Pixel size (row, column) in um and the field it is from; None where none says it.

    The order is SPACING_TAGS, then the spacing of a multi-frame image's functional groups.
    InputError: a size that no mammogram has, or spacings of a contact view that contradict each
    other.
    """
    places = _places(header, frame)
    used = next((found for place in places if (found := _read(*place))), None)
    if used is None:
        return None
    field, row, column = used
    check_pixel_um((row, column), field)
    if not is_magnified(header):
        for one, other in itertools.combinations(list_spacings(header, frame), 2):
            _check_pair(one, other)
    return (row, column), field


def list_spacings(header: Dataset, frame: int = 0) -> tuple[Spacing, ...]:
    """Every spacing of the header as (field, row, column) in um, the one that is used first.

    Fields that are not two positive numbers are left out.
    """
    found = []
    for place in _places(header, frame):
        with contextlib.suppress(InputError):
            found.append(_read(*place))
    return tuple(filter(None, found))


def plausible_spacings(header: Dataset, frame: int = 0) -> tuple[Spacing, ...]:
    """Return those of `list_spacings` that a mammogram may have. The
    detector's spacing divided by the magnification of a contact view is among them."""
    stated = list_spacings(header, frame)
    factor = get_magnification(header)
    if factor is not None and 1 < factor <= MAX_CONTACT_MAGNIFICATION:
        stated += tuple(
            (f"{field} / {FACTOR}", row / factor, column / factor)
            for field, row, column in stated
            if field in DETECTOR_PLANE
        )
    found = []
    for field, row, column in stated:
        with contextlib.suppress(InputError):
            check_pixel_um((row, column), field)
            found.append((field, row, column))
    return tuple(found)


def spacing_notes(header: Dataset, frame: int = 0) -> tuple[Note, ...]:
    """What the header's spacings say of each other where they differ without contradiction."""
    stated, factor = list_spacings(header, frame), get_magnification(header)
    notes = [
        Note(PLANES, f"{_shown(one)}; {_shown(other)}")
        for one, other in itertools.combinations(stated, 2)
        if not _same(one, other)
    ]
    if not {field for field, _, _ in stated} & {*DETECTOR_PLANE} and factor:
        if factor > 1 + SAME_SPACING:
            notes.append(Note(PLANE_UNSTATED, f"a factor of {factor:g}"))
    return tuple(notes)


def get_magnification(header: Dataset) -> float | None:
    """EstimatedRadiographicMagnificationFactor; None where it is absent or no positive number."""
    return _positive(header, FACTOR)


def is_magnified(header: Dataset) -> bool:
    """Whether this is a magnification view: by its modifier, else by a factor above 1.2, else by
    the distances from the source to the detector and to the patient.

    Its pixels are finer on the breast than ImagerPixelSpacing says: a source leaves it out.
    """
    if "magnification" in get_view_modifiers(header):
        return True
    factor = get_magnification(header)
    if factor is not None and factor >= 1:
        return factor > MAX_CONTACT_MAGNIFICATION
    by_distance = _by_distance(header)
    return by_distance is not None and by_distance > MAX_CONTACT_MAGNIFICATION


def magnification_notes(header: Dataset) -> tuple[Note, ...]:
    """What is to be noted of modifier, factor and distances against each other.

    InputError: one says that the view is magnified, the other that it is not, and no modifier
    decides.
    """
    notes = []
    factor, by_distance = get_magnification(header), _by_distance(header)
    if factor is not None and factor < 1:
        notes.append(Note(ODD_FACTOR, f"{factor:g}"))
        factor = None
    if by_distance is None and _ratio(header) is not None:
        notes.append(Note(ODD_DISTANCES, f"their ratio is {_ratio(header):.3g}"))
    if "magnification" in get_view_modifiers(header):
        if factor is not None and factor <= MAX_CONTACT_MAGNIFICATION:
            notes.append(Note(MODIFIER_DECIDES, f"{factor:g}"))
    elif factor and by_distance and abs(factor / by_distance - 1) > SAME_FACTOR:
        if (factor > MAX_CONTACT_MAGNIFICATION) != (by_distance > MAX_CONTACT_MAGNIFICATION):
            raise InputError(
                f"{FACTOR} is {factor:g}, but the distances of"
                f" source, patient and detector say {by_distance:.3g}: only one of them is that of"
                " a magnification view; correct the header, or leave the image out"
            )
        notes.append(Note(OTHER_FACTOR, f"{factor:g} and {by_distance:.3g}"))
    return tuple(notes)


def _places(header: Dataset, frame: int) -> list[tuple[Dataset, str, str]]:
    """Where a spacing may stand: dataset, keyword and the name of the place, first of all first."""
    places = [(header, tag, tag) for tag in SPACING_TAGS]
    return [*places, (get_functional_group(header, MEASURES, frame), "PixelSpacing", MEASURES)]


def _read(dataset: Dataset, keyword: str, field: str) -> Spacing | None:
    """The spacing in one place; None where there is none. InputError: not two positive numbers."""
    found = get_value(dataset, keyword)
    if found is None:
        return None
    try:
        row, column = (1000.0 * float(size) for size in found)
    except (TypeError, ValueError) as error:
        raise InputError(f"its {field} is not two numbers; give pixel_um instead") from error
    if not (0 < row < float("inf") and 0 < column < float("inf")):
        raise InputError(f"{field} is {row:g} x {column:g} um; give pixel_um instead")
    return field, row, column


def _check_pair(one: Spacing, other: Spacing) -> None:
    """Reject two spacings that are neither the same nor those of detector and breast in contact."""
    if (one[0] in DETECTOR_PLANE) == (other[0] in DETECTOR_PLANE):
        consistent = _same(one, other)
    else:
        detector, breast = (one, other) if one[0] in DETECTOR_PLANE else (other, one)
        ratios = (detector[1] / breast[1], detector[2] / breast[2])
        consistent = (
            min(ratios) >= 1 - SAME_SPACING and max(ratios) <= MAX_CONTACT_MAGNIFICATION * 1.000001
        )
    if not consistent:
        raise InputError(
            f"{_shown(one)} and {_shown(other)} contradict each other: give pixel_um, and say in"
            " spacing_source where it is from"
        )


def _same(one: Spacing, other: Spacing) -> bool:
    return same_spacing(one[1:], other[1:])


def _shown(spacing: Spacing) -> str:
    field, row, column = spacing
    return f"{field} {row:g} x {column:g} um"


def _positive(header: Dataset, keyword: str) -> float | None:
    try:
        number = float(get_value(header, keyword))
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _ratio(header: Dataset) -> float | None:
    """Distance from source to detector over that to the patient; None where one is not there."""
    detector = _positive(header, "DistanceSourceToDetector")
    patient = _positive(header, "DistanceSourceToPatient")
    return detector / patient if detector and patient else None


def _by_distance(header: Dataset) -> float | None:
    """The magnification by the distances; None where they are absent or impossible."""
    ratio = _ratio(header)
    return ratio if ratio is not None and 1 <= ratio <= MAX_MAGNIFICATION else None
