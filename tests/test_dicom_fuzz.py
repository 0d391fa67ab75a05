"""Files of every other kind, and damaged ones: read or rejected in one line, in bounded time."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from kit.dicom import (
    LOSSLESS,
    digitized_film,
    for_processing,
    lut,
    view_code,
    write_dicom,
)
from pydicom.data import get_testdata_files

from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.value_checks import check_values
from mtl_jax.types import InputError

SLOWEST_S = 20  # CharLS takes seconds over some damaged JPEG-LS


def outcome(path: Path) -> str:
    """'' where the file is read, else its one line; anything else fails the test."""
    start = time.monotonic()
    try:
        gray, bits, record = dicom.read_with_record(path)
    except InputError as error:
        line = str(error)
        assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 400
        return line
    finally:
        assert time.monotonic() - start < SLOWEST_S
    assert gray.dtype == np.float32 and np.isfinite(gray).all()
    assert gray.shape == (record["rows"], record["columns"])
    assert gray.min() >= 0 and gray.max() <= 2**bits - 1
    return ""


def test_every_file_that_comes_with_pydicom_is_read_or_rejected() -> None:
    files = [Path(name) for name in get_testdata_files() if os.path.isfile(name)]
    read = {path.name for path in files if not outcome(path)}
    assert len(files) > 100
    # The unsigned gray ones, among them 12-bit JPEG Extended, near-lossless JPEG-LS and deflated.
    assert read >= {
        "JPGExtended.dcm",
        "JPEG-lossy.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "examples_overlay.dcm",
        "image_dfl.dcm",
    }


def seeds(folder: Path) -> list[bytes]:
    """Small files, one of each syntax and each kind of header."""
    pixels = (np.add.outer(np.arange(34), np.arange(36)) * 50) % 4096
    headers = [
        for_processing(PixelPaddingValue=0),
        digitized_film(RescaleSlope="1", RescaleIntercept="0", RescaleType="OD"),
        {
            "ViewCodeSequence": view_code("R-10242", "SRT", "cc"),
            "VOILUTSequence": lut(range(16), 0, 8),
            "ModalityLUTSequence": lut(range(64), 0, 16),
            "PatientOrientation": ["A", "R"],
            "ImagerPixelSpacing": [0.1, 0.1],
            "WindowCenter": [1, 2],
            "WindowWidth": [3, 4],
        },
    ]
    files = []
    for number, syntax in enumerate(LOSSLESS):
        tags = headers[number % len(headers)]
        path = write_dicom(folder / "seed.dcm", np.stack([pixels] * 2), syntax=syntax, **tags)
        files.append(path.read_bytes())
    return files


def mutated(seed: bytes, random: np.random.Generator) -> bytes:
    """The seed with one to eight bytes changed, taken out, put in or repeated, or cut short."""
    data = bytearray(seed)
    for _ in range(random.integers(1, 9)):
        # Half the changes go to the group of image fields and the head of the stream.
        image = data.find(b"\x28\x00\x02\x00")
        near = random.random() < 0.5 and image > 0
        low, high = (image, min(image + 300, len(data))) if near else (132, len(data))
        if high - low < 2:
            break
        at = int(random.integers(low, high))
        kind = random.integers(6)
        if kind == 0:
            data[at] = random.integers(256)
        elif kind == 1:
            data[at] ^= 1 << random.integers(8)
        elif kind == 2:
            del data[at : at + random.integers(1, 20)]
        elif kind == 3:
            data[at:at] = random.bytes(random.integers(1, 9))
        elif kind == 4:
            data[at : at + 4] = b"\xff\xff\xff\x7f"
        else:
            data[at:at] = data[at : at + random.integers(1, 60)]
    if random.random() < 0.1:
        del data[random.integers(132, max(len(data), 133)) :]
    return bytes(data)


@pytest.mark.parametrize(
    "count", [300, pytest.param(20_000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_mutated_files_are_read_or_rejected(
    tmp_path: Path, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(count)
    files = seeds(tmp_path)
    path = tmp_path / "mutated.dcm"
    rejected = 0
    for number in range(count):
        path.write_bytes(mutated(files[number % len(files)], random))
        line = outcome(path)
        rejected += bool(line)
        if number % 10 == 0:  # what ingest calls agrees
            try:
                check_values(read_stored(path, 0), None)  # seeds have two frames
            except InputError:
                assert line
            else:
                assert not line
    assert 0.2 * count < rejected < count
    assert capfd.readouterr().err == ""
