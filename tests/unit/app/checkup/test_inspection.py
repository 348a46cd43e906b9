"""One upstream, asked everything: every fault is named in words."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trustme

from rpcproxy.app.checkup import inspection
from rpcproxy.app.checkup.asking import MOST_REPEATS, AskSettings
from rpcproxy.app.checkup.inspection import MOST_CALLS, CheckFinding, Inspection, inspect
from rpcproxy.chains.evm.survey_questions import SURVEY
from rpcproxy.chains.kind import Survey
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Chain, Upstream
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault
from tests.kits.waiting import LIMIT_SECONDS
from tests.sockets.scripted import OK, Peer, Script, Scripted, reply

# One that answers has plenty of time on a slow machine; one that hangs is left soon.
SETTINGS = AskSettings(LIMIT_SECONDS, LIMIT_SECONDS)
OF_ONE_THAT_HANGS = AskSettings(question_seconds=1.0, total_seconds=LIMIT_SECONDS)
HANGING = ("blackhole", "frozen")
YES = CheckFinding("yes", "answered")
CHAIN = Chain(
    name="sim",
    chain_id=1337,
    upstreams=(Upstream(name="it", url="http://127.0.0.1:1", provider="x"),),
)
SIM = SimChain(1337, 2.0, 20_000_000, 1)
GENESIS = "0x" + "ab" * 32

Handle = Callable[[str, list[Any]], Any]


async def inspected(
    url: str, settings: AskSettings = SETTINGS, chain: Chain = CHAIN, **fields: Any
) -> Inspection:
    upstream = Upstream(**{"name": "it", "url": url, "provider": "x", **fields})
    return await inspect(chain, upstream, settings)


@asynccontextmanager
async def provided(fault: Fault | None = None) -> AsyncIterator[Provider]:
    provider = Provider(SIM, "it", latency_seconds=0.001)
    provider.start()
    provider.set_fault(fault)
    try:
        yield provider
    finally:
        provider.stop()


# ---- an upstream out of a function


class Refuse(Exception):
    """A JSON-RPC error as the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}


def node(method: str, params: list[Any]) -> Any:
    """A well one, at block 5000."""
    if method == "eth_getBlockByNumber":
        number = 5000 if params[0] == "latest" else int(params[0], 16)
        hash = GENESIS if number == 0 else f"0x{number:064x}"
        return {"number": hex(number), "hash": hash, "parentHash": hash, "timestamp": "0x5"}
    return {
        "eth_chainId": "0x539",
        "eth_blockNumber": hex(5000),
        "eth_gasPrice": "0x1",
        "eth_getBalance": "0x0",
        "eth_call": "0x",
        "eth_getLogs": [],
        "web3_clientVersion": "Node/v1",
    }[method]


def serving(handle: Handle = node) -> Script:
    def one(call: dict[str, Any]) -> dict[str, Any]:
        told = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return {**told, "result": handle(call["method"], call["params"])}
        except Refuse as refused:
            return {**told, "error": refused.error}

    async def script(peer: Peer) -> None:
        while True:
            body = json.loads((await peer.request()).partition(b"\r\n\r\n")[2])
            answer = [one(call) for call in body] if isinstance(body, list) else one(body)
            await peer.send(reply(json.dumps(answer).encode()))

    return script


async def of_node(handle: Handle, **fields: Any) -> Inspection:
    async with Scripted(serving(handle)) as server:
        return await inspected(server.url, **fields)


# ---- what a kind may lack


