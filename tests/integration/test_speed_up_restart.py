"""A payment that was cancelled is not carried out by the proxy that is started next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from rpcproxy.config import model
from tests.integration import rpc_kit
from tests.integration.rpc_kit import CHAIN_ID, NUMBER, Call, Upstream, a_proxy, each, ok
from tests.kits.waiting import until

FIELDS: dict[str, Any] = {
    "nonce": 5,
    "gas": 21000,
    "to": "0x" + "22" * 20,
    "value": 1,
    "chainId": CHAIN_ID,
}
PAY, CANCEL = (
    Account.sign_transaction(FIELDS | {"gasPrice": price}, "0x" + "11" * 32) for price in (10, 15)
)


def forgetful(call: Call) -> bytes:
    """Takes transactions, and knows of none."""
    if call.method == "eth_sendRawTransaction":
        sent = PAY if PAY.raw_transaction.hex().encode() in bytes(call.params) else CANCEL
        return ok(call, b'"%b"' % sent.hash.to_0x_hex().encode())
    return ok(call, b'"0x5"' if call.method == "eth_getTransactionCount" else b"null")


def copies(upstream: Upstream, sent: Any) -> int:
    raw = sent.raw_transaction.hex().encode()
    sends = [call for call in upstream.calls if call.method == "eth_sendRawTransaction"]
    return sum(raw in bytes(call.params) for call in sends)


@pytest.mark.parametrize("wants_first", [False, True])
@rpc_kit.on_uvloop
async def test_the_last_word_outlives_the_process(tmp_path: Path, wants_first: bool) -> None:
    server = {"journal": model.Journal(path=str(tmp_path))}
    async with Upstream(each(forgetful), "a") as one, Upstream(each(forgetful), "b") as two:
        said = (PAY, CANCEL, PAY) if wants_first else (PAY, CANCEL)
        async with a_proxy(one, two, server=server) as wallet:
            for sent in said:
                params = b'["%b"]' % sent.raw_transaction.to_0x_hex().encode()
                reply = await wallet.call("eth_sendRawTransaction", params)
                assert reply["result"] == sent.hash.to_0x_hex()
        last, first = said[-1], CANCEL if wants_first else PAY
        for upstream in (one, two):
            upstream.forget()
        async with a_proxy(one, two, server=server) as wallet:
            await until(lambda: copies(one, last) > 0)
            for upstream in (one, two):
                upstream.block = b'{"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x"}' % (
                    *(NUMBER + 1, NUMBER + 1, NUMBER),
                )
            await wallet.until_served(NUMBER + 1)
            await until(lambda: copies(one, last) > 1)
            assert copies(one, first) == copies(two, first) == 0
            # Its hash is known all the same.
            asked = b'["%b"]' % first.hash.to_0x_hex().encode()
            seen = await wallet.call("eth_getTransactionByHash", asked)
            assert seen["result"]["hash"] == first.hash.to_0x_hex()
