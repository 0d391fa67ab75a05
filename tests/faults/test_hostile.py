"""Malicious files: paths outside the folder, decompression bombs, formulas, scripts in names."""

import ast
import json
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import finished_work
import numpy as np
import pytest
import tifffile
from kit.spoiling import HEADER, films, load

from mtl_jax import report
from mtl_jax.data import shards
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.io import csv_safe
from mtl_jax.types import InputError

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def manifest(folder: Path, image: str, case: str = "P1") -> Path:
    folder.mkdir(exist_ok=True)
    table = folder / "m.csv"
    table.write_text(f'{HEADER}\nours,{case},1,CC,"{image}",benign,200,40;50;90;100\n')
    return table


@pytest.mark.parametrize(
    "image", ["../secret/0.pgm", "{outside}/0.pgm", "link.pgm", "linked/0.pgm", "a/../../x.pgm"]
)
def test_a_manifest_reads_nothing_outside_its_folder(image: str, tmp_path: Path) -> None:
    secret = films(tmp_path / "secret").parent
    table = manifest(tmp_path / "theirs", image.format(outside=secret))
    (tmp_path / "theirs/link.pgm").symlink_to(secret / "0.pgm")
    (tmp_path / "theirs/linked").symlink_to(secret)
    message = "line 2: image_path .*(without '..'; |is a link .*, )or set data.manifest.outside"
    with pytest.raises(InputError, match=message):
        load(table, tmp_path / "cache")
    if image != "a/../../x.pgm":  # allowed if the user sets data.manifest.outside
        assert len(load(table, tmp_path / "cache", outside=True)) == 1


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    folder = films(tmp_path / "ours").parent
    (folder / "copy.pgm").symlink_to(folder / "0.pgm")
    (tmp_path / "link").symlink_to(folder)  # the folder itself may be reached by one
    assert len(load(manifest(tmp_path / "link", "copy.pgm"), tmp_path / "cache")) == 1


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int, unpacked: int) -> bytes:
    """Return a PNG of width x height pixels whose data decompress to `unpacked` zero bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    data = b"".join(packer.compress(block) for _ in range(unpacked >> 20)) + packer.flush()
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def tiff_bomb(path: Path, unpacked: int) -> None:
    """Write a TIFF of 64x64 pixels whose only strip decompresses to `unpacked` bytes."""
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib")
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags
        offsets = tag["StripOffsets"].valueoffset, tag["StripByteCounts"].valueoffset
        types = tag["StripOffsets"].dtype, tag["StripByteCounts"].dtype
    data = zlib.compress(bytes(unpacked), 9)
    content = bytearray(path.read_bytes())
    for offset, type_, value in zip(offsets, types, (len(content), len(data)), strict=True):
        size = {3: "<H", 4: "<I"}[int(type_)]
        content[offset : offset + struct.calcsize(size)] = struct.pack(size, value)
    path.write_bytes(content + data)


@pytest.mark.slow
def test_bombs_cost_little_memory(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(png_bomb(100_000, 100_000, 1 << 20))
    (tmp_path / "deep.png").write_bytes(png_bomb(64, 64, 1 << 30))
    # 100 MB of text packed into a comment of a small image.
    text_chunk = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20), 9))
    small_png = png_bomb(64, 64, 1 << 20)
    (tmp_path / "text.png").write_bytes(small_png[:33] + text_chunk + small_png[33:])
    tiff_bomb(tmp_path / "deep.tif", 60_000_000)
    (tmp_path / "wide.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999), }".ljust(117)
        + b"\n"
    )
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from mtl_jax.imaging.read_image import read_stored; from mtl_jax.types import InputError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: print(path.name, read_stored(path).values.shape)\n"
        "    except InputError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    *lines, megabytes = process.stdout.splitlines()
    assert len(lines) == 5 and "Traceback" not in process.stderr
    assert "wide.png: its header states 100000x100000 pixels" in process.stdout or (
        "exceeds limit" in process.stdout  # the limit of Pillow, which is checked first
    )
    assert int(megabytes) < 200, process.stdout


def test_an_archive_of_weights_that_unpacks_to_too_many_bytes(tmp_path: Path) -> None:
    from mtl_jax import weights

    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as member:
            for _ in range(1100):
                member.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="unpacks to 1153433600 bytes, more than"):
        weights.convert(tmp_path / "w.npz")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 100


FORMULAS = ("=HYPERLINK(x)", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1")


def test_a_formula_is_distinguished_from_a_number() -> None:
    assert all(csv_safe.is_formula(text) for text in FORMULAS)
    assert not any(csv_safe.is_formula(text) for text in ("-1", "+2.5e3", "P-1", "", "a=b", "'=1"))
    assert csv_safe.escape_formula("=1+1") == "'=1+1" and csv_safe.escape_formula("-1") == "-1"


def test_no_written_table_contains_a_formula(tmp_path: Path) -> None:
    import os

    folder = films(tmp_path / "ours").parent
    (folder / "=1.pgm").write_bytes((folder / "0.pgm").read_bytes())
    (folder / "m.csv").write_text(
        f"{HEADER}\nours,@SUM(A1),=2,CC,=1.pgm,benign,200,40;50;90;100\n"
        "ours,+x,-y,CC,1.pgm,unknown,200,40;50;90;100\n"
    )
    load(folder / "m.csv", tmp_path / "cache")
    key = Path(os.environ["MTL_JAX_KEY_FILE"])
    written = [*(tmp_path / "cache").glob("*/*.csv"), *key.parent.glob("lookup-ours-*.csv")]
    assert len(written) >= 3
    for path in written:
        for line in path.read_text().splitlines():
            assert not any(csv_safe.is_formula(cell.strip('"')) for cell in line.split(",")), path
    with pytest.raises(InputError, match="'@SUM.A1.' begins with '@'.*write pseudonyms"):
        load(folder / "m.csv", tmp_path / "plain", pseudonymise=False)


def test_shards_with_a_formula_as_id_are_rejected(tmp_path: Path) -> None:
    index = [dict.fromkeys(shards.COLUMNS, 1) | {"roi_id": "=1+1", "case_id": "b"}]
    shards.write(tmp_path / "x", "x", index, [np.zeros((1, 128, 128), np.int16)], {}, "")
    with pytest.raises(InputError, match="index.csv: roi_id '=1.1' begins with '='"):
        shards.open_shards(tmp_path / "x")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the report in")
def test_scripts_in_names_do_not_run_in_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, file names, decisions, weights and devices with scripts that would change the page."""
    script = "document.body.setAttribute('data-executed','yes')"
    hostile = (
        f'<script>{script}</script><img src=x onerror="{script}">\'"><svg onload={script}>'
        f"</title></style></svg>]]>--><script>{script}</script>&lt;b&gt;{{{{7*7}}}}{{% raw %}}"
    )
    monkeypatch.setattr(finished_work, "HOSTILE", hostile)
    folder = finished_work.make_folder(tmp_path / "w", weights=f"weights/{hostile}")
    for name, field in (("environment", "devices"), ("environment", "platform")):
        path = folder / f"{name}.json"
        record = json.loads(path.read_text())
        record[field] = [hostile] if field == "devices" else hostile
        path.write_text(json.dumps(record))
    page = report.write(folder)
    assert "{{7*7}}" in page.read_text(), "a template ran in a template"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}/profile"]
    flags += ["--virtual-time-budget=3000", "--dump-dom"]
    browser = subprocess.run(
        [CHROMIUM, *flags, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "for research only" in browser.stdout.lower() or "<table" in browser.stdout
    assert "data-executed=" not in browser.stdout.split("<body", 1)[1].split(">", 1)[0]
    # Without escaping, the scripts run: the test can detect them.
    unescaped = tmp_path / "unescaped.html"
    unescaped.write_text(f"<body><table></table>{hostile}</body>")
    browser = subprocess.run(
        [CHROMIUM, *flags, unescaped.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert 'data-executed="yes"' in browser.stdout.split("<body", 1)[1].split(">", 1)[0]


def test_the_code_never_executes_input() -> None:
    """No eval, exec or compile, no unpickling, and no object arrays from files."""
    for path in [*ROOT.glob("mtl_jax/**/*.py"), *ROOT.glob("tools/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                assert name not in ("eval", "exec", "compile", "__import__"), where
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert node.value.value is False, where
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names}
                names.add((getattr(node, "module", "") or "").split(".")[0])
                assert not names & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}, where


def test_reading_a_bad_image_names_it(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="x.png: cannot be read"):
        read_stored(tmp_path / "x.png")
