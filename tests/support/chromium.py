"""Headless Chromium, driven over WebDriver: nothing but HTTP on loopback.

    with Chromium() as browser:
        browser.open(path.as_uri())
        browser.choose("#bundle", path)
        browser.text("#result")

Debian's packages ``chromium`` and ``chromium-driver`` are installed when they are not there and we may.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
from debian import install

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1100,1400",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver names an element (W3C WebDriver §12.1)."""


def drivers() -> tuple[str, str]:
    """The paths of Chromium and its driver; skips where there are none and none can be had."""
    install("chromedriver", "chromium", "chromium-driver")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("neither Chromium with its driver, nor a way to install them: apt install chromium chromium-driver")
    return browser, driver


class Chromium:
    """One browser with one page."""

    def __init__(self) -> None:
        self._browser, driver = drivers()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self._session = ""

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._client.get("/status").raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        options = {"binary": self._browser, "args": [*FLAGS, f"--user-data-dir={self._profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._session:
                self._client.request("DELETE", self._session)
        finally:
            self._client.close()
            self._process.terminate()
            self._process.wait(20)
            shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url: str) -> None:
        """Go there."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        self._call("POST", f"{self._session}/element/{self._find(selector)}/value", {"text": str(path)})

    def click(self, selector: str) -> None:
        """Click on an element."""
        self._call("POST", f"{self._session}/element/{self._find(selector)}/click", {})

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self._call("GET", f"{self._session}/element/{self._find(selector)}/text", None))

    def script(self, text: str) -> Any:
        """What a script returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": text, "args": []})

    def until(self, text: str, seconds: float = 60.0) -> Any:
        """What a script returns, once that is something."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.script(text)
            if found not in (None, False, ""):
                return found
            assert time.monotonic() < deadline, f"never true: {text}"
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """Take a picture of the page."""
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot", None)))

    def printed(self) -> bytes:
        """The page as it prints, PDF."""
        return base64.b64decode(self._call("POST", f"{self._session}/print", {}))

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def _call(self, method: str, path: str, body: Any) -> Any:
        answer = (
            self._client.request(method, path, json=body) if body is not None else self._client.request(method, path)
        )
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value
