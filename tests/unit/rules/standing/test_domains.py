import math
from dataclasses import dataclass

from rpcproxy.rules.standing.domains import Domains, domain_of, domains_of


@dataclass
class Member:
    name: str
    provider: str
    cloud: str = "unknown"
    region: str = "unknown"
    failing_at: float = -math.inf
    is_suspect: bool = False
    is_admitted: bool = True


def east(name: str, **fields: object) -> Member:
    return Member(name, name, "aws", "us-east-1", **fields)  # type: ignore[arg-type]


def test_an_upstream_belongs_to_its_provider_its_cloud_and_its_region() -> None:
    assert domain_of("infura", "aws", "us-east-1") == ("aws", "us-east-1")
    assert domain_of("infura", "unknown", "us-east-1") == ("provider", "infura")
    assert list(domains_of("infura", "aws", "us-east-1")) == [
        "provider infura",
        "cloud aws",
        "region aws/us-east-1",
    ]
    assert list(domains_of("infura", "aws", "unknown")) == ["provider infura", "cloud aws"]
    assert list(domains_of("infura", "unknown", "x")) == ["provider infura"]


def test_two_of_three_failing_make_the_third_suspect() -> None:
    members = [east("a"), east("b"), east("c"), Member("d", "d", "gcp", "x")]
    domains = Domains(members)
    assert domains.settle(0.0) == []
    members[0].failing_at = 1.0
    assert domains.settle(1.0) == []
    members[1].failing_at = 5.0
    found = domains.settle(5.0)
    assert [(f.domain, f.is_suspect, f.until) for f in found] == [
        ("cloud aws", True, 6.0),
        ("region aws/us-east-1", True, 6.0),
    ]
    assert found[0].reason == "2 of 3 upstreams fail: a, b"
    assert [m.is_suspect for m in members] == [True, True, True, False]
    assert domains.suspects() == ["cloud aws", "region aws/us-east-1"]


def test_failures_in_different_windows_do_not_add_up() -> None:
    members = [east("a", failing_at=0.0), east("b", failing_at=11.0)]
    assert Domains(members).settle(11.0) == []


def test_two_of_five_are_not_half() -> None:
    members = [east(name) for name in "abcde"]
    members[0].failing_at = members[1].failing_at = 0.0
    assert Domains(members).settle(0.0) == []


def test_those_not_admitted_say_nothing() -> None:
    members = [
        east("a", failing_at=0.0),
        east("b", failing_at=0.0),
        east("c"),
        east("d"),
        east("e"),
    ]
    members[4].is_admitted = False
    assert len(Domains(members).settle(0.0)) == 2
    members[0].is_admitted = False
    assert Domains(members).settle(0.0) == []


def test_suspicion_lasts_while_any_fails_and_a_second_more() -> None:
    members = [Member("a", "p", failing_at=0.0), Member("b", "p", failing_at=0.0)]
    domains = Domains(members)
    assert len(domains.settle(0.0)) == 1
    members[1].failing_at = 0.9
    assert domains.settle(0.9) == []
    assert domains.settle(1.8) == []
    assert members[0].is_suspect
    ended = domains.settle(1.9)
    assert [(f.domain, f.is_suspect, f.until) for f in ended] == [("provider p", False, None)]
    assert ended[0].reason == "all of its upstreams have been well for 1 s"
    assert not members[0].is_suspect
    # What ended it is within the window still, and is not held against it again.
    assert domains.settle(2.0) == []
    members[0].failing_at = 2.5
    assert domains.settle(2.5) == []


def test_relapses_are_held_against_it_ever_longer_and_forgotten() -> None:
    members = [Member("a", "p"), Member("b", "p")]
    domains = Domains(members)
    now, seconds = 0.0, []
    for _ in range(7):
        members[0].failing_at = members[1].failing_at = now
        [found] = domains.settle(now)
        assert found.until is not None
        seconds.append(found.until - now)
        now = found.until
        assert [f.is_suspect for f in domains.settle(now)] == [False]
        now += 1.0
    assert seconds == [1, 2, 4, 8, 16, 30, 30]
    now += 60.0
    members[0].failing_at = members[1].failing_at = now
    assert [f.until for f in domains.settle(now)] == [now + 1.0]


def test_a_reload_keeps_suspicion() -> None:
    members = [Member("a", "p", failing_at=0.0), Member("b", "p", failing_at=0.0)]
    old = Domains(members)
    old.settle(0.0)
    fresh = [Member("a", "p"), Member("b", "p"), Member("c", "q"), Member("d", "q")]
    new = Domains(fresh)
    new.adopt(old, 0.5)
    assert [m.is_suspect for m in fresh] == [True, True, False, False]
    assert [f.is_suspect for f in new.settle(1.1)] == [False]
    late = [Member("a", "p"), Member("b", "p")]
    Domains(late).adopt(old, 31.0)
    assert [m.is_suspect for m in late] == [False, False]
