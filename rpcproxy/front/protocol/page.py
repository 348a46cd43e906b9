"""What a page is asked by, and what it is. Values, pure.

A *page* is whatever the wallet port gives for a request that is no POST: pages for people, health,
preflights, refusals of other methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from rpcproxy.front.protocol.request_heads import RequestHead
from rpcproxy.messages import Answer

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
# On the admin port: where it is left out, aiohttp tells its own version and Python's.
SERVER_HEADER: Final = {"Server": "rpcproxy"}


def _nothing() -> None:
    """Of a request without a connection."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a page. ``fields`` by name in lower case, repeated ones joined by commas.
    ``peer`` is the client's address, ``here`` ours with its port; empty where they are not known.
    ``hang_up`` closes the connection at once.
    """

    method: str
    path: str
    query: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}
    peer: str = ""
    here: str = ""
    scheme: str = "http"
    hang_up: Callable[[], None] = _nothing

    @classmethod
    def of_head(
        cls,
        head: RequestHead,
        *,
        peer: str,
        here: str,
        scheme: str,
        hang_up: Callable[[], None] = _nothing,
    ) -> PageRequest:
        """The request of a head that was read, and so is well-formed."""
        first, *lines = head.text[:-4].decode("latin-1").split("\r\n")
        query = first.split(" ")[1].partition("?")[2].partition("#")[0]
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            fields[name] = f"{fields[name]},{value}" if name in fields else value
        return cls(
            method=head.method,
            path=head.path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            fields=fields,
            peer=peer,
            here=here,
            scheme=scheme,
            hang_up=hang_up,
        )

    @property
    def takes_html(self) -> bool:
        """Whether somebody looks with a browser."""
        return "text/html" in self.fields.get("accept", "")


class Page(Answer, gc=False):
    """An answer with headers of its own, ``Content-Type`` among them where there is a body.
    ``is_last``: the connection ends with it.
    """

    headers: Mapping[str, str] = {}
    is_last: bool = False
