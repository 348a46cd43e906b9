"""What the proxy gets to see of real nodes: upstreams in front of them that pass on or lie.

A ``Front`` stands before one node, or before several that answer in turns; with a lie it changes
what it passes on. All fronts live in one event loop in a thread of its own. A node's ``Gate`` is
closed while the node mines: what the test's way of mining does in the middle of it (emptying the
pool, taking a block back) is nothing that clients of a real node can see.

State: who stands behind each front and its lie, set by the test at any time; open connections; the
last exchanges about transactions, for whoever must explain a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from tests.integration.anvil_node import Anvil, free_port
from tests.sockets.loop_thread import LoopThread, close_and_wait

Call = dict[str, Any]
Reply = dict[str, Any]
Ask = Callable[[Call], Awaitable[Reply]]
Lie = Callable[[Call, Ask], Awaitable[Reply]]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END_OF_HEAD: Final = b"\r\n\r\n"
# A frozen node never finishes what is under way.
DRAIN_SECONDS: Final = 1.0
WITNESSED: Final = 60
_TOLD_BYTES: Final = 400


class Gate:
    """Lets calls through to one node, or holds them up. Used in the fronts' event loop alone."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._under_way = 0

    async def __aenter__(self) -> None:
        await self._is_open.wait()
        self._under_way += 1
        self._is_idle.clear()

    async def __aexit__(self, *_: object) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._is_idle.set()

    async def close(self) -> None:
        """Hold up what comes from now on, and wait until what is under way has its answer."""
        self._is_open.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_idle.wait(), DRAIN_SECONDS)

    async def open(self) -> None:
        self._is_open.set()


class Front:
    """One upstream as the proxy sees it."""

    def __init__(self, node: Anvil) -> None:
        self.name = node.name
        self.node = node
        self.port = free_port()
        self.is_out = False  # it hangs up on whoever asks
        self.lie: Lie | None = None
        self.behind: Sequence[Anvil] = (node,)
        self._turn = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_node(self) -> Anvil:
        """Whose turn it is."""
        behind = self.behind
        self._turn += 1
        return behind[self._turn % len(behind)]

    def be_honest(self) -> None:
        self.is_out = False
        self.lie = None
        self.behind = (self.node,)


