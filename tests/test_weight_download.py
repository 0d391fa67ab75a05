"""The download from a local server that interrupts, sends wrong bytes, or has no ranges."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import handmade_pth as made
import numpy as np
import pytest
from kit.command import run_command

from mtl_jax import weights
from mtl_jax.commands import convert_weights
from mtl_jax.types import InputError
from mtl_jax.weights import download as module
from mtl_jax.weights.download import download


class Server:
    """A server of `content` that ends each response after `stop` bytes and records `ranges`."""

    def __init__(self, content: bytes) -> None:
        self.content, self.stop, self.has_ranges, self.ranges = content, len(content), True, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                byte_range = self.headers.get("Range")
                server.ranges.append(byte_range)
                start = int(byte_range[6:-1]) if byte_range and server.has_ranges else 0
                if start >= len(server.content):
                    self.send_error(416)
                    return
                body = server.content[start:]
                self.send_response(206 if start else 200)
                if start:
                    size = len(server.content)
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.stop])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        digest = hashlib.sha256(content).hexdigest()[:8]
        self.url = f"http://127.0.0.1:{self._server.server_port}/alexnet-owt-{digest}.pth"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def content() -> bytes:
    shapes = {"0": (64, 3, 11, 11), "3": (192, 64, 5, 5), "6": (384, 192, 3, 3)}
    shapes |= {"8": (256, 384, 3, 3), "10": (256, 256, 3, 3)}
    state = {}
    for number, shape in shapes.items():
        state[f"features.{number}.weight"] = np.full(shape, 0.5, np.float32)
        state[f"features.{number}.bias"] = np.zeros(shape[0], np.float32)
    return made.valid_files(state)["zip"]


@pytest.fixture
def server(content: bytes) -> Iterator[Server]:
    local_server = Server(content)
    yield local_server
    local_server.close()


def one_line(server: Server, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        download(folder, server.url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_interrupted_download_resumes(server: Server, content: bytes, tmp_path: Path) -> None:
    server.stop = 3_000_000
    message = one_line(server, tmp_path)
    assert "interrupted after 3000000" in message or "cannot be downloaded" in message
    name = server.url.rpartition("/")[2]
    part = tmp_path / f"{name}.part"
    assert str(tmp_path / name) in message
    assert [p.name for p in tmp_path.iterdir()] == [part.name]
    part_size = part.stat().st_size
    assert 0 < part_size <= 3_000_000
    server.stop = len(content)
    path = download(tmp_path, server.url)
    assert server.ranges == [None, f"bytes={part_size}-"]
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
    assert download(tmp_path, server.url) == path and len(server.ranges) == 2


def test_download_restarts_if_the_server_has_no_ranges(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    name = server.url.rpartition("/")[2]
    (tmp_path / f"{name}.part").write_bytes(content[:1000])
    server.has_ranges = False
    assert download(tmp_path, server.url).read_bytes() == content


@pytest.mark.parametrize("complete", [False, True])
def test_partial_file_is_verified(
    complete: bool, server: Server, content: bytes, tmp_path: Path
) -> None:
    name = server.url.rpartition("/")[2]
    wrong_content = bytes(len(content) if complete else 1000)
    (tmp_path / f"{name}.part").write_bytes(wrong_content)
    assert "the downloaded file has SHA-256" in one_line(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert download(tmp_path, server.url).read_bytes() == content


def test_corrupted_and_wrong_files_are_deleted(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.content = content[:-1] + b"x"
    assert "the downloaded file has SHA-256" in one_line(server, tmp_path)
    server.content = b"<html>log in to the network</html>"
    assert "the downloaded file has SHA-256" in one_line(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / server.url.rpartition("/")[2]
    path.write_bytes(b"damaged")
    server.content = content
    assert download(tmp_path, server.url).read_bytes() == content


def test_offline_message_has_instructions(server: Server, tmp_path: Path) -> None:
    server.close()
    message = one_line(server, tmp_path)
    path = tmp_path / server.url.rpartition("/")[2]
    assert server.url in message and f"put it at {path}" in message
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="its name has no checksum"):
        download(tmp_path, "http://127.0.0.1/alexnet.pth")


def test_tool_downloads_and_converts(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert module.URL.endswith("alexnet-owt-7be5be79.pth")
    monkeypatch.setattr(convert_weights, "URL", server.url)
    monkeypatch.chdir(tmp_path)
    assert run_command(convert_weights, "--download", "--output", "out") == 0
    assert weights.load(tmp_path / "out").params["C1"]["kernel"][0, 0, 0, 0] == 0.5
    assert run_command(convert_weights, "--download", "x.pth", "--output", "out2") == 2
    assert run_command(convert_weights, "--output", "out2") == 2
    assert not (tmp_path / "out2").exists()
    capsys.readouterr()
