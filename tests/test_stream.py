"""ROIs that stay on disk: equal rows and results, with the memory of one batch."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest
from test_training import NETWORK, fit_runs

from mtl_jax.data.array_rows import Rows, concatenate, iter_chunks
from mtl_jax.models import alexnet
from mtl_jax.training import dataset, feature_cache, memory, optimizer, prefetch
from mtl_jax.training.predict import predict, predict_with_features
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError

COUNTS = (5, 1, 7)


@pytest.fixture
def shards(tmp_path: Path) -> list[np.ndarray]:
    """Return memory-mapped files of different lengths; odd rows are brighter in the middle."""
    rng = np.random.default_rng(0)
    files = []
    for number, count in enumerate(COUNTS):
        pixels = rng.normal(300, 200, (count, 128, 128)).astype(np.int16)
        pixels[1::2, 40:88, 40:88] += 400
        np.save(tmp_path / f"{number}.npy", pixels)
        files.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    return files


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    feature_cache.clear_cache()


def test_rows_equal_those_of_the_concatenated_arrays(shards: list[np.ndarray]) -> None:
    expected, rows = np.concatenate(shards), Rows(shards)
    assert rows.shape == expected.shape and rows.dtype == expected.dtype
    assert rows.nbytes == expected.nbytes
    for index in (
        np.array([12, 0, 5, 5, 4, -1]),
        np.array([], int),
        slice(None),
        slice(3, 9),
        slice(9, 3),
        slice(None, None, -2),
    ):
        np.testing.assert_array_equal(rows[index], expected[index])
    np.testing.assert_array_equal(
        rows.take(np.array([7, 2, 9]))[np.array([2, 0])], expected[[9, 7]]
    )
    with pytest.raises(IndexError):
        rows[np.array([13])]


def test_joined_rows_are_in_the_order_of_the_tables(shards: list[np.ndarray]) -> None:
    """Join rows of files, of a view without its offset in the file, of memory, and no rows."""
    selected, view, memory = Rows(shards[:2]).take(np.array([5, 1])), shards[2][3:], shards[2] + 1
    joined = concatenate([selected, view[:0], view, memory])
    expected = np.concatenate([np.concatenate(shards)[[5, 1]], view, memory])
    np.testing.assert_array_equal(joined[:], expected)
    np.testing.assert_array_equal(np.concatenate(list(iter_chunks(joined))), expected)


def test_a_truncated_or_missing_file_is_named(shards: list[np.ndarray], tmp_path: Path) -> None:
    rows = Rows(shards)
    (tmp_path / "1.npy").unlink()
    with pytest.raises(InputError, match=r"1\.npy: cannot be read"):
        rows[np.array([5])]
    with (tmp_path / "2.npy").open("r+b") as file:
        file.truncate(128 + 6 * 2**15 + 9)
    with pytest.raises(InputError, match=r"2\.npy: was changed or replaced while the job ran"):
        rows[np.array([11])]  # not truncated itself
    with pytest.raises(InputError, match=r"2\.npy: cannot be read any more \(the file is too sh"):
        rows[np.array([12])]


def test_pixel_statistics_are_exact_on_disk_and_in_memory(shards: list[np.ndarray]) -> None:
    whole = np.concatenate(shards)
    values = [int(value) for value in whole[::4].ravel()]
    mean = Fraction(sum(values), len(values))
    variance = Fraction(sum(v * v for v in values), len(values)) - mean**2
    on_disk = dataset.pixel_statistics([Rows(shards).take(np.arange(0, 13, 4)), Rows(shards)])
    in_memory = dataset.pixel_statistics(
        [whole[::4], whole[np.random.default_rng(1).permutation(13)]]
    )
    np.testing.assert_array_equal(on_disk, in_memory)
    assert on_disk[0][0] == np.float32(float(mean))
    assert on_disk[1][0] == np.float32(float(variance) ** 0.5)
    assert on_disk[1][1] == np.float32(whole.std(dtype=np.float64))
    assert dataset.pixel_statistics([np.full((300, 128, 128), -32768, np.int16)]) == ([-32768], [1])


def make_datasets(shards: list[np.ndarray]) -> tuple[dataset.Dataset, dataset.Dataset]:
    """Return the same two tasks on the device and on disk."""
    tables = [Rows(shards).take(np.array([12, 3, 0, 5, 8])), Rows(shards[2:]).take(np.arange(5))]
    labels = [np.array([0, 1, 0, 1, 1]), np.arange(5) % 2]
    statistics = dataset.pixel_statistics(tables)
    device, disk = (
        dataset.make_dataset(tables, labels, *statistics, stream) for stream in ("auto", "always")
    )
    assert (
        not prefetch.is_on_host(device)
        and prefetch.is_on_host(disk)
        and isinstance(disk.pixels, Rows)
    )
    return device, disk


@pytest.mark.parametrize("cached", [False, True])
def test_training_from_disk_is_bit_identical(
    shards: list[np.ndarray], tmp_path: Path, cached: bool
) -> None:
    params = jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))
    frozen = optimizer.frozen_layers("C1-C5")
    results = []
    for name, source in zip(("device", "disk"), make_datasets(shards), strict=True):
        feature_cache.clear_cache()
        run = TrainingRun(tmp_path / name, params, jax.random.key(7), lambda record: None)
        cache = tmp_path / "cache" if cached else None
        (trained,) = fit_runs([run], cache=cache, source=source, keep=False, epochs=1)
        scores = predict(NETWORK, trained, source, frozen if cached else ())
        results.append((jax.device_get(trained), scores))
    assert not np.array_equal(results[0][0]["F5"]["kernel"], params["F5"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, *results)
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("device", "disk")]
    assert histories[0] == histories[1]


def test_activations_of_rois_on_disk_have_the_same_cache_key(shards: list[np.ndarray]) -> None:
    params = jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))
    frozen = optimizer.frozen_layers("C1-C5")
    device, disk = make_datasets(shards)
    values = [
        feature_cache.cached_source(NETWORK, params, source, frozen)[0].values
        for source in (device, disk)
    ]
    assert values[0] is values[1]


def test_scores_and_features_of_more_rois_than_a_batch_has(
    shards: list[np.ndarray],
) -> None:
    params = jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))
    table = Rows(shards).take(np.arange(40) % 13)
    device, disk = (
        dataset.make_dataset(
            [table], [np.zeros(40, int)], *dataset.pixel_statistics([table]), stream
        )
        for stream in ("auto", "always")
    )
    scores, features = predict_with_features(NETWORK, params, disk)
    assert scores.shape == (40,) and features.shape == (40, 100)
    np.testing.assert_array_equal(scores, predict(NETWORK, params, device))
    np.testing.assert_array_equal(scores[:27], scores[13:])


def test_a_file_that_is_replaced_meanwhile_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rois.npy"
    np.save(path, np.zeros((5, 128, 128), np.int16))
    first = Rows([np.load(path, mmap_mode="r")])
    rows = concatenate([first.take(np.arange(3)), np.ones((2, 128, 128), np.int16)])
    assert rows[:].sum() == 2 * 128 * 128
    np.save(tmp_path / "other.npy", np.full((5, 128, 128), 7, np.int16))
    (tmp_path / "other.npy").replace(path)
    with pytest.raises(
        InputError, match="rois.npy: was changed or replaced while the job ran; restore"
    ):
        rows[np.array([4, 0])]
    assert Rows([np.load(path, mmap_mode="r")])[0:1].max() == 7


def test_rois_that_need_too_much_device_memory_stay_on_disk(
    shards: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, label = Rows(shards), np.zeros(13, int)
    smallest = table.nbytes / memory.ROIS
    for device_bytes, streamed in ((smallest + 1, False), (smallest - 1, True)):
        monkeypatch.setattr(memory, "device_bytes", lambda size=device_bytes: size)
        rois = dataset.make_dataset([table], [label], np.zeros(1, "f4"), np.ones(1, "f4"))
        assert prefetch.is_on_host(rois) == streamed


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_reading_a_file_in_chunks_does_not_fill_memory(tmp_path: Path) -> None:
    """Read all 128 MiB of ROIs in a separate process with an eighth of that in memory."""
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<i2", "fortran_order": False, "shape": (4096, 128, 128)}
        )
        file.truncate(file.tell() + 4096 * 2**15)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from mtl_jax.data.array_rows import Rows, iter_chunks\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "rows = Rows([np.load(sys.argv[1], mmap_mode='r')])\n"
        "before = peak()\n"
        "print(sum(len(c) for c in iter_chunks(rows)), rows[np.arange(4095, 0, -99)].sum())\n"
        "print((peak() - before) * 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "4096 0"
    assert int(done.stdout.split()[-1]) < 2**24 + 2**22
