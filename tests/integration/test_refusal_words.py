"""What is refused keeps the words that libraries and people know it by: geth's, where the proxy
refuses itself, and those of whatever was run, where a node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcproxy.messages import METHOD_CLASSES
from tests.integration.rpc_kit import (
    Call,
    Post,
    Sent,
    Upstream,
    a_proxy,
    each,
    ok,
    on_uvloop,
    wrong,
)
from tests.kits.jumping import on_a_jumping_loop
from tests.kits.sends_kit import signed
from tests.unit.chains.evm.errors.test_real_errors import GETH_CHAIN, REFUSED

SCRIPT = Path(__file__).parents[1] / "clients" / "refusals.mjs"
# What geth 1.17.10 said of each.
GETHS: dict[str, Any] = {
    json.loads(record["params"])[0]: json.loads(record["body"])["error"] for record, _ in REFUSED
}


async def told(node: str, url: str) -> list[dict[str, list[Any]]]:
    """What the libraries make of each transaction, sent there."""
    process = await asyncio.create_subprocess_exec(
        node, str(SCRIPT), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked = json.dumps({"url": url, "raws": list(GETHS)}).encode()
    out, _ = await process.communicate(asked)
    assert process.returncode == 0
    answers: list[dict[str, list[Any]]] = json.loads(out)
    return answers


@on_uvloop
async def test_libraries_raise_what_they_raise_at_geth(
    node_binary: str, require_node_package: Callable[[str], None]
) -> None:
    for package in ("viem", "ethers"):
        require_node_package(package)

    def geth(call: Call) -> bytes:
        if call.method != "eth_sendRawTransaction":
            return ok(call, b'"0x1"')
        (raw,) = msgspec.json.decode(call.params)
        error = msgspec.json.encode(GETHS[raw])
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(call.id), error)

    async with Upstream(each(geth), chain_id=GETH_CHAIN) as upstream:
        directly = await told(node_binary, upstream.url)
        assert "eth_sendRawTransaction" in upstream.methods, (upstream.url, directly[:2])
        upstream.forget()
        async with a_proxy(upstream, chain_id=GETH_CHAIN) as wallet:
            host, port = wallet.proxy.address
            through = await told(node_binary, f"http://{host}:{port}")
        assert "eth_sendRawTransaction" not in upstream.methods  # the proxy refused them itself
    assert len(directly) == len(GETHS) > 25
    for raw, wanted, found in zip(GETHS, directly, through, strict=True):
        assert found == wanted, (raw, GETHS[raw])
    kinds = {classes["viem"][-1] for classes in directly}
    assert "TipAboveFeeCapError" in kinds
    assert "NonceMaxValueError" in kinds


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("eth_sendRawTransaction", 3, "failed to validate the transaction. reason: unauthorized"),
        ("eth_sendUserOperation", -32500, "AA23 reverted: rate limit exceeded"),
        ("eth_sendUserOperation", -32507, "forbidden"),
        ("eth_estimateUserOperationGas", -32521, "daily quota exceeded"),
        ("eth_estimateGas", 3, "execution reverted: access denied"),
        ("eth_call", 3, "execution reverted: invalid api key"),
        ("eth_createAccessList", 3, "execution reverted: too many requests"),
        ("eth_simulateV1", -38014, "insufficient funds: rate limit"),
    ],
)
@on_a_jumping_loop
async def test_the_words_of_what_was_run_are_given_and_blame_nobody(
    method: str, code: int, message: str, status: int
) -> None:
    """zkSync 442; ERC-7769; rpc-plane 18: whatever the status that a gateway puts over it."""

    def refuse(post: Post) -> Sent:
        call = post.calls[0]
        if call.method != method:
            return Sent(ok(call, b"null"))
        return Sent(wrong(call, code, message), status)

    params = b'["%b"]' % signed().raw.encode() if method == "eth_sendRawTransaction" else b"[{}]"
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(refuse)) for _ in range(4)]
        async with a_proxy(*upstreams) as wallet:
            reply = await wallet.call(method, params)
            assert reply["error"] == {"code": code, "message": message}
            asked = [call for each in upstreams for call in each.calls if call.method == method]
            assert 1 <= len(asked) <= 3
            standings = wallet.runtime.standings
            for method_class in METHOD_CLASSES:
                assert len(standings.usable(method_class)) == 4
