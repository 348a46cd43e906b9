"""A check's outcome for people (tables and sentences) and for programs (JSON)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rpcproxy.app.checkup.checkup import ChainCheck, Checkup, UpstreamCheck
from rpcproxy.app.checkup.inspection import CheckFinding, Inspection
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.known import told_identity
from rpcproxy.chains.registry import KINDS
from rpcproxy.rules.telling.capacity import NAMES, Share, listed

# Where the output is no terminal, nobody wraps lines after us.
PLAIN_WIDTH: Final = 120
_COLUMNS: Final = (
    "upstream",
    "is",
    "head",
    "lag",
    "latency",
    "22 KB",
    "batch",
    "logs",
    "old state",
    "ws",
)
# Where there is no room for all of them, the first are a table and the others a sentence.
_FIRST: Final = 5
_OTHER_COLUMNS_WIDTH: Final = 72
_FEW_SECONDS: Final = 0.01
_MARKS: Final = {"yes": ("yes", "green"), "no": ("no", "yellow"), "unknown": ("?", "yellow")}

Redact = Callable[[str], str]


def document(checkup: Checkup, warnings: Sequence[str], redact: Redact) -> str:
    """One JSON document, ASCII alone."""
    found = msgspec.to_builtins(checkup)
    for chain, checked in zip(found["chains"], checkup.chains, strict=True):
        chain["ok"] = not checked.has_trouble
        del chain["kind"]
        for upstream in chain["upstreams"]:
            told = upstream["found"]
            if told is not None:
                del told["seen"]
                if told["chain_id"] is not None:
                    told["chain_id"] = told_identity(told["chain_id"])
    whole = {"ok": not checkup.has_trouble, "warnings": list(warnings), **found}
    return json.dumps(_redacted(whole, redact), indent=2)


def _redacted(value: Any, redact: Redact) -> Any:  # noqa: ANN401 -- any JSON
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(inner, redact) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner, redact) for inner in value]
    return value


def show(
    checkup: Checkup, warnings: Sequence[str], redact: Redact, console: Console | None = None
) -> None:
    """Tables and sentences, on the standard output unless told otherwise."""
    if console is None:
        console = _Console(highlight=False)
        if not console.is_terminal:
            console = _Console(highlight=False, width=PLAIN_WIDTH)
    view = _View(console, redact)
    for warning in warnings:
        view.say(f"warning: {warning}", "yellow")
    for chain in checkup.chains:
        view.chain(chain, is_offline=checkup.is_offline)
    view.end(checkup)


class _Console(Console):
    """Leaves the end of a command whose output nobody reads to the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class _View:
    """Puts a check on a console."""

    def __init__(self, console: Console, redact: Redact) -> None:
        self._console = console
        self._redact = redact

    def say(self, words: str, style: str = "", indent: int = 0) -> None:
        text = Text(self._redact(words), style=style)
        if self._console.is_terminal:
            self._console.print(Padding(text, (0, 0, 0, indent), expand=False))
        else:
            # Whole lines, for whoever searches in them.
            text.pad_left(indent)
            self._console.print(text, soft_wrap=True)

    def chain(self, chain: ChainCheck, *, is_offline: bool) -> None:
        self._console.print()
        self.say(f"{chain.name} (chain {chain.chain_id})", "bold")
        if not is_offline:
            self._upstreams(chain)
        for upstream in chain.upstreams:
            if upstream.through:
                way = f"through the outbound proxy {upstream.through}"
                self.say(f"{upstream.name}: {way}", indent=2)
        self._capacity(chain)
        for pair in chain.alike:
            self.say(pair.words, "yellow")
        for note in chain.notes:
            self.say(note, "yellow")
        self._single_points(chain)

    def _upstreams(self, chain: ChainCheck) -> None:
        rows = [
            (upstream.found, self._row(upstream, upstream.found))
            for upstream in chain.upstreams
            if upstream.found is not None
        ]
        longest = max(len(upstream.name) for upstream in chain.upstreams)
        is_wide = self._console.width >= longest + _OTHER_COLUMNS_WIDTH
        columns = _COLUMNS if is_wide else _COLUMNS[:_FIRST]
        table = Table(box=None, pad_edge=False)
        for column in columns:
            is_number = column in ("head", "lag", "latency")
            table.add_column(
                column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
            )
        for _, row in rows:
            table.add_row(*row[: len(columns)])
        self._console.print(table)
        titles = _titles(KINDS[chain.kind])
        for found, row in rows:
            if not is_wide and found.is_usable:
                cells = zip(_COLUMNS[_FIRST:], row[_FIRST:], strict=True)
                told = ", ".join(f"{column}: {cell.plain}" for column, cell in cells)
                self.say(f"{found.name}: {told}", indent=2)
            for words, style in _sentences(found, titles):
                self.say(words, style, indent=2)

    def _row(self, upstream: UpstreamCheck, found: Inspection) -> list[Text]:
        tone = "green" if found.is_usable else "red"
        latency = found.latency_seconds
        marks = [_mark(mark) for mark in (found.multicall, found.batch, found.logs)]
        return [
            Text(self._redact(upstream.name)),
            Text(found.state.replace("_", " "), style=tone),
            _number(found.head),
            _number(found.lag),
            Text("-" if latency is None else _milliseconds(latency)),
            *marks,
            _reach(found),
            _mark(found.websocket),
        ]

    def _capacity(self, chain: ChainCheck) -> None:
        capacity = chain.capacity
        if not capacity.shares:
            self.say("no upstream can be used: nobody can serve", "red")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("share", "of", "", f"its loss ({capacity.basis})"):
            table.add_column(column, justify="right" if column == "share" else "left")
        for share in capacity.shares:
            table.add_row(
                f"{share.share:.0%}",
                NAMES[share.kind],
                Text(self._redact(_name(share))),
                Text(self._redact(share.words), style="" if share.left else "yellow"),
            )
        self._console.print(table)
        if capacity.unknown_clouds:
            names = ", ".join(capacity.unknown_clouds)
            self.say(
                f"the cloud of {names} is not known, so what the loss of a cloud would leave may "
                "be less: cloud: and region: tell it",
                indent=2,
            )

    def _single_points(self, chain: ChainCheck) -> None:
        for point in chain.capacity.single_points:
            if chain.is_single_point_accepted:
                self.say(f"accepted: {point.words}")
            else:
                self.say(f"single point of failure: {point.words}", "red")

    def end(self, checkup: Checkup) -> None:
        upstreams = [each for chain in checkup.chains for each in chain.upstreams]
        bad = [each.name for each in upstreams if not each.is_usable]
        points = sum(
            len(chain.capacity.single_points)
            for chain in checkup.chains
            if not chain.is_single_point_accepted
        )
        self._console.print()
        troubles = []
        if bad:
            troubles.append(f"{len(bad)} of {len(upstreams)} upstreams cannot be used")
        if points:
            troubles.append(
                f"{points} single point{'s' if points > 1 else ''} of failure "
                "(accept_single_point: true accepts them)"
            )
        undecided = [chain.name for chain in checkup.chains if chain.is_undecided]
        if undecided:
            troubles.append(f"heads far apart on {listed(undecided)}")
        if troubles:
            self.say(f"not well: {'; '.join(troubles)}", "bold red")
        else:
            said = "the configuration is valid" if checkup.is_offline else "all is well"
            self.say(said, "bold green")
        if not checkup.is_offline:
            asked = [each.found.calls for each in upstreams if each.found is not None]
            self.say(
                f"{sum(asked)} calls in {checkup.seconds:.1f} s, at most {max(asked)} of one "
                f"upstream (never more than {checkup.most_calls})"
            )