@pytest.mark.parametrize(
    ("survey", "latency", "findings"),
    [
        (None, False, 0),
        (Survey(ping=SURVEY.ping, number=SURVEY.number), True, 0),
        (SURVEY, True, 4),
    ],
)
async def test_what_a_kind_has_no_question_for_is_not_asked(
    survey: Survey | None, latency: bool, findings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = msgspec.structs.replace(EVM, survey=survey)
    monkeypatch.setattr(inspection, "kind_of", lambda _chain: kind)
    for role in ("full", "sends"):
        found = await of_node(node, role=role)
        told = (found.multicall, found.batch, found.logs, found.history)
        assert found.is_usable
        assert (found.latency_seconds is not None) is latency
        assert sum(each is not None for each in told) == (findings if role == "full" else 0)


# ---- all is well


async def test_a_well_one() -> None:
    async with provided() as provider:
        steps: list[str] = []
        upstream = Upstream(
            name="it", url=provider.url, ws_url=provider.url.replace("http", "ws"), provider="x"
        )
        found = await inspect(CHAIN, upstream, SETTINGS, steps.append)
        assert (found.state, found.trouble, found.identity) == ("usable", "", "1337")
        assert found.head == SIM.head
        assert found.head_hash.startswith("0x")
        assert found.head_seconds > 0
        assert found.latency_seconds is not None
        assert found.latency_seconds > 0
        assert found.client_version == "SimGeth/v1.0.0-stable/rpcproxy-drills"
        assert found.websocket == CheckFinding("yes", "newHeads subscribed")
        assert (found.multicall, found.logs) == (YES, YES)
        assert found.batch == CheckFinding("yes", "3 calls in one")
        assert found.history == CheckFinding("yes", f"all {SIM.head - 1:,} blocks: an archive")
        assert found.is_archive
        assert found.history_blocks == SIM.head - 1
        assert (found.addresses, found.port) == (("127.0.0.1",), provider.port)
        assert len(found.seen) == 6
        # What was said of the cost is what arrived, the subscription over WebSocket apart.
        assert found.calls == sum(provider.counts.calls.values()) + 1 <= MOST_CALLS
        assert steps[0] == "chain id"
        assert "multicall" in steps
        assert steps[-1] == "WebSocket"


async def test_one_for_sends_alone_is_asked_no_reads() -> None:
    asked: list[str] = []

    def relay(method: str, params: list[Any]) -> Any:
        asked.append(method)
        if method != "eth_chainId":
            raise Refuse(-32601, "the method does not exist/is not available")
        return "0x539"

    found = await of_node(relay, role="sends")
    assert found.state == "usable"
    assert set(asked) == {"eth_chainId", "web3_clientVersion"}
    assert found.logs is None
    assert found.head is None
    assert found.latency_seconds is not None


# ---- nobody can use it


REFUSED: dict[str, tuple[Fault, str, str]] = {
    "not listening": (faults.REFUSE, "unusable", "connection refused"),
    "blackhole": (faults.BLACKHOLE, "unusable", "no answer in 1 s"),
    "frozen": (faults.FREEZE, "unusable", "no answer in 1 s"),
    "reset": (faults.RESET, "unusable", "connection broke"),
    "cut": (faults.TRUNCATED_CLOSE, "unusable", "connection broke"),
    "hang up": (faults.HANG_UP, "unusable", "connection broke"),
    "garbage": (faults.GARBAGE, "unusable", "connection broke"),
    "429": (faults.http_429(60), "unusable", "rate limit reached (HTTP 429: -32005: project ID"),
    "429 inside 200": (
        faults.RATE_LIMITED_200,
        "unusable",
        "rate limit reached (-32005: rate limit",
    ),
    "401": (
        faults.KEY_REFUSED,
        "unusable",
        "key refused (HTTP 401: -32600: Must be authenticated!)",
    ),
    "500": (faults.ERROR_500_RPC, "unusable", "error of its own (-32603: Internal error)"),
    "503": (faults.HTTP_503, "unusable", "error of its own (HTTP 503"),
    "a page": (faults.HTML_200, "unusable", "something that is not JSON (HTTP 200: "),
    "502": (faults.HTML_502, "unusable", "error of its own (HTTP 502"),
    "half a text": (faults.TRUNCATED, "unusable", "something that is not JSON"),
    "nothing": (faults.EMPTY, "unusable", "answered nothing"),
    "another id": (faults.WRONG_ID, "unusable", "answered another request"),
    "another chain": (faults.WRONG_CHAIN, "wrong_chain", "is on chain 1338; configured is 1337"),
    "no head": (faults.NULL_RESULTS, "unusable", "cannot tell its newest block: does not have"),
    "no chain id": (
        faults.method_missing("eth_chainId"),
        "unusable",
        "does not offer the method (-32601: the method eth_chainId does not exist",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_what_makes_one_unusable(fault: str) -> None:
    what, state, words = REFUSED[fault]
    settings = OF_ONE_THAT_HANGS if fault in HANGING else SETTINGS
    async with provided(what) as provider:
        found = await inspected(provider.url, settings)
        assert (found.state, words in found.trouble) == (state, True), found.trouble
        assert not found.is_usable
        # Whoever fails at once is not asked on.
        assert found.calls <= 3


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (b"403 Forbidden", b"<h1>denied</h1>", "key refused (HTTP 403"),
        (b"402 Payment Required", b"{}", "quota used up (HTTP 402"),
        (b"404 Not Found", b"no such page", "HTTP 404"),
        (b"301 Moved", b"", "redirect (HTTP 301)"),
    ],
)
async def test_statuses(status: bytes, body: bytes, words: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            await peer.answer(head + body)

    async with Scripted(script) as server:
        found = await inspected(server.url)
        assert found.state == "unusable"
        assert words in found.trouble


async def test_a_name_without_address() -> None:
    found = await inspected("http://nothing.invalid")
    assert found.state == "unusable"
    assert found.trouble.startswith("nothing.invalid:80: its name does not resolve (")


async def test_a_url_that_cannot_be_used() -> None:
    found = await inspected("ftp://127.0.0.1/key")
    assert found.trouble == "upstream it: the URL must begin with http:// or https://"


CA = trustme.CA()


def tls(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("name", "words"),
    [("127.0.0.1", None), ("other.test", "certificate not accepted: IP address mismatch")],
)
async def test_a_certificate_for_another_name(name: str, words: str | None) -> None:
    trusting = ssl.create_default_context()
    CA.configure_trust(trusting)
    async with Scripted(serving(), tls(name)) as server:
        settings = AskSettings(LIMIT_SECONDS, LIMIT_SECONDS, trusting)
        found = await inspected(server.url, settings)
        assert found.is_usable == (words is None)
        assert words is None or words in found.trouble


async def test_no_tls_where_it_is_expected() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with Scripted(script) as server:
        found = await inspected(server.url.replace("http:", "https:"))
        assert "handshake" in found.trouble


async def test_one_broken_connection_condemns_nobody() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.request()
            peer.reset()
        else:
            await serving()(peer)

    async with Scripted(script) as server:
        assert (await inspected(server.url)).is_usable


@pytest.mark.parametrize(
    ("genesis", "state", "finding"),
    [
        (GENESIS, "usable", CheckFinding("yes", "as configured")),
        (
            "0x" + "cd" * 32,
            "wrong_chain",
            CheckFinding("no", f"another one: {GENESIS}, expected 0x{'cd' * 32}"),
        ),
    ],
)
async def test_the_genesis_block(genesis: str, state: str, finding: CheckFinding) -> None:
    found = await of_node(node, chain=CHAIN.model_copy(update={"genesis_hash": genesis}))
    assert (found.state, found.genesis) == (state, finding)
    assert ("another genesis block" in found.trouble) == (state == "wrong_chain")


async def test_a_genesis_hash_from_a_list_condemns_nobody_alone() -> None:
    update = {"genesis_hash": "0x" + "cd" * 32, "genesis_guessed": True}
    found = await of_node(node, chain=CHAIN.model_copy(update=update))
    assert found.is_usable
    assert found.genesis is not None
    assert found.genesis.state == "no"


async def test_a_pruned_genesis_block_condemns_nobody() -> None:
    def pruned(method: str, params: list[Any]) -> Any:
        return None if params[:1] == ["0x0"] else node(method, params)

    found = await of_node(pruned, chain=CHAIN.model_copy(update={"genesis_hash": GENESIS}))
    assert found.is_usable
    assert found.genesis is not None
    assert (
        found.genesis.words == "block 0 is not told: does not have the block (no such block here)"
    )


# ---- it can be used, and not for everything


@pytest.mark.parametrize(
    ("fault", "what", "words"),
    [
        (faults.method_missing("eth_getLogs"), "logs", "does not offer the method"),
        (faults.method_missing("eth_call"), "multicall", "does not offer the method"),
        (faults.SINGLE_FOR_BATCH, "batch", "does not take batches"),
        (faults.HALF_BATCH, "batch", "cannot be right (no reply to this member)"),
    ],
)
async def test_what_it_cannot_do(fault: Fault, what: str, words: str) -> None:
    async with provided(fault) as provider:
        found = await inspected(provider.url)
        assert found.is_usable
        for name in ("logs", "multicall", "batch", "history"):
            finding = getattr(found, name)
            assert (finding.state == "no") == (name == what), finding
        assert words in getattr(found, what).words


@pytest.mark.parametrize(
    ("method", "refusal", "finding"),
    [
        ("eth_call", Refuse(-32600, "request entity too large"), ("no", "request too large")),
        ("eth_call", Refuse(3, "execution reverted"), ("yes", "answered")),
        ("eth_getLogs", Refuse(-32614, "eth_getLogs is limited to a 5 range"), ("no", "range")),
        ("eth_getLogs", Refuse(-32005, "rate limit; retry in 60s"), ("unknown", "rate limit")),
    ],
)
async def test_refusals(method: str, refusal: Refuse, finding: tuple[str, str]) -> None:
    def refusing(asked: str, params: list[Any]) -> Any:
        if asked == method:
            raise refusal
        return node(asked, params)

    found = await of_node(refusing)
    told = found.multicall if method == "eth_call" else found.logs
    assert told is not None
    assert found.is_usable
    assert (told.state, told.words.startswith(finding[1])) == (finding[0], True), told


@pytest.mark.parametrize(
    ("refusal", "state", "words"),
    [
        (Refuse(-32000, "missing trie node"), "yes", "at least 100 blocks back, not 162"),
        (
            Refuse(-32602, "archive requests need another plan"),
            "yes",
            "at least 100 blocks back, not 162: refused the parameters",
        ),
        (Refuse(-32005, "rate limit; retry in 60s"), "unknown", "rate limit reached"),
    ],
)
async def test_how_far_back_its_state_goes(refusal: Refuse, state: str, words: str) -> None:
    def pruned(method: str, params: list[Any]) -> Any:
        if method == "eth_getBalance" and int(params[1], 16) < 5000 - 127:
            raise refusal
        return node(method, params)

    found = await of_node(pruned)
    assert found.history is not None
    assert found.is_usable
    assert (found.history.state, found.history.words.startswith(words)) == (state, True), (
        found.history
    )


async def test_a_limit_that_passes_is_waited_for() -> None:
    seen: list[str] = []

    def limited(method: str, params: list[Any]) -> Any:
        seen.append(method)
        if seen.count(method) == 1 and method in ("eth_chainId", "eth_getLogs"):
            raise Refuse(-32005, "rate limit reached, retry in 1ms")
        return node(method, params)

    found = await of_node(limited)
    assert found.is_usable
    assert found.logs == YES
    assert found.calls == len(seen)


async def test_calls_are_bounded_where_everything_is_limited() -> None:
    calls = 0

    def limited(method: str, params: list[Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise Refuse(-32005, "rate limit reached, retry in 1ms")
        return node(method, params)

    found = await of_node(limited)
    assert found.is_usable
    assert found.latency_seconds is None
    assert found.calls == calls <= MOST_CALLS
    assert MOST_REPEATS == 3


async def test_a_slow_one_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for all of it is over when a question hangs: the test says when that is."""
    limits: dict[float | None, asyncio.Timeout] = {}
    timeout = asyncio.timeout

    def limited(seconds: float | None) -> asyncio.Timeout:
        limits[seconds] = timeout(LIMIT_SECONDS)
        return limits[seconds]

    monkeypatch.setattr(asyncio, "timeout", limited)

    def slow_logs(method: str, params: list[Any]) -> Any:
        return node(method, params)

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if b"eth_blockNumber" in request:
                limits[0.3].reschedule(asyncio.get_running_loop().time())
                await peer.gone()
            body = json.loads(request.partition(b"\r\n\r\n")[2])
            answer = {"jsonrpc": "2.0", "id": body["id"]}
            answer["result"] = slow_logs(body["method"], body["params"])
            await peer.send(reply(json.dumps(answer).encode()))

    async with Scripted(script) as server:
        found = await inspected(server.url, AskSettings(LIMIT_SECONDS, total_seconds=0.3))
        assert found.is_usable
        assert found.logs == CheckFinding("unknown", "not asked: 0.3 s were over")
        monkeypatch.undo()
        # Nothing was ever answered: that is another thing.
        blackhole = await inspected(server.url, AskSettings(5, 0.0))
        assert (blackhole.state, blackhole.trouble) == ("unusable", "no answer in 0 s")


# ---- WebSocket


async def test_websockets_that_fail() -> None:
    async with provided() as provider, Scripted(not_found) as server:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            for url, words in (
                (f"ws://127.0.0.1:{port}/", "connection refused"),
                (f"ws://127.0.0.1:{server.port}/", "refused the upgrade (HTTP 404)"),
            ):
                found = await inspected(provider.url, ws_url=url)
                assert found.is_usable
                assert found.websocket == CheckFinding("no", words)


async def not_found(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


# ---- secrets


async def test_no_key_is_in_what_comes_out() -> None:
    key = "0123456789abcdef0123456789abcdef"

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            # As gateways do that repeat what they were asked.
            await peer.send(OK + b"Content-Length: %d\r\n\r\n" % len(request) + request)

    async with Scripted(script) as server:
        url = f"http://user:{key}@127.0.0.1:{server.port}/v3/{key}?apikey={key}"
        for headers in ({}, {"X-Key": key}):
            found = await inspected(url, ws_url=url.replace("http", "ws"), headers=headers)
            assert found.state == "unusable"
            assert found.trouble
            assert key not in msgspec.json.encode(found).decode()
