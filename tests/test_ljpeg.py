"""Test lossless JPEG of the PVRG codec: exact decoding, and recognition of T.81 streams."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from kit import jpeg_lossless, ljpeg, pvrg_streams

from mtl_jax.imaging.read_image import read_image
from mtl_jax.types import InputError

SELECTORS = range(1, 8)


def make_film(bits: int, shape: tuple[int, int] = (60, 45)) -> np.ndarray:
    """Return smooth gray over the full depth with noise, bright and dark at its borders."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wave = (np.sin(rows / 7) * np.cos(columns / 9) + 1) / 2
    noise = np.random.default_rng(bits).integers(0, 30, shape)
    gray = wave * ((1 << bits) - 1) * 0.99 + noise / 3000 * (1 << bits)
    return np.clip(gray, 0, (1 << bits) - 1).astype(np.int64)


def read_stream(path: Path, stream: bytes) -> tuple[np.ndarray, int]:
    path.write_bytes(stream)
    return read_image(path)


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("bits", [2, 8, 12, 16])
def test_pvrg_streams_are_exact(tmp_path: Path, selector: int, bits: int) -> None:
    noise = np.random.default_rng(selector).integers(0, 1 << bits, (31, 43))
    for gray in (make_film(bits), noise, noise[:1], noise[:, :1], noise[:1, :1], noise[:2, :2]):
        decoded, depth = read_stream(tmp_path / "a.LJPEG", ljpeg.encode(gray, bits, selector))
        assert depth == bits
        np.testing.assert_array_equal(decoded, gray)


@pytest.mark.parametrize("selector", SELECTORS)
def test_the_difference_of_32768_is_exact(tmp_path: Path, selector: int) -> None:
    # T.81 gives it its own category, 16, without additional bits.
    gray = np.zeros((6, 8), np.int64)
    gray[::2, ::3], gray[1::2, 1::2] = 32768, 65535
    decoded, _ = read_stream(tmp_path / "a.LJPEG", ljpeg.encode(gray, 16, selector))
    np.testing.assert_array_equal(decoded, gray)


@pytest.mark.parametrize(("bits", "selector"), pvrg_streams.STREAMS)
def test_streams_of_the_pvrg_codec_are_exact(tmp_path: Path, bits: int, selector: int) -> None:
    stream = bytes.fromhex(pvrg_streams.STREAMS[bits, selector])
    decoded, depth = read_stream(tmp_path / "a.LJPEG", stream)
    assert depth == bits
    np.testing.assert_array_equal(decoded, pvrg_streams.make_film(bits))


@pytest.mark.skipif(not shutil.which("pvrg-jpeg"), reason="the codec pvrg-jpeg is not installed")
@pytest.mark.parametrize("selector", SELECTORS)
def test_the_pvrg_codec_reads_and_writes_the_same_streams(tmp_path: Path, selector: int) -> None:
    for bits, shape in ((12, (300, 217)), (16, (20, 5001)), (10, (5001, 20))):
        gray = make_film(bits, shape)
        gray.astype(">u2").tofile(tmp_path / "gray")
        sizes = ["-iw", shape[1], "-ih", shape[0], "-ci", 1, "-fw", shape[1], "-fh", shape[0]]
        write = ["pvrg-jpeg", "-k", selector, "-p", bits, "-s", "coded", *sizes, "gray"]
        subprocess.run([str(word) for word in write], cwd=tmp_path, check=True, capture_output=True)
        decoded, _ = read_stream(tmp_path / "a.LJPEG", (tmp_path / "coded").read_bytes())
        np.testing.assert_array_equal(decoded, gray)
        (tmp_path / "coded").write_bytes(ljpeg.encode(gray, bits, selector))
        back = ["pvrg-jpeg", "-d", "-s", "coded"]
        subprocess.run(back, cwd=tmp_path, check=True, capture_output=True)
        np.testing.assert_array_equal(np.fromfile(tmp_path / "coded.1", ">u2").reshape(shape), gray)


def test_the_kit_differs_from_the_standard_in_the_first_row_only() -> None:
    # An independent decoder, libjpeg-turbo, reads selectors 1, 4 and 5 right, the others wrong.
    gray = make_film(12)
    for selector in SELECTORS:
        decoded = imagecodecs.jpeg8_decode(ljpeg.encode(gray, 12, selector))
        assert np.array_equal(decoded, gray) == (selector in (1, 4, 5)), selector
        assert decoded[0, 0] == gray[0, 0]


@pytest.mark.parametrize("selector", [1, 2, 3, 4, 5, 6])
def test_streams_of_the_standard_are_recognized_by_their_range(
    tmp_path: Path, selector: int
) -> None:
    gray = np.roll(make_film(12), 12, axis=0)  # the first row alternates between bright and dark
    decoded, _ = read_stream(tmp_path / "a.LJPEG", jpeg_lossless.encode(gray, 12, selector))
    np.testing.assert_array_equal(decoded, gray)


