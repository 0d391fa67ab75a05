"""Fetches torchvision's AlexNet, once: resumed where it stopped, trusted only after its
checksum."""

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from mtl_jax.io import atomic
from mtl_jax.types import InputError

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
TIMEOUT_S = 30
BLOCK = 1 << 20
MAX_BYTES = 1 << 30  # the file has 244 MB


def download(folder: Path, url: str = URL) -> Path:
    """Return the file of `url` in `folder`, whose SHA-256 begins as its name says
    (name-XXXXXXXX.pth).

    A file that is there already is checked, and fetched only if it is not what it should be. What
    has come so far stands beside it as `.part` and is gone on with. InputError, one line: no
    network, with what to fetch by hand and where to put it; or another checksum.
    """
    name = url.rpartition("/")[2]
    wanted = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    if wanted is None:
        raise InputError(f"{url}: its name says no checksum (name-XXXXXXXX.pth)")
    path = Path(folder) / name
    if path.is_file() and atomic.digest(path).startswith(wanted[1]):
        return path
    part = path.with_name(name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: cannot be fetched ({reason}); run again to go on, or fetch it by hand, put it "
            f"at {path} and run again"
        ) from error
    found = atomic.digest(part)
    if not found.startswith(wanted[1]):
        part.unlink()
        raise InputError(
            f"{url}: what came has SHA-256 {found[:16]}..., not {wanted[1]}...; deleted, run again"
        )
    part.replace(path)
    return path


def _fetch(url: str, part: Path) -> None:
    """Appends to `part` what it lacks; begins anew where the server cannot go on in the middle."""
    begin = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mtl_jax"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return  # nothing is missing: whole, or too long, which the checksum tells
    with answer:
        if begin and not _goes_on(answer, begin):
            begin = 0
        length = int(answer.headers.get("Content-Length") or 0)
        with (
            part.open("ab" if begin else "wb") as file,
            tqdm(total=begin + length or None, initial=begin, unit="B", unit_scale=True) as bar,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
                if file.tell() > MAX_BYTES:
                    raise OSError("the file does not end")
        if length and part.stat().st_size != begin + length:
            raise OSError(f"it broke off after {part.stat().st_size} of {begin + length} bytes")


def _goes_on(answer: http.client.HTTPResponse, begin: int) -> bool:
    said = answer.headers.get("Content-Range", "")
    return answer.status == 206 and said.startswith(f"bytes {begin}-")
