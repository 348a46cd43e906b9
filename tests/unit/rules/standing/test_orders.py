"""What operators order of upstreams: drained and cordoned ones, and who is needed."""

from __future__ import annotations

import asyncio

import pytest

from rpcproxy.messages import Verdict
from rpcproxy.rules.standing.orders import standing_order, why_needed
from rpcproxy.states import EVENTS
from rpcproxy.words import ORDERS, OperatorOrder, OrderName, OrderNote
from tests.kits.engine_kit import Engine, answering, now, virtual
from tests.kits.fleet import HEAVY, LIGHT, SEND, Fleet, four, upstream
from tests.kits.sends_kit import signed


def obey(fleet: Fleet, name: str, order: OrderName) -> list[str]:
    changes = list(fleet.standings.observe(OperatorOrder(name, order), fleet.now))
    fleet.changes += changes
    return [f"{change.upstream} {change.kind}" for change in changes]


def needed(fleet: Fleet, name: str) -> str:
    return why_needed(fleet[name], fleet.standings, fleet.standings.usable)


def test_since_when_and_by_whom_is_kept_of_the_first_order() -> None:
    fleet = Fleet(four())
    for order, by, seconds in (("cordon", "", 5.0), ("drain", "alice", 7.0), ("drain", "bob", 9.0)):
        fleet.standings.observe(
            OperatorOrder("a", order, by=by, unix_seconds=seconds),  # type: ignore[arg-type]
            fleet.now,
        )
    assert standing_order(fleet["a"]) == OrderNote("drain", 7.0, "alice")
    obey(fleet, "a", "undrain")
    assert standing_order(fleet["a"]) == OrderNote("cordon", 5.0, "")
    obey(fleet, "a", "uncordon")
    assert standing_order(fleet["a"]) is None


# ---- drained


def test_a_drained_one_gets_nothing_new_and_is_still_probed() -> None:
    fleet = Fleet(four())
    assert obey(fleet, "a", "drain") == ["a drained"]
    assert set(fleet.shares(200)) == {"b", "c", "d"}
    assert fleet.pick("b", "c", "d") is None
    assert fleet.pick("b", "c", "d", for_send=True, method_class=SEND) is None
    assert all("a" not in fleet.usable(method_class) for method_class in (LIGHT, HEAVY, SEND))
    fleet.head("a", 107)
    assert fleet["a"].track.number == 107
    assert fleet["a"].is_trusted, "so its heads count, and its chain id is not in doubt"
    assert obey(fleet, "a", "undrain") == ["a undrained"]
    assert set(fleet.shares(200)) == {"a", "b", "c", "d"}


def test_an_order_twice_changes_nothing() -> None:
    fleet = Fleet(four())
    for order in ORDERS:
        first = obey(fleet, "a", order)
        assert len(first) == 1
        assert obey(fleet, "a", order) == []
        assert first[0].removeprefix("a ") in EVENTS


def test_the_state_says_drained_and_what_else_is_wrong() -> None:
    fleet = Fleet(four())
    obey(fleet, "a", "drain")
    assert (fleet["a"].state, fleet["a"].reason) == ("drained", "an operator drained it")
    fleet.kill("a")
    assert fleet["a"].state == "drained"
    assert "besides, it is ejected: " in fleet["a"].reason
    obey(fleet, "a", "undrain")
    assert fleet["a"].state == "ejected"


def test_draining_is_no_panic() -> None:
    fleet = Fleet(four())
    for name in "abc":
        obey(fleet, name, "drain")
    assert not fleet.standings.is_panicking
    assert fleet.kinds() == ["drained"] * 3


# ---- cordoned


def test_a_cordoned_one_comes_after_backups() -> None:
    fleet = Fleet([upstream("a"), upstream("b"), upstream("c", tier="backup")])
    assert obey(fleet, "a", "cordon") == ["a cordoned"]
    assert (fleet["a"].state, fleet["a"].reason) == ("cordoned", "an operator cordoned it")
    assert fleet.shares(300) == {"b": 1.0}
    assert [fleet.pick("b"), fleet.pick("b", "c")] == ["c", "a"]
    fleet.kill("b")
    assert fleet.shares(300) == {"c": 1.0}
    fleet.kill("c")
    assert fleet.shares(300) == {"a": 1.0}
    assert "a" in fleet.usable(), "nobody is told of an outage"
    obey(fleet, "a", "uncordon")
    assert fleet["a"].state == "up"