def test_an_ambiguous_stream_is_read_as_pvrg(tmp_path: Path) -> None:
    # The same stream is a constant film of 100 by T.81 and of middle gray by PVRG.
    stream = jpeg_lossless.encode(np.full((5, 4), 100), 12, predictor=2)
    decoded, _ = read_stream(tmp_path / "a.LJPEG", stream)
    np.testing.assert_array_equal(decoded[:, 0], 100)
    np.testing.assert_array_equal(decoded[:, 1:], 2048)


@pytest.mark.parametrize("selector", [1, 2, 7])
def test_the_ics_file_decides_if_the_stream_states_rows_and_columns_swapped(
    tmp_path: Path, selector: int
) -> None:
    gray = make_film(12)
    stream = ljpeg.encode(gray.reshape(gray.shape[::-1]), 12, selector)
    path = tmp_path / "B_3024_1.LEFT_CC.LJPEG"
    assert read_stream(path, stream)[0].shape == gray.shape[::-1]
    ics = tmp_path / "B-3024-1.ics"
    line = "LEFT_CC LINES {} PIXELS_PER_LINE {} BITS_PER_PIXEL 12 RESOLUTION 50 OVERLAY\n"
    ics.write_text("filename B-3024-1\n" + line.format(*gray.shape))
    np.testing.assert_array_equal(read_image(path)[0], gray)
    ics.write_text("filename B-3024-1\n" + line.format(61, 45))
    with pytest.raises(InputError, match=r"LEFT_CC.LJPEG: 45x60 pixels, but the \.ics .*61x45"):
        read_image(path)
    ics.write_text("filename B-3024-1\nLEFT_CC LINES many\n")
    with pytest.raises(InputError, match=r"LEFT_CC.LJPEG: the \.ics file in its folder: line 2: "):
        read_image(path)


def test_damage_raises_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.LJPEG"
    good = ljpeg.encode(make_film(12), 12, 7)
    scan = good.index(b"\xff\xda")
    at = good.index(b"\xff\xc3")
    huge = good[: at + 5] + b"\x1f\x40\x1f\x40" + good[at + 9 :]
    absurd = good[: at + 5] + b"\xff\xff\xff\xff" + good[at + 9 :]
    cases = {
        b"": "no JPEG stream",
        b"\xff\xd8": "truncated or damaged",
        good[:40]: "truncated or damaged",
        good[: scan + 30]: "truncated",
        good[: len(good) // 2]: "truncated: [0-9]+ bytes of compressed data",
        good[:-40]: "truncated",
        huge: "truncated: [0-9]+ bytes for 8000x8000 pixels",
        absurd: "states 65535x65535 pixels",
        good.replace(b"\xff\xc3", b"\xff\xc0", 1): "not a lossless Huffman JPEG",
        good[:scan] + b"\xff\xdd\0\x04\0\x2d" + good[scan:]: "restart intervals",
        good[: scan + 7] + b"\x08" + good[scan + 8 :]: "predictor 8",
        good[: scan + 9] + b"\x01" + good[scan + 10 :]: "point transform 1",
        good[:-2] + bytes(200) + b"\xff\xd9": "damaged",
    }
    for stream, reason in cases.items():
        with pytest.raises(InputError, match=rf"a\.LJPEG: .*{reason}") as error:
            read_stream(path, stream)
        assert "\n" not in str(error.value)
    # The bytes after the last difference may be missing.
    np.testing.assert_array_equal(read_stream(path, good[:-2])[0], make_film(12))


def mutants(good: list[bytes], number: int, seed: int) -> Iterator[bytes]:
    """Yield randomly truncated, overwritten (half of them in the header) or extended streams."""
    random = np.random.default_rng(seed)
    for turn in range(number):
        data = bytearray(good[turn % len(good)])
        kind = random.integers(4)
        if kind == 0:
            del data[random.integers(len(data)) :]
        elif kind < 3:
            for _ in range(random.integers(1, 6)):
                data[random.integers(len(data) if kind == 1 else 80)] = random.integers(256)
        else:
            at = random.integers(len(data))
            data[at:at] = random.bytes(random.integers(1, 20))
        yield bytes(data)


def fuzz(path: Path, number: int, seed: int) -> None:
    gray = make_film(12, (40, 50))
    good = [ljpeg.encode(gray, 12, selector) for selector in SELECTORS]
    rejected = 0
    for stream in mutants(good, number, seed):
        try:
            decoded, bits = read_stream(path, stream)
            assert decoded.ndim == 2 and decoded.max() < 1 << bits
        except InputError as error:
            rejected += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert rejected > number / 3


def test_mutated_streams_are_read_or_rejected_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path / "a.LJPEG", 600, seed=1)


@pytest.mark.slow
def test_many_mutated_streams_are_read_or_rejected_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path / "a.LJPEG", 8000, seed=2)
