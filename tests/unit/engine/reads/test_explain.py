"""What would become of a request, told without sending it."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.engine.reads.explain import Explanation, explain
from rpcproxy.messages import Malformed, Request, Verdict
from rpcproxy.rules.requests.explained import order_of
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.telling.snapshot import snapshot_of
from rpcproxy.words import OperatorOrder
from tests.kits.engine_kit import Engine, answering, now, on_chain, virtual
from tests.kits.fleet import LIGHT, SEND, Fleet, four, upstream
from tests.kits.sends_kit import signed

ADDRESS = b'"0x%040d"' % 1


def told(engine: Engine, method: str, params: bytes = b"[]") -> Explanation:
    return explain(engine.pipeline, Request(method, b"1", params))


def names(places: object) -> list[str]:
    return [place.name for place in places]  # type: ignore[attr-defined]


@virtual
async def test_params_that_cannot_be_shown_are_the_askers_fault() -> None:
    engine = on_chain()
    with pytest.raises(Malformed, match="cannot be shown"):
        told(engine, "eth_call", b"[1e400]")


# ---- the order


@pytest.mark.parametrize("policy", ["fastest", "ordered", "weighted"])
def test_the_shares_are_those_that_are_drawn(policy: str) -> None:
    fleet = Fleet([upstream("a"), upstream("b", weight=3), upstream("c")], policy=policy)
    fleet.tell("c", seconds=0.05)
    fleet.tick()
    drawn = fleet.shares(6000)
    order = order_of(fleet.standings, Need(LIGHT), fleet.standings._settings.policy, fleet.now)
    for place in order.asked:
        assert abs(place.first_share - drawn.get(place.name, 0.0)) < 0.03, place
    assert order.asked[0].name == max(drawn, key=lambda name: drawn[name])
    assert sorted(names(order.asked)) == ["a", "b", "c"]
    assert order.last_resort == order.left_out == ()


def test_every_reason_is_told_in_words() -> None:
    fleet = Fleet(
        [
            upstream("well"),
            upstream("backup", tier="backup"),
            upstream("cordoned"),
            upstream("drained"),
            upstream("dead"),
            upstream("cooling"),
            upstream("lacking"),
            upstream("reader", role="sends"),
            upstream("behind"),
        ]
    )
    fleet.standings.observe(OperatorOrder("cordoned", "cordon"), fleet.now)
    fleet.standings.observe(OperatorOrder("drained", "drain"), fleet.now)
    fleet.kill("dead")
    fleet.tell("cooling", Verdict.RATE_LIMITED, cooldown_seconds=60.0)
    fleet.tell("lacking", Verdict.UNSUPPORTED, method="eth_x")
    for name in ("well", "backup", "cordoned", "dead", "cooling", "lacking"):
        fleet.head(name, 101)
    need = Need(LIGHT, "eth_x", block=101, wants_head=True, last_resort=False)
    order = order_of(fleet.standings, need, "fastest", fleet.now)
    assert names(order.asked) == ["well", "backup", "cordoned", "behind"] or names(order.asked) == [
        "well",
        "backup",
        "behind",
        "cordoned",
    ]
    why = {
        place.name: "; ".join(place.why)
        for place in (*order.asked, *order.last_resort, *order.left_out)
    }
    assert why["well"] == ""
    assert why["backup"] == "it is a backup"
    assert why["cordoned"] == "cordoned by an operator"
    assert why["drained"] == "an operator drained it"
    assert why["dead"].startswith("ejected for light: ")
    assert why["cooling"].startswith("cooling: its rate limit is reached")
    assert why["lacking"] == "it said that it lacks the method"
    assert why["reader"] == "its role is sends"
    assert "not all of its machines have block 101 (they have 100)" in why["behind"]
    assert set(names(order.last_resort)) == {"dead", "cooling", "lacking"}
    assert names(order.left_out) == ["drained", "reader"]


def test_nobody_is_drawn_and_nothing_changes() -> None:
    fleet = Fleet(four())
    before = fleet.rng.getstate(), snapshot_of(fleet.standings, fleet.now)
    order_of(fleet.standings, Need(SEND, for_send=True), "fastest", fleet.now)
    assert (fleet.rng.getstate(), snapshot_of(fleet.standings, fleet.now)) == before


# ---- requests


@virtual
async def test_a_read_at_the_head() -> None:
    engine = on_chain()
    got = told(engine, "eth_getBalance", b'[%b,"latest"]' % ADDRESS)
    assert (got.answered_by, got.method_class, got.served_head) == ("upstreams", "light", 100)
    assert got.params == [f"0x{1:040d}", "0x64"]
    assert got.needs is not None
    assert (got.needs.block, got.needs.latest_state, got.needs.private) == (100, True, False)
    assert got.seconds is not None
    assert (got.seconds.deadline, got.seconds.attempt, got.seconds.attempts) == (4.5, 1.5, 6)
    assert got.seconds.second_copy == 0.15
    assert got.order is not None
    assert names(got.order.asked) == ["a", "b", "c", "d"]
    assert [place.first_share for place in got.order.asked] == [1.0, 0.0, 0.0, 0.0]
    assert msgspec.json.decode(msgspec.json.encode(got))["order"]["asked"][0]["name"] == "a"
    assert engine.sent == []
    engine.close()


@virtual
async def test_what_is_kept_and_what_another_asks() -> None:
    engine = on_chain()
    engine.all_behave(answering(b'"0x5"', seconds=0.02))
    params = b'[%b,"latest"]' % ADDRESS
    flight = engine.ask("eth_getBalance", params)
    assert told(engine, "eth_getBalance", params).answered_by == "joined"
    await flight.answer()
    hits = engine.pipeline.sharing.cache.hits
    assert told(engine, "eth_getBalance", params).answered_by == "kept"
    assert engine.pipeline.sharing.cache.hits == hits
    engine.close()


@virtual
async def test_what_the_proxy_says_itself() -> None:
    engine = on_chain()
    assert told(engine, "eth_chainId").answered_by == "proxy"
    for method, words in (("eth_newFilter", "refused: "), ("eth_accounts", "answered at once")):
        got = told(engine, method)
        assert got.answered_by == "proxy"
        assert got.words.startswith(words), got.words
        assert got.order is None
    got = told(engine, "eth_blockNumber")
    assert got.answered_by == "upstreams"
    assert got.needs is not None
    assert got.needs.latest_state
    engine.close()


@virtual
async def test_a_block_above_the_head_and_an_outage() -> None:
    engine = on_chain()
    got = told(engine, "eth_getBlockByNumber", b'["0x65",false]')
    assert "block 101 is above the served head" in got.words
    engine.eject("a", "b", "c", "d")
    got = told(engine, "eth_gasPrice")
    assert got.words == "nobody can be asked now: it waits for a recovery, within its deadline"
    assert got.order is not None
    assert len(got.order.last_resort) == 4
    engine.close()


@virtual
async def test_sends() -> None:
    engine = on_chain()
    tx = signed()
    engine.all_behave(answering(b'"%b"' % tx.hash.encode()))
    got = told(engine, "eth_sendRawTransaction", tx.params)
    assert got.answered_by == "upstreams"
    assert got.words.startswith("written down, then sent to 3 upstreams at once")
    assert len(engine.ledger.pool) == 0
    await engine.ask("eth_sendRawTransaction", tx.params).answer()
    got = told(engine, "eth_sendRawTransaction", tx.params)
    assert (got.answered_by, got.words) == (
        "proxy",
        f"{tx.hash} was sent before: its hash at once",
    )
    bad = told(engine, "eth_sendRawTransaction", b'["0x02"]')
    assert bad.words.startswith("refused, not sent: ")
    assert now() < 1010
    engine.close()
