"""No key gets out, whatever happens: one proxy with keys in every place where a configuration can
have them, upstreams that repeat them in all they say, every fault of the catalogue and every lie.
What comes out anywhere is searched, each surface by itself.
"""

from __future__ import annotations

import base64
import gc
import itertools
import json
import re
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

import pytest

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_text
from rpcproxy.config.problems import ConfigError
from rpcproxy.drills.providers.wire import LINGER_ZERO
from tests.integration.echoing import EchoingWorld, spellings
from tests.integration.evidence import Evidence
from tests.integration.secrets_world import PASSWORD, SECRETS, Run

PIECE: Final = 12  # so much of a long key is no less secret
UPGRADE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

# ---- the search


def needles() -> dict[str, str]:
    """What is looked for, in lower case, and what it is of."""
    found: dict[str, str] = {}
    for secret in SECRETS:
        forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
        forms.add(json.dumps(secret)[1:-1])
        forms.add(secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        for shift in range(3):
            # In base64 the bytes around it decide about the first and the last letters.
            coded = base64.b64encode(b"." * shift + secret.encode() + b"...").decode()
            start = (0, 2, 3)[shift]
            forms.add(coded[start : (shift + len(secret)) * 8 // 6])
        if len(secret) >= 2 * PIECE - 4:
            forms |= {secret[:PIECE], secret[-PIECE:]}
        found |= dict.fromkeys((form.lower() for form in forms), secret)
    found[base64.b64encode(f"wallet:{PASSWORD}".encode()).decode().lower()] = PASSWORD
    return found


NEEDLES: Final = needles()
_ANY_NEEDLE: Final = re.compile("|".join(map(re.escape, sorted(NEEDLES, key=len, reverse=True))))


def leaks(text: str) -> list[str]:
    """Where a secret is, with what is around it."""
    lower = text.lower()
    return [
        f"{NEEDLES[found[0]]} in …{text[max(0, found.start() - 80) : found.end() + 20]!r}…"
        for found in itertools.islice(_ANY_NEEDLE.finditer(lower), 5)
    ]


def refusals(good: str) -> Iterator[str]:
    """What is said of configurations that are wrong beside a key, one by one."""
    lines = good.splitlines()
    damages = (
        ("http://", "http:/"),
        ("http://", "htp://"),
        ("http://", ""),
        ("http://", "http//"),
        ("127.0.0.1:", "127.0.0.1:x"),
        ("127.0.0.1:", "127.0.0.1/:"),
        ("127.0.0.1", "127.0.0 .1"),
        (": ", ": ["),
        (": ", ": {a: "),
        (": ", ": &x *y "),
        (": ", ": !key "),
        (": ", ": ${"),
        (": ", ": ${MISSING} "),
        (": ", " "),
        ("url", "ulr"),
        ("admin_token", "admin-token"),
        ("Authorization", "Author ization"),
        ("http", "\t http"),
    )
    for at, line in enumerate(lines):
        if not leaks(line):
            continue
        for was, wrong in damages:
            if was not in line:
                continue
            text = "\n".join([*lines[:at], line.replace(was, wrong, 1), *lines[at + 1 :]])
            try:
                load_text(text, file="bad.yaml", known=KNOWN, environ={})
            except ConfigError as error:
                yield str(error)


# ---- what is shown


# Each with what shows that there was something to find it in.
SURFACES: Final = {
    "log": "ejected",
    "log as JSON": '"event": "ejected"',
    "crashes": "RuntimeError: handler",
    "stacks": "cli.py",
    "metrics": "rpcproxy_",
    "status": '"state_reason"',
    "status in a browser": "</html>",
    "status as it changes": "data:",
    "transactions": '"hash"',
    "failures": '"reason"',
    "explain": "a0-g",
    "readiness": '"ready"',
    "landing page": "eth_blockNumber",
    "public status": "sentence",
    "headers of pages": "Content-Type",
    "answers to wallets": "[secret]",
    "headers to wallets": "X-Trace-Id",
    "webhooks": "alerts",
    "traces": "rpc.jsonrpc.error_code",
    "history on disk": "c1-g",
    "journal on disk": "SQLite",
    "cache on disk": "SQLite",
    "check": "SimGeth",
    "top": "sim0",
    "report": "upstreams",
    "process table": "tests.integration.leaking_proxy",
    "refused configurations": "bad.yaml:",
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    directory = tmp_path_factory.mktemp("secrets")
    run = Run(directory)
    run.tell()
    few = (directory / "few.yaml").read_text()
    run.evidence.take("refused configurations", "\n".join(refusals(few)))
    return run.evidence


@pytest.mark.parametrize("surface", SURFACES)
def test_no_secret_is_in(surface: str, evidence: Evidence) -> None:
    text = evidence[surface]
    assert SURFACES[surface] in text, text[:2000]
    assert leaks(text) == []


def test_no_surface_is_forgotten(evidence: Evidence) -> None:
    assert {name for name in evidence if name != "log level"} == set(SURFACES)


@pytest.mark.parametrize("secret", SECRETS)
def test_the_search_finds_what_is_planted(secret: str, evidence: Evidence) -> None:
    forms = [*spellings(secret), f"x{base64.b64encode(b'12' + secret.encode()).decode()}"]
    for surface in SURFACES:
        text = evidence[surface]
        middle = len(text) // 2
        for form in forms:
            assert leaks(f"{text[middle - 500 : middle]}{form}{text[middle : middle + 500]}"), form


def test_wallets_that_hang_up_leave_nothing_of_the_world_open() -> None:
    """A socket of it that is left open is a warning later, in whatever test runs then."""
    for turn in range(6):
        world = EchoingWorld({"a": ("some",)}, ("other",))
        ports = [world.port, world.providers["a"].port] * 5
        for port in ports:
            with socket.create_connection(("127.0.0.1", port)) as wallet:
                wallet.send(UPGRADE)
                if turn % 2:
                    wallet.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        open_ones = [socket.create_connection(("127.0.0.1", port)) for port in ports]
        for wallet in open_ones:
            wallet.send(UPGRADE)
        world.close()
        for wallet in open_ones:
            wallet.close()
    gc.collect()
