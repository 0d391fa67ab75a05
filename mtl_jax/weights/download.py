"""Download torchvision's AlexNet once; resume an interrupted download and verify its checksum."""

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from mtl_jax.io import atomic
from mtl_jax.io.progress import Bar
from mtl_jax.types import InputError

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
TIMEOUT_S = 30
BLOCK_BYTES = 1 << 20
MAX_BYTES = 1 << 30  # the file has 244 MB


def download(folder: Path, url: str = URL) -> Path:
    """Download `url` to `folder` and return the path of the file.

    The SHA-256 of the file must begin with the digits in its name (name-CHECKSUM.pth). An existing
    file is verified and downloaded again only if its checksum differs. An interrupted download is
    kept as `.part` and resumed.
    """
    name = url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    if match is None:
        raise InputError(f"{url}: its name has no checksum (expected name-CHECKSUM.pth)")
    checksum = match[1]
    path = Path(folder) / name
    if path.is_file() and atomic.file_sha256(path).startswith(checksum):
        return path
    part = path.with_name(name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _resume(url, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: cannot be downloaded ({reason}); run the command again to resume, or download "
            f"the file by hand, put it at {path} and run the command again"
        ) from error
    actual = atomic.file_sha256(part)
    if not actual.startswith(checksum):
        part.unlink()
        raise InputError(
            f"{url}: the downloaded file has SHA-256 {actual[:16]}..., expected {checksum}...; it "
            "was deleted, run the command again"
        )
    part.replace(path)
    return path


def _resume(url: str, part: Path) -> None:
    """Append the missing bytes to `part`; start again if the server does not support ranges."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mtl_jax"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return  # no bytes are missing; the checksum shows whether there are too many
    with response:
        content_range = response.headers.get("Content-Range", "")
        if response.status != 206 or not content_range.startswith(f"bytes {start}-"):
            start = 0
        length = int(response.headers.get("Content-Length") or 0)
        with (
            part.open("ab" if start else "wb") as file,
            Bar(part.stem, start + length or None, "byte", start) as bar,
        ):
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
                if file.tell() > MAX_BYTES:
                    raise OSError(f"the file has more than {MAX_BYTES} bytes")
        if length and part.stat().st_size != start + length:
            raise OSError(f"interrupted after {part.stat().st_size} of {start + length} bytes")
