"""Connections that hear where a client's own trace goes on: the header ``traceparent`` (W3C Trace
Context, section 3.2). Made in place of the usual ones where ``server.traces`` is set.

No state of its own.
"""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.engine.spans import traceparent
from rpcproxy.front.protocol.request_heads import RequestHead
from rpcproxy.front.wire.http import HttpConnection

_HEADER: Final = re.compile(
    rb"\r\ntraceparent:[ \t]*([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})[ \t]*\r\n",
    re.IGNORECASE,
)


class TracedConnection(HttpConnection):
    """An HTTP connection that keeps a request's ``traceparent`` in a context variable while the
    request is handed to its door.
    """

    __slots__ = ()

    def _serve(self, head: RequestHead, body: bytes) -> None:
        found = _HEADER.search(head.text)
        token = traceparent.set(found[1].decode().lower() if found is not None else "")
        try:
            super()._serve(head, body)
        finally:
            traceparent.reset(token)