def test_one_that_fails_now_and_then_is_better_than_a_cordoned_one() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    obey(fleet, "b", "cordon")
    fleet.fail("a", Verdict.SERVER_ERROR, 2)
    assert fleet["a"].light.is_wanting
    assert not fleet["a"].light.breaker.is_open
    assert fleet.shares(100) == {"a": 1.0}
    assert fleet.pick(private_only=False) == "a"


def test_a_cheap_cordoned_one_makes_no_other_costly() -> None:
    fleet = Fleet([upstream("a"), upstream("b"), upstream("c")])
    obey(fleet, "a", "cordon")
    for name in "bc":
        fleet.tell(name, seconds=1.0)
    fleet.tick()
    assert not fleet["b"].light.is_costly
    assert not fleet["c"].light.is_costly


# ---- who is needed


def test_the_last_usable_one_is_needed() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    assert needed(fleet, "a") == ""
    obey(fleet, "b", "drain")
    words = "a is the last upstream that can be asked for light, heavy, send requests"
    assert needed(fleet, "a") == words
    obey(fleet, "b", "undrain")
    fleet.kill("b")
    assert needed(fleet, "a") == words
    assert needed(fleet, "b") == "", "it serves nobody"


def test_of_those_that_are_down_one_is_left_to_come_back() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    fleet.kill("a", "b")
    assert needed(fleet, "a") == ""
    obey(fleet, "a", "drain")
    assert needed(fleet, "b")
    assert needed(fleet, "a") == "", "it is drained already"


def test_roles_are_needed_for_what_they_do() -> None:
    fleet = Fleet([upstream("a", role="reads"), upstream("b", role="reads"), upstream("c")])
    assert needed(fleet, "c") == "c is the last upstream that can be asked for send requests"
    assert needed(fleet, "a") == ""


# ---- reload


@pytest.mark.parametrize("url", ["http://a/secret", "http://a/another"])
def test_orders_outlive_a_reload_even_of_the_url(url: str) -> None:
    fleet = Fleet([upstream("a"), upstream("b"), upstream("c")])
    obey(fleet, "a", "drain")
    obey(fleet, "b", "cordon")
    after = Fleet([upstream("a", url=url), upstream("b"), upstream("c")], admit=False)
    after.standings.adopt(fleet.standings, fleet.now)
    assert after["a"].state == "drained"
    assert after["b"].state == "cordoned"
    assert after.usable() == ["b", "c"]


# ---- in the engine


def give(engine: Engine, name: str, order: OrderName) -> None:
    engine.executor.observe(OperatorOrder(name, order), now())


@virtual
async def test_in_flight_finishes_and_whoever_waits_hears_of_the_undrain() -> None:
    engine = Engine([upstream("a"), upstream("b")])
    engine.behave(a=answering(b'"0xa"', seconds=0.1))
    first = engine.ask()
    give(engine, "a", "drain")
    assert b'"0xa"' in (await first.answer()).body
    give(engine, "b", "drain")
    waiting, began = engine.ask_new(), now()
    await asyncio.sleep(0.5)
    assert not waiting.is_done
    give(engine, "b", "undrain")
    await waiting.answer()
    assert now() - began < 0.6
    assert engine.asked == "ab"
    engine.close()


@virtual
async def test_copies_go_elsewhere() -> None:
    engine = Engine(four())
    tx = signed()
    engine.all_behave(answering(b'"%b"' % tx.hash.encode()))
    give(engine, "a", "drain")
    give(engine, "b", "cordon")
    answer = await engine.ask("eth_sendRawTransaction", tx.params).answer()
    assert tx.hash.encode() in answer.body
    assert sorted(engine.asked) == ["b", "c", "d"], "a cordoned one where there is no other"
    engine.close()
