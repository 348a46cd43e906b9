"""Private upstreams that take transactions and answer no reads, as builders and relays are.

Wallets wait for a receipt there (MetaMask 30419: HTTP 400 for each; 30410: 403; flashbots
rpc-endpoint 33: the transaction counts as dropped; ethers 945: wait() never ends), and the ledger
answers in their place. Nothing of it reaches a public upstream before its block was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from rpcproxy.config import model
from tests.integration import rpc_kit
from tests.integration.rpc_kit import (
    NUMBER,
    Call,
    Script,
    Sent,
    Upstream,
    Wallet,
    a_proxy,
    each,
    ok,
    request,
    wrong,
)
from tests.integration.test_jsonrpc import HASH, RAW_PARAMS, SENT
from tests.kits.waiting import limited, until

PENDING = HASH.strip(b'"').decode()
LOOKED_UP = b"[%b]" % HASH
RAW = SENT.raw_transaction.to_0x_hex()
SENDER = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
# No answer from memory waits for anybody. Whatever did wait for one that hangs would not end in
# the time that a test has.
NEVER_SECONDS = 600.0
PATIENT: dict[str, Any] = {
    "deadlines": model.Deadlines(
        light_seconds=NEVER_SECONDS, heavy_seconds=NEVER_SECONDS, send_seconds=NEVER_SECONDS
    ),
    "attempt_timeout_seconds": NEVER_SECONDS,
    "probes_per_second": 40.0,
}


class Chain:
    """What public upstreams tell: blocks with the hashes of transactions, receipts, nonces."""

    def __init__(self) -> None:
        self.head = NUMBER
        self.blocks: dict[int, list[str]] = {}
        self.public: list[Upstream] = []
        self.relays: list[Upstream] = []
        self.is_blind = False  # nobody has state of old blocks

    def answer(self, call: Call) -> bytes:
        params: list[Any] = msgspec.json.decode(call.params)
        if call.method == "eth_getBlockByNumber":
            return ok(call, self.block(int(params[0], 16)))
        if call.method == "eth_getTransactionCount":
            height = self.head if params[1] in ("latest", "pending") else int(params[1], 16)
            if self.is_blind and height < self.head:
                return wrong(call, -32000, "missing trie node")
            mined = any(PENDING in hashes for n, hashes in self.blocks.items() if n <= height)
            return ok(call, b'"0x%d"' % mined)
        found = next((n for n, hashes in self.blocks.items() if params[0] in hashes), None)
        if found is None:
            return ok(call, b"null")
        place = b'"blockNumber":"0x%x","blockHash":"0x%064x"' % (found, found)
        names = b'"transactionHash":"%b","hash":"%b"' % ((PENDING.encode(),) * 2)
        return ok(call, b"{%b,%b}" % (names, place))

    def block(self, number: int) -> bytes:
        hashes = msgspec.json.encode(self.blocks.get(number, []))
        head = b'"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x"' % (
            *(number, number, number - 1),
        )
        return b'{%b,"transactions":%b}' % (head, hashes)

    def mine(self, *hashes: str, blocks: int = 1) -> None:
        """So many blocks, the first of them with these transactions."""
        self.blocks[self.head + 1] = list(hashes)
        self.head += blocks
        for upstream in (*self.public, *self.relays):
            upstream.block = self.block(self.head)


def taking(call: Call) -> bytes:
    return ok(call, HASH) if "send" in call.method else wrong(call, -32601, "no reads here")


def relay(status: int = 400) -> Script:
    """Takes transactions; whatever else is asked is refused with an HTTP status."""

    def script(post: rpc_kit.Post) -> Sent | bytes:
        if post.calls[0].method == "eth_sendRawTransaction":
            return ok(post.calls[0], HASH)
        return Sent(b"Bad Request", status=status)

    return script


HANGING: Script = rpc_kit.always(Sent(b"", cut_at=0, end="stall"))
BROKEN: Script = rpc_kit.always(Sent(b"", cut_at=0, end="reset"))


class World:
    def __init__(self, wallet: Wallet, chain: Chain) -> None:
        self.wallet = wallet
        self.chain = chain

    def has_leaked(self) -> bool:
        """Whether a public upstream heard of it, by its hash or its bytes, in any request."""
        names = (PENDING[2:].encode(), RAW[2:].encode(), RAW[2:162].encode())
        heard = [bytes(upstream.heard).lower() for upstream in self.chain.public]
        return any(name in each for name in names for each in heard)

    async def ask(self, method: str, params: bytes = LOOKED_UP) -> dict[str, Any]:
        async with limited():
            return await self.wallet.call(method, params)

    async def send(self) -> None:
        assert (await self.wallet.call("eth_sendRawTransaction", RAW_PARAMS))["result"] == PENDING

    async def until_served(self) -> None:
        await self.wallet.until_served(self.chain.head)


@contextlib.asynccontextmanager
async def a_world(*scripts: Script, role: str = "sends", **given: object) -> AsyncIterator[World]:
    chain = Chain()
    async with (
        Upstream(each(chain.answer), "p1") as one,
        Upstream(each(chain.answer), "p2") as two,
        Upstream(scripts[0], "q1") as three,
        Upstream(scripts[-1], "q2") as four,
    ):
        chain.public, chain.relays = [one, two], [three, four]
        chain.mine()
        private = {"private": True, "role": role}
        more = [{}, {}, private, private]
        async with a_proxy(*(one, two, three, four), more=more, **PATIENT, **given) as wallet:
            yield World(wallet, chain)


SHAPES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "eth_getTransactionByHash": lambda reply: (
        reply["result"]["hash"] == PENDING
        and reply["result"]["from"] == SENDER
        and reply["result"]["blockHash"] is None
    ),
    "eth_getTransactionReceipt": lambda reply: reply["result"] is None,
    "eth_getRawTransactionByHash": lambda reply: reply["result"] == RAW,
    "debug_getRawTransaction": lambda reply: reply["result"] == RAW,
    "debug_traceTransaction": lambda reply: (
        reply["error"] == {"code": -32000, "message": "transaction not found"}
    ),
    "trace_transaction": lambda reply: reply["result"] is None,
    "trace_replayTransaction": lambda reply: reply["error"]["message"] == "transaction not found",
    "ots_traceTransaction": lambda reply: "error" in reply,
    "zks_getTransactionDetails": lambda reply: reply["result"] is None,
}


async def look_everywhere(world: World, *, has_gas: bool = True) -> None:
    for method, fits in SHAPES.items():
        reply = await world.ask(method)
        assert fits(reply), (method, reply)
        traced = LOOKED_UP[:-1] + b',{"tracer":"callTracer"}]'
        assert fits(await world.ask(method, traced)), method
    singles = [request(method, LOOKED_UP, b"%d" % i) for i, method in enumerate(SHAPES)]
    if has_gas:
        singles.append(request("eth_gasPrice", id=b"99"))
    async with limited():
        replies = msgspec.json.decode(await world.wallet.ask(b"[%b]" % b",".join(singles)))
    by_id = {reply["id"]: reply for reply in replies}
    assert all(fits(by_id[i]) for i, fits in enumerate(SHAPES.values()))


def gas_too(chain: Chain) -> Script:
    def answer(call: Call) -> bytes:
        return ok(call, b'"0x1"') if call.method == "eth_gasPrice" else chain.answer(call)

    return each(answer)


@pytest.mark.parametrize("role", ["sends", "full"])
@pytest.mark.parametrize("later", [relay(400), relay(403), relay(503), HANGING, BROKEN])
@rpc_kit.on_uvloop
async def test_the_ledger_answers_at_once_and_nothing_leaks(later: Script, role: str) -> None:
    async with a_world(relay(), role=role) as world:
        for upstream in world.chain.public:
            upstream.script = gas_too(world.chain)
        await world.send()
        for upstream in world.chain.relays:
            upstream.script = later
        await look_everywhere(world)
        await world.send()  # its wallet asks again
        for spelled in (PENDING.upper().replace("0X", "0x"), "\\u0030x" + PENDING[2:]):
            reply = await world.ask("eth_getTransactionReceipt", b'["%b"]' % spelled.encode())
            assert reply == {"jsonrpc": "2.0", "id": 1, "result": None}
        nonce = await world.ask("eth_getTransactionCount", b'["%b","pending"]' % SENDER.encode())
        assert nonce["result"] == "0x1"
        world.chain.mine()
        await world.until_served()
        await look_everywhere(world)
        assert not world.has_leaked()


@rpc_kit.on_uvloop
async def test_what_names_it_and_is_no_look_up_goes_to_nobody() -> None:
    async with a_world(relay()) as world:
        await world.send()
        for method, params in (
            ("eth_call", b'[{"to":"0x%040d","data":"0x%b"},"latest"]' % (1, PENDING[2:].encode())),
            ("eth_callBundle", b'[{"txs":["%b"]}]' % RAW.encode()),
            ("eth_getLogs", b'[{"topics":["%b"]}]' % PENDING.encode()),
            ("tenderly_traceTransaction", LOOKED_UP),
        ):
            reply = await world.ask(method, params)
            assert "names a private transaction" in reply["error"]["message"], method
        assert not world.has_leaked()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_sendPrivateTransaction", b'[{"tx":"%b"}]' % RAW.encode()),
        ("eth_sendBundle", b'[{"txs":["%b"],"blockNumber":"0x1"}]' % RAW.encode()),
        ("mev_sendBundle", b'[{"body":[{"tx":"%b","canRevert":false}]}]' % RAW.encode()),
        ("blxr_sendTx", b'{"transaction":"%b"}' % RAW[2:].encode()),
    ],
)
@rpc_kit.on_uvloop
async def test_relays_own_methods_are_private_too(method: str, params: bytes) -> None:
    def bundling(call: Call) -> bytes:
        return ok(call, b'{"bundleHash":"0x1"}') if "send" in call.method else taking(call)

    async with a_world(each(bundling)) as world:
        assert "result" in await world.wallet.call(method, params)
        await look_everywhere(world, has_gas=False)
        world.chain.mine()
        await world.until_served()
        assert (await world.ask("eth_getTransactionReceipt"))["result"] is None
        assert not world.has_leaked()
        world.chain.mine(PENDING)
        await world.until_served()
        assert (await world.ask("eth_getTransactionReceipt"))["result"] is not None


@rpc_kit.on_uvloop
async def test_once_its_block_was_seen_anybody_is_asked() -> None:
    async with a_world(relay()) as world:
        await world.send()
        world.chain.mine(PENDING)
        await world.until_served()
        # At once, and not a block later: whoever polls at each block asks but once.
        reply = await world.ask("eth_getTransactionReceipt")
        assert reply["result"]["blockNumber"] == hex(world.chain.head)
        reply = await world.ask("eth_getTransactionByHash")
        assert reply["result"]["blockNumber"] == hex(world.chain.head)


@pytest.mark.parametrize("is_blind", [False, True])
@rpc_kit.on_uvloop
async def test_blocks_that_were_missed_are_found_without_its_hash(is_blind: bool) -> None:
    async with a_world(relay()) as world:
        await world.send()
        world.chain.is_blind = is_blind
        world.chain.mine(PENDING, blocks=150)
        await world.until_served()
        pool = world.wallet.runtime.transactions.ledger.pool
        entry = pool.get(PENDING)
        assert entry is not None
        await until(lambda: entry.block == world.chain.head - 149)
        assert not world.has_leaked()
        assert (await world.ask("eth_getTransactionReceipt"))["result"] is not None


@rpc_kit.on_uvloop
async def test_a_sync_send_waits_by_the_ledger() -> None:
    async with a_world(relay()) as world:
        params = RAW_PARAMS[:-1] + b",20000]"
        sync = asyncio.ensure_future(world.wallet.call("eth_sendRawTransactionSync", params))
        pool = world.wallet.runtime.transactions.ledger.pool
        await until(lambda: pool.get(PENDING) is not None)
        world.chain.mine()
        await world.until_served()
        assert not sync.done()
        assert not world.has_leaked()
        world.chain.mine(PENDING)
        assert (await sync)["result"]["transactionHash"] == PENDING


@rpc_kit.on_uvloop
async def test_a_sync_send_that_is_not_mined_says_so_in_time() -> None:
    async with a_world(relay()) as world:
        reply = await world.wallet.call("eth_sendRawTransactionSync", RAW_PARAMS[:-1] + b",100]")
        assert (reply["error"]["code"], reply["error"]["data"]) == (4, PENDING)
        assert not world.has_leaked()


@pytest.mark.parametrize("is_mined", [True, False])
@rpc_kit.on_uvloop
async def test_nonce_too_low_is_held_against_blocks(is_mined: bool) -> None:
    def late(call: Call) -> bytes:
        return wrong(call, -32000, "nonce too low")

    async with a_world(each(late)) as world:
        world.chain.mine(*([PENDING] if is_mined else []), blocks=20)
        await world.until_served()
        reply = await world.wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        if is_mined:
            assert reply["result"] == PENDING
        else:
            assert reply["error"]["message"] == "nonce too low"
            assert (await world.ask("eth_getTransactionReceipt"))["result"] is None
        assert not world.has_leaked()


@rpc_kit.on_uvloop
async def test_one_that_was_refused_stays_private_and_is_found_in_its_block() -> None:
    def refusing(call: Call) -> bytes:
        return wrong(call, -32000, "transaction underpriced")

    async with a_world(each(refusing)) as world:
        assert "error" in await world.wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
            assert (await world.ask(method))["result"] is None
        assert not world.has_leaked()
        world.chain.mine(PENDING)  # a relay had it all the same
        await world.until_served()
        assert (await world.ask("eth_getTransactionReceipt"))["result"] is not None


@rpc_kit.on_uvloop
async def test_while_the_public_ones_are_down_it_is_still_shown() -> None:
    async with a_world(relay()) as world:
        await world.send()
        for upstream in world.chain.public:
            upstream.script = BROKEN
        assert (await world.ask("eth_getTransactionReceipt"))["result"] is None
        assert (await world.ask("eth_getTransactionByHash"))["result"]["hash"] == PENDING
