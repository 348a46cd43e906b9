"""Where a running proxy is asked: the options of all commands that talk to its admin port."""

from __future__ import annotations

import argparse
from typing import Final
from urllib.parse import SplitResult, urlsplit

DEFAULT_URL: Final = "http://127.0.0.1:9545"


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add ``--url``, ``-c`` and ``--token``. Whoever needs them asks ``runs.admin_client``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url", type=url_of, metavar="URL", help=f"its admin port (default {DEFAULT_URL})"
    )
    where.add_argument(
        "-c", "--config", metavar="FILE", help="its configuration: has the admin port and the token"
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="its server.admin_token; better in the environment: RPCPROXY_ADMIN_TOKEN",
    )


def url_of(text: str) -> SplitResult:
    """An address, http where it names no scheme. Raises ``ArgumentTypeError``."""
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        is_fine = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_fine = False
    if not is_fine or "@" in url.netloc:
        raise argparse.ArgumentTypeError(f"expected a URL such as {DEFAULT_URL}, and no password")
    return url
