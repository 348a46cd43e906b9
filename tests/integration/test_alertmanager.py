"""What the webhook tells a real Alertmanager: alerts begin, and end."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.edges.webhook import Webhook
from rpcproxy.rules.telling.bulletin import body_of, shape_of
from rpcproxy.rules.telling.notices import Bulletin, Line, NoticeEvent
from tests.kits.waiting import LIMIT_SECONDS, wait_until


def active(address: str) -> list[Any] | None:
    """The alerts that are firing there; ``None`` while it does not answer."""
    connection = http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)
    try:
        connection.request("GET", "/api/v2/alerts")
        found: list[Any] = json.loads(connection.getresponse().read())
    except (OSError, ValueError):
        return None
    finally:
        connection.close()
    return found


def told_of(*events: NoticeEvent) -> bytes:
    bulletin = Bulletin(lines=tuple(map(Line, events)))
    return json.dumps(body_of(bulletin, "alertmanager", str)).encode()


@pytest.fixture
def address(require_tool: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """Where a real one listens."""
    binary = require_tool("prometheus-alertmanager")
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={config}",
            f"--storage.path={tmp_path}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: active(address) == [], "Alertmanager answers")
        yield address
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


async def test_alerts_begin_and_end(address: str) -> None:
    url = f"http://{address}/api/v2/alerts"
    assert shape_of(url) == "alertmanager"
    webhook = Webhook(url)
    about: dict[str, Any] = {"chain": "ethereum", "unix_seconds": time.time()}
    begun = told_of(
        NoticeEvent(kind="ejected", upstream="infura", reason="3 timeouts", **about),
        NoticeEvent(kind="reorg", reason="2 blocks were replaced", **about),
    )
    assert await webhook.post(begun, tries=1) == ""
    alerts = {alert["labels"]["alertname"]: alert for alert in active(address) or ()}
    assert set(alerts) == {"RpcproxyEjected", "RpcproxyReorg"}
    assert alerts["RpcproxyEjected"]["labels"]["upstream"] == "infura"
    assert "3 timeouts" in alerts["RpcproxyEjected"]["annotations"]["summary"]
    ended = NoticeEvent(kind="recovered", upstream="infura", is_over=True, **about)
    assert await webhook.post(told_of(ended), tries=1) == ""
    await webhook.close()
    wait_until(
        lambda: [a["labels"]["alertname"] for a in active(address) or ()] == ["RpcproxyReorg"],
        "the alert is over",
    )
