"""Words and figures of the status, for the page and the terminal alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from rpcproxy.rules.telling.happenings import HAPPENINGS, HappeningMeaning
from rpcproxy.rules.telling.plight import span
from rpcproxy.states import INCIDENTS, LEVELS, UPSTREAM_STATES, IncidentMeaning

# Pages may be those of another version: what they say is looked up as text.
MARKS: Final[Mapping[str, str]] = {level: row.mark for level, row in LEVELS.items()}
LEVEL_WORDS: Final[Mapping[str, str]] = {level: row.word for level, row in LEVELS.items()}
_STATE_WORDS: Final[Mapping[str, str]] = {state: row.word for state, row in UPSTREAM_STATES.items()}
_HAPPENINGS: Final[Mapping[str, HappeningMeaning]] = dict(HAPPENINGS.items())
_INCIDENTS: Final[Mapping[str, IncidentMeaning]] = dict(INCIDENTS.items())
WHOSE: Final = {
    "provider": "It is on the providers’ side. The chain and this proxy are well.",
    "chain": "It is the chain. The providers and this proxy are well.",
    "here": "It is on this proxy’s side. The chain and the providers are not the cause.",
}


def state_word(state: str) -> str:
    """An upstream's state, for people."""
    return _STATE_WORDS.get(state, state)


def what_happened(incident: Mapping[str, Any]) -> str:
    """An incident in a few words."""
    kind = str(incident["kind"])
    meaning = _INCIDENTS.get(kind, IncidentMeaning(kind, kind))
    words = meaning.present if incident["ended"] is None else meaning.past
    return f"{incident['upstream']} {words}" if incident["upstream"] else words


def what_changed(entry: Mapping[str, Any]) -> str:
    """An entry of the timeline in a few words: without why, who and what wallets noticed."""
    kind, subject = str(entry["kind"]), str(entry.get("upstream") or "")
    meaning = _HAPPENINGS.get(kind, HappeningMeaning(kind, kind))
    is_under_way = meaning.lasts and entry.get("ended") is None
    words = meaning.present if is_under_way else meaning.past
    return f"{subject} {words[:1].lower()}{words[1:]}" if subject else words


def has_cost(entry: Mapping[str, Any]) -> bool:
    """Whether wallets may have noticed it at all: an incident, not what an operator did."""
    return str(entry["kind"]) in _INCIDENTS


def has_lasted(entry: Mapping[str, Any]) -> bool:
    """Whether it has a length: it goes on, or took a time."""
    return entry.get("ended") is None or bool(entry["seconds"])


def what_wallets_noticed(incident: Mapping[str, Any]) -> str:
    count = int(incident["unserved"])
    if not count:
        return "nothing"
    return f"{count:,} error{'' if count == 1 else 's'}"


def how_long(incident: Mapping[str, Any]) -> str:
    times = f", {incident['times']} times" if incident["times"] > 1 else ""
    return f"{span(incident['seconds'])}{times}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def percent(share: float | None, digits: int = 2) -> str:
    """Never rounded up to all."""
    if share is None:
        return "–"
    scale = 10**digits
    # What is a whole number but for the last bits of a float is that number.
    cut = share if share >= 1 else int(round(share * 100 * scale, 6)) / (100 * scale)
    return f"{cut * 100:.{digits}f} %" if 0 < cut < 1 else f"{cut * 100:.0f} %"


def well_words(strip: Mapping[str, Any]) -> str:
    """How much of the time it was well, and of which time where that is less than the strip."""
    if strip["well_share"] is None:
        return "–"
    known = strip["known_seconds"]
    return percent(strip["well_share"]) + ("" if known >= 80_000 else f" of {span(known)}")


def rate(count: float, seconds: float) -> str:
    """Events per second."""
    return f"{count / seconds:,.1f}/s" if seconds >= 1 else "–"


def ago(seconds: float | None) -> str:
    return "–" if seconds is None else f"{span(seconds)} ago"


def failures_of(traffic: Mapping[str, Any]) -> str:
    """How many of the attempts for wallets failed in the last minute (``rules.telling.failing``);
    never with probes.
    """
    return f"{traffic.get('failures', 0):,} of {traffic.get('attempts', 0):,}"


def probes_of(traffic: Mapping[str, Any]) -> str:
    """Of our own probes in the last minute; empty where none failed."""
    failed = traffic.get("failed_probes", 0)
    return f"{failed:,} of {traffic.get('probes', 0):,} probes failed" if failed else ""


def share_notes(traffic: Mapping[str, Any], state: str) -> str:
    """Which time a share is of: it may have been another one's then, for what it is now."""
    meaning = next((row for known, row in UPSTREAM_STATES.items() if known == state), None)
    if not traffic.get("share") or meaning is None or meaning.serves:
        return ""
    return "before it was left out"


def place_of(upstream: Mapping[str, Any]) -> str:
    """Its company, cloud and region, and what sets it apart."""
    known = [upstream.get(key) for key in ("cloud", "region")]
    place = "/".join(str(part) for part in known if part not in (None, "", "unknown"))
    parts = [str(upstream.get("provider") or ""), place]
    parts += ["backup"] if upstream.get("tier") == "backup" else []
    role = upstream.get("role")
    parts += [str(role)] if role not in (None, "full") else []
    return " · ".join(dict.fromkeys(part for part in parts if part and part != upstream["name"]))


def order_of(upstream: Mapping[str, Any]) -> str:
    """Who ordered that it is drained or cordoned, and when; empty where nobody did, or it is not
    told.
    """
    order = upstream.get("order") or {}
    by = f" by {order['by']}" if order.get("by") else ""
    since = order.get("since")
    when = f", {datetime.fromisoformat(since):%d %b %H:%M:%S} UTC" if since else ""
    told = f"{order.get('order', 'order')}ed"
    if upstream.get("state") == told:
        told = "ordered"  # the state and its reason say what
    return f"{told}{by}{when}" if by or when else ""


def state_notes(upstream: Mapping[str, Any]) -> str:
    """Why it is in its state, and what else is the matter."""
    notes = [str(upstream.get("state_reason") or ""), order_of(upstream)]
    cooldown = upstream.get("cooldown_seconds") or 0.0
    if cooldown > 0:
        notes.append(f"asked again in {span(cooldown)}")
    if upstream.get("suspect"):
        notes.append("its fault domain is distrusted")
    quota = upstream.get("rate_level")
    if quota is not None and cooldown <= 0:
        notes.append(f"{percent(quota, digits=0)} of its rate left")
    return "; ".join(filter(None, notes))
