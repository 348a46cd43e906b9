"""rules.answers.holding: who may hold how much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.answers.holding import Hold, Holdings

MIB = 1024 * 1024


def filled(hold: Hold, step: int = MIB) -> int:
    """As much as there is room for."""
    while hold.add(step):
        pass
    return hold.bytes


def test_one_may_hold_as_much_as_is_left_for_others():
    holdings = Holdings(256 * MIB, 256 * MIB)
    purses = [holdings.purse(f"10.0.0.{n}") for n in range(4)]
    holds = [purse.hold() for purse in purses]
    assert filled(holds[0]) == 128 * MIB, "alone: half"
    assert filled(holds[1]) == 64 * MIB
    assert filled(holds[2]) == 32 * MIB
    assert holds[3].set(16 * MIB), "some is always left for the next"
    holds[0].end()
    assert holds[1].add(16 * MIB), "and what is given back is there for all"


def test_greedy_ones_that_come_together_have_equal_shares():
    holdings = Holdings(256 * MIB, 256 * MIB)
    holds = [holdings.purse(f"10.0.0.{n}").hold() for n in range(3)]
    while any([hold.add(MIB) for hold in holds]):  # noqa: C419 -- each takes its turn
        pass
    assert [hold.bytes // MIB for hold in holds] == [64, 64, 64]


def test_connections_of_one_address_share_its_part():
    holdings = Holdings(256 * MIB, 100 * MIB)
    purses = [holdings.purse("10.0.0.1") for _ in range(50)]
    holds = [purse.hold() for purse in purses]
    assert filled(holds[0]) == 50 * MIB
    total = sum(filled(hold, 1024) for hold in holds)
    assert total <= 100 * MIB
    assert filled(holdings.purse("10.0.0.2").hold()) >= 50 * MIB, "another is not touched by it"


def test_bodies_of_upstreams_leave_half_to_clients():
    holdings = Holdings(256 * MIB, 256 * MIB)
    bodies = [holdings.incoming() for _ in range(20)]
    while any([body.add(MIB) for body in bodies]):  # noqa: C419 -- each takes its turn
        pass
    assert 100 * MIB < sum(body.bytes for body in bodies) <= 128 * MIB
    assert filled(holdings.purse("10.0.0.1").hold()) >= 50 * MIB


def test_bodies_that_have_come_leave_the_account_of_those_without_an_address():
    holdings = Holdings(256 * MIB, 256 * MIB)
    hold = holdings.purse("").hold()
    assert hold.set(MIB)
    body = holdings.incoming()
    assert body.set(MIB)
    body.end()
    assert holdings.accounts == 1
    assert holdings.purse("").hold().set(MIB)
    assert holdings.accounts == 1


def test_what_nobody_has_any_more_is_given_back():
    holdings = Holdings()
    purse = holdings.purse("10.0.0.1")
    hold = purse.hold()
    assert hold.set(MIB)
    assert hold.set(1000)
    assert (holdings.used, purse.held, holdings.most) == (1000, 1000, MIB)
    del hold
    assert (holdings.used, purse.held) == (0, 0)
    other = purse.hold()
    assert other.set(10)
    purse.close()
    purse.close()
    assert holdings.accounts == 1, "its last hold is still there"
    other.end()
    other.end()
    assert (holdings.used, holdings.accounts) == (0, 0)


def test_without_room_nothing_changes_and_it_is_counted():
    holdings = Holdings(100, 100)
    hold = holdings.purse("10.0.0.1").hold()
    assert hold.set(20)
    assert not hold.set(90)
    assert (hold.bytes, holdings.used, holdings.refused) == (20, 20, 1)
    holdings.total_bytes = holdings.client_bytes = 10
    assert not hold.add(1)
    assert hold.set(5), "less is always taken"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 400)), max_size=60))
def test_whatever_is_asked_the_sums_stay_within(steps):
    holdings = Holdings(1000, 600)
    holds = {
        (site, number): holdings.purse(str(site)).hold() for site in range(4) for number in range(3)
    }
    for site, number, count in steps:
        holds[site, number].set(count)
        assert holdings.used == sum(hold.bytes for hold in holds.values()) <= 1000
        for each in range(4):
            assert sum(holds[each, n].bytes for n in range(3)) <= 600
