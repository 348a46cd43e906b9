"""The WebSocket side of a simulated provider: JSON-RPC in frames (RFC 6455), ``newHeads``.

A ``Subscriber`` takes an upgraded connection over from HTTP. It looks at the chain through its
provider's eyes, so lags, forks and frozen heads show in what it announces; an error or a missing
method answers ``eth_subscribe``, and a provider that is silent or frozen says nothing. Dials
that describe HTTP, and ``sometimes``, do nothing here.

State: one connection's buffer and what it announced, in ``Subscriber``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import msgspec

from rpcproxy.drills.evm import simrpc
from rpcproxy.drills.evm.simparams import CallRefused, unknown_method
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.messages import (
    Malformed,
    Request,
    decode_request,
    encode_error,
    encode_raw_error,
    encode_result,
)

LOOK_SECONDS: Final = 0.02
_MOST_AT_ONCE: Final = 64
_MAX_MESSAGE: Final = 64 * 1024
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SUBSCRIPTION: Final = "0x51b"  # one connection, one subscription
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_NOT_IN_HEADERS: Final = frozenset(("transactions", "uncles", "withdrawals", "size"))

See = Callable[[], tuple[SimView, Fault]]


class Subscriber(asyncio.Protocol):
    """One WebSocket connection. Whoever made it calls ``take_over`` once.

    ``key`` is the upgrade's ``Sec-WebSocket-Key``; ``see`` tells the chain as the provider sees
    it now, and its fault in force; ``on_closed`` is called when the connection is gone.
    """

    def __init__(self, key: bytes, see: See, on_closed: Callable[[Subscriber], None]) -> None:
        self._key = key
        self._see = see
        self._on_closed = on_closed
        self._received = bytearray()
        self._is_subscribed = False
        self._told: tuple[int, str] = (-1, "")
        self._timer: asyncio.TimerHandle | None = None
        self._flood = 0  # invented heads announced so far

    def take_over(self, transport: asyncio.Transport, rest: bytes = b"") -> None:
        """Answer the upgrade; ``rest`` is what came after its head."""
        accept = base64.b64encode(hashlib.sha1(self._key + _MAGIC).digest())  # noqa: S324 - RFC 6455
        self._transport = transport
        transport.set_protocol(self)
        transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._received += rest
        self._look()

    def close(self) -> None:
        """End it without a word; idempotent."""
        self._transport.abort()

    # --- what the loop calls

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._on_closed(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._see()[1].is_frozen:
            self._read()

    # ---

    def _look(self) -> None:
        """Announce what is new; what came while the provider was frozen is read at its end."""
        view, fault = self._see()
        if not fault.is_listening:
            self.close()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look)
        if fault.is_frozen:
            return
        self._read()
        if fault.heads_per_second and self._is_subscribed:
            self._pour(view, round(fault.heads_per_second * LOOK_SECONDS))
        elif not fault.is_silent and self._is_subscribed:
            for number in self._news(view):
                loop.call_later(fault.delay_seconds, self._announce, view, number)

    def _news(self, view: SimView) -> range:
        number, known = self._told
        self._told = (view.head, view.block_hash(view.head))
        if number < view.head and known == view.block_hash(number):
            return range(max(number + 1, view.head - _MOST_AT_ONCE + 1), view.head + 1)
        # The head fell, or is another chain's: the newest block alone is told.
        return range(view.head, view.head + (self._told != (number, known)))

    def _pour(self, view: SimView, count: int) -> None:
        """Heads that nobody has, each above the one before."""
        ahead = replace(view, fork_at=view.head + 1, fork="flood")
        for _ in range(count):
            self._flood += 1
            self._announce(ahead, view.head + self._flood)

    def _announce(self, view: SimView, number: int) -> None:
        block = view.block(number, full=False)
        header = {name: value for name, value in block.items() if name not in _NOT_IN_HEADERS}
        params = {"subscription": _SUBSCRIPTION, "result": header}
        message = {"jsonrpc": "2.0", "method": "eth_subscription", "params": params}
        self._send(msgspec.json.encode(message))

    def _read(self) -> None:
        for opcode, data in _frames(self._received):
            if opcode == _CLOSE or opcode is None:
                self._send(data[:2], _CLOSE)
                self._transport.close()
                return
            if self._see()[1].is_silent:
                continue
            if opcode == _PING:
                self._send(data, _PONG)
            elif opcode == _TEXT:
                self._send(self._answer(data))

    def _answer(self, text: bytes) -> bytes:
        id: bytes | msgspec.Raw = b"null"
        try:
            request = decode_request(text)
            id = request.id
            return encode_result(id, self._result(request))
        except Malformed as malformed:
            return encode_error(malformed.id, malformed.code, malformed.reason)
        except CallRefused as refused:
            return encode_raw_error(id, refused.encoded())

    def _result(self, request: Request) -> bytes:
        view, fault = self._see()
        if fault.error is not None:
            raise CallRefused(fault.error.code, fault.error.message)
        if fault.missing_method == request.method:
            raise unknown_method(request.method)
        if request.method != "eth_subscribe":
            return b"".join(simrpc.perform(view, request))
        if not request.params or msgspec.json.decode(request.params) != ["newHeads"]:
            raise CallRefused(-32602, "no such subscription")
        if not self._is_subscribed:
            self._is_subscribed, self._told = True, (view.head, view.block_hash(view.head))
        return msgspec.json.encode(_SUBSCRIPTION)

    def _send(self, data: bytes, opcode: int = _TEXT) -> None:
        if self._transport.is_closing():
            return
        size = len(data)
        if size < 126:
            length = bytes((size,))
        elif size < 1 << 16:
            length = b"\x7e" + size.to_bytes(2, "big")
        else:
            length = b"\x7f" + size.to_bytes(8, "big")
        self._transport.write(bytes((0x80 | opcode,)) + length + data)


def _frames(received: bytearray) -> Iterator[tuple[int | None, bytes]]:
    """Take whole frames off the buffer; ``None`` for one that is not taken: in pieces, too big,
    or not masked as a client's must be.
    """
    while len(received) >= 2:
        size, start = received[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(received) < start:
                return
            size = int.from_bytes(received[2:start], "big")
        if not received[0] & 0x80 or not received[1] & 0x80 or size > _MAX_MESSAGE:
            received.clear()
            yield None, (1009).to_bytes(2, "big")
            return
        if len(received) < start + 4 + size:
            return
        opcode = received[0] & 0x0F
        mask = received[start : start + 4]
        masked = received[start + 4 : start + 4 + size]
        del received[: start + 4 + size]
        yield opcode, bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
