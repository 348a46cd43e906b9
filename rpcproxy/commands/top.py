"""``rpcproxy top``: the status of a running proxy in the terminal."""

from __future__ import annotations

import argparse
from typing import Final
from urllib.parse import SplitResult, urlsplit

from rpcproxy.commands import Commands, Run

DEFAULT_URL: Final = "http://127.0.0.1:9545"
_FASTEST_SECONDS: Final = 0.2


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("top", help="the status of a running proxy, live")
    parser.add_argument(
        "--url",
        type=_url,
        default=_url(DEFAULT_URL),
        metavar="URL",
        help=f"its admin port (default {DEFAULT_URL})",
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="its server.admin_token; better in the environment: RPCPROXY_ADMIN_TOKEN",
    )
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="how often (default 2)"
    )
    parser.add_argument("--once", action="store_true", help="print it once, as without a terminal")
    parser.set_defaults(load=_load)


def _url(text: str) -> SplitResult:
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        is_fine = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_fine = False
    if not is_fine or "@" in url.netloc:
        raise argparse.ArgumentTypeError(f"expected a URL such as {DEFAULT_URL}, and no password")
    return url


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _FASTEST_SECONDS <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, {_FASTEST_SECONDS:g} to 3600")
    return seconds


def _load() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.top_run import run  # noqa: PLC0415

    return run
