"""A headless Chromium, driven by its own protocol (CDP) over one WebSocket. Blocking, for tests.

State: the process, the connection, and what each ``Tab`` heard of its console.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import connect

from tests.kits.waiting import LIMIT_SECONDS, wait_until

_OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0", "about:blank"),
)


class Chromium:
    """``close`` it. Each ``tab`` is a browser of its own: nothing is shared between them."""

    def __init__(self, binary: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [binary, f"--user-data-dir={profile}", *_OPTIONS], stderr=subprocess.PIPE
        )
        self._held = contextlib.ExitStack()
        self._connection = self._held.enter_context(
            connect(
                self._address(),
                max_size=None,
                proxy=None,
                open_timeout=LIMIT_SECONDS,
                close_timeout=0.2,
            )
        )
        self._last = 0
        self._tabs: dict[str, Tab] = {}
        self._contexts: list[str] = []

    def _address(self) -> str:
        pipe = self._process.stderr
        assert pipe is not None
        said = bytearray()
        found: list[re.Match[bytes]] = []

        def has_told() -> bool:
            if select.select([pipe], [], [], 0.1)[0]:
                said.extend(pipe.read1())
            assert self._process.poll() is None, said.decode(errors="replace")
            found.extend(re.finditer(rb"DevTools listening on (ws://\S+)\s", said))
            return bool(found)

        wait_until(has_told, "Chromium starts")
        return found[0][1].decode()

    def close(self) -> None:
        self._held.close()
        self._process.terminate()
        self._process.communicate(timeout=LIMIT_SECONDS)

    def tab(self) -> Tab:
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        target_id = target["targetId"]
        session = self.call("Target.attachToTarget", targetId=target_id, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        self._contexts.append(context)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        return tab

    def close_tabs(self) -> None:
        """Nothing of them is left: a live page draws itself again with each event, seen or not."""
        self._tabs.clear()
        while self._contexts:
            self.call("Target.disposeBrowserContext", browserContextId=self._contexts.pop())

    def call(self, method: str, session: str = "", **params: object) -> dict[str, Any]:
        self._last += 1
        message: dict[str, object] = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._connection.send(json.dumps(message))
        while True:
            said = json.loads(self._connection.recv(timeout=LIMIT_SECONDS))
            if said.get("id") == self._last:
                assert "error" not in said, (method, said["error"])
                return said["result"]
            self._on_event(said)

    def listen(self, seconds: float) -> None:
        """Take in one event, or let the time pass."""
        try:
            self._on_event(json.loads(self._connection.recv(timeout=seconds)))
        except TimeoutError:
            return

    def _on_event(self, said: dict[str, Any]) -> None:
        tab = self._tabs.get(said.get("sessionId", ""))
        if tab is not None:
            tab.on_event(said["method"], said["params"])


class Tab:
    """``complaints``: what its console holds of warnings and errors. ``asked``: every URL."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.loads = 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self.loads += 1
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(params["entry"]))

    def open(self, url: str) -> None:
        loads = self.loads
        self.call("Page.navigate", url=url)
        self.until(lambda: self.loads > loads, f"{url} to load")

    def before_scripts(self, script: str) -> None:
        """Runs in every page that is opened from now on, before its own."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def look(self, width: int, height: int, *, is_dark: bool = False) -> None:
        """The screen, and what the person prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        value = "dark" if is_dark else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def run(self, script: str) -> Any:
        """The value of an expression, a promise's when it is settled."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" else ""
            code = {"Enter": 13, "Tab": 9}[key]
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=code,
            )

    def until(self, is_true: Callable[[], object], what: str) -> None:
        """Wait for a condition, and hear meanwhile what the browser tells."""
        wait_until(lambda: is_true() or self._browser.listen(0.05), what)

    def picture(self, *, is_whole: bool = True) -> bytes:
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        return base64.b64decode(told["data"])
