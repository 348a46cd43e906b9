"""The status in each kind of state, for the tests that look at the page of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rpcproxy.rules.telling.chronicle import LastMinute
from rpcproxy.rules.telling.plight import Plight, plight_of, summary, with_refusals
from rpcproxy.rules.telling.sample import Refusal, Refused
from tests.kits import samples
from tests.kits.statuses import a_chain, a_happening, a_status, an_incident, an_upstream

_REST: Final = ("alchemy", "quicknode", "own-node")
_ALL: Final = ("infura-us-east", *_REST)
_ORDER: Final = {
    "order": "drain",
    "since": "2026-09-01T11:48:46.000Z",
    "by": "alice@laptop, from 127.0.0.1",
}
_IN_USE: Final = Refusal(
    what=Refused.SENDS,
    why="the journal cannot be used: another process of this proxy has it",
    since_seconds=184.0,
)
_CROWD: Final = Refusal(
    what=Refused.CLIENTS, why="as many connections are open as may be", since_seconds=30.0
)
LONG_NAME: Final = "averyveryverylongnamewithoutanydashesinit0123456789012345678901"

_Told = tuple[dict[str, Any], Plight]


def _chain(states: Mapping[str, str] = {}, name: str = "ethereum", **fields: Any) -> _Told:
    title = name.capitalize() if len(name) < 20 else name
    states = states or dict.fromkeys(_ALL, "up")
    known, shown, traffic = [], [], {}
    for each, state in states.items():
        is_well = state == "up"
        reason = "" if is_well else "3 of 4 attempts failed lately: connection refused"
        seconds = 90_000.0 if is_well else 734.0
        known.append(samples.an_upstream(each, state, since_seconds=seconds, reason=reason))
        shown.append(
            an_upstream(
                each,
                state,
                state_reason=reason,
                since_seconds=seconds,
                lag=14 if state == "lagging" else 0,
                cooldown_seconds=12.0 if state == "cooling" else 0.0,
                order=_ORDER if state == "drained" else None,
            )
        )
        traffic[each] = {
            "attempts": 1234 if is_well else 345,
            "failures": 0 if is_well else 97,
            "probes": 22,
            "failed_probes": 0 if is_well else 7,
            "share": 0.14 if is_well else 0.57,
        }
    plight = plight_of(samples.a_chain(*known, name=name, **fields), title, LastMinute())
    told = {key: getattr(plight, key) for key in ("sentence", "steady", "level", "whose")}
    return a_chain(*shown, name=name, title=title, **{**told, "traffic": traffic}), plight


def _status(*chains: _Told, refusals: Sequence[Refusal] = (), **fields: Any) -> dict[str, Any]:
    plights = [(str(chain["title"]), plight) for chain, plight in chains]
    whole = with_refusals(summary(plights), refusals, "")
    told = {key: getattr(whole, key) for key in ("sentence", "steady", "level", "whose")}
    return a_status(*(chain for chain, _ in chains), **{**told, **fields})


def _one(state: str) -> dict[str, Any]:
    return _status(_chain({_ALL[0]: state, **dict.fromkeys(_REST, "up")}))


def _happened() -> list[dict[str, Any]]:
    hand = {"by": "alice@a-laptop-with-a-long-name, from 127.0.0.1"}
    nobody = {"by": "", "upstream": ""}
    reload = "the log changed; chain ethereum: harbor was added, lakeside removed"
    return [
        a_happening(kind="ejected", upstream=_ALL[0], ended=None, seconds=90.0, unserved=3, by=""),
        a_happening(upstream=_ALL[0], **hand),
        a_happening(kind="config_reload", chain="", upstream="", words=reload, **hand),
        a_happening(kind="taken_over", chain="", words="version 1.3 serves", **nobody),
        a_happening(kind="started", started="2026-08-30T03:12:05.000Z", chain="", **nobody),
    ]


def page_states() -> dict[str, dict[str, Any]]:
    """By kind, the whole of ``/status``."""
    outage = an_incident(kind="outage", upstream="", ended=None, seconds=93.0, unserved=1234)
    cause = "/var/lib/rpcproxy/journal/e.sqlite is in use by another rpcproxy (process 4711)"
    sends = an_incident(kind="sends_refused", upstream="", ended=None, cause=cause, unserved=7)
    many = {f"provider-with-a-long-name-{at}-eu": "up" if at % 3 else "ejected" for at in range(10)}
    down = _chain(dict.fromkeys(_REST, "ejected"), usable=0, outage_seconds=93.0)
    return {
        "well": _status(_chain(), incidents=[]),
        **{
            kind: _one(kind)
            for kind in ("ejected", "lagging", "cooling", "forked", "quarantined", "cordoned")
        },
        "outage": _status(down, incidents=[outage]),
        "halted": _status(_chain(halted_seconds=412.0)),
        "split": _status(_chain(is_split=True)),
        "drained": _status(_chain({**dict.fromkeys(_ALL[:3], "drained"), "own-node": "up"})),
        "sends refused": _status(_chain(refusals=(_IN_USE,)), incidents=[sends]),
        "clients turned away": _status(_chain(), refusals=[_CROWD]),
        "start": _status(_chain(dict.fromkeys(_REST, "unknown"), usable=0), incidents=[]),
        "ten upstreams": _status(_chain(many)),
        "a long name": _status(_chain({LONG_NAME: "ejected", **dict.fromkeys(_REST, "up")})),
        "what happened": _status(_chain(), incidents=[], timeline=_happened()),
        "three chains": _status(
            _chain(),
            _chain({"infura-us-east": "ejected", **dict.fromkeys(_REST, "up")}, "base"),
            _chain(name="a-long-name-of-a-chain-of-ones-own", halted_seconds=300.0),
        ),
    }
