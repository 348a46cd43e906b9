"""A type that the proxy cannot read, sent to four doors of one sequencer (chainlink 12600)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from tests.integration.rpc_kit import Call, Upstream, Wallet, a_proxy, each, ok, wrong
from tests.kits.jumping import on_a_jumping_loop


class Sequencer:
    """Takes each transaction once; its hashes are its own way of counting."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def hash_of(self, raw: str) -> str:
        return f"0x{self.taken.index(raw) + 1:064x}"

    def answer(self, call: Call) -> bytes:
        if call.method != "eth_sendRawTransaction":
            return ok(call, b"null")
        [raw] = msgspec.json.decode(call.params)
        if raw in self.taken:
            hash = self.hash_of(raw)
            shown = f"{hash[:6]}…{hash[-4:]}"
            words = f"known transaction. transaction with hash {shown} is already in the system"
            return wrong(call, 3, words, data="0x")
        self.taken.append(raw)
        return ok(call, b'"%b"' % self.hash_of(raw).encode())


@contextlib.asynccontextmanager
async def four_doors() -> AsyncIterator[tuple[Wallet, Sequencer]]:
    sequencer = Sequencer()
    async with contextlib.AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(Upstream(each(sequencer.answer), name))
            for name in "abcd"
        ]
        wallet = await stack.enter_async_context(a_proxy(*doors))
        yield wallet, sequencer


@on_a_jumping_loop
async def test_every_send_is_answered_with_the_hash() -> None:
    async with four_doors() as (wallet, sequencer):
        for n in range(12):
            raw = f"0x71{'c0' * 30}{n:02x}"
            params = b'["%b"]' % raw.encode()
            for _ in range(3):
                reply: dict[str, Any] = await wallet.call("eth_sendRawTransaction", params)
                assert reply.get("result") == sequencer.hash_of(raw), reply
        assert len(sequencer.taken) == 12
