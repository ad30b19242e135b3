"""Chromium over its own protocol: sizes, colour schemes, keys and the accessibility tree, with nothing to install.

with Browser() as browser:
    browser.show(path, width=390, scheme="dark")
    browser.value("document.title")
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 240  # on a machine that is busy with other tests


class Browser:
    """A headless Chromium, spoken to through a pipe.

    Attributes:
        complaints: What the page wrote to its console as warnings or errors, and exceptions, since `show`.
    """

    def __enter__(self) -> Self:
        assert CHROMIUM is not None, "asked for only where it is"
        # Its own folder for temporary files too; what it leaves there when it is killed goes with it.
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        env = {**os.environ, "TMPDIR": self._folder.name}
        self._read, told = os.pipe()
        heard, self._write = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        command = f'exec "$0" "$@" 3<&{heard} 4>&{told}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *flags, f"--user-data-dir={self._folder.name}", "about:blank"],
            env=env, pass_fds=(heard, told), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(told)
        os.close(heard)
        self._rest, self._number, self._session = b"", 0, None
        self._events: list[str] = []
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def ask(self, method: str, **given: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert ready, f"Chromium has said nothing for {_SECONDS} s"
            got = os.read(self._read, 1 << 20)
            assert got, "Chromium has ended"
            self._rest += got
        one, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(one)
        self._note(found.get("method", ""), found.get("params", {}))
        return found

    def _note(self, method: str, given: dict[str, Any]) -> None:
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(given["args"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(given["entry"]))

    def show(self, path: Path, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Open a page at a size, in `light` or `dark`, and wait until it is drawn."""
        self._events.clear()
        self.complaints.clear()
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")

    def value(self, expression: str) -> Any:
        """Return what JavaScript gives for an expression, promises awaited."""
        found = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key, such as `Tab` with code 9."""
        how = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **how, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **how)

    def accessible(self) -> list[tuple[str, str]]:
        """Return role and name of everything that a screen reader is told of."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [
            (one.get("role", {}).get("value", ""), one.get("name", {}).get("value", ""))
            for one in nodes
            if not one.get("ignored")
        ]
