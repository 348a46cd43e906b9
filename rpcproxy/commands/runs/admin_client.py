"""The admin port of a running proxy, as all commands ask it: one question, one answer or words.

State: none; each question is a connection of its own.
"""

from __future__ import annotations

import argparse
import getpass
import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, quote, urlencode

from rpcproxy import __version__
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.admin_address import DEFAULT_URL, url_of
from rpcproxy.config.load import load_admin
from rpcproxy.config.model import Address
from rpcproxy.config.problems import ConfigError

TOKEN_VARIABLE: Final = "RPCPROXY_ADMIN_TOKEN"  # noqa: S105 -- the variable's name
REFUSED: Final = 1
USAGE_ERROR: Final = 2

ANSWER_SECONDS: Final = 5.0
LONGEST_ANSWER: Final = 16 * 1024 * 1024
_NOT_OURS: Final = "that is not the admin port of rpcproxy"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- looked up, not bound


class NoAnswer(Exception):
    """Why there is no answer that could be shown, in words; no secret is in them. ``code`` is the
    exit code, ``body`` what the proxy said, where it was a refusal of its own.
    """

    def __init__(self, words: str, code: int = USAGE_ERROR, body: str = "") -> None:
        super().__init__(words)
        self.code = code
        self.body = body


class AdminAnswer(NamedTuple):
    """What the proxy said: as it came, and read."""

    body: str
    told: Mapping[str, Any]


class _Response(NamedTuple):
    code: int
    body: bytes
    server: str