def _titles(kind: Kind) -> Mapping[str, str]:
    """What the findings are called, by the attributes of ``Inspection`` that hold them."""
    survey = kind.survey
    large = survey.large if survey is not None else None
    search = survey.search if survey is not None else None
    return {
        "genesis": "genesis block",
        "multicall": large.title if large is not None else "",
        "batch": "a batch",
        "logs": search.title if search is not None else "",
        "history": "old state",
        "websocket": "WebSocket",
    }


def _sentences(found: Inspection, titles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the table has no room for, with a style."""
    if not found.is_usable:
        yield f"{found.name}: {found.trouble}", "red"
        return
    if found.client_version:
        yield f"{found.name}: {found.client_version}", "dim"
    for key, title in titles.items():
        finding: CheckFinding | None = getattr(found, key)
        if finding is not None and finding.state != "yes":
            yield f"{found.name}: {title}: {finding.words}", "yellow"


def _name(share: Share) -> str:
    guessed = " (a guess)" if share.is_guess else ""
    return f"{share.name}{guessed}"


def _number(number: int | None) -> Text:
    return Text("-" if number is None else f"{number:,}")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < _FEW_SECONDS else f"{seconds * 1000:,.0f} ms"


def _mark(finding: CheckFinding | None) -> Text:
    if finding is None:
        return Text("-")
    words, style = _MARKS[finding.state]
    return Text(words, style=style)


def _reach(found: Inspection) -> Text:
    """How far back its state goes."""
    if found.history is None or found.history.state != "yes":
        return _mark(found.history)
    if found.is_archive:
        return Text("archive", style="green")
    return Text(f"{found.history_blocks or 0:,} back", style="green")
