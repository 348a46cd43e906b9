"""The timeline as it is shown: by the admin port, the status and the report. No state."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from rpcproxy.app.people.timeline_book import latest_first
from rpcproxy.app.people.timeline_disk import BOUNDS, FILE_NAME, HAPPENINGS
from rpcproxy.edges.disk.timeline_store import read_timeline
from rpcproxy.edges.logs import utc
from rpcproxy.front.pages.outlook import ChangeTold
from rpcproxy.rules.telling.happenings import Happening, sentence_of


def change_told(happening: Happening, unix_seconds: float) -> ChangeTold:
    """One entry at ``unix_seconds`` of wall-clock time."""
    ended = happening.ended_unix
    end = unix_seconds if ended is None else ended
    return {
        "id": happening.id,
        "kind": happening.kind,
        "chain": happening.chain,
        "upstream": happening.subject,
        "words": happening.words,
        "sentence": sentence_of(happening),
        "by": happening.by,
        "started": utc(happening.started_unix),
        "ended": None if ended is None else utc(ended),
        "seconds": round(max(0.0, end - happening.started_unix), 1),
        "requests": happening.requests,
        "unserved": happening.unserved,
        "times": happening.times,
    }


def read_changes(beside: Path, since_unix: float, unix_seconds: float) -> list[ChangeTold]:
    """What happened since then, from the file ``beside`` that of the history; nothing where that is
    missing, or cannot be read.
    """
    found: list[Happening] = []
    with contextlib.suppress(OSError):
        for entry in read_timeline(beside.with_name(FILE_NAME), HAPPENINGS, since_unix):
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(entry.data, type=Happening))
    found.reverse()
    told = latest_first(found, most=BOUNDS[HAPPENINGS], since_unix=since_unix)
    return [change_told(each, unix_seconds) for each in told]
