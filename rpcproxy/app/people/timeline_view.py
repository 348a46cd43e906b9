"""The timeline as it is shown: by the admin port, the status and the report. No state."""

from __future__ import annotations

from rpcproxy.edges.logs import utc
from rpcproxy.front.operators.admin_changes import ChangeTold
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
