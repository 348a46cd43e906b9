"""states: what states and changes mean, each in one table."""

from __future__ import annotations

import pytest

from rpcproxy.states import (
    BETTER,
    CHANGES,
    EVENTS,
    INCIDENTS,
    LEVELS,
    OF_STATES,
    UPSTREAM_STATES,
    URGENT,
    ChangeKind,
    IncidentKind,
    Level,
    Severity,
    UpstreamState,
    condition_of,
    severity_of,
)


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (LEVELS, Level),
        (UPSTREAM_STATES, UpstreamState),
        (CHANGES, ChangeKind),
        (INCIDENTS, IncidentKind),
    ],
)
def test_each_table_holds_all_members_in_their_order(table: object, members: object) -> None:
    missing = set(members) - set(table)
    assert not missing, f"no row in rpcproxy/states.py: {missing}"
    assert list(table) == list(members)


def test_an_end_is_no_beginning_and_good_news() -> None:
    for kind, meaning in CHANGES.items():
        if meaning.ends is not None:
            assert CHANGES[meaning.ends].ends is None
            assert meaning.severity is Severity.INFO  # its beginning's is meant
            assert kind in BETTER
        assert condition_of(condition_of(kind)) is condition_of(kind)


def test_what_is_told_by_default_is_told_from_beginning_to_end() -> None:
    assert set(URGENT) < set(EVENTS)
    for kind in EVENTS:
        assert (kind in URGENT) == (condition_of(kind) in URGENT)
    assert severity_of(ChangeKind.OUTAGE_OVER) is Severity.CRITICAL
    assert severity_of(ChangeKind.STALLED_HEAD) is Severity.INFO


def test_what_goes_wrong_with_one_is_called_like_its_state() -> None:
    for state, kind in OF_STATES.items():
        assert state == kind
        assert UPSTREAM_STATES[state].level is not Level.WELL
