"""What each method needs, and what each request needs beyond that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.chains.kind import Kind
from rpcproxy.chains.method import Data
from rpcproxy.chains.registry import EVM
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.config import model
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.reads.profiles import (
    HEAVY_ATTEMPTS,
    LARGE_REQUEST_BYTES,
    MAX_PROFILES,
    Profiles,
    policies,
)
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import Head, Request
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.standing.reach import NEAR_BLOCKS
from tests.kits.engine_kit import HEAVY, LIGHT, SEND
from tests.kits.fleet import upstream

SERVED = 10_000


def chain(**fields: Any) -> model.Chain:
    return model.Chain(name="x", chain_id=1, upstreams=(upstream("a"),), **fields)


def made(served: int = SERVED, kind: Kind = EVM, **fields: Any) -> Profiles:
    heads = Heads(12.0, traits=kind.traits)
    heads.served = heads.shown = served
    return Profiles(
        chain(**fields),
        heads,
        Ledger("x", "1", ChainCounters(), kind.sends, clock=SYSTEM_CLOCK),
        methods=kind.methods,
        pins=kind.pins,
        searches=kind.searches,
        clock=SYSTEM_CLOCK,
    )


def prepare(profiles: Profiles, method: str, params: bytes = b"[]") -> SingleCall:
    request = Request(method, b"1", params)
    return profiles.prepare(request, profiles.of(method))


# ---- methods


def test_a_method_is_described_once() -> None:
    profiles = made()
    assert profiles.known.get("eth_call") is None
    profile = profiles.of("eth_call")
    assert profiles.known.get("eth_call") is profiles.of("eth_call") is profile
    assert profile.is_read
    assert profile.is_pinned
    assert not profile.is_large
    assert profile.need.method_class is LIGHT
    assert profile.encode(7, b'["x"]') == (
        b'{"jsonrpc":"2.0","method":"eth_call","params":["x"],"id":7}'
    )
    assert msgspec.json.decode(profiles.of('a"b').encode(7, b"")) == {
        "jsonrpc": "2.0",
        "method": 'a"b',
        "params": [],
        "id": 7,
    }


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("eth_getBalance", True),
        ("eth_getTransactionReceipt", True),
        ("my_method", True),
        ("eth_blockNumber", False),  # answered from the served head
        ("eth_sendRawTransaction", False),
        ("eth_newFilter", False),
        ("eth_sign", False),
    ],
)
def test_what_is_a_read(name: str, is_read: bool) -> None:
    assert made().of(name).is_read == is_read


def test_sends_and_heavy_reads() -> None:
    profiles = made()
    assert profiles.of("eth_sendRawTransaction").need.for_send
    assert profiles.of("eth_sendRawTransaction").policy is not profiles.policies[SEND]
    assert not profiles.of("eth_sendRawTransaction").policy.can_hedge
    assert profiles.of("debug_traceCall").is_large
    assert profiles.of("debug_traceCall").need.data is Data.TRACES
    assert profiles.of("eth_getTransactionReceipt").policy.confirm_nulls


def test_invented_methods_do_not_fill_the_memory() -> None:
    profiles = made()
    profiles.of("eth_call")
    for number in range(MAX_PROFILES + 50):
        profiles.of(f"my_method{number}")
    assert profiles.known.get("my_method49") is None  # the oldest go
    assert profiles.known.get("my_method50") is not None
    assert profiles.known.get("eth_call") is not None  # those that we know stay
    assert len(profiles.known) == MAX_PROFILES + 1
    absurd = "x" * 10_000
    assert not profiles.of(absurd).is_read
    assert profiles.known.get(absurd) is None


# ---- requests, pinned


def test_tags_become_heights() -> None:
    profiles = made()
    heads = profiles._heads
    for params in (b'["0x1","latest"]', b'["0x1"]', b'["0x1","0x2710"]'):
        call = prepare(profiles, "eth_getBalance", params)
        assert call.params == b'["0x1","0x2710"]'
        assert (call.need.block, call.need.wants_head) == (SERVED, True)
        assert call.key == b'eth_getBalance ["0x1","0x2710"]'
    heads.finality.anchors = Head(9_980), Head(9_990)
    assert prepare(profiles, "eth_getBalance", b'["0x1","safe"]').need.block == 9_990
    call = prepare(profiles, "eth_getBalance", b'["0x1","finalized"]')
    assert (call.need.block, call.params) == (9_980, b'["0x1","0x26fc"]')
    heads.served = heads.shown = SERVED + 1
    assert prepare(profiles, "eth_getBalance", b'["0x1"]').params == b'["0x1","0x2711"]'


def test_the_need_at_the_head_is_one_value_while_that_stands() -> None:
    profiles = made()
    first = prepare(profiles, "eth_getBalance", b'["0x1"]').need
    assert prepare(profiles, "eth_getBalance", b'["0x2"]').need is first
    profiles._heads.served += 1
    assert prepare(profiles, "eth_getBalance", b'["0x2"]').need.block == SERVED + 1


def test_before_the_first_head_tags_stay() -> None:
    profiles = made(-1)
    call = prepare(profiles, "eth_getBalance", b'["0x1","latest"]')
    assert (bytes(call.params), call.need.block) == (b'["0x1","latest"]', -1)
    assert prepare(profiles, "eth_gasPrice").key == b""


@pytest.mark.parametrize(
    ("block", "is_near", "is_kept"),
    [
        (SERVED + 1, True, False),
        (SERVED - 1, True, True),
        (SERVED - NEAR_BLOCKS + 1, True, True),
        (SERVED - NEAR_BLOCKS, False, True),
        (0, False, True),
    ],
)
def test_numbers_near_the_head_and_far_from_it(block: int, is_near: bool, is_kept: bool) -> None:
    call = prepare(made(), "eth_getBalance", b'["0x1","0x%x"]' % block)
    assert call.need.block == block
    assert call.need.wants_head == is_near
    assert (call.need.lowest, call.need.span) == ((-1, 0) if is_near else (block, 1))
    assert bool(call.key) == is_kept


@pytest.mark.parametrize(
    ("tag", "block", "wants_head"),
    [
        (b'"pending"', SERVED, True),
        (b'"safe"', -1, False),  # not known yet
        (b'{"blockHash":"0x1"}', -1, True),
        (b'"nonsense"', -1, False),
    ],
)
def test_what_has_no_number_stays(tag: bytes, block: int, wants_head: bool) -> None:
    params = b'["0x1",%b]' % tag
    call = prepare(made(), "eth_getBalance", params)
    assert (bytes(call.params), call.key) == (params, b"")
    assert (call.need.block, call.need.wants_head) == (block, wants_head)


def test_ranges_are_known_by_both_ends() -> None:
    profiles = made()
    call = prepare(profiles, "eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"latest"}]')
    assert (call.need.block, call.need.lowest, call.need.span) == (SERVED, -1, 0)
    call = prepare(profiles, "eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x64"}]')
    assert (call.need.block, call.need.lowest, call.need.span) == (100, 1, 100)
    near = b'[{"fromBlock":"0x2700","toBlock":"0x2708"}]'
    call = prepare(profiles, "eth_getLogs", near)
    assert (call.need.block, call.need.lowest, call.need.span) == (0x2708, 0x2700, 9)


def test_what_is_no_block_read() -> None:
    profiles = made()
    call = prepare(profiles, "eth_gasPrice")
    assert (call.need.block, call.key) == (SERVED, b'eth_gasPrice []"0x2710"')
    call = prepare(profiles, "eth_getTransactionReceipt", b'["0x5"]')
    assert (call.need.block, call.key) == (SERVED, b'eth_getTransactionReceipt ["0x5"]')
    call = prepare(profiles, "web3_sha3", b'["0x5"]')
    assert (call.need.block, call.key) == (-1, b'web3_sha3 ["0x5"]')
    call = prepare(profiles, "my_method", b"[5]")
    assert call.key == b""


def test_large_requests_are_sized_and_not_kept() -> None:
    large = b'["0x%b","latest"]' % (b"0" * LARGE_REQUEST_BYTES)
    call = prepare(made(), "eth_getBalance", large)
    assert call.need.request_bytes > LARGE_REQUEST_BYTES
    assert call.key == b""


# ---- modes


def test_routed_leaves_the_tags_and_asks_who_has_the_head() -> None:
    profiles = made(consistency="routed")
    for params in (b'["0x1","latest"]', b'["0x1"]'):
        call = prepare(profiles, "eth_getBalance", params)
        assert (bytes(call.params), call.key) == (params, b"")
        assert (call.need.block, call.need.wants_head) == (SERVED, True)
    call = prepare(profiles, "eth_getBalance", b'["0x1","0x5"]')
    assert (call.need.block, call.need.wants_head, call.key) == (5, False, b"")
    assert prepare(profiles, "eth_gasPrice").key == b""


def test_off_asks_anybody() -> None:
    profiles = made(consistency="off")
    call = prepare(profiles, "eth_getBalance", b'["0x1","latest"]')
    assert bytes(call.params) == b'["0x1","latest"]'
    assert (call.need.block, call.need.wants_head) == (-1, False)
    assert prepare(profiles, "eth_getBalance", b'["0x1","0x5"]').need.block == 5


# ---- policies


def test_policies_are_the_configurations() -> None:
    made_ = policies(
        chain(
            deadlines=model.Deadlines(light_seconds=3, heavy_seconds=60, send_seconds=20), hedge=0.4
        )
    )
    assert (made_[LIGHT].deadline_seconds, made_[LIGHT].attempt_seconds) == (3, 1.5)
    assert made_[HEAVY].attempt_seconds == 60 / HEAVY_ATTEMPTS
    assert made_[SEND].attempt_seconds == 10
    assert made_[LIGHT].hedge_seconds == made_[HEAVY].hedge_seconds == 0.4
    assert not made_[SEND].can_hedge
    assert not policies(chain(hedge="off"))[LIGHT].can_hedge
    assert policies(chain())[LIGHT].hedge_seconds is None