class AdminClient:
    """One admin port. ``who`` is told where something is changed."""

    def __init__(self, url: SplitResult, token: str | None = None, who: str = "") -> None:
        self._url, self._token, self._who = url, token, who
        self.where = f"{url.scheme}://{url.netloc}"

    @classmethod
    def of(cls, options: argparse.Namespace, environ: Mapping[str, str]) -> AdminClient:
        """The one that the options of ``commands.admin_address`` name. Raises ``NoAnswer`` and
        ``ConfigError``.
        """
        token = options.token or environ.get(TOKEN_VARIABLE) or None
        url = options.url or url_of(DEFAULT_URL)
        if options.config:
            url, token = _configured(options.config, options.token, token, environ)
        return cls(url, token, operator(environ))

    def get(self, path: str, **query: object) -> AdminAnswer:
        """A page; ``None`` leaves a part of the query out. Raises ``NoAnswer``."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given)}" if given else path, None)

    def post(self, path: str, body: bytes | None = None, seconds: float = 0.0) -> AdminAnswer:
        """Something done, which may take so many ``seconds``. Raises ``NoAnswer``."""
        return self._ask("POST", path, body, max(seconds, ANSWER_SECONDS))

    def status(self) -> Mapping[str, Any]:
        """Raises ``NoAnswer``."""
        told = self.get("/status").told
        if not isinstance(told.get("chains"), list):
            raise NoAnswer(f"{self.where} answered something else: {_NOT_OURS}")
        return told

    def _ask(
        self, method: str, path: str, body: bytes | None, seconds: float = ANSWER_SECONDS
    ) -> AdminAnswer:
        found = self._reached(method, path, body, seconds)
        told = _read(found.body)
        words = told.get("error") if told is not None else None
        # An answer to a wallet has a field of this name, too.
        if found.code == HTTPStatus.OK and told is not None and "jsonrpc" not in told:
            return AdminAnswer(found.body.decode(), told)
        if found.code == HTTPStatus.UNAUTHORIZED:
            what = "is another one" if self._token else f"is missing: set {TOKEN_VARIABLE}"
            raise NoAnswer(f"{self.where} wants a token, and yours {what}")
        if told is None or not isinstance(words, str) or _is_no_route(found.code, told):
            raise self._explained(method, path, found)
        is_refusal = found.code in (HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE)
        is_refusal |= found.code == HTTPStatus.INTERNAL_SERVER_ERROR
        raise NoAnswer(words, REFUSED if is_refusal else USAGE_ERROR, found.body.decode())

    def _explained(self, method: str, path: str, found: _Response) -> NoAnswer:
        """Who is there instead, of what has no such page or answers something else."""
        said = "something else" if found.code == HTTPStatus.OK else f"HTTP {found.code}"
        health = _read(self._reached("GET", "/healthz", None, ANSWER_SECONDS).body) or {}
        if health.get("status") != "ok":
            return NoAnswer(f"{self.where} answered {said}: {_NOT_OURS}")
        if found.server != "rpcproxy":
            return NoAnswer(
                f"{self.where} answered {said}: {_NOT_OURS}, and seems to be its wallet port; "
                "the other one is server.admin, mostly port 9545"
            )
        what, version = f"{method} {path.partition('?')[0]}", str(health.get("version", "?"))[:40]
        return NoAnswer(
            f"{self.where} is rpcproxy {version}, which does not have {what}: it is of another "
            f"version than this command ({__version__})"
        )

    def _reached(self, method: str, path: str, body: bytes | None, seconds: float) -> _Response:
        where = self.where
        try:
            return self._exchange(method, path, body, seconds)
        except ssl.SSLError as error:
            words = f"{where}: TLS failed ({error.reason or 'no reason given'})"
        except TimeoutError:
            words = f"{where} did not answer within {seconds:g} s"
        except socket.gaierror:
            words = f"{where}: no such host"
        except ConnectionRefusedError:
            words = (
                f"{where} refused the connection: is the proxy running, and is that its admin port?"
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = f"{where} cannot be reached ({type(error).__name__})"
        raise NoAnswer(words)

    def _exchange(self, method: str, path: str, body: bytes | None, seconds: float) -> _Response:
        url = self._url
        assert url.hostname is not None  # noqa: S101 -- held by ``url_of``
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname, url.port, timeout=seconds)
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if method != "GET":
            headers["X-Operator"] = self._who
        if body is not None:
            headers["Content-Type"] = "application/json"
        above = url.path.rstrip("/").removesuffix("/status")
        try:
            connection.request(method, above + path, body, headers)
            response = connection.getresponse()
            server = response.getheader("Server", "")
            return _Response(response.status, response.read(LONGEST_ANSWER), server)
        finally:
            connection.close()


def in_path(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def operator(environ: Mapping[str, str]) -> str:
    """Who sits here, ``user@host``, for the proxy's timeline. Who became root is still told."""
    name = environ.get("SUDO_USER", "")
    try:
        name = name or getpass.getuser()
    except (OSError, KeyError):  # no entry for this user, and nothing in the environment
        name = str(os.getuid())
    told = f"{name}@{socket.gethostname()}"
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in told)


def _read(body: bytes) -> Mapping[str, Any] | None:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _is_no_route(code: int, told: Mapping[str, Any]) -> bool:
    """Whether it has no such page at all: a name that is not known there is told in other words."""
    if code not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return False
    return "paths" in told or told["error"] in ("Not Found", "Method Not Allowed")


def _configured(
    file: str, given: str | None, other: str | None, environ: Mapping[str, str]
) -> tuple[SplitResult, str | None]:
    """Where the proxy of a configuration is, and its token: the one ``given``, else the file's, and
    any ``other`` where that cannot be had here.
    """
    try:
        server = load_admin(file, KNOWN, environ, has_token=given is None)
    except ConfigError:
        if other is None:
            raise
        server = load_admin(file, KNOWN, environ, has_token=False)
    if server.admin is None:
        raise NoAnswer(f"the admin port is off in {file} (server.admin)")
    if not server.admin.port:
        raise NoAnswer(f"server.admin of {file} takes any free port: give the one it has by --url")
    return url_of(f"http://{_host(server.admin)}:{server.admin.port}"), (
        given or server.admin_token or other
    )


def _host(address: Address) -> str:
    host = _EVERYWHERE.get(address.host, address.host)
    return f"[{host}]" if ":" in host else host
