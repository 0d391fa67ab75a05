"""Test the checks of pixel sizes, stored values and file formats, and of tables against headers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from kit.lesion import lesion_row
from PIL import Image
from scipy.ndimage import gaussian_filter

from mtl_jax.imaging import table_vs_header as compared
from mtl_jax.imaging.read_image import read_image, read_raw, read_stored
from mtl_jax.imaging.stored_image import HeaderAttributes, StoredImage
from mtl_jax.imaging.table_vs_header import compare
from mtl_jax.imaging.value_checks import UNUSED_BITS, check_pixel_um, check_values
from mtl_jax.types import InputError

RNG = np.random.default_rng(17)
FILM = RNG.integers(900, 3000, (60, 80)).astype(np.uint16)


@pytest.mark.parametrize(
    ("size", "source", "reason"),
    [
        ((0.07, 0.07), "manifest", r"0.07 x 0.07 um \(manifest\).*the unit is um, not mm"),
        ((100.0, 9.9), "PixelSpacing", "the unit is um, not mm"),
        ((1e-4, 1e-4), "cdd_cesm.pixel_um", "the unit is um, not mm"),
        ((1500.0, 1500.0), "manifest", "above 1200 um"),
        ((0.0, 70.0), "manifest", "expected two positive numbers"),
        ((float("nan"), 70.0), "manifest", "expected two positive numbers"),
        ((70.0, float("inf")), "manifest", "expected two positive numbers"),
        ((100.0, 130.0), "ImagerPixelSpacing", "row;column"),
        ((50.0, 500.0), "manifest", "row;column"),
    ],
)
def test_implausible_pixel_sizes_are_rejected(
    size: tuple[float, float], source: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        check_pixel_um(size, source)


@pytest.mark.parametrize("size", [(10.0, 10.0), (42.5, 42.5), (50.0, 60.0), (790.0, 480.0)])
def test_pixel_sizes_of_detectors_and_reduced_films_are_accepted(size: tuple[float, float]) -> None:
    for source in ("manifest", "Measured on a ruler"):
        check_pixel_um(size, source)


def check_note(values: np.ndarray, depth: int, bits: int | None = None, **facts: Any) -> str:
    notes = check_values(StoredImage(values, depth, **facts), bits)
    assert all(note.kind == UNUSED_BITS and not note.corrected for note in notes)
    return notes[0].detail if notes else ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("depth", [5, 7, 8, 10, 12, 13, 14, 16])
def test_a_scale_used_up_to_a_quarter_is_noted(dtype: type, depth: int) -> None:
    if dtype is np.uint8 and depth > 8:
        return
    quarter = 1 << (depth - 2)
    values = np.linspace(0, quarter - 1, 3000).round().astype(dtype).reshape(50, 60)
    assert check_note(values, depth).startswith(
        f"99.9% of the values fit {depth - 2} of {depth} bits"
    )
    values[-5:] = quarter  # more than a thousandth
    assert check_note(values, depth) == ""


def test_burnt_in_text_and_padding_do_not_hide_unused_bits() -> None:
    values = RNG.integers(0, 4096, (2000, 1500)).astype(np.uint16)
    values[40:60, 100:140] = 65535  # text
    assert "12 of 16 bits" in check_note(values, 16)
    values[:, 1000:] = 65535
    assert "12 of 16 bits" in check_note(values, 16, padding=(65535, 65536))
    note = check_note(values, 16)  # without padding in the header
    assert "without 33.2% from 65535 on, fit 12 of 16 bits" in note
    assert note.endswith(
        "save brighter values as 4095 and give bits 12"
    )  # 65535 does not fit 12 bits
    assert check_note(np.full((20, 20), 7, np.uint16), 16, padding=(7, 8)) == ""  # nothing else


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(
    ("used", "whites", "depth", "expected"),
    [
        (12, {65535: 0.4}, 16, "12 of 16"),
        (12, {65535: 0.003, 61234: 0.01, 0: 0.3}, 16, "12 of 16"),
        (10, {4095: 0.2}, 12, "10 of 12"),
        (11, {8191: 0.4}, 16, "13 of 16"),  # below a quarter of the scale as it is
        (12, {20000: 0.4}, 16, "12 of 16"),
        (12, {16383: 0.4}, 14, "12 of 14"),
        (13, {16383: 0.4}, 14, ""),  # the upper bits are used
        (12, {}, 12, ""),
    ],
)
def test_a_white_background_does_not_hide_unused_bits(
    dtype: type, used: int, whites: dict[int, float], depth: int, expected: str
) -> None:
    values = RNG.integers(0, 1 << used, (300, 400)).astype(dtype)
    for value, share in whites.items():
        values[RNG.random(values.shape) < share] = value
    note = check_note(values, depth)
    assert expected in note and bool(note) is bool(expected)


def test_a_drawing_of_few_grays_has_no_white_background() -> None:
    values = np.full((300, 400), 800, np.uint16)
    values[100:150, 100:150] = 65000
    assert check_note(values, 16) == ""


def test_air_behind_a_detector_is_not_excluded() -> None:
    # Exposure of a breast and of air; the skin has all gray levels in between.
    thickness = np.clip(6 - 6 * (np.hypot(*np.mgrid[-1:1:300j, -1:1:240j]) / 0.8) ** 6, 0, 6)
    exposure = 16383 * 1.3 * np.exp(-0.55 * thickness)
    exposure += RNG.normal(0, 1, exposure.shape) * exposure**0.5
    values = np.clip(exposure, 0, 16383).astype(np.uint16)
    assert np.quantile(values, 0.35) < 4096 and (values == 16383).mean() > 0.4
    assert check_note(values, 14) == ""


@pytest.mark.parametrize(("largest", "share"), [(4095, 0.05), (1023, 0.02), (16383, 0.05)])
def test_words_in_the_wrong_byte_order_are_rejected(
    tmp_path: Path, largest: int, share: float
) -> None:
    smooth = gaussian_filter(RNG.normal(size=(200, 180)), 12)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) + RNG.normal(0, share / 5, smooth.shape)
    values = np.clip(smooth * largest, 0, largest).astype(np.uint16)
    for name, swapped in (("a.npy", False), ("b.npy", True), ("a.pgm", False), ("b.pgm", True)):
        words = values.byteswap() if swapped else values
        if name.endswith("npy"):
            np.save(tmp_path / name, words)
        else:
            (tmp_path / name).write_bytes(b"P5 180 200 65535\n" + words.astype(">u2").tobytes())
        stored = read_stored(tmp_path / name)
        if swapped:
            with pytest.raises(InputError, match="wrong byte order"):
                check_values(stored, None)
        else:
            check_values(stored, None)
            check_values(stored._replace(values=values << 2), None)
    for harmless in (
        RNG.integers(0, 65536, (90, 80)),  # noise either way
        values >> 8,  # few grays
        (values * 255.0 / largest).astype(int) << 8,
        (values * 255.0 / largest).astype(int) * 257,
    ):
        check_values(StoredImage(harmless.astype(np.uint16), 16), None)


@pytest.mark.parametrize("low", [-1115.0, -0.98, -3.2e4])
@pytest.mark.parametrize("bits", [None, 12, 16])
def test_floats_below_0_are_rejected(low: float, bits: int | None) -> None:
    values = (RNG.random((70, 90)) * 782 - 0.5).astype(np.float32)
    values[30, 41] = low
    with pytest.raises(
        InputError, match=rf"smallest value is {low:g}, .*for any bits.*save as uint16"
    ):
        check_values(StoredImage(values, bits or 12), bits)


@pytest.mark.parametrize("largest", [1.0, 0.2, 1.0003, 0.0])
@pytest.mark.parametrize("bits", [None, 12, 16])
def test_floats_of_0_to_1_are_rejected(largest: float, bits: int | None) -> None:
    values = (RNG.random((70, 90)) * largest).astype(np.float32)
    with pytest.raises(InputError, match=r"scale of 0 to 1.*save as uint16, or give bits 1"):
        check_values(StoredImage(values, bits or 12), bits)


def test_floats_of_0_to_1_with_bits_1_are_full_scale(tmp_path: Path) -> None:
    values = RNG.random((70, 90)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    stored = read_stored(tmp_path / "a.npy", bits=1)
    assert stored.bits == 1 and check_values(stored, 1) == ()
    np.testing.assert_array_equal(stored.gray(), values)


def test_floats_of_0_to_1_with_one_bright_pixel_are_rejected_and_gray_levels_are_not() -> None:
    values = RNG.random((300, 300)).astype(np.float32)
    values[0, 0] = 4095
    with pytest.raises(InputError, match="0 to 1"):
        check_values(StoredImage(values, 12), None)
    assert check_values(StoredImage(values * 4095, 12), None) == ()
    assert "8 of 12 bits" in check_note(np.minimum(values * 255, 255), 12)  # 0 to 255 as floats


def make_header(**facts: Any) -> HeaderAttributes:
    spacings = (("ImagerPixelSpacing", 70.0, 70.0), ("PixelSpacing", 66.0, 66.0))
    return HeaderAttributes(**{"spacings": spacings} | facts)


def note_kinds(
    *,
    side: str = "",
    view: str = "",
    modality: str = "",
    pixel_um: tuple[float, float] = (70.0, 70.0),
    source: str = "manifest",
    attributes: HeaderAttributes | None = None,
    user_table: bool = True,
) -> list[str]:
    attributes = attributes or make_header()
    row = lesion_row(pixel_um, source, laterality=side, view=view, modality=modality)
    notes = compare(row, attributes, user_table)
    assert not any(note.corrected for note in notes)
    return [note.kind for note in notes]


@pytest.mark.parametrize("field", ["ImageLaterality", "FrameLaterality", "Laterality"])
def test_a_laterality_that_contradicts_an_attribute_is_rejected(field: str) -> None:
    attributes = make_header(laterality="R", laterality_source=field)
    with pytest.raises(InputError, match=rf"laterality L.*R \({field}\).*leave laterality empty"):
        note_kinds(side="L", attributes=attributes)
    assert note_kinds(side="L", attributes=attributes, user_table=False) == [compared.LATERALITY]
    assert note_kinds(side="R", attributes=attributes) == note_kinds(attributes=attributes) == []


@pytest.mark.parametrize("field", ["PatientOrientation", "file name"])
def test_a_laterality_that_contradicts_an_inferred_one_is_noted(field: str) -> None:
    attributes = make_header(laterality="L", laterality_source=field)
    assert note_kinds(side="R", attributes=attributes) == [compared.LATERALITY]


def test_a_contradictory_view_or_modality_is_noted() -> None:
    attributes = make_header(view="MLO", view_source="ViewPosition", modality="SFM")
    assert note_kinds(view="ML", modality="DM", attributes=attributes) == [
        compared.VIEW,
        compared.MODALITY,
    ]
    assert (
        note_kinds(view="MLO", modality="SFM", attributes=attributes)
        == note_kinds(attributes=attributes)
        == []
    )
    notes = compare(lesion_row((70, 70), view="ML"), attributes, True)
    assert notes[0].text == f"{compared.VIEW} (ML; ViewPosition is MLO)"


@pytest.mark.parametrize(
    ("size", "source", "expected"),
    [
        ((70.5, 70.1), "manifest", []),  # within 1 %
        ((66.0, 66.0), "manifest", [compared.OTHER_SPACING]),
        ((66.0, 66.0), "PixelSpacing", []),
        ((70.0, 70.0), "ImagerPixelSpacing", []),
        ((85.0, 85.0), "phantom of the site", [compared.SPACING]),
        ((70.0, 66.0), "phantom of the site", [compared.NOT_SQUARE, compared.SPACING]),
    ],
)
def test_pixel_sizes_with_a_source_are_noted(
    size: tuple[float, float], source: str, expected: list[str]
) -> None:
    assert note_kinds(pixel_um=size, source=source) == expected


@pytest.mark.parametrize("size", [(85.0, 85.0), (70.0, 80.0), (35.0, 35.0)])
@pytest.mark.parametrize("source", compared.UNVERIFIED_SOURCES)
def test_the_pixel_size_of_a_table_overrides_the_header_with_a_note(
    size: tuple[float, float], source: str
) -> None:
    notes = compare(lesion_row(size, source), make_header(), user_table=True)
    assert [note.corrected for note in notes if note.kind == compared.SPACING_OVERRIDDEN] == [True]
    assert compared.SPACING in note_kinds(pixel_um=size, source=source, user_table=False)


@pytest.mark.parametrize("size", [(85.0, 85.0), (70.0, 70.0)])  # PixelSpacing is 66
def test_a_pixel_size_that_contradicts_its_spacing_source_is_rejected(
    size: tuple[float, float],
) -> None:
    with pytest.raises(InputError, match="leave pixel_um empty .* spacing_source"):
        note_kinds(pixel_um=size, source="PixelSpacing")
    assert compared.SPACING in note_kinds(pixel_um=size, source="PixelSpacing", user_table=False)


@pytest.mark.parametrize("user_table", [True, False])
@pytest.mark.parametrize("factor", [0.2, 5.0, 10.0, 1000.0])
def test_a_unit_error_is_rejected_for_every_source(user_table: bool, factor: float) -> None:
    with pytest.raises(InputError, match="the unit is probably wrong"):
        note_kinds(
            pixel_um=(70.0 * factor, 70.0 * factor), source="calibrated", user_table=user_table
        )


def test_nothing_is_compared_without_a_header_or_spacing() -> None:
    row = lesion_row((55.0, 55.0), laterality="L", view="CC", modality="DM")
    assert compare(row, None, True) == ()
    assert (
        note_kinds(pixel_um=(55.0, 55.0), attributes=HeaderAttributes(view="CC"), view="CC") == []
    )


# Files other than DICOM.


def write_exif(path: Path, orientation: int | None) -> None:
    image = Image.fromarray((FILM // 16).astype(np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(path, exif=exif)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_exif_orientation_is_rejected(tmp_path: Path, name: str, orientation: int) -> None:
    write_exif(tmp_path / name, orientation)
    for read in (read_stored, read_raw):
        with pytest.raises(InputError, match=rf"{name}.*orientation tag is {orientation}.*save it"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("orientation", [None, 0, 1])
def test_an_upright_exif_orientation_is_accepted(
    tmp_path: Path, name: str, orientation: int | None
) -> None:
    write_exif(tmp_path / name, orientation)
    assert read_stored(tmp_path / name).values.shape == FILM.shape


@pytest.mark.parametrize(("orientation", "read"), [(0, True), (1, True), (3, False), (8, False)])
def test_a_tiff_orientation_is_rejected(tmp_path: Path, orientation: int, read: bool) -> None:
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, FILM, extratags=[(274, "H", 1, orientation, True)])
    if read:
        np.testing.assert_array_equal(read_stored(path).values, FILM)
    else:
        with pytest.raises(InputError, match=f"orientation tag is {orientation}"):
            read_stored(path)


def test_a_stack_of_pages_requires_frame_and_thumbnails_are_not_frames(tmp_path: Path) -> None:
    stack = np.stack([FILM, FILM + 1, FILM + 2])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with pytest.raises(InputError, match=r"stack.tif: has 3 frames: give frame"):
        read_stored(tmp_path / "stack.tif")
    with pytest.raises(InputError, match="frame 3 .* does not exist"):
        read_stored(tmp_path / "stack.tif", 3)
    np.testing.assert_array_equal(read_stored(tmp_path / "stack.tif", 0).values, FILM)
    np.testing.assert_array_equal(read_stored(tmp_path / "stack.tif", 1).values, FILM + 1)
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as file:
        file.write(FILM[::4, ::4], subfiletype=1)
        file.write(FILM)
        file.write(FILM[::8, ::8], subfiletype=1)
    np.testing.assert_array_equal(read_stored(tmp_path / "thumb.tif").values, FILM)


def test_bits_of_a_table_apply_before_white_is_zero_is_inverted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FILM, photometric="miniswhite")
    stored = read_stored(path, bits=12)
    np.testing.assert_array_equal(stored.gray(), 4095 - FILM)
    assert stored.bits == 12 and stored.transformed and check_values(stored, 12) == ()
    without_bits = read_stored(path)
    np.testing.assert_array_equal(without_bits.gray(), 65535 - FILM)
    assert check_values(without_bits, None)[0].kind == UNUSED_BITS  # although its gray is bright
    with pytest.raises(InputError, match="does not fit 11 bits"):
        read_stored(path, bits=11)
    assert not read_stored(write_image(tmp_path / "b.tif", FILM)).transformed


def write_image(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def test_more_bits_than_the_file_holds_are_rejected(tmp_path: Path) -> None:
    for name in ("a.npy", "a.png", "a.tif"):
        path = write_image(tmp_path / name, (FILM % 256).astype(np.uint8))
        with pytest.raises(InputError, match="bits 12 is invalid: the file stores 8"):
            read_stored(path, bits=12)
        assert read_stored(path, bits=8).bits == 8
    # The maxval of a PGM may be its largest value.
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 1800\n\x00\x01\x07\x08")
    assert (
        read_image(tmp_path / "a.pgm")[1] == 11 and read_image(tmp_path / "a.pgm", 0, 12)[1] == 12
    )


def test_raw_values_are_those_of_the_file(tmp_path: Path) -> None:
    mask = (FILM > 2500).astype(np.uint8)
    expected = {"a.tif": mask, "b.npy": mask.astype(np.float32), "c.npy": mask.astype(np.int64)}
    for name, values in expected.items():
        write_image(tmp_path / name, values)
    tifffile.imwrite(tmp_path / "white.tif", mask, photometric="miniswhite")
    expected["white.tif"] = mask
    palette = Image.fromarray(mask, mode=None).convert("P")
    palette.putdata(mask.ravel().tolist())
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png")
    expected["palette.png"] = mask
    Image.fromarray(np.stack([mask * 255] * 3, -1)).save(tmp_path / "rgb.png")
    expected["rgb.png"] = mask * 255
    Image.fromarray(mask.astype(bool)).save(tmp_path / "bits.png")
    expected["bits.png"] = mask.astype(bool)
    for name, values in expected.items():
        note = read_raw(tmp_path / name)
        np.testing.assert_array_equal(note, values, err_msg=name)
    unequal = np.stack([mask * 255, mask, mask], -1)
    Image.fromarray(unequal).save(tmp_path / "unequal.png")
    with pytest.raises(InputError, match="unequal.png: colour"):
        read_raw(tmp_path / "unequal.png")
