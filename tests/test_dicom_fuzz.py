"""Test that other and damaged DICOM files are read or rejected in one line, in bounded time."""

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

MAX_SECONDS = 20  # CharLS takes seconds for some damaged JPEG-LS streams


def read_or_reject(path: Path) -> str:
    """Return the error line, or '' if the file is read; fail for anything else."""
    start = time.monotonic()
    try:
        gray, bits, record = dicom.read_with_record(path)
    except InputError as error:
        line = str(error)
        assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 400
        return line
    finally:
        assert time.monotonic() - start < MAX_SECONDS
    assert gray.dtype == np.float32 and np.isfinite(gray).all()
    assert gray.shape == (record["rows"], record["columns"])
    assert gray.min() >= 0 and gray.max() <= 2**bits - 1
    return ""


def test_every_test_file_of_pydicom_is_read_or_rejected() -> None:
    files = [Path(name) for name in get_testdata_files() if os.path.isfile(name)]
    read = {path.name for path in files if not read_or_reject(path)}
    assert len(files) > 100
    # Unsigned gray, including 12-bit JPEG Extended, near-lossless JPEG-LS and deflated files.
    assert read >= {
        "JPGExtended.dcm",
        "JPEG-lossy.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "examples_overlay.dcm",
        "image_dfl.dcm",
    }


def make_seed_files(folder: Path) -> list[bytes]:
    """Return small files of every transfer syntax and kind of header."""
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


def mutate(seed: bytes, random: np.random.Generator) -> bytes:
    """Return `seed` with one to eight bytes changed, removed, inserted or repeated."""
    data = bytearray(seed)
    for _ in range(random.integers(1, 9)):
        # Half the changes go to the group of image fields and the head of the stream.
        image = data.find(b"\x28\x00\x02\x00")
        in_header = random.random() < 0.5 and image > 0
        low, high = (image, min(image + 300, len(data))) if in_header else (132, len(data))
        if high - low < 2:
            break
        offset = int(random.integers(low, high))
        kind = random.integers(6)
        if kind == 0:
            data[offset] = random.integers(256)
        elif kind == 1:
            data[offset] ^= 1 << random.integers(8)
        elif kind == 2:
            del data[offset : offset + random.integers(1, 20)]
        elif kind == 3:
            data[offset:offset] = random.bytes(random.integers(1, 9))
        elif kind == 4:
            data[offset : offset + 4] = b"\xff\xff\xff\x7f"
        else:
            data[offset:offset] = data[offset : offset + random.integers(1, 60)]
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
    files = make_seed_files(tmp_path)
    path = tmp_path / "mutated.dcm"
    rejected = 0
    for number in range(count):
        path.write_bytes(mutate(files[number % len(files)], random))
        line = read_or_reject(path)
        rejected += bool(line)
        if number % 10 == 0:  # the functions that ingest calls agree
            try:
                check_values(read_stored(path, 0), None)  # seeds have two frames
            except InputError:
                assert line
            else:
                assert not line
    assert 0.2 * count < rejected < count
    assert capfd.readouterr().err == ""
