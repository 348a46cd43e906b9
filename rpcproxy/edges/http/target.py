"""Who an upstream is on the wire: its URL taken apart, the head of every request prebuilt."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from rpcproxy import __version__
from rpcproxy.config.model import Upstream
from rpcproxy.edges.http.reply_body import HeldBytes, Uncounted


@dataclass(frozen=True)
class Target:
    """An upstream's address. ``url`` and ``headers`` hold secrets and are never shown.

    Basic authentication in the URL becomes an ``Authorization`` header unless ``headers`` has
    one; path and query are kept. ``proxy`` is the URL of an outbound one, empty or ``direct`` for
    none.
    """

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str = field(default="", repr=False)


def target_of(upstream: Upstream) -> Target:
    """Where requests to a configured upstream go."""
    return Target(upstream.name, upstream.url, upstream.headers, upstream.proxy or "")


@dataclass(frozen=True)
class EdgeSettings:
    """How connections to one upstream are kept.

    ``hold_bytes``: bodies up to this size are whole before they are given on.
    ``max_decompressed``: a decompressed body over this size, at a ratio no JSON reaches, is
    refused. ``idle_seconds``: a connection idle for longer is closed. ``warm``: how many idle
    connections ``Upstream.warm_up`` keeps open. ``ssl_context`` is made fit in place; ``None``
    takes the system's authorities. ``own_patience_seconds``: so long a request waits for what this
    machine lacks for a connection. ``new_hold`` gives what counts the bytes of one body.
    """

    hold_bytes: int = 8 * 1024 * 1024
    max_decompressed: int = 64 * 1024 * 1024
    connect_seconds: float = 3.0
    idle_seconds: float = 50.0
    max_connections: int = 512
    warm: int = 1
    ssl_context: ssl.SSLContext | None = None
    resolve_seconds: float = 30.0
    own_patience_seconds: float = 0.25
    new_hold: Callable[[], HeldBytes] = Uncounted


@dataclass(frozen=True)
class Origin:
    """Where to connect to. ``label`` is ``host:port``, all that may be shown."""

    host: str
    port: int
    is_tls: bool

    @property
    def label(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# Framing and coding of the message are ours.
_OWN_HEADERS: Final = frozenset(
    {"content-length", "transfer-encoding", "connection", "accept-encoding", "content-encoding"}
    | {"te", "trailer", "upgrade", "expect", "keep-alive"}
)
_PORTS: Final = {"http": 80, "https": 443}


def read_origin(target: Target) -> Origin:
    """Raises ``ValueError``, without the URL, where it cannot be used."""
    parts = urlsplit(target.url)
    if parts.scheme not in _PORTS:
        raise ValueError(f"upstream {target.name}: the URL must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError(f"upstream {target.name}: the URL has no host")
    try:
        port = parts.port
        host = parts.hostname
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise ValueError(f"upstream {target.name}: the URL's host or port is not valid") from None
    if re.fullmatch(r"[0-9A-Za-z._:%\-]+", host) is None:
        raise ValueError(f"upstream {target.name}: the URL's host is not valid")
    return Origin(host, port or _PORTS[parts.scheme], parts.scheme == "https")


def request_head(target: Target, *, gzip: bool) -> bytes:
    """The head of every request to ``target``, up to the number of ``Content-Length``.

    Raises ``ValueError`` for a header that cannot be sent, without its value.
    """
    origin = read_origin(target)
    parts = urlsplit(target.url)
    is_usual_port = origin.port == _PORTS[parts.scheme]
    headers = {
        "host": ("Host", _bracketed(origin.host) if is_usual_port else origin.label),
        "content-type": ("Content-Type", "application/json"),
        "accept": ("Accept", "application/json"),
        "user-agent": ("User-Agent", f"rpcproxy/{__version__}"),
    }
    if gzip:
        headers["accept-encoding"] = ("Accept-Encoding", "gzip")
    if parts.username is not None or parts.password is not None:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        coded = base64.b64encode(pair.encode()).decode()
        headers["authorization"] = ("Authorization", f"Basic {coded}")
    for name, value in target.headers.items():
        _check_header(target, name, value)
        headers[name.lower()] = (name, value.strip(" \t"))
    # Characters that a request line cannot hold are quoted, quoted ones stay as they are.
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._[]")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    lines = [f"POST {path}{'?' * bool(query)}{query} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.values()]
    return "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")


def _check_header(target: Target, name: str, value: str) -> None:
    if _HEADER_NAME.fullmatch(name) is None:
        raise ValueError(f"upstream {target.name}: a header's name is not valid")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"upstream {target.name}: header {name} is set by the proxy itself")
    if _HEADER_VALUE.fullmatch(value) is None:
        raise ValueError(f"upstream {target.name}: the value of header {name} is not valid")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
