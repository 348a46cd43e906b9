"""``rpcproxy top``: the status of a running proxy in the terminal, from its admin port."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult

from rich.console import Console
from rich.live import Live

from rpcproxy.commands.runs.top_view import Picture

FINE: Final = 0
USAGE_ERROR: Final = 2
TOKEN_VARIABLE: Final = "RPCPROXY_ADMIN_TOKEN"  # noqa: S105 -- the variable's name

ANSWER_SECONDS: Final = 5.0
PRINTED_WIDTH: Final = 160  # into a file or a pipe
LONGEST_ANSWER: Final = 16 * 1024 * 1024


class NoStatus(Exception):
    """Why there is no status, in words. No secret is in them."""


def run(options: argparse.Namespace) -> int:
    """Print the status, again and again where a person looks."""
    token = options.token or os.environ.get(TOKEN_VARIABLE) or None
    try:
        status = fetch(options.url, token)
    except NoStatus as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    console = Console()
    if not console.is_terminal:
        console = Console(width=PRINTED_WIDTH)
    if options.once or not console.is_terminal:
        # Not printed by the console: it would end the process where nobody reads.
        with console.capture() as captured:
            console.print(Picture(status))
        sys.stdout.write(captured.get())
        return FINE
    try:
        _follow(console, lambda: fetch(options.url, token), status, options.every)
    except KeyboardInterrupt:
        return FINE  # the way it ends
    return FINE


def _follow(
    console: Console,
    ask: Callable[[], Mapping[str, Any]],
    status: Mapping[str, Any],
    pause_seconds: float,
) -> None:
    """Until Ctrl-C. While nothing comes, the last picture stays, and says so."""
    with Live(Picture(status), console=console, screen=True, auto_refresh=False) as live:
        fresh_at = time.monotonic()
        while True:
            time.sleep(pause_seconds)
            note = ""
            try:
                status = ask()
                fresh_at = time.monotonic()
            except NoStatus as error:
                note = f"As of {time.monotonic() - fresh_at:.0f} s ago; trying again. {error}"
            live.update(Picture(status, note), refresh=True)


def fetch(url: SplitResult, token: str | None) -> Mapping[str, Any]:
    """The status. Raises ``NoStatus``."""
    where = f"{url.scheme}://{url.netloc}"
    try:
        code, body = _get(url, token)
    except ssl.SSLError as error:
        raise NoStatus(f"{where}: TLS failed ({error.reason or 'no reason given'})") from None
    except TimeoutError:
        raise NoStatus(f"{where} did not answer within {ANSWER_SECONDS:g} s") from None
    except socket.gaierror:
        raise NoStatus(f"{where}: no such host") from None
    except ConnectionRefusedError:
        raise NoStatus(
            f"{where} refused the connection: is the proxy running, and is that its admin port?"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoStatus(f"{where} cannot be reached ({type(error).__name__})") from None
    if code == http.HTTPStatus.UNAUTHORIZED:
        what = "is another one" if token else f"is missing: set {TOKEN_VARIABLE}"
        raise NoStatus(f"{where} wants a token, and yours {what}")
    if code != http.HTTPStatus.OK:
        raise NoStatus(f"{where} answered HTTP {code}: that is not the admin port of rpcproxy")
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or not isinstance(status.get("chains"), list):
        raise NoStatus(f"{where} answered something else: that is not the admin port of rpcproxy")
    return status


def _get(url: SplitResult, token: str | None) -> tuple[int, bytes]:
    assert url.hostname is not None  # noqa: S101 -- held by ``_url``
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=ANSWER_SECONDS)
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    path = url.path.rstrip("/").removesuffix("/status")
    try:
        connection.request("GET", f"{path}/status", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(LONGEST_ANSWER)
    finally:
        connection.close()
