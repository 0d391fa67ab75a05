"""tools/inspect_dicom.py with images of other formats; test_dicom_header.py has those of DICOM."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from kit.dicom import write_dicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_imaging import write_pgm

from mtl_jax.commands import inspect_dicom

RAMP = np.arange(100 * 80, dtype=np.uint16).reshape(100, 80) % 4096


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict, str]:
    """Return the exit code, the printed lines by name, and stderr."""
    code = inspect_dicom.main([*map(str, arguments)])
    output, errors = capsys.readouterr()
    lines = (line.strip().split(maxsplit=1) for line in output.splitlines()[1:] if line.strip())
    return code, dict(lines), errors


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif", "npy"])
def test_size_bits_and_values_of_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    writers = {
        "png": lambda: Image.fromarray(RAMP).save(path),
        "pgm": lambda: write_pgm(path, RAMP, 65_535),
        "tif": lambda: tifffile.imwrite(path, RAMP),
        "npy": lambda: np.save(path, RAMP),
    }
    writers[suffix]()
    code, lines, errors = shown(capsys, path)
    assert (code, errors) == (0, "")
    assert (lines["rows"], lines["columns"], lines["bits"]) == ("100", "80", "16")
    assert (lines["smallest"], lines["largest"]) == ("0.0", "4095.0")
    assert f"50%: {np.percentile(RAMP, 50):g}" in lines["percentiles"]
    assert lines["one_gray_value"] == "no" and lines["spacing_um"] == "-"
    assert "fit 12 of 16 bits" in lines["notes"]


def test_white_is_zero_and_one_gray_value_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 50), 7, np.uint8), photometric="miniswhite")
    _, lines, _ = shown(capsys, tmp_path / "a.tif")
    assert lines["inverted"] == "yes: white is zero" and lines["one_gray_value"] == "yes"
    assert (lines["smallest"], lines["largest"]) == ("248.0", "248.0")
    write_dicom(tmp_path / "a.dcm", np.full((40, 50), 7))
    _, lines, _ = shown(capsys, tmp_path / "a.dcm")
    assert lines["one_gray_value"] == "yes" and "99%: 7;" in lines["percentiles"]


def test_text_in_a_file_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PngInfo()
    text.add_text("PatientName", "Secret")
    Image.fromarray(RAMP).save(tmp_path / "a.png", pnginfo=text)
    tifffile.imwrite(tmp_path / "a.tif", RAMP, description="Secret", software="Secret")
    assert inspect_dicom.main([str(tmp_path / "a.png"), str(tmp_path / "a.tif")]) == 0
    assert "Secret" not in capsys.readouterr().out


def test_values_that_an_ingest_rejects_are_shown_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", RAMP.astype(np.float32) / 4095)
    code, lines, errors = shown(capsys, tmp_path / "a.npy")
    assert code == 2 and lines["largest"] == "1.0"
    assert errors.startswith(f"{tmp_path / 'a.npy'}: its values are floats up to")
    (tmp_path / "a.txt").write_text("no image")
    code, lines, errors = shown(capsys, tmp_path / "a.txt")
    assert code == 2 and lines == {} and "unknown image format" in errors


def test_a_picture_with_the_box_needs_the_pixel_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "a.png"
    gray = np.full((100, 80), 1000, np.uint16)
    gray[:50] = 3000
    np.save(path, gray)
    flags = ("--png", out, "--box", "20;10;60;50")
    code, _, errors = shown(capsys, path, *flags)
    assert code == 2 and "the file states no pixel size; give --pixel-um" in errors
    assert not out.exists()
    assert shown(capsys, path, *flags, "--pixel-um", "100")[0] == 0
    with Image.open(out) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (50, 40, 3)
    drawn = np.argwhere(pixels[..., 0] != pixels[..., 2])
    assert (drawn.min(0).tolist(), drawn.max(0).tolist()) == ([10, 5], [30, 25])
    assert pixels[2, 2].tolist() == [255] * 3 and pixels[45, 35].tolist() == [0] * 3
    code, _, errors = shown(capsys, path, "--box", "20;10;60;90")
    assert code == 2 and "is not inside the image of 100 rows and 80 columns" in errors


def test_a_frame_of_several_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.stack([RAMP, RAMP // 2, RAMP // 4])
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    code, _, errors = shown(capsys, tmp_path / "a.tif")
    assert code == 2 and "has 3 frames: give frame" in errors
    code, lines, _ = shown(capsys, tmp_path / "a.tif", "--frame", 2)
    assert code == 0 and lines["largest"] == "1023.0"


def test_the_png_of_an_image_with_coarse_pixels_is_interpolated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    options = ("--png", tmp_path / "out.png", "--box", "10;20;30;40", "--pixel-um", "500")
    assert shown(capsys, tmp_path / "a.png", *options)[0] == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (200, 250)
        rows, columns = np.nonzero((np.array(picture) == (255, 80, 0)).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (25, 75, 50, 100)
