"""What happened, as a part of the status page: the newest of the timeline, with who did it and what
wallets noticed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rpcproxy.front.pages.markup import Markup, join, tag
from rpcproxy.front.pages.wording import (
    MARKS,
    has_cost,
    has_lasted,
    how_long,
    what_changed,
    what_wallets_noticed,
)
from rpcproxy.states import Level

HAPPENINGS_SHOWN: Final = 20


def mark(level: str) -> Markup:
    """The shape of a level, beside its word."""
    return tag("span", MARKS[level], class_="mark", aria_hidden="true")


def note(text: str) -> Markup | None:
    """Small, below what it is about; nothing where there is nothing to say."""
    return tag("small", text) if text else None


def timeline(status: Mapping[str, Any], now: datetime) -> Markup | None:
    """What happened, whoever did it; ``None`` where the status tells nothing of it."""
    every: Sequence[Mapping[str, Any]] = status.get("timeline", ())
    kept = status.get("timeline_kept")
    if not every and not kept:
        return None
    titles = {chain["name"]: chain["title"] for chain in status["chains"]}
    has_who = any(each.get("by") for each in every)
    columns = ("When (UTC)", "What", *(("Who",) if has_who else ()), "Wallets noticed")
    head = tag("tr", *(tag("th", text, scope="col", role="columnheader") for text in columns),
               role="row")  # fmt: skip
    rows = [_happening(each, titles, columns, now) for each in every[:HAPPENINGS_SHOWN]]
    table = tag(
        "table",
        tag("caption", "What happened, the latest first", class_="aside"),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        class_="incidents happened",
        role="table",
    )
    lacking = tag("p", f"Not kept through a restart: {kept}.", class_="quiet") if kept else None
    heading = tag("h2", "What happened", id="happened")
    return tag("section", heading, table if rows else None, lacking, aria_labelledby="happened")


def _happening(
    entry: Mapping[str, Any], titles: Mapping[str, str], columns: Sequence[str], now: datetime
) -> Markup:
    started = datetime.fromisoformat(entry["started"])
    ended = entry.get("ended")
    moment = f"{started:%H:%M:%S}" if started.date() == now.date() else f"{started:%d %b %H:%M}"
    until = how_long(entry) + ("" if ended else " so far") if has_lasted(entry) else ""
    title = titles.get(entry["chain"], entry["chain"])
    noticed: Markup | str = "–"
    if has_cost(entry):
        level = Level.DOWN if entry["unserved"] else Level.WELL
        noticed = tag("strong", mark(level), what_wallets_noticed(entry), class_=level)
    cells = [
        join(tag("time", moment, datetime=entry["started"]), note(until)),
        join(
            tag("span", what_changed(entry)),
            note(" · ".join(filter(None, (title, entry.get("words"))))),
        ),
    ]
    cells += [join(entry.get("by") or "–")] if "Who" in columns else []
    cells.append(join(noticed))
    return tag(
        "tr",
        *(
            tag("td", tag("div", cell), role="cell", data_label=label)
            for label, cell in zip(columns, cells, strict=True)
        ),
        role="row",
    )
