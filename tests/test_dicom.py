"""Test DICOM pixels of every transfer syntax and gray values of every kind of header."""

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from kit import dicom as kit
from kit.dicom import LOSSLESS, digitized_film, for_processing, lut, set_frames, write_dicom
from kit.jpeg_lossless import encode
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array

from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import read_image
from mtl_jax.types import InputError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 4096, (33, 47))
RAMP = np.arange(4096).reshape(64, 64)
Tags = dict[str, Any]


def read_gray(path: Path, pixels: np.ndarray, **options: Any) -> np.ndarray:
    return dicom.read_with_record(write_dicom(path, pixels, **options))[0]


def read_record(path: Path, pixels: np.ndarray = RAMP, **options: Any) -> dict[str, Any]:
    return dicom.read_with_record(write_dicom(path, pixels, **options))[2]


def write_compressed(
    path: Path, stream: bytes, syntax: str, shape: tuple[int, int], bits: int
) -> Path:
    write_dicom(path, np.zeros(shape, int), bits=bits)
    header = pydicom.dcmread(path)
    set_frames(header, [stream])
    header.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    pydicom.dcmwrite(path, header)
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_syntax_is_exact_in_every_frame(
    tmp_path: Path, syntax: str, bits: int
) -> None:
    first = RNG.integers(0, 1 << bits, (33, 47))
    frames = np.stack([first, first[::-1], (first + 1) % (1 << bits)])
    path = write_dicom(tmp_path / "a.dcm", frames, bits=bits, syntax=syntax)
    for number, frame in enumerate(frames):
        gray, depth, record = dicom.read_with_record(path, number)
        assert gray.dtype == np.float32 and depth == bits == record["bits"]
        np.testing.assert_array_equal(gray, frame)
        np.testing.assert_array_equal(read_image(path, number)[0], frame)


@pytest.mark.parametrize("restart_rows", [0, 5])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_of_every_predictor_with_and_without_restarts(
    tmp_path: Path, predictor: int, restart_rows: int
) -> None:
    for bits in (8, 12, 14, 16):
        gray = RNG.integers(0, 1 << bits, (33, 47))
        stream = encode(gray, bits, predictor, restart_rows)
        path = write_compressed(tmp_path / "a.dcm", stream, "JPEGLossless", gray.shape, bits)
        np.testing.assert_array_equal(dicom.read_with_record(path)[0], gray)
        # An independent decoder agrees.
        header = pydicom.dcmread(path)
        np.testing.assert_array_equal(pixel_array(header, decoding_plugin="gdcm"), gray)


@pytest.mark.parametrize("stored", [10, 12, 14, 16])
def test_a_stream_may_have_another_precision_than_bits_stored(tmp_path: Path, stored: int) -> None:
    gray = RNG.integers(0, 1024, (33, 47))
    for precision in (10, 13, 16):
        stream = encode(gray, precision)
        path = write_compressed(tmp_path / "a.dcm", stream, "JPEGLosslessSV1", gray.shape, stored)
        np.testing.assert_array_equal(dicom.read_with_record(path)[0], gray)


def test_lossy_jpeg_agrees_with_other_decoders(tmp_path: Path) -> None:
    smooth = ((np.sin(np.arange(64) / 9)[:, None] + np.cos(np.arange(80) / 7) + 2) * 60).astype(
        "u1"
    )
    stream = imagecodecs.jpeg_encode(smooth, level=90)
    (tmp_path / "a.jpg").write_bytes(stream)
    path = write_compressed(tmp_path / "a.dcm", stream, "JPEGBaseline8Bit", smooth.shape, 8)
    gray = dicom.read_with_record(path)[0]
    assert np.abs(gray - np.asarray(Image.open(tmp_path / "a.jpg"), float)).max() <= 1
    # 12-bit JPEG Extended; mean as libjpeg (T. Richter) decodes them.
    gray, bits, record = dicom.read_with_record(Path(get_testdata_file("JPGExtended.dcm")))
    assert bits == 12 and record["lossy"]
    assert gray.mean() == pytest.approx(14.383, abs=0.1)


