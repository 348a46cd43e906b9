"""Who may do what on the admin port.

Reading is open to whoever reaches the port, unless there is a token; changing wants the token where
the port is not on loopback. Whoever has not given one comes in by a name of this machine, so that
no page in a browser reaches a port on loopback through a name of its own (DNS rebinding), and no
page of another host changes anything (CSRF). ``/healthz`` and ``/readyz`` are open to all.

No state.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from rpcproxy.config.urls import is_loopback
from rpcproxy.front.operators.admin_transactions import JsonPage

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
# Asked with a body, and nothing is changed by it.
_READING_POSTS: Final = frozenset({"/explain"})
_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WANTS: Final = (
    "this port wants the token of server.admin_token: Authorization: Bearer TOKEN,"
    " or in a browser as the password, with any name"
)
_NO_CHANGES: Final = (
    "changes are refused: this port is not on loopback and has no token; set server.admin_token"
)

# A name or an address and a port, nothing beside: no user information, no half a bracket.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(msgspec.Struct, frozen=True):
    """What the configuration says: the port's ``host`` as written, whether it ``is_local`` (bound
    to loopback alone), and the token, ``None`` for none.
    """

    host: str = "localhost"
    is_local: bool = True
    token: str | None = None

    def __repr__(self) -> str:
        has_token = self.token is not None
        return f"Access(host={self.host!r}, is_local={self.is_local}, has_token={has_token})"


class Denied(Exception):
    """``status`` and words for whoever asked."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def make_guard(access: Callable[[], Access], page: JsonPage) -> Middleware:
    """A middleware for the whole port; ``access`` is asked each time, as a reload may change it."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            try:
                check(request, access())
            except Denied as denied:
                refusal = page({"error": str(denied)}, status=denied.status)
                if denied.status == 401:
                    refusal.headers.add("WWW-Authenticate", 'Bearer realm="rpcproxy"')
                    refusal.headers.add("WWW-Authenticate", 'Basic realm="rpcproxy"')
                return refusal
        return await handler(request)

    return guard


def check(request: web.Request, access: Access) -> None:
    """Raises ``Denied``."""
    has_token = access.token is not None
    if access.token is not None and not _is_right(
        request.headers.get("Authorization", ""), access.token
    ):
        raise Denied(401, _WANTS)
    if access.is_local and not has_token:
        _check_name(request, access)
    if request.method in _READING_METHODS or request.path in _READING_POSTS:
        return
    if request.match_info.http_exception is not None:
        return  # there is nothing to change, which the answer says
    _check_origin(request)
    if not has_token and not access.is_local:
        raise Denied(403, _NO_CHANGES)
    if request.body_exists and request.content_type != "application/json":
        raise Denied(415, "a body is to be JSON, sent with Content-Type: application/json")


def _is_right(header: str, token: str) -> bool:
    scheme, _, given = header.partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def name_in(host: str) -> str | None:
    """The name or address in a Host header, in lower case, without brackets; ``None`` where it is
    not exactly a host, or a host and a port.
    """
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").rstrip(".").lower()


def _check_name(request: web.Request, access: Access) -> None:
    name = name_in(request.host)
    if name is None:
        raise Denied(400, "the Host header is malformed")
    if not (is_loopback(name) or name == access.host.lower()):
        raise Denied(
            421, "this port answers to localhost and addresses of this machine alone, not to that"
        )


def _check_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    if origin is None:
        return
    try:
        came_from = urlsplit(origin).netloc
    except ValueError:
        raise Denied(400, "the Origin header is malformed") from None
    if came_from.lower() != request.host.lower():
        raise Denied(403, "changes are refused from pages of another host")
