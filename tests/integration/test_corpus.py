"""Recorded conversations with a real node come through the proxy as they were recorded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from rpcproxy.config.model import Deadlines
from tests.integration.corpus import TROUBLES, Pair, Recorded, folder, read_pairs
from tests.integration.rpc_kit import Wallet, a_proxy, on_uvloop
from tests.kits.jumping import on_a_jumping_loop
from tests.sockets import front_kit

PLACE = folder()
PAIRS = read_pairs(PLACE) if PLACE is not None else []
pytestmark = pytest.mark.skipif(
    not PAIRS, reason="the execution-apis pairs are not here (EXECUTION_APIS=FOLDER names them)"
)

# Pairs that a proxy cannot answer as recorded, each with the reason. None is known.
NOT_AS_RECORDED: dict[str, str] = {}
# Answered by the proxy itself, from the configuration.
LOCAL = {"net_version/get-network-id"}

IDS = (
    b"1",
    b"0",
    b"-7",
    b"1.50",
    b"1e3",
    b"4294967296123456789012",
    b'"a\\"b\\u0041"',
    b'""',
    b"null",
)


def id_of(index: int) -> bytes:
    """Every notation in turn; strings carry the index, so that no two of a batch need differ."""
    return IDS[index % len(IDS)]


@contextlib.asynccontextmanager
async def recorded(seed: int = 0, **chain: object) -> AsyncIterator[tuple[Wallet, list[Recorded]]]:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(Recorded(PAIRS, index, seed + index))
            for index in range(4)
        ]
        given = {"chain_id": nodes[0].chain_id, "selection": "fastest", "hedge": "auto", **chain}
        # A heavy read that hangs at one upstream and that the others refuse waits for the first:
        # its attempt time is a third of this.
        given["deadlines"] = Deadlines(heavy_seconds=4.5)
        wallet = await stack.enter_async_context(a_proxy(*nodes, **given))
        yield wallet, nodes
        assert not [call for node in nodes for call in node.strangers]


def difference(pair: Pair, id: bytes, reply: bytes) -> str:
    """What is not as recorded, in words; empty where all is."""
    members = msgspec.json.decode(reply, type=dict[str, msgspec.Raw])
    kind = "result" if pair.result else "error"
    if list(members) != ["jsonrpc", "id", kind] or bytes(members["id"]) != id:
        return f"{pair.name}: {reply[:300]!r}"
    told = bytes(members[kind])
    is_same = told == pair.result if pair.result else msgspec.json.decode(told) == pair.error
    return "" if is_same else f"{pair.name}: {told[:300]!r}"


async def replay_singly(wallet: Wallet, pairs: Sequence[Pair], lanes: int = 8) -> list[str]:
    """Each pair as a request of its own, over ``lanes`` connections."""
    waiting = list(enumerate(pairs))
    found: list[str] = []

    async def lane() -> None:
        client = front_kit.Client(
            *await asyncio.open_connection(*wallet.proxy.address, limit=1 << 20)
        )
        while waiting:
            index, pair = waiting.pop()
            response = await client.ask(pair.request(id_of(index)), "/", "Cache-Control: no-cache")
            assert response.status == 200
            found.append(difference(pair, id_of(index), response.body))
        client.reset()

    await asyncio.gather(*(lane() for _ in range(lanes)))
    assert len(found) == len(pairs)
    return sorted(filter(None, found))


async def replay_batch(wallet: Wallet, pairs: Sequence[Pair]) -> list[str]:
    body = b"[%b]" % b",".join(pair.request(id_of(index)) for index, pair in enumerate(pairs))
    replies = msgspec.json.decode(await wallet.ask(body), type=list[msgspec.Raw])
    assert len(replies) == len(pairs)
    answered = enumerate(zip(pairs, replies, strict=True))
    found = [difference(pair, id_of(index), bytes(reply)) for index, (pair, reply) in answered]
    return sorted(filter(None, found))


def test_the_pairs_are_read() -> None:
    assert len(PAIRS) > 140
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
    answers: dict[tuple[str, bytes], set[bytes]] = {}
    for pair in PAIRS:
        answers.setdefault(pair.key, set()).add(pair.result or msgspec.json.encode(pair.error))
    assert all(len(given) == 1 for given in answers.values())  # none contradicts another
    assert {pair.name for pair in PAIRS} > LOCAL


@on_a_jumping_loop
async def test_singly() -> None:
    async with recorded() as (wallet, nodes):
        assert await replay_singly(wallet, PAIRS) == sorted(NOT_AS_RECORDED)
        forwarded = {(call.method, bytes(call.params)) for node in nodes for call in node.forwarded}
        assert forwarded <= nodes[0].known
        # A block above the head is none, and nobody is asked for it.
        unasked = {pair.name for pair in PAIRS if nodes[0].pinned(pair) not in forwarded} - LOCAL
        assert len(unasked) < 10
        assert all(pair.result == b"null" for pair in PAIRS if pair.name in unasked)
        assert all(wallet.state(node) == "up" for node in nodes)


# What is asked of more than one upstream when nothing is hedged, and of how many.
SENDS = 3
NULLS = 2
CONFIRMED = 4  # invalid params, of which nobody is known to refuse them: everybody is asked
NOBODY_HAS_IT = 4  # a block or transaction that nobody has: everybody is asked
ASKED_OF_ALL = {
    "debug_traceBlockByHash/trace-genesis",  # refused as invalid params
    "debug_traceTransaction/trace-unknown-tx",
    "eth_getBlockReceipts/get-block-receipts-not-found",
    "eth_getLogs/filter-error-future-block-range",
    "eth_simulateV1/ethSimulate-make-call-with-future-block",
}


def most_calls(pair: Pair) -> int:
    if pair.name in LOCAL:
        return 0
    if pair.name in ASKED_OF_ALL:
        return NOBODY_HAS_IT
    if pair.method == "eth_sendRawTransaction":
        return SENDS
    if pair.result == b"null":
        return NULLS
    return CONFIRMED if pair.error and pair.error["code"] == -32602 else 1


@on_a_jumping_loop
async def test_errors_are_not_asked_of_everybody() -> None:
    async with recorded(hedge="off") as (wallet, nodes):
        for pair in PAIRS:
            assert await replay_singly(wallet, [pair], lanes=1) == []
            calls = sum(len(node.forwarded) for node in nodes)
            assert calls <= most_calls(pair), pair.name
            assert pair.name in LOCAL or pair.result == b"null" or calls
            for node in nodes:
                node.forget()
        assert all(wallet.state(node) == "up" for node in nodes)


@pytest.mark.parametrize("size", [1, 3, 10, 40, 1000])
@on_uvloop
async def test_as_batches(size: int) -> None:
    async with recorded() as (wallet, _):
        for start in range(0, len(PAIRS), size):
            assert await replay_batch(wallet, PAIRS[start : start + size]) == []


@on_a_jumping_loop
async def test_in_batches_with_local_methods_and_notifications() -> None:
    async with recorded() as (wallet, nodes):
        members: list[bytes] = []
        expected: list[tuple[Pair, bytes]] = []
        chain_id = Pair("local", "eth_chainId", b"", b'"0x%x"' % nodes[0].chain_id, None)
        for index, pair in enumerate(PAIRS):
            members.append(pair.request(id_of(index)))
            expected.append((pair, id_of(index)))
            if index % 3 == 0:
                members.append(chain_id.request(id_of(index)))
                expected.append((chain_id, id_of(index)))
            if index % 4 == 0 and pair.method != "eth_sendRawTransaction":
                members.append(pair.request(b""))
        replies = msgspec.json.decode(
            await wallet.ask(b"[%b]" % b",".join(members)), type=list[msgspec.Raw]
        )
        assert len(replies) == len(expected) < len(members)
        found = [
            difference(pair, id, bytes(reply))
            for (pair, id), reply in zip(expected, replies, strict=True)
        ]
        assert not any(found)


@pytest.mark.parametrize("trouble", [*((kind,) for kind in TROUBLES), TROUBLES], ids="+".join)
@on_a_jumping_loop
async def test_with_one_upstream_failing_at_random(trouble: tuple[str, ...]) -> None:
    """Half of what one upstream answers is bad; once singly, once as batches."""
    async with recorded(seed=len(trouble)) as (wallet, nodes):
        sick = nodes[2]
        sick.trouble = trouble
        sick.are_probes_scripted = len(trouble) > 1
        pairs = [*PAIRS]
        random.Random(3).shuffle(pairs)
        assert await replay_singly(wallet, pairs) == []
        for start in range(0, len(pairs), 10):
            assert await replay_batch(wallet, pairs[start : start + 10]) == []
        assert sick.harmed