# (12 bits) attributes -> gray of the stored values 0, 1, 4095
POLARITY: list[tuple[Tags, tuple[float, float, float]]] = [
    ({}, (0, 1, 4095)),
    ({"PhotometricInterpretation": "MONOCHROME1"}, (4095, 4094, 0)),
    # The standard requires the two together: one inversion, not two.
    (
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        (4095, 4094, 0),
    ),
    ({"PresentationLUTShape": "IDENTITY"}, (0, 1, 4095)),
    ({"PresentationLUTShape": "INVERSE"}, (4095, 4094, 0)),
    # For Presentation images ignore the sign and LIN.
    ({"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}, (0, 1, 4095)),
    (digitized_film(), (0, 1, 4095)),
    (digitized_film(PhotometricInterpretation="MONOCHROME1"), (4095, 4094, 0)),
    # Rescale: slope 1 and intercept 0 change nothing, a negative slope inverts the polarity.
    ({"RescaleSlope": "1", "RescaleIntercept": "0"}, (0, 1, 4095)),
    ({"RescaleSlope": "0.37", "RescaleIntercept": "-1000"}, (0, 1, 4095)),
    ({"RescaleSlope": "-1", "RescaleIntercept": "4095"}, (4095, 4094, 0)),
    # Raw, linear in exposure: zero or one count is the brightest, air is 0.
    (for_processing(), (4095, 4095, 0)),
    (for_processing(PhotometricInterpretation="MONOCHROME2"), (4095, 4095, 0)),
    (for_processing(PixelIntensityRelationshipSign=None), (4095, 4095, 0)),
    # Raw, falling with exposure: the other end is air.
    (for_processing(PixelIntensityRelationshipSign=-1), (0, 0.12022, 4095)),
    (for_processing(PixelIntensityRelationship="LOG"), (4095, 4094, 0)),
    (
        for_processing(PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=-1),
        (0, 1, 4095),
    ),
    # Thousandths of optical density: 0.001 OD per gray level.
    (
        digitized_film(RescaleSlope="1", RescaleIntercept="0", RescaleType="OD"),
        (4095, 4094, 0),
    ),
]


@pytest.mark.parametrize(("tags", "expected"), POLARITY)
def test_gray_at_the_ends_of_the_scale(
    tmp_path: Path, tags: Tags, expected: tuple[float, float, float]
) -> None:
    gray, bits, _ = dicom.read_with_record(write_dicom(tmp_path / "a.dcm", RAMP, **tags))
    ends = gray.ravel()[[0, 1, 4095]]
    np.testing.assert_allclose(ends, expected, atol=2e-3)
    assert bits == 12
    steps = np.diff(gray.ravel())
    assert (steps >= 0).all() or (steps <= 0).all()


def test_the_same_exposure_gives_the_same_gray_in_either_encoding(tmp_path: Path) -> None:
    exposure = RNG.integers(1, 16384, (40, 50))
    rising = read_gray(tmp_path / "a.dcm", exposure, bits=14, **for_processing())
    falling = read_gray(
        tmp_path / "b.dcm",
        16383 - exposure,
        bits=14,
        **for_processing(
            PhotometricInterpretation="MONOCHROME2", PixelIntensityRelationshipSign=-1
        ),
    )
    np.testing.assert_array_equal(rising, falling)
    expected = 4095 * (1 - np.log(exposure) / np.log(16383))
    np.testing.assert_allclose(rising, expected, atol=1e-3)


def test_modality_look_up_table_is_applied(tmp_path: Path) -> None:
    table = np.sqrt(np.arange(4096)) * 60
    tags = {"ModalityLUTSequence": lut(np.round(table), 0, 12)}
    tags["ModalityLUTSequence"][0].ModalityLUTType = "US"
    gray = read_gray(tmp_path / "a.dcm", RAMP, **tags).ravel()
    np.testing.assert_allclose(gray, np.round(table) * 4095 / round(table[-1]), atol=1e-2)


@pytest.mark.parametrize(
    ("tags", "offered"),
    [
        ({"VOILUTSequence": lut(range(256), 0, 8)}, ["look-up table"]),
        ({"WindowCenter": 100, "WindowWidth": 50}, ["LINEAR window, centre 100, width 50"]),
        (
            {"WindowCenter": [9, 8.5], "WindowWidth": [2, 1], "VOILUTFunction": "SIGMOID"},
            ["SIGMOID window, centre 9, width 2", "SIGMOID window, centre 8.5, width 1"],
        ),
        (
            {"WindowCenter": 9, "WindowWidth": 2, "VOILUTFunction": "LINEAR_EXACT"},
            ["LINEAR_EXACT window, centre 9, width 2"],
        ),
    ],
)
def test_voi_is_recorded_and_never_applied(tmp_path: Path, tags: Tags, offered: list[str]) -> None:
    gray, _, record = dicom.read_with_record(write_dicom(tmp_path / "a.dcm", RAMP, **tags))
    np.testing.assert_array_equal(gray, RAMP)
    assert record["voi_offered"] == offered and record["voi_applied"] is False


@pytest.mark.parametrize(
    ("tags", "lowest"),
    [
        ({"PixelPaddingValue": 0}, 100),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 5}, 100),
        ({"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}, 4095 - 2000),
        (for_processing(PixelPaddingValue=0), 4095 * (1 - np.log(2000) / np.log(4095))),
    ],
)
def test_padding_becomes_the_lowest_gray_of_the_image(
    tmp_path: Path, tags: Tags, lowest: float
) -> None:
    pixels = RNG.integers(100, 2000, (20, 30))
    pixels[0, 0], pixels[0, 1] = 100, 2000
    pixels[:, 20:] = 0
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)
    gray, _, record = dicom.read_with_record(path)
    np.testing.assert_allclose(gray[:, 20:], lowest, atol=1e-3)
    assert record["padded_pixels"] == 200
    assert record["smallest"] == pytest.approx(lowest, abs=1e-3)
    np.testing.assert_array_equal(read_image(path)[0], gray)
    pixels[:] = 0
    with pytest.raises(InputError, match="all its pixels are padding"):
        read_gray(tmp_path / "b.dcm", pixels, **tags)


def test_padding_outside_the_stored_values_is_ignored(tmp_path: Path) -> None:
    assert read_record(tmp_path / "a.dcm", PixelPaddingValue=65535)["padding"] is None


def test_overlay_bits_are_cleared_and_shifted_words_are_aligned(tmp_path: Path) -> None:
    for syntax in ("ExplicitVRLittleEndian", "ExplicitVRBigEndian", "RLELossless"):
        overlaid = NOISE | (RNG.integers(0, 16, NOISE.shape) << 12)
        gray = read_gray(tmp_path / "a.dcm", overlaid, syntax=syntax)
        np.testing.assert_array_equal(gray, NOISE)
        gray = read_gray(tmp_path / "b.dcm", NOISE << 4, syntax=syntax, HighBit=15)
        np.testing.assert_array_equal(gray, NOISE)


def test_a_partly_used_scale_is_noted_and_a_full_one_is_not(tmp_path: Path) -> None:
    notes = read_record(tmp_path / "a.dcm", RAMP, bits=16)["notes"]
    assert "12 of 16 bits" in notes[0]
    assert read_record(tmp_path / "a.dcm", RAMP)["notes"] == []


REJECTED: list[tuple[Tags, str]] = [
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
    ({"PhotometricInterpretation": None}, "contains no image"),
    ({"PixelRepresentation": 1}, "signed"),
    ({"Rows": 65535, "Columns": 65535}, "65535x65535"),
    ({"Rows": 0}, "47x0"),
    ({"Rows": None}, "Rows is missing"),
    ({"NumberOfFrames": 1_000_000_000, "Rows": 60000, "Columns": 60000}, "60000x60000"),
    ({"NumberOfFrames": -2}, "-2 frame"),
    ({"BitsStored": 17}, "BitsStored 17"),
    ({"BitsAllocated": 32}, "BitsAllocated 32"),
    ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "all values equal"),
    ({"PixelData": b"\0\0"}, "pixel data"),
    ({"PixelData": None}, "no PixelData"),
]


