"""A kind of chain whose params name no blocks, that splits no searches, and looks nothing up."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from rpcproxy.chains.parts.heights import Pins
from rpcproxy.chains.registry import EVM
from tests.kits.engine_kit import Engine, refusing, virtual
from tests.kits.fleet import upstream
from tests.kits.sends_kit import signed
from tests.unit.engine.sends.test_ledger import decoded

assert EVM.sends is not None
NO_LOOK_UPS = replace(EVM.sends.waiting, looked_up=lambda _method, _params: "")
BARE = replace(
    EVM,
    name="bare",
    pins=Pins(),
    searches=None,
    sends=replace(EVM.sends, waiting=NO_LOOK_UPS),
)
TX = signed()
LOG_PARAMS = b'[{"fromBlock":"0x1","toBlock":"0x64"}]'


def engine_of(*upstreams: Any, **chain: Any) -> Engine:
    return Engine(upstreams or None, kind=BARE, **chain)


@virtual
async def test_params_go_out_as_they_came() -> None:
    engine = engine_of()
    assert (await engine.ask("eth_call", b'[{}, "latest"]').reply())["result"] == "0x1"
    (sent,) = engine.sent
    assert sent.params == [{}, "latest"]
    assert b'[{}, "latest"]' in sent.payload
    await engine.assert_soon_idle()


@virtual
async def test_two_reads_of_a_name_that_moves_share_no_answer() -> None:
    engine = engine_of()
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1","latest"]').reply()
    assert len(engine.sent) == 2
    await engine.assert_soon_idle()


@virtual
async def test_what_follows_from_the_head_alone_is_kept_while_that_stands() -> None:
    engine = engine_of()
    for _ in range(2):
        await engine.ask("eth_gasPrice").reply()
    assert len(engine.sent) == 1
    await engine.assert_soon_idle()


@virtual
async def test_a_range_that_is_refused_everywhere_is_refused_in_the_upstreams_words() -> None:
    engine = engine_of()
    engine.all_behave(refusing(-32005, "block range is too wide"))
    error = (await engine.ask("eth_getLogs", LOG_PARAMS).reply())["error"]
    assert error == {"code": -32005, "message": "block range is too wide"}
    await engine.assert_soon_idle()


@virtual
async def test_what_nobody_has_is_asked_once_more_by_no_other_name() -> None:
    engine = engine_of()
    engine.all_behave(refusing(4444, "pruned history unavailable"))
    assert "error" in await engine.ask("eth_call", b'[{},"earliest"]').reply()
    assert {sent.params[1] for sent in engine.sent} == {"earliest"}
    await engine.assert_soon_idle()


@virtual
async def test_what_names_a_private_transaction_is_for_private_upstreams_alone() -> None:
    engine = engine_of(upstream("a"), upstream("b", private=True))
    engine.ledger.on_no_journal("")
    await engine.ledger.begin(decoded(TX), is_private=True)
    await engine.ask("eth_getTransactionReceipt", b'["%b"]' % TX.hash.encode()).reply()
    assert {sent.wire.name for sent in engine.sent} == {"b"}
    await engine.assert_soon_idle()
