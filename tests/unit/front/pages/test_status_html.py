"""front.pages.status_html, front.pages.outlook, front.pages.wording and front.pages.markup: the status drawn for people."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from rpcproxy.front.pages.landing import SHELL as LANDING
from rpcproxy.front.pages.markup import Markup, Shell, asset, icon, join, tag
from rpcproxy.front.pages.outlook import public_part
from rpcproxy.front.pages.status_html import INCIDENTS_SHOWN, status_body, status_main
from rpcproxy.front.pages.status_page import SHELL
from rpcproxy.front.pages.timeline_html import HAPPENINGS_SHOWN
from rpcproxy.front.pages.wording import (
    ago,
    how_long,
    milliseconds,
    number,
    percent,
    rate,
    well_words,
    what_happened,
    what_wallets_noticed,
)
from tests.kits.statuses import (
    EVIL,
    REASON,
    a_chain,
    a_happening,
    a_public_status,
    a_status,
    an_incident,
    an_upstream,
)

NOW = datetime(2026, 9, 1, 12, 1, tzinfo=UTC)
_VOID = {"meta", "link", "br"}


class Tree(HTMLParser):
    """What a browser would make of it: texts, and every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def drawn(status: dict[str, Any]) -> Tree:
    return Tree(status_main(status, NOW))


# ---- markup