class Fronts:
    """All fronts, and the loop they live in."""

    def __init__(self, nodes: Sequence[Anvil]) -> None:
        self.fronts = {node.name: Front(node) for node in nodes}
        self._gates: dict[str, Gate] = {}
        self._loop = LoopThread("fronts")
        self._has_ended = False
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._witnessed: deque[tuple[float, str, bytes, bytes]] = deque(maxlen=WITNESSED)
        self._loop.run(self._start())

    def __getitem__(self, name: str) -> Front:
        return self.fronts[name]

    def __iter__(self) -> Iterator[Front]:
        return iter(self.fronts.values())

    @contextlib.contextmanager
    def closed(self, node: Anvil) -> Iterator[None]:
        """Nobody gets through to the node meanwhile; to be used from any other thread."""
        gate = self._gates.setdefault(node.name, Gate())
        self._loop.run(gate.close())
        try:
            yield
        finally:
            self._loop.run(gate.open())

    async def _start(self) -> None:
        for front in self:

            def on_connection(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, front: Front = front
            ) -> None:
                task = asyncio.ensure_future(self._serve(front, reader, writer))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

            server = await asyncio.start_server(on_connection, "127.0.0.1", front.port)
            self._servers.append(server)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def witnessed(self) -> str:
        """What upstreams were asked of transactions lately, and what they said; UTC."""
        lines = []
        for at, name, body, told in list(self._witnessed):
            clock = time.strftime("%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}"
            lines.append(f"{clock} {name} {body.decode()} -> {told.decode(errors='replace')}")
        return "\n".join(lines)

    def close(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._loop.run(self._stop())
            self._loop.close()

    # ---- one connection

    async def _serve(
        self, front: Front, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        lines = _Lines(self._gates)
        is_cancelled = False
        try:
            while not front.is_out:
                body = await _read_message(reader)
                if front.is_out:
                    break
                answer = await self._answer(front, lines, body)
                if b"eth_getTransaction" in body or b",true]" in body:
                    told = answer[:_TOLD_BYTES]
                    self._witnessed.append((time.time(), front.name, body, told))
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d"
                writer.write(head % len(answer) + _END_OF_HEAD + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy hung up, or the node did: so does the front
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            await close_and_wait(writer, *lines.writers(), at_once=is_cancelled)

    async def _answer(self, front: Front, lines: _Lines, body: bytes) -> bytes:
        node, lie = front.next_node(), front.lie
        if lie is None:
            return await lines.exchange(node, body)

        async def ask(call: Call) -> Reply:
            reply: Reply = json.loads(await lines.exchange(node, json.dumps(call).encode()))
            return reply

        calls = json.loads(body)
        if isinstance(calls, list):
            return json.dumps([await lie(call, ask) for call in calls]).encode()
        return json.dumps(await lie(calls, ask)).encode()


class _Lines:
    """The connections to nodes that one connection to a front has."""

    def __init__(self, gates: dict[str, Gate]) -> None:
        self._gates = gates
        self._lines: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def exchange(self, node: Anvil, body: bytes) -> bytes:
        async with self._gates.setdefault(node.name, Gate()):
            if node.name not in self._lines:
                line = await asyncio.open_connection("127.0.0.1", node.port)
                self._lines[node.name] = line
            reader, writer = self._lines[node.name]
            head = b"POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n"
            writer.write(head + b"content-length: %d" % len(body) + _END_OF_HEAD + body)
            return await _read_message(reader)

    def writers(self) -> list[asyncio.StreamWriter]:
        return [writer for _, writer in self._lines.values()]


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """The body of one request or response. Raises ``IncompleteReadError`` at the end."""
    head = await reader.readuntil(_END_OF_HEAD)
    length = _LENGTH.search(head)
    assert length, head
    return await reader.readexactly(int(length[1]))


# ---- lies


def _replied(call: Call, result: object) -> Reply:
    return {"jsonrpc": "2.0", "id": call.get("id"), "result": result}


def _number(param: object) -> int | None:
    """A block number as parameters have them; hashes and addresses are longer."""
    if isinstance(param, str) and param.startswith("0x") and 2 < len(param) <= 18:
        return int(param, 16)
    return None


async def _latest(ask: Ask) -> dict[str, Any]:
    params = ["latest", False]
    call = {"jsonrpc": "2.0", "id": 0, "method": "eth_getBlockByNumber", "params": params}
    block: dict[str, Any] = (await ask(call))["result"]
    return block


class InventedHead:
    """Claims a head so many blocks above its own, invents the blocks in between, the first of
    them on top of its own head, and answers reads at them with its latest state.
    """

    def __init__(self, by: int) -> None:
        self._by = by
        self._invented: dict[str, dict[str, Any]] = {}

    async def __call__(self, call: Call, ask: Ask) -> Reply:
        method, params = call["method"], list(call.get("params") or ())
        if method == "eth_getBlockByHash" and params[0] in self._invented:
            return _replied(call, self._invented[params[0]])
        if method == "eth_blockNumber":
            real = int((await ask(call))["result"], 16)
            return _replied(call, hex(real + self._by))
        numbers = [number for number in map(_number, params) if number is not None]
        is_block = method == "eth_getBlockByNumber"
        if not numbers and not (is_block and params[0] in ("latest", "pending")):
            return await ask(call)
        head = await _latest(ask)
        real = int(head["number"], 16)
        if is_block:
            asked = _number(params[0])
            number = real + self._by if asked is None else asked
            if real < number <= real + self._by:
                return _replied(call, self._invent(number, head))
            return await ask(call)
        params = ["latest" if (_number(param) or 0) > real else param for param in params]
        return await ask({**call, "params": params})

    def _invent(self, number: int, head: dict[str, Any]) -> dict[str, Any]:
        above = number - int(head["number"], 16)
        block = {
            **head,
            "number": hex(number),
            "hash": _invented_hash(number),
            "parentHash": _invented_hash(number - 1) if above > 1 else head["hash"],
            "timestamp": hex(int(head["timestamp"], 16) + above),
            "transactions": [],
        }
        self._invented[block["hash"]] = block
        return block


def _invented_hash(number: int) -> str:
    return "0x" + hashlib.sha256(b"invented %d" % number).hexdigest()


async def null_for_what_exists(call: Call, ask: Ask) -> Reply:
    """Receipts, transactions and blocks by hash are answered null."""
    if call["method"] in (
        "eth_getTransactionReceipt",
        "eth_getTransactionByHash",
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
    ):
        return _replied(call, None)
    return await ask(call)


class OddReceipts:
    """Gives a waiting transaction's receipt as some nodes do, one way after the other: with a null
    block (openethereum 3569), as ``{}`` (rust-web3 749), of a block to come with a hash of zeros
    or a provisional one (reth 18374). ``is_mined_too``: also one that was mined.
    """

    def __init__(self, *, is_mined_too: bool = False) -> None:
        self._is_mined_too = is_mined_too
        self.given = 0

    async def __call__(self, call: Call, ask: Ask) -> Reply:
        reply = await ask(call)
        if call["method"] != "eth_getTransactionReceipt":
            return reply
        hash = call["params"][0]
        if reply.get("result") is not None and not self._is_mined_too:
            return reply
        sought = {"jsonrpc": "2.0", "id": 0, "method": "eth_getTransactionByHash", "params": [hash]}
        if (await ask(sought)).get("result") is None:
            return reply
        above = hex(int((await _latest(ask))["number"], 16) + 1)
        odd: list[dict[str, Any]] = [
            {"blockNumber": None, "blockHash": None, "transactionHash": hash, "status": None},
            {},
            {"blockNumber": above, "blockHash": "0x" + "00" * 32, "transactionHash": hash},
            {"blockNumber": above, "blockHash": "0x" + "9f" * 32, "transactionHash": hash,
             "status": "0x1", "logs": []},
        ]  # fmt: skip
        self.given += 1
        return _replied(call, odd[self.given % len(odd)])


async def empty_lists(call: Call, ask: Ask) -> Reply:
    """Blocks are there before what they hold (reth 23394, geth 28789, ponder 1852)."""
    method = call["method"]
    is_probe = "0" * 40 in str(call.get("params"))
    if method in ("eth_getBlockReceipts", "eth_getLogs", "trace_block") and not is_probe:
        return _replied(call, [])
    if method.startswith("eth_getBlockTransactionCountBy"):
        return _replied(call, "0x0")
    return await ask(call)


class StandingNonces:
    """Its head moves on while nonces stay as they were at ``number``. (Of balances that stand no
    proxy can know without asking twice; a nonce is disproved by a transaction that was mined.)
    """

    def __init__(self, number: int) -> None:
        self._number = number

    async def __call__(self, call: Call, ask: Ask) -> Reply:
        if call["method"] != "eth_getTransactionCount":
            return await ask(call)
        address, *tags = call["params"]
        asked = _number(tags[0]) if tags else None
        if asked is not None and asked < self._number:
            return await ask(call)
        return await ask({**call, "params": [address, hex(self._number)]})
