"""Test exact reading of images, area averaging, background correction and ROIs."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import scipy.ndimage
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.fuzz import outcomes
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from skimage.transform import downscale_local_mean

from mtl_jax.imaging import dicom
from mtl_jax.imaging.background import background, correct
from mtl_jax.imaging.read_image import read_image
from mtl_jax.imaging.resample import block_size, to_pixel_size
from mtl_jax.imaging.roi import RoiSettings, crop, lesion_roi, to_12_bit
from mtl_jax.types import InputError

RNG = np.random.default_rng(0)
FLAT = RoiSettings(correct=False)


def write_dicom(
    path: Path, gray: np.ndarray, bits: int = 12, kind: str = "MONOCHROME2", **tags: object
) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    header = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    header.PatientName = "Secret^Name"
    header.Rows, header.Columns = gray.shape[-2:]
    if gray.ndim == 3:
        header.NumberOfFrames = len(gray)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, kind
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, bits, bits - 1
    header.PixelRepresentation = 0
    header.PixelData = gray.astype("<u2").tobytes()
    for tag, value in tags.items():
        setattr(header, tag, value)
    pydicom.dcmwrite(path, header)


def write_pgm(path: Path, gray: np.ndarray, maxval: int) -> None:
    header = f"P5\n# made for a test\n{gray.shape[1]} {gray.shape[0]}\n{maxval}\n".encode()
    path.write_bytes(header + gray.astype("u1" if maxval < 256 else ">u2").tobytes())


GRAY16 = RNG.integers(0, 65536, (37, 53)).astype(np.uint16)
WRITERS = {
    "a.pgm": lambda path, gray: write_pgm(path, gray, 65535),
    "a.png": lambda path, gray: Image.fromarray(gray).save(path),
    "a.tif": lambda path, gray: tifffile.imwrite(path, gray),
    "a.npy": np.save,
    "a.dcm": lambda path, gray: write_dicom(path, gray, 16),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_exact_stored_gray(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, GRAY16)
    gray, bits = read_image(tmp_path / name)
    assert (gray.dtype, bits) == (np.float32, 16)
    np.testing.assert_array_equal(gray, GRAY16)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.6])
def test_a_truncated_file_raises_one_line_that_names_it(
    tmp_path: Path, name: str, fraction: float
) -> None:
    path = tmp_path / name
    WRITERS[name](path, GRAY16)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(InputError) as failure:
        read_image(path)
    assert str(path) in str(failure.value) and "\n" not in str(failure.value)


def test_pgm_of_known_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 2 255\n\x00\x01\xfe\xff")
    np.testing.assert_array_equal(read_image(path)[0], [[0, 1], [254, 255]])
    assert read_image(path)[1] == 8
    path.write_bytes(b"P5\n#c 9 9\n2 1\n4095\n\x01\x02\x0f\xff")
    np.testing.assert_array_equal(read_image(path)[0], [[258, 4095]])
    assert read_image(path)[1] == 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"P2 1 1 255\n7", "no binary PGM header"),
        (b"P5 2 2 255\nabc", "truncated"),
        (b"P5 2 2 255\nabcde", "too long"),
        (b"P5 99999999 99999999 255\nabcd", "99999999x99999999"),
        (b"P5 0 2 255\n", "0x2"),
        (b"P5 1 1 70000\nab", "maxval 70000"),
        (b"P5 1 1 100\n\xff", "exceeds"),
    ],
)
def test_bad_pgm_is_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_image(path)


def fuzz_pgm(folder: Path, count: int) -> None:
    for number, maxval in enumerate((255, 4095)):
        path = folder / f"{number}.pgm"
        write_pgm(path, GRAY16[:12, :15] % (maxval + 1), maxval)
        gray_read = outcomes(path, count // 2, number, lambda path=path: read_image(path))
        assert gray_read["rejected"] > count / 10


def test_damaged_pgm_never_ends_in_a_traceback(tmp_path: Path) -> None:
    fuzz_pgm(tmp_path, 1000)


@pytest.mark.slow
def test_damaged_pgm_never_ends_in_a_traceback_at_length(tmp_path: Path) -> None:
    fuzz_pgm(tmp_path, 20_000)


def test_files_other_than_one_gray_image_are_rejected(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[2, 2, 1] = 1
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P").save(tmp_path / "palette.png")
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    np.save(tmp_path / "rgb.npy", colour)
    np.save(tmp_path / "signed.npy", np.zeros((4, 4), np.int16))
    np.save(tmp_path / "code.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    write_dicom(tmp_path / "lut.dcm", np.zeros((4, 4)), kind="PALETTE COLOR")
    write_dicom(tmp_path / "signed.dcm", np.zeros((4, 4)), PixelRepresentation=1)
    (tmp_path / "a.jpg").write_bytes(b"")
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 10
    for path in [*paths, tmp_path / "absent.png"]:
        with pytest.raises(InputError, match=path.name):
            read_image(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_in_channels_is_read_as_gray(tmp_path: Path, dtype: type) -> None:
    gray = RNG.integers(0, np.iinfo(dtype).max + 1, (7, 9)).astype(dtype)
    three = np.stack([gray] * 3, -1)
    opaque = np.full((7, 9, 1), np.iinfo(dtype).max, dtype)
    channels = {"rgb": three, "rgba": np.concatenate([three, opaque], -1)}
    channels["gray_alpha"] = np.concatenate([gray[..., None], opaque], -1)
    for name, values in channels.items():
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(values))
    tifffile.imwrite(tmp_path / "a.tif", three, photometric="rgb")
    planes = np.moveaxis(three, -1, 0)
    tifffile.imwrite(tmp_path / "b.tif", planes, photometric="rgb", planarconfig="separate")
    fraction = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "c.tif", channels["rgba"], **fraction)
    for path in sorted(tmp_path.iterdir()):
        gray_read, bits = read_image(path)
        np.testing.assert_array_equal(gray_read, gray, err_msg=path.name)
        assert bits == 8 * gray.itemsize
    # One pixel of colour, or one that is not opaque.
    for name, values in channels.items():
        values = values.copy()
        values[3, 4, -1] ^= 1
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(values))
        with pytest.raises(InputError, match=f"{name}.png: colour or transparency"):
            read_image(tmp_path / f"{name}.png")


def test_frames_are_selected_and_counted(tmp_path: Path) -> None:
    frames = RNG.integers(0, 4096, (3, 5, 7)).astype(np.uint16)
    write_dicom(tmp_path / "a.dcm", frames)
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    np.save(tmp_path / "a.npy", frames[0])
    for name in ("a.dcm", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name, 2)[0], frames[2])
    for name in ("a.dcm", "a.tif", "a.npy"):
        with pytest.raises(InputError, match="frame 3"):
            read_image(tmp_path / name, 3)


def test_inverted_formats_are_read_with_dense_as_bright(tmp_path: Path) -> None:
    stored = RNG.integers(0, 4096, (5, 7))
    write_dicom(tmp_path / "a.dcm", stored, kind="MONOCHROME1")
    gray, bits = read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(gray, 4095 - stored)
    assert bits == 12
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(np.uint8), photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0], 255 - stored % 256)


def test_dicom_clears_overlay_bits_above_bits_stored(tmp_path: Path) -> None:
    stored = RNG.integers(0, 4096, (5, 7))
    write_dicom(tmp_path / "a.dcm", stored | 0x8000)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm")[0], stored)


def test_dicom_spacing_and_its_source(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    gray = np.zeros((2, 2))
    write_dicom(path, gray)
    assert dicom.read_spacing(path) is None
    write_dicom(path, gray, PixelSpacing=["0.05", "0.06"])
    assert dicom.read_spacing(path) == ((50.0, 60.0), "PixelSpacing")
    write_dicom(path, gray, PixelSpacing=["0.094", "0.094"], ImagerPixelSpacing=["0.1", "0.1"])
    assert dicom.read_spacing(path) == ((100.0, 100.0), "ImagerPixelSpacing")
    write_dicom(path, gray, NominalScannedPixelSpacing=["0.2", "0.2"])
    assert dicom.read_spacing(path) == ((200.0, 200.0), "NominalScannedPixelSpacing")
    write_dicom(path, gray, PixelSpacing=["0", "0.06"])
    with pytest.raises(InputError, match="a.dcm"):
        dicom.read_spacing(path)


@pytest.mark.parametrize("ratio", [1, 2, 4, 5])
def test_integer_ratios_average_blocks(ratio: int) -> None:
    image = RNG.integers(0, 4096, (20 * ratio + ratio // 2, 15 * ratio)).astype(np.float32)
    resampled = to_pixel_size(image, (200 / ratio, 200 / ratio))
    expected = downscale_local_mean(image[: 20 * ratio], (ratio, ratio))
    assert resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, expected, rtol=1e-6)


def overlap(size: int, span: float) -> np.ndarray:
    """Return the fraction of output pixel k that stored pixel i covers."""
    rows = []
    for k in range(int(size / span)):
        rows.append(
            [max(0.0, min((k + 1) * span, i + 1) - max(k * span, i)) / span for i in range(size)]
        )
    return np.array(rows)


@pytest.mark.parametrize("pixel_um", [(42.0, 43.5), (70.0, 94.09), (100.0, 133.0), (199.0, 66.67)])
def test_other_ratios_weight_by_area(pixel_um: tuple[float, float]) -> None:
    image = RNG.uniform(0, 4095, (47, 61))
    expected = overlap(47, 200 / pixel_um[0]) @ image @ overlap(61, block_size(pixel_um)[1]).T
    np.testing.assert_allclose(to_pixel_size(image, pixel_um), expected, rtol=1e-6)


def test_ratios_near_an_integer_are_rounded_and_coarser_pixels_are_rejected() -> None:
    assert block_size((50.0 * 1.0009, 100.0 / 1.0009)) == (4.0, 2.0)
    assert block_size((200.19, 200.0)) == (1.0, 1.0)
    assert block_size((50.1, 50.0))[0] == pytest.approx(200 / 50.1)
    with pytest.raises(InputError, match="coarser"):
        to_pixel_size(np.zeros((9, 9)), (201.0, 200.0))
    with pytest.raises(InputError, match="does not fill"):
        to_pixel_size(np.zeros((3, 9)), (50.0, 50.0))


rois = st.tuples(st.integers(0, 2**32 - 1), st.integers(20, 40), st.integers(20, 40)).map(
    lambda seed: np.random.default_rng(seed[0]).uniform(0, 4095, seed[1:])
)


@settings(max_examples=40, deadline=None)
@given(roi=rois, offset=st.floats(-1e3, 1e3))
def test_background_rotates_with_the_roi_and_is_within_the_range_of_its_edges(
    roi: np.ndarray, offset: float
) -> None:
    flat = correct(roi)
    for turns in range(4):
        np.testing.assert_allclose(correct(np.rot90(roi, turns)), np.rot90(flat, turns), atol=1e-8)
        mirrored = np.rot90(roi[:, ::-1], turns)
        np.testing.assert_allclose(correct(mirrored), np.rot90(flat[:, ::-1], turns), atol=1e-8)
    np.testing.assert_allclose(correct(roi + offset), flat, atol=1e-8)
    np.testing.assert_allclose(correct(np.full_like(roi, offset)), 0, atol=1e-9)
    edges = [roi[:8], roi[-8:], roi[:, :8], roi[:, -8:]]
    gray_read = background(roi)
    assert min(e.min() for e in edges) <= gray_read.min() and gray_read.max() <= max(
        e.max() for e in edges
    )


def test_background_equals_its_definition_pixel_by_pixel() -> None:
    roi = RNG.uniform(0, 4095, (24, 31))
    height, width = roi.shape
    gray_read = background(roi, along_mm=1.0, depth_mm=0.6, pixel_mm=0.2)  # half 2 of 5, depth 3
    for i in range(height):
        for j in range(width):
            rows = slice(max(i - 2, 0), i + 3)
            columns = slice(max(j - 2, 0), j + 3)
            feet = [
                (roi[rows, :3].mean(), j + 0.5),
                (roi[rows, -3:].mean(), width - j - 0.5),
                (roi[:3, columns].mean(), i + 0.5),
                (roi[-3:, columns].mean(), height - i - 0.5),
            ]
            expected = sum(g / d for g, d in feet) / sum(1 / d for _, d in feet)
            assert gray_read[i, j] == pytest.approx(expected, rel=1e-12)


def test_background_smooths_with_a_running_mean_of_17_by_8_pixels() -> None:
    """If only the top strip of the ROI is not zero, B is the weighted running mean of that edge."""
    roi = np.zeros((128, 128))
    roi[:8, 20:108] = RNG.uniform(0, 4095, (8, 88))
    smooth = scipy.ndimage.uniform_filter1d(roi[:8].mean(0), 17)
    column, row = 64, 40
    near = 1 / np.array([row + 0.5, 127.5 - row, column + 0.5, 127.5 - column])
    expected = smooth[column] * near[0] / near.sum()
    assert background(roi)[row, column] == pytest.approx(expected, rel=1e-9)


def test_background_of_a_stack_equals_that_of_each_roi() -> None:
    rois = RNG.uniform(0, 4095, (2, 3, 30, 30))
    np.testing.assert_array_equal(correct(rois)[1, 2], correct(rois[1, 2]))


def test_crop_inside_the_image_is_a_slice() -> None:
    image = RNG.uniform(0, 1, (300, 400))
    roi, outside = crop(image, (150.0, 200.0))
    np.testing.assert_array_equal(roi, image[86:214, 136:264])
    assert outside == 0.0
    np.testing.assert_array_equal(crop(image, (150.4, 199.6))[0], roi)


@pytest.mark.parametrize(("centre"), [(0.0, 0.0), (10.0, 60.0), (89.9, 99.9), (50.0, 3.0)])
def test_crop_reflects_at_the_border(centre: tuple[float, float]) -> None:
    image = RNG.uniform(0, 1, (90, 100))
    roi, outside = crop(image, centre)
    padded = np.pad(image, 128, mode="symmetric")
    top, left = (round(middle - 64) + 128 for middle in centre)
    np.testing.assert_array_equal(roi, padded[top : top + 128, left : left + 128])
    inside = np.pad(np.ones_like(image), 128)[top : top + 128, left : left + 128].mean()
    assert outside == pytest.approx(1 - inside)


@pytest.mark.parametrize("centre", [(-0.1, 5.0), (90.0, 5.0), (5.0, 100.0), (np.nan, 5.0)])
def test_a_centre_outside_the_image_is_rejected(centre: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="outside the image of 90 rows and 100 columns"):
        crop(np.zeros((90, 100)), centre)


def test_twelve_bits_span_the_stored_depth() -> None:
    np.testing.assert_array_equal(to_12_bit(np.array([0.0, 51.0, 255.0]), 8), [0, 819, 4095])
    np.testing.assert_array_equal(to_12_bit(np.array([0.0, 16383.0]), 14), [0, 4095])
    for gray in ([0.0, 4096.0], [-1.0, 0.0]):
        with pytest.raises(InputError, match="12 bits"):
            to_12_bit(np.array(gray), 12)


def test_counts_are_eighths_rounded_half_to_even_without_overflow() -> None:
    image = np.zeros((128, 128))
    image[0, :6] = [0.0625, 0.1875, 0.3125, 1.0, 2.5, 4095.0]
    counts, _ = lesion_roi(image, (64, 64), FLAT)
    assert counts.dtype == np.int16
    np.testing.assert_array_equal(counts[0, :6], [0, 2, 2, 8, 20, 32760])
    image[:] = 4095.0
    image[60:68, 60:68] = 0.0
    counts, _ = lesion_roi(image, (64, 64), RoiSettings())
    assert counts[64, 64] == -32760 and counts[0, 0] == 0


MINI_MIAS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mini_mias"


@pytest.mark.skipif(not MINI_MIAS.is_dir(), reason="mini-MIAS is not in the shared folder")
def test_film_mdb028_has_its_mass_at_the_centre_of_the_roi() -> None:
    """Info.txt: x 338, y 314 from the bottom, radius 56: column 338, row 709."""
    stored, bits = read_image(MINI_MIAS / "mdb028.pgm")
    gray = to_12_bit(stored, bits)
    rows, columns = np.mgrid[:128, :128] - 63.5
    distance = np.hypot(rows, columns)
    for correction in (True, False):
        settings = RoiSettings(correct=correction)
        roi, outside = lesion_roi(gray, (709.5, 338.5), settings)
        assert outside == 0.0
        assert roi[distance < 40].mean() > roi[distance > 58].mean() + 8 * 400
        # With y from the top the ROI shows fat, without contrast.
        wrong, _ = lesion_roi(gray, (314.5, 338.5), settings)
        assert wrong[distance < 40].mean() < wrong[distance > 58].mean() + 8 * 100
        weight = np.clip(roi - np.median(roi), 0, None)
        assert abs((weight * rows).sum() / weight.sum()) < 6
        assert abs((weight * columns).sum() / weight.sum()) < 6


@pytest.mark.parametrize("pixel_um", [(400.0, 800.0), (794.0, 480.0), (250.0, 210.0)])
def test_coarser_pixels_are_interpolated_as_by_pillow(pixel_um: tuple[float, float]) -> None:
    """Pillow's bicubic filter is Keys's; at a border it leaves out pixels instead of repeating."""
    image = RNG.uniform(0, 4095, (40, 30)).astype(np.float32)
    resampled = to_pixel_size(image, pixel_um, upsample=True)
    spans = block_size(pixel_um, upsample=True)
    rows, columns = resampled.shape
    box = (0, 0, columns * spans[1], rows * spans[0])
    expected = Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC, box=box)
    inner = tuple(slice(int(2 / span) + 1, -int(2 / span) - 1) for span in spans)
    np.testing.assert_allclose(resampled[inner], np.asarray(expected)[inner], atol=0.05)


def test_interpolation_reproduces_quadratics_and_commutes_with_flips() -> None:
    """Keys 1981: the kernel with a = -1/2 is exact for polynomials of degree two."""
    rows, columns = np.mgrid[:30, :30] + 0.5  # centers in stored pixels of 500 um
    image = 3 * rows**2 - 2 * columns**2 + 5 * rows * columns
    resampled = to_pixel_size(image, (500.0, 500.0), 200.0, upsample=True)
    y, x = (np.mgrid[:75, :75] + 0.5) * 0.4
    expected = 3 * y**2 - 2 * x**2 + 5 * y * x
    np.testing.assert_allclose(resampled[5:-5, 5:-5], expected[5:-5, 5:-5], rtol=1e-5, atol=0.01)
    flipped = to_pixel_size(image[::-1, ::-1], (500.0, 500.0), 200.0, upsample=True)
    np.testing.assert_allclose(flipped, resampled[::-1, ::-1], rtol=1e-6, atol=1e-9)


def test_each_axis_is_averaged_or_interpolated_by_its_own_pixel_size() -> None:
    image = RNG.uniform(0, 4095, (80, 20))
    both = to_pixel_size(image, (50.0, 500.0), upsample=True)
    averaged = image.reshape(20, 4, 20).mean(1)
    expected = to_pixel_size(averaged, (200.0, 500.0), upsample=True)
    assert both.shape == (20, 50)
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_the_field_of_view_is_any_extent_of_128_pixels() -> None:
    assert RoiSettings().pixel_um == 200.0
    assert RoiSettings(38.4).pixel_um == 300.0 and RoiSettings(51.2).pixel_um == 400.0
    assert RoiSettings.from_record(RoiSettings(38.4, True, 8.0, False).record()) == RoiSettings(
        38.4, True, 8.0, False
    )
    background = {"correct": True, "along_mm": 3.2, "depth_mm": 1.6}
    assert RoiSettings.from_record({"background": background}) == RoiSettings()  # of 0.1.0


def test_a_disc_of_a_fixed_size_is_blanked_with_the_mean_of_the_rest() -> None:
    image = RNG.uniform(0, 4095, (128, 128))
    plain, _ = lesion_roi(image, (64, 64), FLAT)
    counts, _ = lesion_roi(image, (64, 64), RoiSettings(correct=False, blank_mm=8.0))
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = rows**2 + columns**2 <= 20**2  # 4 mm of 200 um pixels
    assert disc.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    np.testing.assert_array_equal(counts[~disc], plain[~disc])
    assert len(set(counts[disc].tolist())) == 1
    assert counts[64, 64] == pytest.approx(8 * image[~disc].mean(), abs=0.5)
    # Whatever is inside the disc, the ROI is the same.
    image[disc] = 0.0
    np.testing.assert_array_equal(
        lesion_roi(image, (64, 64), RoiSettings(correct=False, blank_mm=8.0))[0], counts
    )
