"""Shares, losses, single points of failure, and upstreams that look alike."""

from __future__ import annotations

from typing import Any

import pytest

from rpcproxy.rules.telling.capacity import CapacityMember, Look, Share, alike, assess, listed
from rpcproxy.rules.telling.survey import SeenHead


def member(name: str, provider: str = "", **fields: Any) -> CapacityMember:
    return CapacityMember(name=name, provider=provider or name, **fields)


def four() -> list[CapacityMember]:
    return [
        member("a", "north", cloud="aws", region="us-east-1"),
        member("b", "lake", cloud="aws", region="eu-west-1"),
        member("c", "north", cloud="gcp", region="us-central1"),
        member("d", "harbor"),
    ]


def shares(*members: CapacityMember, **options: Any) -> dict[str, Share]:
    found = assess(members, **options).shares
    return {f"{share.kind} {share.name}": share for share in found}


def points(*members: CapacityMember, **options: Any) -> list[tuple[str, str, str]]:
    found = assess(members, **options).single_points
    return [(point.kind, point.name, point.ends) for point in found]


def test_what_each_domain_holds_and_what_its_loss_leaves() -> None:
    capacity = assess(four())
    told = [(s.kind, s.name, s.members, s.share, s.left) for s in capacity.shares]
    assert told == [
        ("cloud", "aws", ("a", "b"), 0.5, ("c", "d")),
        ("cloud", "gcp", ("c",), 0.25, ("a", "b", "d")),
        ("region", "aws/eu-west-1", ("b",), 0.25, ("a", "c", "d")),
        ("region", "aws/us-east-1", ("a",), 0.25, ("b", "c", "d")),
        ("region", "gcp/us-central1", ("c",), 0.25, ("a", "b", "d")),
        ("provider", "north", ("a", "c"), 0.5, ("b", "d")),
        ("provider", "harbor", ("d",), 0.25, ("a", "b", "c")),
        ("provider", "lake", ("b",), 0.25, ("a", "c", "d")),
    ]
    assert capacity.shares[0].words == "leaves c and d: 50% of the capacity"
    assert capacity.basis == "every upstream counted alike"
    assert capacity.unknown_clouds == ("d",)
    assert capacity.single_points == ()


@pytest.mark.parametrize(
    ("fields", "basis", "share"),
    [
        (({"weight": 3.0}, {"weight": 1.0}), "counted by weight", 0.75),
        (({"rate_per_second": 90.0}, {"rate_per_second": 10.0}), "counted by rate_limit", 0.9),
        # One without a rate: nothing can be said by rates.
        (({"rate_per_second": 90.0}, {}), "every upstream counted alike", 0.5),
        (({"rate_per_second": 90.0, "weight": 4.0}, {}), "counted by weight", 0.8),
    ],
)
def test_what_capacity_is_counted_by(
    fields: tuple[dict[str, Any], dict[str, Any]], basis: str, share: float
) -> None:
    first, second = member("a", **fields[0]), member("b", **fields[1])
    assert assess([first, second]).basis == basis
    assert shares(first, second)["provider a"].share == pytest.approx(share)
    assert shares(first, second)["provider a"].left_share == pytest.approx(1 - share)


def test_those_for_sends_hold_nothing_of_reads() -> None:
    found = shares(member("a"), member("b"), member("relay", role="sends"))
    assert [share.share for share in found.values()] == [0.5, 0.5, 0.0]
    assert found["provider relay"].left == ("a", "b")