@pytest.mark.parametrize(("tags", "reason"), REJECTED)
def test_rejections_are_one_line_that_names_the_file(
    tmp_path: Path, tags: Tags, reason: str
) -> None:
    path = write_dicom(tmp_path / "bad.dcm", NOISE, **tags)
    tracemalloc.start()
    with pytest.raises(InputError, match=reason) as caught:
        dicom.read_with_record(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 4_000_000


def test_a_stream_larger_than_its_header_is_rejected_before_it_is_decoded(tmp_path: Path) -> None:
    stream = bytearray(encode(NOISE, 12))
    offset = stream.index(b"\xff\xc3") + 5
    stream[offset : offset + 4] = b"\xff\xff\xff\xff"
    path = write_compressed(tmp_path / "a.dcm", bytes(stream), "JPEGLossless", NOISE.shape, 12)
    with pytest.raises(InputError, match="65535x65535"):
        dicom.read_with_record(path)
    huge = bytearray(imagecodecs.jpeg2k_encode(NOISE.astype("u2"), codecformat="j2k"))
    offset = huge.index(b"\xff\x51") + 6
    huge[offset : offset + 8] = b"\0\1\0\0\0\1\0\0"
    path = write_compressed(tmp_path / "b.dcm", bytes(huge), "JPEG2000", NOISE.shape, 12)
    with pytest.raises(InputError, match="65536x65536"):
        dicom.read_with_record(path)


def find_stream_that_charls_rejects() -> bytes:
    """Return a JPEG-LS stream of NOISE with one damaged byte that CharLS detects."""
    valid_stream = imagecodecs.jpegls_encode(NOISE.astype("u2"))
    for offset in range(200, 1000):
        stream = bytearray(valid_stream)
        stream[offset] ^= 0x40
        try:
            imagecodecs.jpegls_decode(bytes(stream))
        except imagecodecs.JpeglsError:
            return bytes(stream)
    raise AssertionError("CharLS rejects no stream")


def test_a_damaged_frame_is_rejected_with_the_name_of_its_transfer_syntax(tmp_path: Path) -> None:
    stream = find_stream_that_charls_rejects()
    path = write_compressed(tmp_path / "a.dcm", stream, "JPEGLSLossless", NOISE.shape, 12)
    for read in (dicom.read_with_record, read_image):
        with pytest.raises(InputError, match=r"a.dcm: .* cannot be decoded \(JPEG-LS Lossless"):
            read(path)


def test_a_deflated_file_that_inflates_too_much_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, syntax="DeflatedExplicitVRLittleEndian")
    start = path.read_bytes()[
        : 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    ]
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    path.write_bytes(start + deflater.compress(bytes(50_000_000)) + deflater.flush())
    monkeypatch.setattr("mtl_jax.imaging.dicom_fields.MAX_INFLATED", 20_000_000)
    with pytest.raises(InputError, match="inflates to more than 19 MiB"):
        dicom.read_with_record(path)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_truncated_file_is_rejected(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, syntax=syntax)
    content = path.read_bytes()
    for fraction in (0.5, 0.9):
        path.write_bytes(content[: int(len(content) * fraction)])
        with pytest.raises(InputError, match="a.dcm"):
            dicom.read_with_record(path)


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000Lossless", "HTJ2KLossless"]
)
def test_a_truncated_stream_in_a_complete_file_is_rejected(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, syntax=syntax)
    stream = get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)
    for fraction in (0.3, 0.6, 0.99):
        write_compressed(path, stream[: int(len(stream) * fraction)], syntax, NOISE.shape, 12)
        with pytest.raises(InputError, match="a.dcm: its compressed frame is damaged or cut"):
            dicom.read_with_record(path)


def test_other_files_and_syntaxes_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    with pytest.raises(InputError, match="no such file"):
        dicom.read_with_record(path)
    path.write_bytes(b"P5 1 1 255 x" * 50)
    with pytest.raises(InputError, match="not a DICOM file"):
        dicom.read_with_record(path)
    write_compressed(path, b"\0\0\1\xb3", "MPEG2MPML", (33, 47), 8)
    with pytest.raises(InputError, match="transfer syntax"):
        dicom.read_with_record(path)


def test_pydicom_reads_what_the_kit_writes(tmp_path: Path) -> None:
    for syntax in set(LOSSLESS) - {"HTJ2KLossless"}:
        path = kit.write_dicom(tmp_path / "a.dcm", NOISE, syntax=syntax)
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, NOISE)
