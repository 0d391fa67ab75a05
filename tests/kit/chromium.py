"""Headless Chromium driven through its own debugging pipe: pages opened, keys pressed.

Holds no judgement: what a page should do is for each test to say.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--remote-debugging-pipe", "--hide-scrollbars", "--window-size=1100,1000"),
)
WAIT = 120  # seconds; a busy machine starts it slowly


class Browser:
    """One tab of a running Chromium."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._rest, self._number, self._session = b"", 0, None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        found = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]

    def open(self, address: str) -> None:
        self._ask("Page.navigate", url=address)
        self.until(f"location.href.startsWith({address!r}) && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What JavaScript makes of `expression` on the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until `expression` is true on the page."""
        end = time.monotonic() + WAIT
        while self.value(expression) is not True:
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._receive, 1 << 16)
                assert part, "Chromium has ended"
                self._rest += part
            one, _, self._rest = self._rest.partition(b"\0")
            said = json.loads(one)
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in `folder`, ended afterwards."""
    commands, answers = os.pipe(), os.pipe()

    # It looks for its pipes at 3 and 4. A shell puts them there: Python would have to fork for it.
    place = f'exec "$0" "$@" 3<&{commands[0]} 4>&{answers[1]}'
    process = subprocess.Popen(
        ["bash", "-c", place, PROGRAM, *FLAGS, f"--user-data-dir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(commands[0], answers[1]),
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Browser(commands[1], answers[0])
    finally:
        process.kill()
        process.wait()
        os.close(commands[1])
        os.close(answers[0])
