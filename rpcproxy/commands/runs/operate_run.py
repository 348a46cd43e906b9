"""What a running proxy is told to do, and what it is asked, over its admin port."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType

from rpcproxy.commands.runs import operate_view
from rpcproxy.commands.runs.admin_client import (
    AdminAnswer,
    AdminClient,
    NoAnswer,
    in_path,
)
from rpcproxy.config.problems import listed, nearest

FINE: Final = 0
NOT_FOUND: Final = 1
# Longer than the proxy itself waits for its file.
RELOAD_SECONDS: Final = 40.0
_STANDARD_INPUT: Final = "-"


def obey(options: argparse.Namespace) -> int:
    """Drain, undrain, cordon or uncordon one upstream."""

    def ask(client: AdminClient) -> AdminAnswer:
        chain, upstream = _which(client, options.upstream, options.order)
        force = "?force=1" if getattr(options, "force", False) else ""
        return client.post(
            f"/upstreams/{in_path(chain)}/{in_path(upstream)}/{options.order}{force}"
        )

    return _run(options, ask, operate_view.ordered)


def reload(options: argparse.Namespace) -> int:
    """Have the configuration file read again."""
    return _run(
        options,
        lambda client: client.post("/reload", seconds=RELOAD_SECONDS),
        operate_view.reloaded,
    )


def explain(options: argparse.Namespace) -> int:
    """Say what would become of a request."""
    words: Sequence[str] = options.words

    def ask(client: AdminClient) -> AdminAnswer:
        chain, body = _request(client, words)
        path = "/explain" if chain is None else f"/explain?chain={in_path(chain)}"
        return client.post(path, body)

    return _run(options, ask, operate_view.Explained)


def failures(options: argparse.Namespace) -> int:
    """List the requests that failed or were slow."""
    found: list[Mapping[str, Any]] = []
    words: list[str] = []

    def ask(client: AdminClient) -> AdminAnswer:
        answer = client.get(
            "/failures",
            trace_id=options.trace,
            tx=options.tx,
            since=_ago(options.since),
            chain=options.chain,
            limit=options.limit,
        )
        found.extend(_listed(client, answer, "failures"))
        words.append(str(answer.told.get("words") or _no_failures(options)))
        # A proxy of an older version overlooks what it was asked by.
        if options.trace:
            found[:] = [each for each in found if each.get("trace_id") == options.trace]
        return answer

    def view(_told: Mapping[str, Any]) -> RenderableType:
        return operate_view.Failures(found[: options.limit], options.clock.unix())

    code = _run(options, ask, view)
    is_one = bool(options.trace or options.tx)
    if code == FINE and not found:
        print(operate_view.plain(words[0]), file=sys.stderr)
        return NOT_FOUND if is_one else FINE
    return code


def changes(options: argparse.Namespace) -> int:
    """Tell what happened lately."""
    found: list[Mapping[str, Any]] = []
    kept: list[str] = []

    def ask(client: AdminClient) -> AdminAnswer:
        answer = client.get(
            "/changes",
            since=_ago(options.since),
            chain=options.chain,
            upstream=options.upstream,
            limit=options.limit,
        )
        found.extend(_listed(client, answer, "changes"))
        kept.append(str(answer.told.get("kept") or ""))
        return answer

    def view(_told: Mapping[str, Any]) -> RenderableType:
        return operate_view.Changes(found, options.clock.unix())

    code = _run(options, ask, view)
    if code == FINE and not found:
        since = operate_view.span_words(options.since)
        print(f"nothing happened in the last {since}", file=sys.stderr)
    if code == FINE and kept[0] and not options.json:
        print(f"nothing is kept on disk: {operate_view.plain(kept[0])}", file=sys.stderr)
    return code


# --------------------------------------------------------------------------
# Asking and telling


def _run(
    options: argparse.Namespace,
    ask: Callable[[AdminClient], AdminAnswer],
    view: Callable[[Mapping[str, Any]], RenderableType],
) -> int:
    try:
        answer = ask(AdminClient.of(options, os.environ))
    except NoAnswer as error:
        if options.json and error.body:
            sys.stdout.write(_line(error.body))
        print(operate_view.plain(str(error)), file=sys.stderr)
        return error.code
    sys.stdout.write(
        _line(answer.body) if options.json else operate_view.drawn(view(answer.told), sys.stdout)
    )
    return FINE


def _line(body: str) -> str:
    return body if body.endswith("\n") else f"{body}\n"


def _ago(seconds: float | None) -> str | None:
    """As ``/changes`` and ``/failures`` take it."""
    if seconds is None:
        return None
    whole = max(1, round(seconds))
    for unit, length in (("h", 3600), ("m", 60)):
        if whole % length == 0:
            return f"{whole // length}{unit}"
    return f"{whole}s"


def _listed(client: AdminClient, answer: AdminAnswer, name: str) -> Sequence[Mapping[str, Any]]:
    found = answer.told.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NoAnswer(f"{client.where} answered something else: it has no list of {name}")
    return found


def _no_failures(options: argparse.Namespace) -> str:
    """Where the proxy does not say it: one of an older version."""
    if options.trace:
        which = f"of trace {options.trace[:80]}"
    elif options.tx:
        which = f"of transaction {options.tx[:80]}"
    else:
        where = f" on {options.chain}" if options.chain else ""
        since = operate_view.span_words(options.since) if options.since else ""
        return f"no failures are known{where}" + (f" of the last {since}" if since else "")
    return (
        f"no failure {which} is known: it did not fail or was not slow here, or so many came after "
        "it that it was forgotten"
    )


# --------------------------------------------------------------------------
# Which upstream, which request


def _which(client: AdminClient, words: Sequence[str], order: str) -> tuple[str, str]:
    """Chain and upstream. Raises ``NoAnswer``."""
    if len(words) == 2:
        return words[0], words[1]
    if len(words) > 2:
        raise NoAnswer(f"one upstream at a time: rpcproxy {order} CHAIN UPSTREAM")
    named = _names(client)
    word = words[0]
    found = [(chain, name) for chain, name in named if word in (name, f"{chain}/{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        chains = listed((chain for chain, _ in found), "and")
        raise NoAnswer(
            f"{word!r} is an upstream of {chains}: say which, as in "
            f"rpcproxy {order} {found[0][0]} {word}"
        )
    every = [name for _, name in named] + [f"{chain}/{name}" for chain, name in named]
    meant = nearest(word, every)
    hint = (
        f"did you mean {meant!r}?" if meant else f"there are {listed(every[: len(named)], 'and')}"
    )
    raise NoAnswer(f"there is no upstream {word[:80]!r} here; {hint}")


def _names(client: AdminClient) -> list[tuple[str, str]]:
    return [
        (str(chain.get("name")), str(upstream.get("name")))
        for chain in client.status()["chains"]
        for upstream in chain.get("upstreams", ())
    ]


def _request(client: AdminClient, words: Sequence[str]) -> tuple[str | None, bytes]:
    """The chain, ``None`` for the first, and the request in JSON-RPC. Raises ``NoAnswer``."""
    chain, rest = None, list(words)
    if not _is_whole(rest[0]):
        chains = [str(each.get("name")) for each in client.status()["chains"]]
        chain, rest = _chain_in(rest, chains)
    if _is_whole(rest[0]):
        if len(rest) > 1:
            raise NoAnswer("a request in JSON has its params with it: nothing may follow it")
        text = sys.stdin.read() if rest[0] == _STANDARD_INPUT else rest[0]
        if not text.strip():
            raise NoAnswer("there is no request on the standard input")
        return chain, text.encode("utf-8", "surrogateescape")
    params = [_value(word) for word in rest[1:]]
    if len(params) == 1 and isinstance(params[0], list):
        params = params[0]  # as it stands in a request
    asked = {"jsonrpc": "2.0", "id": 1, "method": rest[0], "params": params}
    return chain, json.dumps(asked).encode()


def _is_whole(word: str) -> bool:
    return word == _STANDARD_INPUT or word.lstrip().startswith(("{", "["))


def _chain_in(words: list[str], chains: Sequence[str]) -> tuple[str | None, list[str]]:
    """The chain that the first word names, and the rest. Raises ``NoAnswer``."""
    if words[0] in chains:
        if len(words) == 1:
            raise NoAnswer(f"{words[0]!r} is a chain: say the method, too")
        return words[0], words[1:]
    # No method is spelled nearly as a chain is.
    meant = nearest(words[0], chains) if len(words) > 1 else ""
    if meant:
        raise NoAnswer(f"chain {words[0][:80]!r} is not served here; did you mean {meant!r}?")
    return None, words


def _value(word: str) -> object:
    """JSON where it is some, else the text itself: a tag or a number in hex needs no quotes."""
    try:
        return json.loads(word)
    except ValueError:
        return word
