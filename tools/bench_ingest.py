"""Measure the ingest of mammograms into shards, compared with pydicom's `pixel_array` alone.

The images are random: 4,000 x 3,000 pixels of 12 bits, a third of them outside the breast. Every
round decodes all images with pydicom and then runs `ingest.make_shards`, from the first file to
verified shards. With two processes, their start is included. The files are in the page cache.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from scipy import ndimage

from mtl_jax.data import ingest
from mtl_jax.imaging.roi import RoiSettings

SHAPE = (4000, 3000)
IMAGES = {"ExplicitVRLittleEndian": 48, "JPEGLosslessSV1": 12, "JPEG2000Lossless": 6}
DISTINCT = 3  # files; the rest are further names of them


def speed(rounds: int = 3) -> Iterator[dict]:
    """Yield images per second (median of the rounds) for each transfer syntax and process count."""
    with tempfile.TemporaryDirectory() as folder:
        for syntax, count in IMAGES.items():
            home = Path(folder) / syntax
            paths = write_images(home, syntax, count)
            for processes in (1, 2):
                bare, ours = [], []
                for number in range(rounds):
                    out = home / f"out-{processes}-{number}"
                    bare.append(_seconds(lambda p=paths, n=processes: _bare(p, n)))
                    ours.append(_seconds(lambda h=home, o=out, n=processes: _ingest(h, o, n)))
                our_wall, our_cpu = np.median(ours, axis=0)
                bare_wall, bare_cpu = np.median(bare, axis=0)
                yield {
                    "what": f"ingest {syntax}, processes {processes}",
                    "images": count,
                    "ours": count / our_wall,
                    "theirs": count / bare_wall,
                    "ratio": bare_wall / our_wall,
                    # CPU time of one process does not depend on other load.
                    "cpu_overhead": our_cpu / bare_cpu - 1 if processes == 1 else None,
                }


def memory(images: int = 4000, processes: int = 2) -> Iterator[dict]:
    """Yield the peak resident memory of an ingest of uncompressed images, summed over its processes
    (shared pages count for each), sampled every 50 ms. Linux only."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "images"
        write_images(home, "ExplicitVRLittleEndian", images)
        done, seen = threading.Event(), []

        def watch() -> None:
            while not done.wait(0.05):
                seen.append(_resident(os.getpid()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        wall, _ = _seconds(lambda: _ingest(home, home / "out", processes))
        done.set()
        watcher.join()
        sums, single = (max(values) for values in zip(*seen, strict=True))
        yield {
            "what": f"memory of an ingest, processes {processes} and the first",
            "images": images,
            "peak_gb": sums / 1e9,
            "peak_gb_of_one": single / 1e9,
            "seconds": wall,
        }


def _resident(pid: int) -> tuple[int, int]:
    """Return the resident bytes of a process and its descendants: the sum and the largest."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        own = 1024 * int(status.partition("VmRSS:")[2].split()[0])
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError):  # the process has ended
        return 0, 0
    sums, largest = own, own
    for child in children:
        theirs, most = _resident(child)
        sums, largest = sums + theirs, max(largest, most)
    return sums, largest


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Return the wall-clock and the CPU time of `work` in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _bare(paths: list[Path], processes: int) -> None:
    if processes == 1:
        for path in paths:
            _read(path)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_read, paths))


def _read(path: Path) -> int:
    return int(pydicom.dcmread(path).pixel_array[0, 0])


def _ingest(home: Path, out: Path, processes: int) -> None:
    rules = ingest.Rules(pseudonymise=False, workers=processes)
    ingest.make_shards(f"manifest:{home}/m.csv", out, RoiSettings(), {}, rules)


def write_images(home: Path, syntax: str, count: int) -> list[Path]:
    """Write `count` images, hard links to DISTINCT files, and m.csv with a lesion in each. Links to
    one file are of one patient, because an ingest rejects an image listed under two."""
    home.mkdir()
    rows = ["dataset,patient_id,lesion_id,view,image_path,truth,pixel_um,box"]
    paths = []
    for number in range(count):
        path = home / f"{number}.dcm"
        if number < DISTINCT:
            _dicom(_image(number), syntax).save_as(path, enforce_file_format=True)
        else:
            path.hardlink_to(paths[number % DISTINCT])
        paths.append(path)
        truth = "malignant" if number % 2 else "benign"
        patient = f"P{number % DISTINCT}"
        rows.append(f"x,{patient},{number},CC,{path.name},{truth},70,1900;1700;2200;2050")
    (home / "m.csv").write_text("\n".join(rows) + "\n")
    return paths


def _image(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tissue = ndimage.zoom(rng.random((40, 30)), 100, order=1) * 2500 + 500
    image = np.clip(tissue + rng.normal(0, 12, SHAPE), 0, 4095).astype(np.uint16)
    image[:, : SHAPE[1] // 3] = 20
    return image


def _dicom(image: np.ndarray, syntax: str) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3"
    header.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.PresentationIntentType = "FOR PRESENTATION"
    header.Modality = "MG"
    header.Rows, header.Columns = image.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelData = image.tobytes()
    wanted = getattr(uid, syntax)
    if wanted == uid.JPEGLosslessSV1:
        header.PixelData = encapsulate([imagecodecs.ljpeg_encode(image, bitspersample=12)])
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = wanted
    elif wanted != uid.ExplicitVRLittleEndian:
        header.compress(wanted, image, generate_instance_uid=False)
    return header