def test_whatever_is_no_markup_is_escaped() -> None:
    assert tag("p", EVIL, tag("b", "x"), title='"<') == Markup(
        '<p title="&quot;&lt;">&lt;img src=x onerror=alert(1)&gt;<b>x</b></p>'
    )
    assert join("<", None, 3, Markup("<br>")) == "&lt;3<br>"
    assert tag("button", "x", hidden=True, disabled=False, id=None) == "<button hidden>x</button>"
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_the_policy_allows_our_own_style_and_script_alone() -> None:
    import base64
    import hashlib

    for shell in (SHELL, LANDING):
        page = shell.page("<t>", Markup("<main></main>"))
        policy = shell.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        for name in ("style", "script"):
            (content,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{name}-src 'sha256-{digest}'" in policy
        assert "<title>&lt;t&gt;</title>" in page


def test_assets_are_packed_and_ask_nobody() -> None:
    folder = files("rpcproxy.front.pages") / "assets"
    names = sorted(each.name for each in folder.iterdir())
    assert names == ["landing.css", "landing.js", "pages.css", "status.css", "status.js"]
    for name in names:
        text = asset(name)
        assert "http://" not in text.replace("https?", "")
        assert not re.search(r"https://|@import|url\(", text)
    assert isinstance(Shell(styles=("pages.css",), script="status.js").page("", Markup("")), str)


# ---- the page


def test_the_page_says_all_of_it() -> None:
    tree = drawn(a_status())
    for words in (
        "a is rate-limited, wallets are served by one other",
        "It is on the providers’ side. The chain and this proxy are well.",
        "rate-limited for 75 s",
        "asked again in 4 s",
        "infura · aws/us-east-1",
        "21,000,000",
        "21 ms",
        "2 of 401 of 12 probes failed",
        "25 %",
        "98.76 %",
        "20.0/s",
        "11:00:00–11:00:30",
        "a failed",
        "300 requests meanwhile",
        "running for 62 min",
    ):
        assert words in tree.text, words


def test_no_name_or_reason_becomes_a_tag() -> None:
    upstream = an_upstream(EVIL, "ejected", state_reason=EVIL, provider=EVIL, region=EVIL)
    chain = a_chain(upstream, name=EVIL, title=EVIL, sentence=EVIL)
    status = a_status(
        chain, steady=EVIL, incidents=[an_incident(upstream=EVIL, cause=EVIL, kind=EVIL)]
    )
    for told in (status, public_part(status)):
        body = status_body(told, NOW)
        tree = Tree(body)
        assert not tree.of("img")
        assert not tree.of("script")
        assert EVIL in tree.text
        for _, attributes in tree.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_levels_are_told_without_colour() -> None:
    for level, mark, word in (
        ("well", "●", "Well"),
        ("troubled", "▲", "Troubled"),
        ("down", "■", "Down"),
        ("unknown", "○", "Unknown"),
    ):
        assert f"{mark}{word}" in drawn(a_status(level=level)).text
    heights = {each["class"]: each["height"] for each in drawn(a_status()).of("rect")}
    assert len(set(heights.values())) == 3


def test_strips_are_told_in_words() -> None:
    strips = drawn(a_status()).of("svg")
    assert len(strips) == 3
    label = strips[0]["aria-label"] or ""
    assert label.startswith("Ethereum as wallets saw it, last 24 hours: well 98.76 % of the time")
    assert "troubled 11:40 to 11:50 UTC; down 11:50 to 12:00 UTC" in label
    flapping = {"cells": "wd" * 144, "well_share": 0.5, "known_seconds": 86_400}
    chain = a_chain(an_upstream("a"))
    chain["strips"]["chain"] = flapping
    assert "; and 136 more" in (drawn(a_status(chain)).of("svg")[0]["aria-label"] or "")
    chain["strips"]["chain"] = {"cells": "." * 288, "well_share": None, "known_seconds": 0}
    assert "nothing known yet" in (drawn(a_status(chain)).of("svg")[0]["aria-label"] or "")


def test_tables_keep_their_roles_and_headers() -> None:
    tree = drawn(a_status())
    assert [each["role"] for each in tree.of("table")] == ["table", "table"]
    assert {each["scope"] for each in tree.of("th")} == {"col", "row"}
    assert {each["role"] for each in tree.of("td")} == {"cell"}
    sections = [each["aria-labelledby"] for each in tree.of("section")]
    ids = [each.get("id") for _, each in tree.elements if each.get("id")]
    assert set(sections) <= set(ids)


def test_the_live_region_is_told_of_changes_alone() -> None:
    tree = Tree(status_body(a_status(), NOW))
    (region,) = [each for each in tree.of("p") if each.get("role") == "status"]
    assert region["id"] == "told"
    assert tree.of("main") == [{"id": "main"}]


@pytest.mark.parametrize("level", ["well", "troubled", "down", "unknown"])
def test_the_tab_shows_the_level_by_shape(level) -> None:
    """Not by colour alone; and each level has a shape of its own."""
    text = SHELL.page("t", Markup(""), level)
    (shown,) = re.findall(r"href=\"(data:image/svg[^\"]*)", text)
    assert html.unescape(shown) == icon(level)
    others = {icon(other) for other in ("well", "troubled", "down", "unknown", "new")}
    assert len(others) == 4


def test_who_drained_it_is_on_the_page_of_operators_alone() -> None:
    order = {"order": "drain", "since": "2026-09-01T11:30:00.000Z", "by": "alice, from ::1"}
    chain = a_chain(an_upstream("a", "drained", order=order), an_upstream("b", order=None))
    words = "ordered by alice, from ::1, 01 Sep 11:30:00 UTC"
    assert words in drawn(a_status(chain)).text
    assert "alice" not in json.dumps(public_part(a_status(chain)))
    order = {**order, "order": "cordon"}
    failing = an_upstream("a", "ejected", order=order)
    assert "cordoned by alice, from ::1, 01 Sep" in drawn(a_status(a_chain(failing))).text
    unknown = {"order": "drain", "since": None, "by": ""}
    assert "ordered" not in drawn(a_status(a_chain(an_upstream("a", order=unknown)))).text


def a_timeline() -> list[dict[str, Any]]:
    lasting = a_happening(kind="ejected", ended=None, seconds=90.0, unserved=3, by="", words=REASON)
    start = a_happening(kind="started", chain="", upstream="", by="", words="version 1.2")
    return [lasting, a_happening(), start, *[a_happening(kind="cordoned")] * 30]


def test_what_happened_is_told_with_who_did_it_and_what_wallets_noticed() -> None:
    tree = drawn(a_status(timeline=a_timeline()))
    for words in (
        "a fails",
        "90 s so far",
        "3 errors",
        "a was drained",
        "alice, from 127.0.0.1",
        "The proxy started",
        "version 1.2",
    ):
        assert words in tree.text, words
    assert tree.text.count("a was cordoned") == HAPPENINGS_SHOWN - 3
    assert "What happened" not in drawn(a_status()).text, "an older proxy tells nothing of it"
    full = drawn(a_status(timeline=[], timeline_kept="the disk is full")).text
    assert "Not kept through a restart: the disk is full." in full


def test_hands_and_reasons_of_what_happened_are_not_public() -> None:
    part = public_part(a_status(timeline=a_timeline()))
    assert [each["kind"] for each in part["timeline"]] == ["ejected"]
    text = drawn(part).text
    assert "a fails" in text
    for words in ("alice", "drained", "2 timeouts", "The proxy started", "Who"):
        assert words not in text, words


def test_several_chains_have_a_sentence_each() -> None:
    chains = (a_chain(an_upstream("a")), a_chain(an_upstream("a"), name="base", title="Base"))
    tree = drawn(a_status(*chains))
    assert tree.text.count("a is rate-limited, wallets are served by one other") == 3
    assert len(tree.of("h2")) == 3


def test_incidents_of_the_last_day_alone() -> None:
    old = an_incident(ended="2026-08-31T11:59:00.000Z")
    assert "None." in drawn(a_status(incidents=[old])).text
    lasting = an_incident(ended=None, unserved=2, times=3, seconds=90_000.0)
    text = drawn(a_status(incidents=[lasting, old])).text
    for words in ("–now", "25 h, 3 times", "a fails", "2 errors"):
        assert words in text
    many = drawn(a_status(incidents=[an_incident()] * (INCIDENTS_SHOWN + 7)))
    assert "7 older ones are in the JSON" in many.text


def test_what_is_unknown_is_a_dash() -> None:
    bare = {"name": "a", "state": "unknown"}
    chain = a_chain(bare, served_head=None, head_age_seconds=None, traffic={})
    chain["strips"]["upstreams"] = {}
    assert "○unknown" in drawn(a_status(chain)).text
    assert drawn(a_status(chains=[], sentence="No chain is served")).text


# ---- the public part


def test_the_public_part_has_names_and_figures_alone() -> None:
    status = a_status(
        incidents=[an_incident(), an_incident(kind="suspect", upstream="aws/us-east-1")]
    )
    text = json.dumps(public_part(status))
    for secret in ("script", "timeouts", "private.yaml", "pending", "infura", "aws", "us-east-1"):
        assert secret not in text, secret
    page = Tree(status_body(a_public_status(), NOW)).text
    for words in ("rate-limited for 75 s", "21 ms", "a failed", "25 %"):
        assert words in page
    for secret in ("timeouts", "aws", "Pending", "asked again"):
        assert secret not in page


# ---- figures


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (percent(None), "–"),
        (percent(1.0), "100 %"),
        (percent(0.999999), "99.99 %"),
        (percent(0.0), "0 %"),
        (percent(0.256, digits=0), "25 %"),
        (percent(0.57, digits=0), "57 %"),
        (milliseconds(None), "–"),
        (milliseconds(3.21), "3.2 ms"),
        (milliseconds(1234.5), "1,234 ms"),
        (number(None), "–"),
        (ago(None), "–"),
        (rate(5, 0.5), "–"),
        (rate(5, 10), "0.5/s"),
        (well_words({"well_share": None, "known_seconds": 0}), "–"),
        (well_words({"well_share": 0.5, "known_seconds": 30}), "50.00 % of 30 s"),
        (well_words({"well_share": 1.0, "known_seconds": 86_300}), "100 %"),
        (what_happened(an_incident(kind="halted", upstream="")), "The chain stood still"),
        (what_happened(an_incident(kind="new", ended=None)), "a new"),
        (what_wallets_noticed(an_incident(unserved=1)), "1 error"),
        (how_long(an_incident(times=2)), "30 s, 2 times"),
    ],
)
def test_figures(made, words) -> None:
    assert made == words
