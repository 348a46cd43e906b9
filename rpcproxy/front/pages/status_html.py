"""The status as a page: what ``/status`` tells in JSON, drawn for people. Pure.

Levels are told by word, shape and height, and by colour besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from rpcproxy.front.pages.markup import Markup, icon, join, tag
from rpcproxy.front.pages.outlook import latency_of
from rpcproxy.front.pages.timeline_html import mark, note, timeline
from rpcproxy.front.pages.wording import (
    LEVEL_WORDS,
    WHOSE,
    ago,
    failures_of,
    how_long,
    milliseconds,
    number,
    percent,
    place_of,
    probes_of,
    rate,
    share_notes,
    state_notes,
    state_word,
    well_words,
    what_happened,
    what_wallets_noticed,
)
from rpcproxy.rules.telling.plight import span
from rpcproxy.rules.telling.strips import WORDS, level_of
from rpcproxy.states import Level, UpstreamState

INCIDENTS_SHOWN: Final = 50
_DAY_SECONDS: Final = 86_400.0
_HEIGHTS: Final = {Level.WELL: 5, Level.TROUBLED: 11, Level.DOWN: 16}
_STRIP_HEIGHT: Final = 16


def status_body(status: Mapping[str, Any], now: datetime) -> Markup:
    """Everything inside ``body``; the script asks for what comes after it."""
    version = status.get("version")
    header = tag(
        "header",
        tag("p", "rpcproxy", tag("span", f" {version}") if version else None, class_="brand"),
        tag("p", "Not live: reload for newer figures", class_="live", id="live",
            data_lost=icon(Level.DOWN)),
    )  # fmt: skip
    main = tag("main", status_main(status, now), id="main")
    # Filled by the script when the sentence becomes another one, and at no other time.
    told = tag("p", class_="aside", id="told", role="status")
    return join(header, main, told)


def status_main(status: Mapping[str, Any], now: datetime) -> Markup:
    """What changes, drawn anew for every listener at once."""
    chains: Sequence[Mapping[str, Any]] = status["chains"]
    level = status["level"]
    whose = WHOSE.get(status["whose"], "")
    parts: list[Markup | None] = [
        tag(
            "div",
            tag("p", mark(level), LEVEL_WORDS[level], class_=f"badge {level}"),
            tag("h1", status["sentence"]),
            tag("p", whose, class_="whose") if whose else None,
            class_=f"plight {level}",
            data_steady=status["steady"],
        )
    ]
    parts += [_chain(chain, is_only=len(chains) == 1) for chain in chains]
    parts.append(_incidents(status, now))
    parts.append(timeline(status, now))
    parts.append(_footer(status, now))
    return join(*parts)


# --------------------------------------------------------------------------
# Chains


def _chain(chain: Mapping[str, Any], *, is_only: bool) -> Markup:
    name, level = str(chain["name"]), chain["level"]
    heading = tag(
        "h2", chain["title"], tag("span", f" chain {chain['chain_id']}"), id=f"chain-{name}"
    )
    line = None
    if not is_only:
        words = (mark(level), tag("span", f"{LEVEL_WORDS[level]}: ", class_="aside"))
        line = tag("p", *words, chain["sentence"], class_=f"line {level}")
    strips = chain["strips"]
    return tag(
        "section",
        heading,
        line,
        tag("dl", *_figures(chain), class_="figures"),
        tag("h3", "Wallets’ view, last 24 hours", class_="caption"),
        _strip(strips["chain"], strips, f"{chain['title']} as wallets saw it"),
        tag("p", *(tag("span", text) for text in ("24 h ago", "12 h", "now")), class_="axis",
            aria_hidden="true"),
        _upstreams(chain),
        tag("p", _COUNTED, class_="quiet"),
        aria_labelledby=f"chain-{name}",
    )  # fmt: skip


def _figures(chain: Mapping[str, Any]) -> Iterator[Markup]:
    recent, strip = chain["recent"], chain["strips"]["chain"]
    yield _figure("Head", number(chain["served_head"]))
    yield _figure("Moved", ago(chain["head_age_seconds"]))
    yield _figure("Requests", rate(recent["requests"], recent["seconds"]))
    yield _figure("Not served, last minute", number(recent["unserved"]))
    yield _figure("Well, last 24 h", well_words(strip))
    transactions = chain.get("transactions")
    if transactions:
        yield _figure("Pending transactions", number(transactions["pending"]))
        if transactions["journal"] not in ("open", "off"):
            yield _figure("Journal", transactions["journal"])


def _figure(term: str, value: str) -> Markup:
    return tag("div", tag("dt", term), tag("dd", value))


_COLUMNS: Final = (
    *("Provider", "State", "Head", "Latency"),
    *("Failed, last minute", "Share, last minute", "Last 24 hours"),
)


_COUNTED: Final = (
    "Failed and share are of the attempts for wallets’ requests. "
    "Probes are the proxy’s own, and counted apart."
)


def _upstreams(chain: Mapping[str, Any]) -> Markup:
    # Roles are spelled out: a narrow screen lays rows out as blocks, which would lose them.
    head = tag("tr", *(tag("th", text, scope="col", role="columnheader") for text in _COLUMNS),
               role="row")  # fmt: skip
    rows = [_upstream(upstream, chain) for upstream in chain["upstreams"]]
    return tag(
        "table",
        tag("caption", f"Providers of {chain['title']}", class_="aside"),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        class_="upstreams",
        role="table",
    )


def _upstream(upstream: Mapping[str, Any], chain: Mapping[str, Any]) -> Markup:
    name = str(upstream["name"])
    traffic = chain["traffic"].get(name, {})
    strip = chain["strips"]["upstreams"].get(
        name, {"cells": "", "well_share": None, "known_seconds": 0.0}
    )
    place = place_of(upstream)
    cells = (
        _state(upstream),
        join(number(upstream.get("head")), note(_lag(upstream))),
        milliseconds(latency_of(upstream)),
        _failures(traffic),
        join(
            percent(traffic.get("share"), digits=0),
            note(share_notes(traffic, str(upstream.get("state")))),
        ),
        join(
            _strip(strip, chain["strips"], name),
            note(well_words(strip)),
        ),
    )
    return tag(
        "tr",
        tag("th", tag("span", name), note(place), scope="row", role="rowheader"),
        *(
            tag("td", tag("div", cell), role="cell", data_label=label)
            for label, cell in zip(_COLUMNS[1:], cells, strict=True)
        ),
        role="row",
    )


def _state(upstream: Mapping[str, Any]) -> Markup:
    state = str(upstream.get("state", UpstreamState.UNKNOWN))
    level = level_of(state)
    since = upstream.get("since_seconds")
    return join(
        tag("strong", mark(level), state_word(state), class_=level),
        tag("span", f" for {span(since)}", class_="since") if since is not None else None,
        note(state_notes(upstream)),
    )


def _lag(upstream: Mapping[str, Any]) -> str:
    lag = upstream.get("lag")
    if not lag:
        return ""
    return f"{lag:,} behind"


def _failures(traffic: Mapping[str, Any]) -> Markup:
    return join(failures_of(traffic), note(probes_of(traffic)))


# --------------------------------------------------------------------------
# Strips


def _strip(strip: Mapping[str, Any], frame: Mapping[str, Any], whose: str) -> Markup:
    cells = str(strip["cells"])
    until = datetime.fromisoformat(frame["until"])
    cell = timedelta(seconds=frame["cell_seconds"])
    runs: list[tuple[Level, int, int]] = []
    position = 0
    for letter, group in groupby(cells):
        length = sum(1 for _ in group)
        runs.append((WORDS.get(letter, Level.UNKNOWN), position, length))
        position += length
    drawn, told = [], []
    for level, start, length in runs:
        if level is Level.UNKNOWN:
            continue
        height = _HEIGHTS[level]
        begins, ends = (until - cell * (len(cells) - at) for at in (start, start + length))
        words = f"{level} {begins:%H:%M} to {ends:%H:%M} UTC"
        if level is not Level.WELL:
            told.append(words)
        box = {"x": start, "y": _STRIP_HEIGHT - height, "width": length, "height": height}
        title = tag("title", words)
        drawn.append(Markup(f"{tag('rect', class_=level, **box)[:-2]}>{title}</rect>"))
    share = strip["well_share"]
    words = "nothing known yet" if share is None else f"well {percent(share)} of the time"
    more = f"; and {len(told) - 8} more" if len(told) > 8 else ""
    label = "; ".join([f"{whose}, last 24 hours: {words}", *told[-8:]]) + more
    return tag(
        "svg",
        *drawn,
        class_="strip",
        viewBox=f"0 0 {max(1, len(cells))} {_STRIP_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


# --------------------------------------------------------------------------
# Incidents


def _incidents(status: Mapping[str, Any], now: datetime) -> Markup:
    heading = tag("h2", "Incidents, last 24 hours", id="incidents")
    every = [each for each in status["incidents"] if _is_of_today(each, now)]
    if not every:
        quiet = tag("p", "None.", class_="quiet")
        return tag("section", heading, quiet, aria_labelledby="incidents")
    titles = {chain["name"]: chain["title"] for chain in status["chains"]}
    columns = ("When (UTC)", "What", "Wallets noticed")
    head = tag("tr", *(tag("th", text, scope="col", role="columnheader") for text in columns),
               role="row")  # fmt: skip
    shown = every[:INCIDENTS_SHOWN]
    rows = [_incident(each, titles, columns) for each in shown]
    more = None
    if len(every) > len(shown):
        more = tag("p", f"{len(every) - len(shown)} older ones are in the JSON.", class_="quiet")
    table = tag(
        "table",
        tag("caption", "Incidents, the latest first", class_="aside"),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        class_="incidents",
        role="table",
    )
    return tag("section", heading, table, more, aria_labelledby="incidents")


def _is_of_today(incident: Mapping[str, Any], now: datetime) -> bool:
    ended = incident["ended"]
    if ended is None:
        return True
    return (now - datetime.fromisoformat(ended)).total_seconds() < _DAY_SECONDS


def _incident(
    incident: Mapping[str, Any], titles: Mapping[str, str], columns: Sequence[str]
) -> Markup:
    started = datetime.fromisoformat(incident["started"])
    ended = incident["ended"]
    end = "now" if ended is None else f"{datetime.fromisoformat(ended):%H:%M:%S}"
    title = titles.get(incident["chain"], incident["chain"])
    level = Level.DOWN if incident["unserved"] else Level.WELL
    cells = (
        join(
            tag("time", f"{started:%H:%M:%S}", datetime=incident["started"]),
            "–",
            tag("time", end, datetime=ended),
            note(how_long(incident)),
        ),
        join(
            tag("span", what_happened(incident)),
            note(" · ".join(filter(None, (title, incident.get("cause"))))),
        ),
        join(
            tag("strong", mark(level), what_wallets_noticed(incident), class_=level),
            note(f"{incident['requests']:,} requests meanwhile" if incident["requests"] else ""),
        ),
    )
    return tag(
        "tr",
        *(
            tag("td", tag("div", cell), role="cell", data_label=label)
            for label, cell in zip(columns, cells, strict=True)
        ),
        role="row",
    )


def _footer(status: Mapping[str, Any], now: datetime) -> Markup:
    moment = tag("time", f"{now:%H:%M:%S} UTC", datetime=f"{now:%Y-%m-%dT%H:%M:%SZ}")
    parts: list[Markup | str] = ["As of ", moment]
    uptime = status.get("uptime_seconds")
    if uptime is not None:
        parts.append(f" · running for {span(uptime)}")
    reload_words = status.get("config", {}).get("last_result")
    if reload_words:
        parts.append(f" · configuration {reload_words}")
    return tag("p", *parts, class_="as-of")


def moment_of(unix_seconds: float) -> datetime:
    """Wall-clock seconds as a moment, UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC)
