"""Test contradictions within a DICOM header and with its pixels: corrected, rejected or noted."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from kit.dicom import digitized_film, for_processing, set_frames, view_code, write_dicom
from kit.jpeg_lossless import encode
from kit.lesion import lesion_row
from pydicom import Sequence, uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from scipy.ndimage import gaussian_filter

from mtl_jax.imaging import (
    dicom,
    dicom_attributes,
    dicom_bits,
    dicom_header,
    dicom_length,
    dicom_padding,
    dicom_spacing,
)
from mtl_jax.imaging.dicom_frame import NO_SYNTAX
from mtl_jax.imaging.dicom_gray import (
    IMPLAUSIBLE_OD,
    INTENTS_DIFFER,
    OD_OF_DETECTOR,
    SIGN_DIFFERS,
    SLOPE_NEGATIVE,
)
from mtl_jax.imaging.dicom_lut import BEYOND, OTHER_BITS
from mtl_jax.imaging.read_image import read_image, read_raw, read_stored
from mtl_jax.imaging.table_vs_header import OTHER_SPACING, SPACING_OVERRIDDEN, compare
from mtl_jax.imaging.value_checks import UNUSED_BITS, check_values
from mtl_jax.types import InputError

Tags = dict[str, Any]
RNG = np.random.default_rng(170)
# A smooth image with noise, 12 bits, with both ends of the scale.
SMOOTH = gaussian_filter(RNG.normal(size=(90, 70)), 9)
SMOOTH = (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)
FILM = np.clip(SMOOTH * 3700 + 200 + RNG.normal(0, 15, SMOOTH.shape), 0, 4095).astype(np.uint16)
FILM[0, :2] = 0, 4095


def make_sequence(**tags: Any) -> Sequence:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return Sequence([dataset])


def notes(path: Path, **options: Any) -> dict[str, bool]:
    """Return the kind of each note and whether a value was corrected."""
    return {note.kind: note.corrected for note in read_stored(path, **options).notes}


def assert_gray(path: Path, expected: np.ndarray, **options: Any) -> None:
    gray, bits = read_image(path, **options)
    assert bits == 12
    np.testing.assert_array_equal(gray, expected)


# Spacing and magnification.

CONTACT = {"ImagerPixelSpacing": [0.07, 0.07]}
SCANNED = {"NominalScannedPixelSpacing": [0.05, 0.05]}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (CONTACT | {"PixelSpacing": [0.07, 0.07]}, None),
        (CONTACT | {"PixelSpacing": [0.0695, 0.0704]}, None),
        (CONTACT | {"PixelSpacing": [0.065, 0.065]}, dicom_spacing.CONTACT_GEOMETRY),
        (CONTACT | {"PixelSpacing": [0.0584, 0.0584]}, dicom_spacing.CONTACT_GEOMETRY),
        (SCANNED | {"PixelSpacing": [0.045, 0.045]}, dicom_spacing.CONTACT_GEOMETRY),
        (SCANNED | {"PixelSpacing": [0.05, 0.05]}, None),
    ],
)
def test_spacings_of_a_contact_view_agree(tmp_path: Path, tags: Tags, expected: str | None) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    used = next(tags[tag] for tag in dicom_spacing.SPACING_TAGS if tag in tags)
    assert dicom.read_spacing(path)[0] == pytest.approx([1000 * size for size in used])
    assert (dicom_spacing.CONTACT_GEOMETRY in notes(path)) == bool(expected)
    # The note is not a correction.
    assert notes(path).get(dicom_spacing.CONTACT_GEOMETRY, False) is False


@pytest.mark.parametrize(
    "tags",
    [
        CONTACT | {"PixelSpacing": [0.05, 0.05]},  # 1.4
        CONTACT
        | {"PixelSpacing": [0.08, 0.08]},  # smaller in the detector plane than in the breast
        CONTACT | {"PixelSpacing": [0.07, 0.05]},
        CONTACT | {"PixelSpacing": [0.00007, 0.00007]},  # metres
        CONTACT | {"PixelSpacing": [7.0, 7.0]},
        CONTACT | SCANNED,
        SCANNED | {"PixelSpacing": [0.1, 0.1]},
        {
            "PixelSpacing": [0.1, 0.1],
            "SharedFunctionalGroupsSequence": make_sequence(
                PixelMeasuresSequence=make_sequence(PixelSpacing=[0.085, 0.085])
            ),
        },
    ],
)
def test_contradictory_spacings_are_rejected_where_used(tmp_path: Path, tags: Tags) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    with pytest.raises(InputError, match=r"a.dcm: .* contradict .* give pixel_um.*spacing_source"):
        dicom.read_spacing(path)
    # With pixel_um of a table the image is read, with a note on the spacing of the header.
    assert dicom_attributes.NO_SPACING in notes(path)
    assert "contradict" in dicom.describe_header(path)["spacing_error"]
    # In a magnification view the spacings differ by its geometry.
    write_dicom(path, FILM, **tags, EstimatedRadiographicMagnificationFactor=1.8)
    assert read_stored(path).magnified and dicom.read_spacing(path) is not None


def test_a_spacing_of_an_unknown_plane_is_noted(tmp_path: Path) -> None:
    for tags, expected in (
        (
            {"PixelSpacing": [0.08, 0.08], **magnification_tags(1.07)},
            {dicom_spacing.PLANE_UNKNOWN: False},
        ),
        ({"PixelSpacing": [0.08, 0.08], **magnification_tags(1.0)}, {}),
        ({"PixelSpacing": [0.08, 0.08]}, {}),
        (CONTACT | magnification_tags(1.07), {}),
    ):
        assert notes(write_dicom(tmp_path / "a.dcm", FILM, **tags)) == expected


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (
            {"ImagerPixelSpacing": [0.0001, 0.0001]},
            r"0.1 x 0.1 um \(ImagerPixel.*the unit is um, not mm",
        ),
        ({"PixelSpacing": [0.05, 0.005]}, "the unit is um, not mm"),
        ({"NominalScannedPixelSpacing": [2.5, 2.5]}, "above 1200 um"),
        ({"ImagerPixelSpacing": [0.1, 0.15]}, "row;column"),
    ],
)
def test_implausible_spacings_are_rejected(tmp_path: Path, tags: Tags, reason: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    with pytest.raises(InputError, match=reason):
        dicom.read_spacing(path)
    assert dicom.read_header_attributes(path).spacings == ()  # no spacing to compare with a table


MAGNIFIED_CODE = view_code("R-10242", "SRT", "cranio-caudal")
MAGNIFIED_CODE[0].ViewModifierCodeSequence = view_code("R-102D6", "SRT", "Magnification")


def magnification_tags(
    factor: float | None = None, source: tuple[float, float] | None = None, coded: bool = False
) -> Tags:
    tags: Tags = {} if factor is None else {"EstimatedRadiographicMagnificationFactor": factor}
    if source:
        tags |= {"DistanceSourceToDetector": source[0], "DistanceSourceToPatient": source[1]}
    return tags | ({"ViewCodeSequence": MAGNIFIED_CODE} if coded else {})


@pytest.mark.parametrize(
    ("tags", "magnified", "expected"),
    [
        (magnification_tags(None, (660, 640)), False, None),
        (magnification_tags(None, (650, 360)), True, None),  # distances alone
        (magnification_tags(None, (650, 0)), False, None),
        (magnification_tags(1.8, (650, 361)), True, None),
        (magnification_tags(1.06, (660, 620)), False, None),
        (magnification_tags(1.0, (660, 600)), False, dicom_spacing.FACTOR_DIFFERS),
        (magnification_tags(1.6, (660, 350)), True, dicom_spacing.FACTOR_DIFFERS),
        (magnification_tags(1.19, (660, 545)), False, None),  # 1.21: no contradiction
        (magnification_tags(0.9), False, dicom_spacing.IMPLAUSIBLE_FACTOR),
        (magnification_tags(0.9, (650, 360)), True, dicom_spacing.IMPLAUSIBLE_FACTOR),
        (magnification_tags(1.05, (360, 650)), False, dicom_spacing.IMPLAUSIBLE_DISTANCES),
        (magnification_tags(None, (650, 65)), False, dicom_spacing.IMPLAUSIBLE_DISTANCES),  # cm
        (magnification_tags(1.0, coded=True), True, dicom_spacing.MODIFIER_DECIDES),
        (magnification_tags(1.8, coded=True), True, None),
        (magnification_tags(1.0, (660, 640), coded=True), True, dicom_spacing.MODIFIER_DECIDES),
    ],
)
def test_magnification_by_modifier_factor_and_distances(
    tmp_path: Path, tags: Tags, magnified: bool, expected: str | None
) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **CONTACT, **tags)
    stored = read_stored(path)
    assert stored.magnified is magnified
    found = {note.kind for note in stored.notes} - {dicom_attributes.MAGNIFIED}
    assert found == ({expected} if expected else set())


@pytest.mark.parametrize(
    "tags", [magnification_tags(1.05, (650, 360)), magnification_tags(1.7, (660, 630))]
)
def test_contradictory_factor_and_distances_are_rejected(tmp_path: Path, tags: Tags) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **CONTACT, **tags)
    for read in (read_stored, dicom.describe_header):
        with pytest.raises(InputError, match="a.dcm: .*only one of them is that of a magnif"):
            read(path)


# Laterality and view. In patient coordinates (left, posterior, head), posterior x head = left.


@pytest.mark.parametrize(
    ("view", "rows", "columns", "side"),
    [
        ("MLO", "A", "F", "L"),
        ("MLO", "P", "H", "L"),  # rotated by 180 degrees
        ("MLO", "P", "F", "R"),
        ("MLO", "A", "H", "R"),
        ("ML", "A", "FR", "L"),
        ("MLO", "PR", "FL", "R"),
        ("LM", "A", "F", "R"),
        ("LMO", "P", "F", "L"),
        ("ML", "F", "P", "L"),  # lying
        ("CC", "A", "R", ""),
        ("CC", "P", "L", ""),  # a rotated left breast, or a right one
        ("CC", "A", "F", ""),
        (None, "A", "F", ""),
        ("MLO", "A", "P", ""),
        ("MLO", "L", "F", ""),
    ],
)
def test_laterality_by_orientation(
    tmp_path: Path, view: str | None, rows: str, columns: str, side: str
) -> None:
    tags = {"ViewPosition": view, "PatientOrientation": [rows, columns]}
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    assert dicom.read_header_attributes(path).laterality == side


@pytest.mark.parametrize(
    ("tags", "side", "differ"),
    [
        ({"ImageLaterality": "L", "Laterality": "R"}, "L", True),
        ({"ImageLaterality": "L", "Laterality": "L"}, "L", False),
        ({"ImageLaterality": "B", "Laterality": "R"}, "R", False),
        (
            {"Laterality": "L", "ViewPosition": "MLO", "PatientOrientation": ["P", "F"]},
            "L",
            True,
        ),
    ],
)
def test_contradictory_lateralities_of_the_header_are_noted(
    tmp_path: Path, tags: Tags, side: str, differ: bool
) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    assert read_stored(path).header.laterality == side
    assert (dicom_header.LATERALITIES_DIFFER in notes(path)) is differ


def test_contradictory_views_of_the_header_are_noted(tmp_path: Path) -> None:
    tags = {"ViewPosition": "MLO", "ViewCodeSequence": view_code("R-10242", "SRT", "cc")}
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    stored = read_stored(path)
    assert stored.header.view == "MLO"
    assert [note.text for note in stored.notes] == [
        f"{dicom_header.VIEWS_DIFFER} (ViewPosition MLO; ViewCodeSequence CC)"
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a15cc8f0", ("", "")),
        ("9bcc", ("", "")),
        ("cc31fe", ("", "")),
        ("77cc41_mlo", ("", "MLO")),
        ("3f2lm77", ("", "")),
        ("LCC1", ("L", "CC")),
        ("P001_RMLO2", ("R", "MLO")),
        ("x_cc_1", ("", "CC")),
        ("22 left-cc", ("L", "CC")),
    ],
)
def test_views_in_file_names(tmp_path: Path, name: str, expected: tuple[str, str]) -> None:
    attributes = dicom.read_header_attributes(write_dicom(tmp_path / f"{name}.dcm", FILM))
    assert (attributes.laterality, attributes.view) == expected


# Bits.


def test_words_that_end_at_high_bit_are_shifted_down(tmp_path: Path) -> None:
    for shift in (2, 4):
        path = write_dicom(tmp_path / "a.dcm", FILM << shift, HighBit=11 + shift)
        assert_gray(path, FILM)
        assert notes(path) == {dicom_bits.SHIFTED: False}


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "RLELossless", "JPEG2000Lossless"])
def test_a_high_bit_that_no_value_uses_is_corrected(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, HighBit=15)
    assert_gray(path, FILM)
    assert notes(path) == {dicom_bits.HIGH_BIT_WRONG: True}
    for bits, high, expected in ((16, 11, FILM), (14, 11, FILM)):
        write_dicom(path, FILM, bits=bits, HighBit=high, PhotometricInterpretation="MONOCHROME1")
        assert_gray(path, 4095 - expected)
        assert notes(path) == {dicom_bits.HIGH_BIT_LOW: True}


@pytest.mark.parametrize(
    ("words", "bits", "high"),
    [
        (FILM.astype(int) << 2 | 1, 12, 15),  # upper and lower bits
        ((FILM >> 4) << 4, 12, 15),  # a shifted 8-bit film, or a dark image
        (FILM, 12, 9),  # values above HighBit and below BitsStored
        (FILM, 10, 9),  # values continue above HighBit
        (FILM.astype(int) * 4, 12, 11),
    ],
)
def test_ambiguous_bits_are_rejected(
    tmp_path: Path, words: np.ndarray, bits: int, high: int
) -> None:
    path = write_dicom(tmp_path / "a.dcm", words, bits=bits, HighBit=high)
    with pytest.raises(InputError, match="correct BitsStored and HighBit"):
        read_stored(path)


def overlay_elements(position: int) -> list[tuple[int, str, int]]:
    return [(0x60000100, "US", 16), (0x60000102, "US", position)]


def add_elements(path: Path, elements: list[tuple[int, str, int]]) -> Path:
    header = pydicom.dcmread(path)
    for tag, kind, value in elements:
        header.add_new(tag, kind, value)
    header.save_as(path)
    return path


def test_overlays_and_other_bits_outside_the_gray_are_cleared(tmp_path: Path) -> None:
    overlay_mask = np.zeros(FILM.shape, np.uint16)
    overlay_mask[20:50, 10:30] = 1
    path = tmp_path / "a.dcm"
    add_elements(write_dicom(path, FILM | overlay_mask << 14), overlay_elements(14))
    assert_gray(path, FILM)
    assert notes(path) == {dicom_bits.OVERLAY: False}
    add_elements(write_dicom(path, FILM << 4 | overlay_mask << 1, HighBit=15), overlay_elements(1))
    assert_gray(path, FILM)
    assert notes(path) == {dicom_bits.OVERLAY: False}
    for extra_bits in (0x8000, 0xB000, overlay_mask << 13, RNG.integers(0, 16, FILM.shape) << 12):
        assert_gray(write_dicom(path, FILM | extra_bits), FILM)
        assert notes(path) == {dicom_bits.CLEARED: False}


def test_padding_above_the_bits_is_not_gray(tmp_path: Path) -> None:
    pixels = FILM.copy()
    pixels[:, 40:] = 65535
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=65535)
    with pytest.raises(InputError, match="PixelPaddingValue 65535 does not fit 12 bits"):
        read_stored(path)
    write_dicom(path, pixels, bits=16, PixelPaddingValue=65535)
    gray, bits = read_image(path, bits=12)
    assert bits == 12 and (gray[:, 40:] == FILM[:, :40].min()).all()
    np.testing.assert_array_equal(gray[:, :40], FILM[:, :40])
    assert check_values(read_stored(path), None)[0].kind == UNUSED_BITS
    with pytest.raises(InputError, match="4095, does not fit 11 bits"):
        read_stored(path, bits=11)


def make_padded(value: int, share: float) -> np.ndarray:
    """Return FILM without its extremes, with the fraction `share` of its pixels set to `value`."""
    pixels = np.clip(FILM, 300, 3900)
    pixels[pixels == value] += 1
    pixels.ravel()[: int(share * FILM.size)] = value
    return pixels


@pytest.mark.parametrize(
    ("value", "share", "kind"),
    [
        (0, 0.0002, None),  # darker than all pixels
        (0, 0.4, None),
        (4095, 0.2, dicom_padding.BRIGHT),
        (4095, 0.0005, dicom_padding.NO_PADDING),  # a few saturated pixels
        (2000, 0.3, dicom_padding.BRIGHT),  # a peak of the histogram
        (2000, 0.005, dicom_padding.NO_PADDING),  # a gray level like its neighbours
    ],
)
def test_implausible_padding_is_not_treated_as_padding(
    tmp_path: Path, value: int, share: float, kind: str | None
) -> None:
    pixels = make_padded(value, share)
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=value)
    gray = read_image(path)[0]
    is_padding = pixels == value
    np.testing.assert_array_equal(gray[~is_padding], pixels[~is_padding])
    is_padding_used = kind != dicom_padding.NO_PADDING
    assert (gray[is_padding] == (pixels[~is_padding].min() if is_padding_used else value)).all()
    assert notes(path) == ({kind: not is_padding_used} if kind else {})
    record = dicom.read_with_record(path)[2]
    assert record["padded_pixels"] == (is_padding.sum() if is_padding_used else 0)


def test_a_gray_level_of_an_image_with_few_is_not_padding(tmp_path: Path) -> None:
    steps = FILM // 128 * 128  # 32 grays, a few percent of the pixels each
    value = int(np.median(steps))
    path = write_dicom(tmp_path / "a.dcm", steps, PixelPaddingValue=value)
    assert_gray(path, steps)
    assert (steps == value).mean() > 0.01 and notes(path) == {dicom_padding.NO_PADDING: True}


def test_padding_outside_the_stored_values_is_noted(tmp_path: Path) -> None:
    for value, expected in ((65535, {dicom_padding.OUTSIDE: False}), (4094, {}), (None, {})):
        path = write_dicom(tmp_path / "a.dcm", np.minimum(FILM, 4000), PixelPaddingValue=value)
        assert notes(path) == expected


def test_a_padding_range_is_noted(tmp_path: Path) -> None:
    pixels = make_padded(0, 0.1)
    pixels[-5:] = 7
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=9)
    assert notes(path) == {dicom_padding.RANGE: False}
    assert read_image(path)[0].min() == pixels[pixels > 9].min()


GRAINY = np.clip(SMOOTH[:80, :60] * 2400 + 900 + RNG.normal(0, 40, (80, 60)), 500, 3900).astype(int)
GRAINY = np.tile(GRAINY, (4, 4)).astype(np.uint16)  # enough pixels for a histogram


@pytest.mark.parametrize(
    ("first", "limit", "is_padding_used"),
    [
        (0, 200, True),  # of a noisy background, 0 to about 150
        (200, 0, True),
        (0, 480, True),
        (0, 70, False),  # inside the gray values of the background
        (0, 1900, False),  # most of the breast
        (0, 2400, False),
        (0, 4000, False),  # all but the label
        (1500, 4095, False),
        (1500, 2000, False),
        (4080, 4095, True),  # the label
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_padding_range_must_be_separate_from_the_gray(
    tmp_path: Path, photometric: str, first: int, limit: int, is_padding_used: bool
) -> None:
    pixels = GRAINY.copy()
    pixels[:, 160:] = np.clip(RNG.normal(75, 20, (320, 80)), 0, 200)
    pixels[3:9, 3:20] = 4090
    tags = {"PixelPaddingValue": first, "PixelPaddingRangeLimit": limit}
    tags |= {"PhotometricInterpretation": photometric}
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)
    gray = read_image(path)[0]
    stored = pixels if photometric == "MONOCHROME2" else 4095 - pixels.astype(int)
    if not is_padding_used:
        assert notes(path) == {dicom_padding.NO_RANGE: True}
        np.testing.assert_array_equal(gray, stored)
        return
    is_image = (pixels < min(first, limit)) | (pixels > max(first, limit))
    np.testing.assert_array_equal(gray[is_image], stored[is_image])
    assert set(gray[~is_image]) == ({stored[is_image].min()} if (~is_image).any() else set())


@pytest.mark.parametrize(
    ("slope", "noted"), [("1", False), ("0.1", True), ("2", True), ("0.9", False)]
)
def test_implausible_optical_densities_are_noted(tmp_path: Path, slope: str, noted: bool) -> None:
    tags = digitized_film(RescaleSlope=slope, RescaleIntercept="0", RescaleType="OD")
    path = write_dicom(tmp_path / "a.dcm", np.clip(FILM, 500, 4000), **tags)
    assert notes(path) == ({IMPLAUSIBLE_OD: False} if noted else {})
    write_dicom(path, FILM, RescaleSlope=1, RescaleIntercept=0, RescaleType="OD")
    assert OD_OF_DETECTOR in notes(path)


def test_a_sign_that_contradicts_the_photometric_interpretation_is_noted(tmp_path: Path) -> None:
    for sign, photometric, differ in (
        (1, "MONOCHROME1", False),
        (-1, "MONOCHROME2", False),
        (1, "MONOCHROME2", True),
        (-1, "MONOCHROME1", True),
    ):
        tags = for_processing(
            PixelIntensityRelationshipSign=sign, PhotometricInterpretation=photometric
        )
        assert notes(write_dicom(tmp_path / "a.dcm", FILM, **tags)) == (
            {SIGN_DIFFERS: False} if differ else {}
        )


def test_the_spacing_divided_by_the_factor_counts_as_a_spacing_of_the_header(
    tmp_path: Path,
) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **CONTACT, **magnification_tags(1.07))
    attributes = dicom.read_header_attributes(path)
    found = compare(lesion_row((65.4, 65.4)), attributes, True)
    assert [note.kind for note in found] == [OTHER_SPACING]
    (other,) = compare(lesion_row((60.0, 60.0)), attributes, True)
    assert other.kind == SPACING_OVERRIDDEN and "60 x 60 um; ImagerPixelSpacing is 70" in other.text


def test_masks_are_read_regardless_of_their_gray_attributes(tmp_path: Path) -> None:
    mask = (FILM > 2000).astype(np.uint16) * 65535
    for tags in (
        {"HighBit": 15},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PixelPaddingValue": 65535},
        magnification_tags(1.05, (650, 360)),
    ):
        path = write_dicom(tmp_path / "a.dcm", mask, **tags)
        np.testing.assert_array_equal(read_raw(path), mask)


def stream_file(path: Path, stream: bytes, syntax: str, bits: int, **tags: Any) -> Path:
    header = pydicom.dcmread(write_dicom(path, FILM, bits=bits, **tags))
    set_frames(header, [stream])
    header.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    header.save_as(path)
    return path


def j2k(values: np.ndarray, bits: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            values, level=0, codecformat="j2k", bitspersample=bits, reversible=True
        )
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_bits_of_a_compressed_frame(tmp_path: Path, photometric: str) -> None:
    path, tags = tmp_path / "a.dcm", {"PhotometricInterpretation": photometric}
    expected = 4095 - FILM if photometric == "MONOCHROME1" else FILM
    for stated in (14, 16):  # fewer than BitsStored
        stream_file(path, j2k(FILM, 12), "JPEG2000Lossless", stated, **tags)
        assert_gray(path, expected)
        assert notes(path) == {dicom_bits.STREAM_FEWER: True}
    stream_file(path, encode(FILM, 12, predictor=1), "JPEGLosslessSV1", 16, **tags)
    assert_gray(path, expected)
    for stream, syntax in (
        (encode(FILM, 16, predictor=1), "JPEGLosslessSV1"),
        (j2k(FILM, 14), "JPEG2000Lossless"),
    ):
        stream_file(path, stream, syntax, 12, **tags)
        assert_gray(path, expected)
        assert notes(path) == {dicom_bits.STREAM_MORE: False}
    stream_file(path, j2k(FILM << 4, 16), "JPEG2000Lossless", 12, HighBit=15, **tags)
    assert_gray(path, expected)
    stream_file(path, j2k(FILM, 12), "JPEG2000Lossless", 12, HighBit=15, **tags)
    assert_gray(path, expected)
    assert notes(path) == {dicom_bits.HIGH_BIT_WRONG: True}


def test_a_frame_with_values_above_high_bit_is_rejected_unless_it_holds_an_overlay(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.dcm"
    stream_file(path, j2k(FILM | 0x8000, 16), "JPEG2000Lossless", 12)
    with pytest.raises(InputError, match="compressed frame exceed HighBit"):
        read_stored(path)
    add_elements(path, overlay_elements(15))
    assert_gray(path, FILM)
    assert notes(path) == {dicom_bits.OVERLAY: False}


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"PhotometricInterpretation": "MONOCHROME1"},
        for_processing(),
        for_processing(PixelIntensityRelationshipSign=-1),
        {"RescaleSlope": -2, "RescaleIntercept": 100},
    ],
)
def test_bits_of_a_table_replace_bits_stored(tmp_path: Path, tags: Tags) -> None:
    path_12 = write_dicom(tmp_path / "12.dcm", FILM, bits=12, **tags)
    path_16 = write_dicom(tmp_path / "16.dcm", FILM, bits=16, **tags)
    expected, bits = read_image(path_12)
    np.testing.assert_array_equal(read_image(path_16, bits=12)[0], expected)
    assert read_image(path_16, bits=12)[1] == bits
    assert np.abs(read_image(path_16)[0] / 16 - expected).max() > 100  # wrong without bits
    kinds = [note.kind for note in check_values(read_stored(path_16), None)]
    assert kinds == [UNUSED_BITS] and not check_values(read_stored(path_16, bits=12), 12)
    assert read_stored(path_16, bits=12).transformed == bool(tags)  # no second inversion or curve
    np.testing.assert_array_equal(read_image(path_12, bits=12)[0], expected)
    for path, bits, reason in (
        (path_12, 14, "the file stores 12 bits"),
        (path_16, 11, "does not fit 11"),
    ):
        with pytest.raises(InputError, match=reason):
            read_image(path, bits=bits)


def test_bits_of_an_image_in_optical_density_are_rejected(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "OD"}
    path = write_dicom(tmp_path / "a.dcm", FILM, bits=16, **tags)
    with pytest.raises(InputError, match="optical density; leave bits empty"):
        read_stored(path, bits=12)


def test_a_negative_rescale_slope_is_noted_and_counts_as_inverted(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, RescaleSlope=-1, RescaleIntercept=4095)
    assert_gray(path, 4095 - FILM)
    assert SLOPE_NEGATIVE in notes(path) and read_stored(path).transformed
    write_dicom(path, FILM, RescaleSlope=2, RescaleIntercept=-10)
    assert notes(path) == {} and not read_stored(path).transformed


# Look-up tables.


def write_with_lut(entries: np.ndarray, bits: int, data: bytes | list[int], kind: str) -> Tags:
    sequence = make_sequence()
    sequence[0].add_new("LUTDescriptor", "US", [len(entries) % 65536, 0, bits])
    sequence[0].add_new("LUTData", kind, data)
    return {"ModalityLUTSequence": sequence}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("count", [256, 255])
def test_the_data_decides_the_bits_of_look_up_table_entries(
    tmp_path: Path, bits: int, packed: bool, count: int
) -> None:
    entries = np.round(255 * np.linspace(0, 1, count) ** 0.5).astype(np.uint8)
    entry_bytes = entries.tobytes() + b"\0" * (count % 2)
    data = entry_bytes if packed else entries.astype("<u2").tobytes()
    pixels = RNG.integers(0, count, (30, 40)).astype(np.uint8)
    pixels[0, :2] = 0, count - 1
    # Words, which pydicom reads as numbers, and bytes.
    for value, kind in ((np.frombuffer(data, "<u2").tolist(), "US"), (data, "OW")):
        path = write_dicom(
            tmp_path / "a.dcm", pixels, bits=8, **write_with_lut(entries, bits, value, kind)
        )
        np.testing.assert_allclose(read_image(path)[0], entries[pixels], atol=1e-3)
        assert (OTHER_BITS in notes(path)) is (packed and bits == 16)


def test_a_look_up_table_of_another_length_is_rejected(tmp_path: Path) -> None:
    entries = np.arange(256, dtype="<u2")
    for data in (entries[:200].tobytes(), entries.tobytes() * 2):
        tags = write_with_lut(entries, 16, data, "OW")
        path = write_dicom(tmp_path / "a.dcm", FILM % 256, bits=8, **tags)
        with pytest.raises(InputError, match="neither 8 nor 16 bits"):
            read_stored(path)


@pytest.mark.parametrize(
    ("first", "last", "rejected"),
    [
        (0, 255, True),  # a table for another bit depth
        (0, 2000, True),
        (2000, 4095, True),
        (0, 4094, False),  # one value, of one pixel
        (3, 4095, False),
        (0, 4095, None),
        (0, 65535, None),
    ],
)
def test_values_beyond_the_ends_of_a_look_up_table(
    tmp_path: Path, first: int, last: int, rejected: bool | None
) -> None:
    entries = 3 * np.arange(last - first + 1, dtype=np.int64) // 4
    tags = write_with_lut(entries, 16, entries.astype("<u2").tobytes(), "OW")
    tags["ModalityLUTSequence"][0].LUTDescriptor = [len(entries) % 65536, first, 16]
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    if rejected:
        with pytest.raises(
            InputError, match=f"a.dcm: .*covers the values {first} to {last}; values from"
        ):
            read_stored(path)
        return
    assert notes(path) == ({} if rejected is None else {BEYOND: False})
    indices = np.clip(FILM, first, last).astype(int) - first
    whole = entries[np.clip(np.arange(4096), first, last) - first]
    expected = (entries[indices] - whole.min()) * (4095 / np.ptp(whole))
    np.testing.assert_allclose(read_image(path)[0], expected, atol=1e-3)


def test_background_and_padding_may_be_beyond_a_look_up_table(tmp_path: Path) -> None:
    entries = np.arange(200, 4096)
    tags = write_with_lut(entries, 16, entries.astype("<u2").tobytes(), "OW")
    tags["ModalityLUTSequence"][0].LUTDescriptor = [len(entries), 200, 16]
    pixels = np.clip(FILM, 200, 4095)
    pixels[:, 50:] = 0
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)
    assert notes(path) == {BEYOND: False}
    assert notes(write_dicom(path, pixels, **tags, PixelPaddingValue=0)) == {}
    pixels[:, 50::2] = 9  # two values become one
    with pytest.raises(InputError, match="28.6% of its pixels would become equal"):
        read_stored(write_dicom(path, pixels, **tags))
    range_of = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 9}
    assert BEYOND not in notes(write_dicom(path, pixels, **tags, **range_of))


# Kinds of image.


@pytest.mark.parametrize("relationship", ["LIN", "LOG"])
def test_an_intent_that_contradicts_the_sop_class_is_rejected_if_the_gray_depends_on_it(
    tmp_path: Path, relationship: str
) -> None:
    raw = for_processing(PixelIntensityRelationship=relationship)
    for change in (
        {"PresentationIntentType": "FOR PRESENTATION"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"},
    ):
        changed = raw | change | {"PhotometricInterpretation": "MONOCHROME2"}
        path = write_dicom(tmp_path / "a.dcm", FILM, **changed)
        with pytest.raises(InputError, match="PresentationIntentType is .* the SOP class is"):
            read_stored(path)
    # Both invert, so the gray does not depend on it.
    if relationship == "LOG":
        path = write_dicom(tmp_path / "a.dcm", FILM, **(raw | change))
        assert_gray(path, 4095 - FILM)
        assert notes(path) == {INTENTS_DIFFER: False}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, dicom_attributes.SLICE),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, dicom_attributes.SLICE),
        (
            {"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]},
            dicom_attributes.SYNTHETIC_2D,
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.4"}, dicom_attributes.PROJECTION),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, None),
        ({"ImageType": "ORIGINAL"}, None),
    ],
)
def test_tomosynthesis_is_noted(tmp_path: Path, tags: Tags, expected: str | None) -> None:
    path = write_dicom(tmp_path / "a.dcm", FILM, **tags)
    assert notes(path) == ({expected: False} if expected else {})


# Frames and files.


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "RLELossless", "JPEG2000Lossless"])
def test_several_frames_require_frame_and_a_correct_number_of_frames(
    tmp_path: Path, syntax: str
) -> None:
    stack = np.stack([FILM, FILM[::-1], FILM // 2])
    path = write_dicom(tmp_path / "a.dcm", stack, syntax=syntax)
    with pytest.raises(InputError, match=r"a.dcm: has 3 frames: give frame"):
        read_stored(path)
    with pytest.raises(InputError, match="give frame"):
        read_raw(path)
    for number in (0, 2):
        assert_gray(path, stack[number], frame=number)
    shown = dicom.read_with_record(path)[2]
    assert shown["frame"] == 0 and shown["notes"] == [f"{dicom.FIRST_FRAME} (3 frames)"]
    for frames in (1, 2, 0, None):
        header = pydicom.dcmread(path)
        header.NumberOfFrames = frames
        if frames is None:
            del header.NumberOfFrames
        header.save_as(tmp_path / "b.dcm")
        with pytest.raises(InputError, match=rf"holds 3 frames.*NumberOfFrames is {frames or 1}"):
            read_stored(tmp_path / "b.dcm", 0)


def test_frames_are_counted_without_an_offset_table(tmp_path: Path) -> None:
    header = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", FILM, NumberOfFrames=1))
    header.file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    stream = encode(FILM, 12, predictor=1)
    stream += b"\0" * (len(stream) % 2)
    half = len(stream) // 4 * 2

    def fragments(*parts: bytes) -> bytes:
        items = (
            b"\xfe\xff\x00\xe0" + struct.pack("<L", len(part)) + part for part in (b"", *parts)
        )
        return b"".join(items) + b"\xfe\xff\xdd\xe0" + bytes(4)

    rle = pydicom.dcmread(write_dicom(tmp_path / "r.dcm", FILM, syntax="RLELossless"))
    stream_of_rle = get_frame(rle.PixelData, 0, number_of_frames=1)
    rle.PixelData = fragments(stream_of_rle, stream_of_rle)
    rle.save_as(tmp_path / "r.dcm")
    with pytest.raises(InputError, match="holds 2 frames"):
        read_stored(tmp_path / "r.dcm")
    for parts, read in (((stream[:half], stream[half:]), True), ((stream, stream), False)):
        header.PixelData = fragments(*parts)
        header["PixelData"].is_undefined_length = True
        header["PixelData"].VR = "OB"
        header.save_as(tmp_path / "b.dcm")
        if read:
            assert_gray(tmp_path / "b.dcm", FILM)
        else:
            with pytest.raises(InputError, match="holds 2 frames"):
                read_stored(tmp_path / "b.dcm")


def test_zero_frames_and_excess_bytes_are_noted(tmp_path: Path) -> None:
    for frames in (0, None):
        header = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", FILM, NumberOfFrames=0))
        header.NumberOfFrames = frames
        header.save_as(tmp_path / "a.dcm")
        assert_gray(tmp_path / "a.dcm", FILM)
        assert notes(tmp_path / "a.dcm") == {dicom_attributes.NO_FRAMES: False}
    path = write_dicom(tmp_path / "b.dcm", FILM, PixelData=FILM.tobytes() + b"\0" * 10)
    assert_gray(path, FILM)
    assert notes(path) == {dicom_length.EXCESS: False}
    odd = FILM[:9, :7] % 256
    assert notes(write_dicom(tmp_path / "c.dcm", odd, bits=8)) == {}


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.1.99", "a.png", "a.tif", "a.DCM"])
def test_dicom_is_recognized_by_its_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_dicom(tmp_path / "a.dcm", FILM, **CONTACT).rename(path)
    assert dicom.is_dicom(path)
    assert_gray(path, FILM)
    np.testing.assert_array_equal(read_raw(path), FILM)
    assert dicom.read_spacing(path) == ((70.0, 70.0), "ImagerPixelSpacing")


def test_other_files_are_not_recognized_as_dicom(tmp_path: Path) -> None:
    for name, content in (("short", b"DICM"), ("b.png", b"\x89PNG" + bytes(200)), ("c", b"")):
        (tmp_path / name).write_bytes(content)
        assert not dicom.is_dicom(tmp_path / name)
    assert not dicom.is_dicom(tmp_path) and not dicom.is_dicom(tmp_path / "absent")
    with pytest.raises(InputError, match="unknown image format.*DICOM of any name"):
        read_stored(tmp_path / "short")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(write_dicom(tmp_path / "a.dcm", FILM).read_bytes()[132:])
    with pytest.raises(InputError, match="without its preamble"):
        read_stored(bare)


def without_syntax(path: Path) -> Path:
    """The file with the TransferSyntaxUID cut out of its meta information."""
    content = path.read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI")
    size = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    length = int.from_bytes(content[140:144], "little") - size
    path.write_bytes(
        content[:140] + struct.pack("<L", length) + content[144:at] + content[at + size :]
    )
    return path


@pytest.mark.parametrize(
    "syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian"]
)
def test_a_file_without_transfer_syntax_is_read_if_not_compressed(
    tmp_path: Path, syntax: str
) -> None:
    path = without_syntax(write_dicom(tmp_path / "a.dcm", FILM, syntax=syntax))
    assert_gray(path, FILM)
    assert notes(path) == {NO_SYNTAX: False}
    without_syntax(write_dicom(path, FILM, syntax="JPEGLosslessSV1"))
    with pytest.raises(
        InputError, match="TransferSyntaxUID is missing, and its pixel data is comp"
    ):
        read_stored(path)


@pytest.mark.parametrize("syntax", ["JPEGLosslessSV1", "JPEG2000Lossless", "JPEGLSLossless"])
def test_pixel_data_that_contradicts_the_transfer_syntax_is_rejected(
    tmp_path: Path, syntax: str
) -> None:
    header = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", FILM))
    plain = header.PixelData
    content = (tmp_path / "a.dcm").read_bytes()
    old = b"\x02\x00\x10\x00UI\x14\x00" + uid.ExplicitVRLittleEndian.encode() + b"\0"
    name = getattr(uid, syntax).encode()
    name += b"\0" * (len(name) % 2)
    new = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(name)) + name
    assert old in content and plain in content
    length = int.from_bytes(content[140:144], "little") + len(new) - len(old)
    content = content[:140] + struct.pack("<L", length) + content[144:]
    (tmp_path / "b.dcm").write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="TransferSyntaxUID states .* is not compressed"):
        read_stored(tmp_path / "b.dcm")
    path = write_dicom(tmp_path / "c.dcm", FILM, syntax=syntax)
    path.write_bytes(path.read_bytes().replace(new, old))
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little") + len(old) - len(new)
    path.write_bytes(content[:140] + struct.pack("<L", length) + content[144:])
    with pytest.raises(InputError, match="states Explicit VR .* pixel data is compressed"):
        read_stored(path)
