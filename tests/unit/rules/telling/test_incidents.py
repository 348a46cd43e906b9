"""rules.telling.incidents: what was wrong, from when to when, and what wallets noticed."""

from __future__ import annotations

import pytest

from rpcproxy.rules.telling.incidents import KEPT, Incidents, suspect_domain
from rpcproxy.rules.telling.sample import ChainSample
from tests.kits.samples import START, a_chain, an_upstream, with_state


class Log:
    """Steps of five seconds."""

    def __init__(self) -> None:
        self.incidents = Incidents()
        self.now = START

    def step(self, chain: ChainSample, requests: int = 0, unserved: int = 0) -> None:
        self.now += 5.0
        self.incidents.step(chain, self.now, requests, unserved)

    def told(self) -> list[tuple[str, str, float, float | None]]:
        return [
            (
                each.subject,
                each.kind,
                each.started_unix - START,
                None if each.ended_unix is None else each.ended_unix - START,
            )
            for each in self.incidents.latest_first()
        ]


def test_an_outage_of_one_has_its_times_and_what_wallets_noticed() -> None:
    log = Log()
    log.step(a_chain())
    down = an_upstream("a", "ejected", reason="two refusals", since_seconds=2.0)
    log.step(a_chain(down, an_upstream("b")), requests=10)
    assert log.told() == [("a", "ejected", 8.0, None)]
    log.step(a_chain(down, an_upstream("b")), requests=10, unserved=1)
    log.step(a_chain(an_upstream("a", since_seconds=1.0), an_upstream("b")), requests=5)
    assert log.told() == [("a", "ejected", 8.0, 19.0)]
    (incident,) = log.incidents.latest_first()
    assert (incident.cause, incident.times) == ("two refusals", 1)
    assert (incident.requests, incident.unserved) == (25, 1)


def test_it_is_called_after_the_worst_it_came_to() -> None:
    log = Log()
    for state in ("lagging", "cooling", "quarantined", "ejected", "cooling"):
        log.step(with_state({"a": state, "b": "up"}))
    (incident,) = log.incidents.latest_first()
    assert incident.kind == "quarantined"


def test_what_is_over_at_once_is_not_told_unless_somebody_noticed() -> None:
    brief = a_chain(an_upstream("a", "cooling", since_seconds=0.5), an_upstream("b"))
    well = a_chain(an_upstream("a", since_seconds=2.0), an_upstream("b"))
    log = Log()
    log.step(brief)
    log.step(well)
    assert log.told() == []
    log.step(brief)
    log.step(well, requests=3, unserved=1)
    assert [each.unserved for each in log.incidents.latest_first()] == [1]


def test_one_that_flaps_has_one_incident_several_times() -> None:
    log = Log()
    for _ in range(4):
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.step(with_state({"a": "up", "b": "up"}))
    assert [each.times for each in log.incidents.latest_first()] == [4]
    log.now += 300.0
    log.step(with_state({"a": "ejected", "b": "up"}))
    assert [each.times for each in log.incidents.latest_first()] == [1, 4]


def test_the_chain_itself() -> None:
    log = Log()
    log.step(a_chain(halted_seconds=40.0))
    assert log.told() == [("", "halted", -35.0, None)]
    log.step(a_chain(is_split=True))
    log.step(a_chain(is_split=True))
    log.step(a_chain())
    assert [each[:2] for each in log.told()] == [("", "split"), ("", "halted")]


def test_nobody_can_serve() -> None:
    log = Log()
    downs = [an_upstream(name, "ejected", since_seconds=20.0) for name in "ab"]
    log.step(a_chain(*downs, outage_seconds=20.0))
    told = {each.kind: each for each in log.incidents.latest_first()}
    assert told["outage"].cause == "a ejected; b ejected"
    assert len(log.told()) == 3


def test_a_proxy_that_starts_has_no_incident() -> None:
    log = Log()
    for seconds in (1.0, 14.0):
        fresh = [an_upstream(name, "unknown", since_seconds=seconds) for name in "ab"]
        log.step(a_chain(*fresh, outage_seconds=seconds))
    assert log.told() == []
    stale = [an_upstream(name, "unknown", since_seconds=20.0) for name in "ab"]
    log.step(a_chain(*stale, outage_seconds=20.0))
    assert {each[1] for each in log.told()} == {"outage", "unknown"}


@pytest.mark.parametrize(
    ("places", "domain"),
    [
        ([], ""),
        ([("aws", "us-east-1"), ("aws", "us-east-1")], "aws/us-east-1"),
        ([("aws", "us-east-1"), ("aws", "eu-west-1")], "aws"),
        ([("aws", "unknown"), ("aws", "unknown")], "aws"),
        ([("aws", "us-east-1"), ("gcp", "us-east-1")], "a fault domain"),
    ],
)
def test_a_fault_domain_is_named_as_narrowly_as_can_be(places, domain) -> None:
    suspects = [
        an_upstream(f"u{at}", is_suspect=True, cloud=cloud, region=region)
        for at, (cloud, region) in enumerate(places)
    ]
    assert suspect_domain(a_chain(an_upstream("well"), *suspects)) == domain


def test_a_fault_domain_has_its_incident() -> None:
    log = Log()
    suspects = [
        an_upstream(name, is_suspect=True, cloud="aws", region="us-east-1") for name in "ab"
    ]
    log.step(a_chain(*suspects))
    assert log.told() == [("aws/us-east-1", "suspect", 5.0, None)]


def test_errors_between_two_looks_are_one_incident() -> None:
    log = Log()
    for _ in range(3):
        log.now += 5.0
        log.incidents.note_errors("ethereum", "a ejected: reset", log.now, 2)
    (incident,) = log.incidents.latest_first()
    assert (incident.kind, incident.unserved, incident.times) == ("errors", 6, 3)
    log.step(with_state({"a": "ejected", "b": "up"}))
    log.incidents.note_errors("ethereum", "counted there already", log.now, 2)
    assert len(log.told()) == 2


def test_a_chain_that_is_removed_ends_its_incidents() -> None:
    log = Log()
    log.step(with_state({"a": "ejected", "b": "up"}))
    log.incidents.end_chain("another", log.now)
    assert log.told()[0][3] is None
    log.incidents.end_chain("ethereum", log.now + 10)
    assert log.told()[0][3] == 15.0


def test_they_are_bounded() -> None:
    log = Log()
    for _ in range(KEPT + 20):
        log.now += 300.0
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.now += 10.0
        log.step(with_state({"a": "up", "b": "up"}))
    assert len(log.told()) == KEPT
    ends = [each[3] or 0.0 for each in log.told()]
    assert ends == sorted(ends, reverse=True)
