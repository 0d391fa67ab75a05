"""Test that masks of every file format give the box of their shape, or an error with its cure."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_imaging import write_dicom

from mtl_jax.data.plausibility import COVERS, check_location
from mtl_jax.imaging import mask
from mtl_jax.types import InputError, Note

SHAPE = (90, 120)
BOX = (21.0, 35.0, 66.0, 94.0)


def ellipse() -> np.ndarray:
    """Return a mask (uint8) with 1 inside the ellipse that fills BOX, drawn by Pillow."""
    picture = np.zeros(SHAPE, np.uint8)
    top, left, bottom, right = map(int, BOX)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    down = (rows - (top + bottom) / 2) / ((bottom - top) / 2)
    along = (columns - (left + right) / 2) / ((right - left) / 2)
    picture[down**2 + along**2 <= 1] = 1
    picture[(top + bottom) // 2, left:right] = 1
    picture[top:bottom, (left + right) // 2] = 1
    return picture


def write_mask(path: Path, kind: str) -> None:
    shape_mask = ellipse()
    if kind.startswith("dicom"):
        tags = {"PhotometricInterpretation": "MONOCHROME1"} if "1" in kind else {}
        write_dicom(path, shape_mask.astype(np.uint16) * (255 if "white" in kind else 1), **tags)
    elif kind == "palette":
        # Inside is index 3, which the palette shows darker than index 0.
        picture = Image.fromarray(shape_mask * 3, mode="P")
        picture.putpalette([255, 255, 255, 9, 9, 9, 9, 9, 9, 1, 0, 0] + [7] * 756)
        picture.save(path)
    elif kind == "bits":
        Image.fromarray(shape_mask * 255).convert("1").save(path)
    elif kind == "white is zero":
        tifffile.imwrite(path, shape_mask * 255, photometric="miniswhite")
    elif kind == "png16":
        Image.fromarray(shape_mask.astype(np.uint16) * 65535).save(path)
    else:
        np.save(path, shape_mask.astype(kind))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *(("dicom", ".dcm"), ("dicom 1", ".dcm"), ("dicom 1 white", ".dcm")),
        *(("palette", ".png"), ("bits", ".png"), ("png16", ".png"), ("white is zero", ".tif")),
        *(("bool", ".npy"), ("float32", ".npy"), ("uint8", ".npy"), ("uint16", ".npy")),
    ],
)
def test_stored_values_above_0_are_inside(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"mask{suffix}"
    write_mask(path, kind)
    assert mask.read_box(path, SHAPE) == (BOX, ())


@pytest.mark.parametrize("quality", [30, 60, 75, 95])
def test_a_jpeg_mask_is_thresholded_and_noted(tmp_path: Path, quality: int) -> None:
    Image.fromarray(ellipse() * 255).save(tmp_path / "m.jpg", quality=quality)
    box, notes = mask.read_box(tmp_path / "m.jpg", SHAPE)
    assert np.abs(np.subtract(box, BOX)).max() <= 1
    assert [note.kind for note in notes] == [mask.THRESHOLDED]
    assert not notes[0].corrected
    # The same pixels in a lossless file.
    Image.open(tmp_path / "m.jpg").save(tmp_path / "m.png")
    assert mask.read_box(tmp_path / "m.png", SHAPE) == (box, notes)


def test_real_jpeg_masks_are_thresholded_as_by_pillow(shared: Path) -> None:
    files = sorted((shared / "data" / "cdd_cesm_dm" / "masks").glob("*.jpg"))
    assert len(files) > 300
    for file in files[::4]:
        gray = Image.open(file)
        left, top, right, bottom = gray.point([0] * 128 + [1] * 128).getbbox()
        box, notes = mask.read_box(file, gray.size[::-1])
        corrected = [note.kind for note in notes if note.corrected]
        assert (box == (top, left, bottom, right)) == (not corrected)
        assert set(corrected) <= {mask.SPECKS}
        assert notes[0].kind == mask.THRESHOLDED
        # None is treated as inverted or as a location that covers the image.
        noted = check_location(box, gray.size[::-1], (200.0, 200.0), user_table=True)
        assert {note.kind for note in noted} <= {COVERS}


@pytest.mark.parametrize("top", [1.0, 255, 4095])
def test_a_resampled_mask_is_thresholded_and_noted(top: float) -> None:
    small = Image.fromarray(np.pad(np.full((11, 15), 255, np.uint8), ((5, 6), (8, 7))))
    large = np.asarray(small.resize((120, 88), Image.Resampling.BILINEAR), float) / 255 * top
    values = large if top == 1.0 else np.round(large).astype(np.uint16)
    box, notes = mask.box_from_mask(values, (88, 120))
    assert np.abs(np.subtract(box, (20, 32, 64, 92))).max() <= 1
    assert [note.kind for note in notes] == [mask.THRESHOLDED]


def disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def test_label_maps_and_photographs_are_rejected() -> None:
    one, other = disc(20, 20, 9), disc(60, 90, 12)
    for values in (
        one + 2 * other,
        (one * 80 + other * 240).astype(np.uint8),
        (one * 0.5 + other).astype(np.float32),
        # One inside another, both small.
        disc(40, 40, 6).astype(np.uint8) + disc(40, 40, 2),
        disc(40, 40, 3).astype(np.uint8) + 2 * disc(60, 60, 3),
        np.random.default_rng(3).integers(0, 256, SHAPE) * disc(40, 50, 25),
        np.hypot(*np.mgrid[-45:45, -60:60]).max() - np.hypot(*np.mgrid[-45:45, -60:60]),
    ):
        with pytest.raises(
            InputError, match="contains areas of the values .*: save a mask of two values for"
        ):
            mask.box_from_mask(np.asarray(values), SHAPE)


def test_components_are_noted_and_specks_are_ignored() -> None:
    two = disc(20, 20, 9) | disc(60, 90, 12)
    box, notes = mask.box_from_mask(two, SHAPE)
    assert box == (11, 11, 73, 103)
    assert [(note.kind, note.detail) for note in notes] == [(mask.PARTS, "2 components")]
    speck = disc(60, 90, 12)
    speck[5, 7] = True
    box, notes = mask.box_from_mask(speck, SHAPE)
    assert box == (48, 78, 73, 103)
    assert notes == (
        Note(mask.SPECKS, f"1 of up to 1 pixels, the largest of {disc(60, 90, 12).sum()}", True),
    )
    # Components below and above a tenth of the largest.
    for radius, kinds in ((3, [mask.SPECKS]), (4, [mask.PARTS])):
        box, notes = mask.box_from_mask(disc(60, 90, 12) | disc(10, 10, radius), SHAPE)
        assert (box[:2] == (48, 78)) == (radius == 3)
        assert [note.kind for note in notes] == kinds
    # Specks inside the box of the lesion change nothing and are not noted.
    with_speck = disc(45, 60, 20)
    with_speck[26, 41] = True
    assert mask.box_from_mask(with_speck, SHAPE) == ((25, 40, 66, 81), ())
    corner = np.zeros(SHAPE, bool)
    corner[10:20, 10:20] = corner[20:30, 20:30] = True
    assert mask.box_from_mask(corner, SHAPE) == ((10, 10, 30, 30), ())


def test_masks_without_a_box_are_rejected_with_the_reason() -> None:
    def reason(values: np.ndarray, shape: tuple[int, int] = SHAPE) -> str:
        with pytest.raises(InputError) as caught:
            mask.box_from_mask(values, shape)
        return str(caught.value)

    assert "(90, 120) pixels, but its image has (120, 90)" in reason(ellipse(), SHAPE[::-1])
    assert "empty: no value is above 0" in reason(np.zeros(SHAPE))
    assert "empty" in reason(np.full(SHAPE, -1.0))
    assert "from border to border" in reason(1 - ellipse())
    assert "from border to border" in reason(np.ones(SHAPE, bool))
    assert "not finite" in reason(np.where(ellipse() > 0, np.nan, 0))


@pytest.mark.parametrize("border", ["a row", "a frame", "a strip", "the breast"])
def test_an_inverted_mask_is_rejected_with_any_border(border: str) -> None:
    """Padding, a frame or a black strip keep the box of an inverted mask away from a border."""
    inverted = 1 - ellipse()
    if border == "a row":
        inverted[-1] = 0
    elif border == "a frame":
        inverted = np.pad(inverted[1:-1, 1:-1], 1)
    elif border == "a strip":
        inverted[:, :15] = 0
    else:
        inverted = np.zeros(SHAPE, np.uint8)
        inverted[3:-3, :90] = 1
    assert mask.extent(inverted > 0) != (0, 0, *SHAPE)
    with pytest.raises(InputError, match="of its image, .* invert it if it is 0 inside"):
        mask.box_from_mask(inverted * 255, SHAPE)


def test_a_hole_is_noted() -> None:
    """A hole occurs in a mask inverted within the breast and in an outline that is not filled."""
    breast = disc(45, 50, 40)
    breast[disc(50, 40, 6)] = False
    box, notes = mask.box_from_mask(breast, SHAPE)
    assert box == (5, 10, 86, 91)
    share = disc(50, 40, 6).sum() / breast.sum()
    assert notes == (Note(mask.HOLE, f"{100 * share:.0f}% of its area"),)
    outline = disc(45, 50, 30) & ~disc(45, 50, 28)
    assert [note.kind for note in mask.box_from_mask(outline, SHAPE)[1]] == [mask.HOLE]
    # Not what compression leaves.
    breast = disc(45, 50, 40)
    breast[50, 40:44] = False
    assert mask.box_from_mask(breast, SHAPE)[1] == ()


def test_a_box_at_three_borders_is_accepted() -> None:
    values = np.zeros(SHAPE, np.uint8)
    values[:, :60] = 1
    assert mask.box_from_mask(values, SHAPE) == ((0, 0, 90, 60), ())
