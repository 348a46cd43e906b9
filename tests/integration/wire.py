"""Calls as they are on the wire, without a client library that mends or hides anything."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import select
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.kits.waiting import LIMIT_SECONDS


@dataclass(frozen=True, slots=True)
class Answered:
    """What one call brought, and after how long."""

    status: int
    reply: dict[str, Any]
    seconds: float


class Wire:
    """One keep-alive connection to the proxy, for calls as they are on the wire."""

    def __init__(self, url: str, timeout_seconds: float = LIMIT_SECONDS) -> None:
        netloc = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(netloc, timeout=timeout_seconds)
        self._id = 0

    def post(self, body: object) -> tuple[int, Any]:
        """Status and decoded body of one POST."""
        self._send(body)
        return self._receive()

    def _send(self, body: object) -> None:
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/", json.dumps(body), headers)

    def _receive(self) -> tuple[int, Any]:
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def begin(self, method: str, *params: Any) -> None:
        """Send one call; ``end`` waits for its answer."""
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})

    @property
    def has_answer(self) -> bool:
        """Whether the answer to what was begun has come."""
        return bool(select.select([self._connection.sock], [], [], 0)[0])

    def end(self) -> tuple[int, dict[str, Any]]:
        """Status and reply object of what was begun."""
        status, reply = self._receive()
        assert reply["id"] == self._id
        return status, reply

    def ask(self, method: str, *params: Any) -> tuple[int, dict[str, Any]]:
        """Status and reply object of one call."""
        self.begin(method, *params)
        return self.end()

    def result(self, method: str, *params: Any) -> Any:
        """The result; an error fails the test."""
        status, reply = self.ask(method, *params)
        assert status == 200, reply
        assert "result" in reply, reply
        return reply["result"]

    def close(self) -> None:
        self._connection.close()


def ask_together(
    url: str, *calls: tuple[str, tuple[Any, ...]]
) -> list[concurrent.futures.Future[Answered]]:
    """Every call at once, each on a connection and a thread of its own."""
    pool = concurrent.futures.ThreadPoolExecutor(len(calls))
    try:
        return [pool.submit(_ask_once, url, method, params) for method, params in calls]
    finally:
        pool.shutdown(wait=False)


def _ask_once(url: str, method: str, params: tuple[Any, ...]) -> Answered:
    wire = Wire(url)
    started = time.monotonic()
    try:
        status, reply = wire.ask(method, *params)
        return Answered(status, reply, time.monotonic() - started)
    finally:
        wire.close()