def test_words_of_a_loss() -> None:
    alone = shares(member("a", "x"), member("b", "x"))["provider x"]
    assert alone.words == "leaves nobody: every wallet gets errors"
    backups = shares(member("a"), member("b", tier="backup"))["provider a"]
    assert backups.words == "leaves b (backup): 50% of the capacity"
    reads = member("b", role="reads"), member("c", role="reads")
    sender = shares(member("a"), *reads)["provider a"]
    assert sender.words == "leaves b and c: 67% of the capacity; no transaction could be sent"
    # Where nobody takes any, a loss changes nothing about it.
    assert "sent" not in shares(*reads)["provider b"].words


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (four(), []),
        ([member("a", cloud="aws", region="r1")], [("upstream", "a", "reads")]),
        (
            [member("a", "x", cloud="aws"), member("b", "x", cloud="gcp")],
            [("provider", "x", "reads")],
        ),
        (
            [member("a", cloud="aws", region="r1"), member("b", cloud="aws", region="r2")],
            [("cloud", "aws", "reads")],
        ),
        # A region is lost with its cloud, and more often.
        (
            [member("a", cloud="aws", region="r1"), member("b", cloud="aws", region="r1")],
            [("region", "aws/r1", "reads")],
        ),
        (
            [member("a", "x", cloud="aws"), member("b", "x", cloud="aws")],
            [("provider", "x", "reads"), ("cloud", "aws", "reads")],
        ),
        # Of an unknown cloud nothing is known, and regions of two clouds are two.
        ([member("a", cloud="aws"), member("b")], []),
        ([member("a"), member("b")], []),
        ([member("a", cloud="x", region="eu"), member("b", cloud="y", region="eu")], []),
        # One URL under two names.
        ([member("a", identity="h/p"), member("b", identity="h/p")], [("upstream", "a", "reads")]),
        # Sends apart from reads.
        ([member("a"), member("b", role="reads")], [("upstream", "a", "sends")]),
        ([member("a"), member("b"), member("c", is_private=True)], [("upstream", "c", "sends")]),
        # Who is alone with both is told once.
        ([member("a"), member("b", role="sends")], [("upstream", "a", "reads")]),
        ([], []),
        # Only what works counts.
        ([member("a"), member("b", is_usable=False)], [("upstream", "a", "reads")]),
        ([member("a", is_usable=False)], []),
    ],
)
def test_single_points_of_failure(
    members: list[CapacityMember], expected: list[tuple[str, str, str]]
) -> None:
    assert points(*members) == expected


def test_private_sends_that_fall_back_are_no_single_point() -> None:
    members = member("a"), member("b"), member("c", is_private=True)
    assert points(*members, falls_back=True) == []


def test_words_of_single_points() -> None:
    def words(*members: CapacityMember) -> list[str]:
        return [point.words for point in assess(members).single_points]

    assert words(member("a", "x"), member("b", "x")) == [
        "every upstream that serves reads is of company x: when it fails, nobody can serve"
    ]
    assert words(member("a"), member("b", is_usable=False)) == [
        "a is the only usable upstream that serves reads: when it fails, nobody can serve"
    ]
    guessed = member("a", cloud="aws", is_cloud_guessed=True), member("b", cloud="aws")
    assert words(*guessed) == [
        (
            "every upstream that serves reads is on cloud aws: when it fails, nobody can serve "
            "(a guess from address ranges)"
        )
    ]
    assert words(member("a", identity="x"), member("b", identity="x")) == [
        "a and b have the same URL, and nobody else serves reads: when it fails, nobody can serve"
    ]
    assert words(member("a"), member("b", role="reads")) == [
        "a is the only upstream that takes transactions: when it fails, no transaction can be sent"
    ]
    assert shares(*guessed)["cloud aws"].is_guess
    assert not shares(*guessed)["provider a"].is_guess


def test_nobody_usable_holds_nothing() -> None:
    capacity = assess([member("a", is_usable=False)])
    assert capacity.shares == ()
    assert capacity.single_points == ()


HEADS = (SeenHead(100, 1.0), SeenHead(101, 2.0))
ONE = Look(
    name="a",
    place="one/x",
    addresses=frozenset({"192.0.2.1 443", "192.0.2.2 443"}),
    client_version="Geth/v1",
    heads=HEADS,
)


def other(**fields: Any) -> Look:
    alike_in_all: dict[str, Any] = {
        "name": "b",
        "place": "two/x",
        "addresses": frozenset({"192.0.2.2 443"}),
        "client_version": "Geth/v1",
        "heads": HEADS,
    }
    return Look(**{**alike_in_all, **fields})


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (other(), "the same address, the same client version and always the same head"),
        (other(place="one/x", addresses=frozenset(), heads=()), "the same host and path"),
        (other(addresses=frozenset({"192.0.2.2 8545"})), None),
        (other(addresses=frozenset()), None),
        (other(client_version="Geth/v2"), None),
        (other(heads=(SeenHead(90, 1.0),)), None),
        (other(heads=()), None),
    ],
)
def test_what_looks_like_one_and_the_same(second: Look, why: str | None) -> None:
    pairs = alike((ONE, second), 1.0)
    expected = [] if why is None else [f"a and b look like one and the same: {why}"]
    assert [pair.words for pair in pairs] == expected


def test_two_without_a_version_are_not_alike_for_it() -> None:
    nameless = Look(name="a", place="x", addresses=ONE.addresses, heads=HEADS)
    assert alike((nameless, other(client_version="")), 1.0) == ()


def test_listed() -> None:
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
