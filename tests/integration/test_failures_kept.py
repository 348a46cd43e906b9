"""A failed send and a failed read are found by trace id and by hash, also after a kill and a restart."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.app.people.request_records import TRACE_SHELF
from rpcproxy.edges.disk.timeline_store import StoredEntry, read_timeline
from tests.integration.rpc_kit import CHAIN_ID
from tests.integration.running_proxy import RunningProxy
from tests.kits.sends_kit import signed
from tests.kits.waiting import wait_until

KEY = "5ecretKeyOf0urs12345"


def config_of(port: int) -> str:
    return (
        "server:\n  listen: 127.0.0.1:0\n  admin: 127.0.0.1:0\n"
        "chains:\n"
        f"  - name: test\n    chain_id: {CHAIN_ID}\n"
        "    deadlines: {light: 1s, heavy: 1s, send: 2s}\n"
        f"    upstreams:\n      - {{name: node, url: 'http://127.0.0.1:{port}/v3/{KEY}'}}\n"
    )


def asked(proxy: RunningProxy, method: str, *params: Any) -> tuple[str, dict[str, Any]]:
    """The trace id, and the reply."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    with urllib.request.urlopen(f"{proxy.url}/", body, timeout=20) as reply:
        return reply.headers["X-Trace-Id"], json.load(reply)


def failures(proxy: RunningProxy, **query: str) -> dict[str, Any]:
    url = f"{proxy.admin_url}/failures?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=20) as reply:
        text = reply.read().decode()
    assert KEY not in text
    told: dict[str, Any] = json.loads(text)
    return told


def on_disk(directory: Path) -> list[StoredEntry]:
    """In whatever place of the state directory."""
    return [
        entry
        for path in directory.rglob("timeline.sqlite")
        for entry in read_timeline(path, TRACE_SHELF, 0.0)
    ]


def test_what_failed_is_found_after_a_kill(tmp_path: Path) -> None:
    receipt_hash = "0x" + "cd" * 32
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = config_of(nobody.getsockname()[1])
        proxy = RunningProxy(config, tmp_path)
        try:
            sent, reply = asked(proxy, "eth_sendRawTransaction", signed().raw)
            assert "error" in reply
            read, reply = asked(proxy, "eth_getTransactionReceipt", receipt_hash)
            assert "error" in reply
            wait_until(lambda: len(on_disk(tmp_path)) == 2, "they are on the disk")
            before = failures(proxy)["failures"]
        finally:
            proxy.kill()
        proxy = RunningProxy(config, tmp_path)
        try:
            wait_until(lambda: bool(failures(proxy)["failures"]), "the file is open")
            for query, method, hash in (
                ({"trace_id": sent}, "eth_sendRawTransaction", signed().hash),
                ({"tx": signed().hash}, "eth_sendRawTransaction", signed().hash),
                ({"trace_id": read}, "eth_getTransactionReceipt", receipt_hash),
                (
                    {"tx": receipt_hash.upper().replace("X", "x")},
                    "eth_getTransactionReceipt",
                    receipt_hash,
                ),
            ):
                (entry,) = failures(proxy, **query)["failures"]
                assert (entry["method"], entry["transaction"]) == (method, hash)
                assert entry in before
                assert entry["reason"]
            unknown = failures(proxy, trace_id="0123456789abcdef")
            assert unknown["failures"] == []
            assert "is known here" in unknown["words"]
            with pytest.raises(urllib.error.HTTPError, match="400"):
                failures(proxy, since="yesterday")
        finally:
            proxy.kill()
    lines = [line for line in proxy.lines if " unserved " in line]
    assert lines == [], "nothing failed in the second"
