"""The commands that tell a running proxy what to do, and that ask it, over its admin port."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpcproxy import cli
from rpcproxy.commands.runs import admin_client
from rpcproxy.commands.runs.admin_client import operator
from tests.kits.statuses import a_chain, a_status, an_upstream

TOKEN = "a-token-of-an-operator"
TRACE = "4bf92f3577b34da6"
FAILURE = {
    "time": "2026-09-01T11:00:00.000Z",
    "chain": "ethereum",
    "method": "eth_call",
    "reason": "no upstream answered in time",
    "trace_id": TRACE,
    "outcome": "failed",
    "seconds": 4.5,
    "transaction": "",
    "attempts": [
        {
            "upstream": "infura",
            "began_seconds": 0.0,
            "seconds": 1.5,
            "verdict": "timeout",
            "detail": "no answer in 1.5 s",
            "why": "first",
        },
        {
            "upstream": "alchemy",
            "began_seconds": 1.5,
            "seconds": None,
            "verdict": "",
            "detail": "",
            "why": "retry",
        },
    ],
}
DRAINED = {
    "id": "1",
    "kind": "drained",
    "chain": "ethereum",
    "upstream": "infura",
    "words": "an operator drained it",
    "by": "alice, from 127.0.0.1",
    "started": "2026-09-01T11:00:00.000Z",
    "ended": "2026-09-01T11:00:00.000Z",
    "seconds": 0.0,
    "requests": 0,
    "unserved": 0,
    "times": 1,
}
EJECTED = {
    **DRAINED,
    "kind": "ejected",
    "upstream": "alchemy",
    "words": "2 timeouts",
    "by": "",
    "ended": None,
    "seconds": 75.0,
    "requests": 30,
    "unserved": 2,
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what the server holds for a path, and remembers what it was asked."""

    def _answer(self) -> None:
        server: Any = self.server
        length = int(self.headers.get("Content-Length", 0))
        server.asked.append((self.command, self.path, self.rfile.read(length)))
        server.headers.append(dict(self.headers))
        path = self.path.partition("?")[0]
        code, told = server.pages.get(path, (404, {"error": "Not Found"}))
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        name: str = self.server.name  # type: ignore[attr-defined]
        return name

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def admin() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ethereum = a_chain(an_upstream("infura"), an_upstream("alchemy"))
    base = a_chain(an_upstream("infura"), an_upstream("quicknode"), name="base", title="Base")
    server.name, server.asked, server.headers = "rpcproxy", [], []
    server.pages = {
        "/status": (200, a_status(ethereum, base)),
        "/healthz": (200, {"status": "ok", "version": "0.0.9"}),
    }
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Desk:
    """Who types commands, to the proxy at ``url``: ``admin``, mostly."""

    def __init__(self, admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.admin, self.url, self._capsys = admin, admin.url, capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--url", self.url])
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def desk(admin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in (admin_client.TOKEN_VARIABLE, "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Desk(admin, capsys)


def ordered(state: str, result: str) -> dict[str, str]:
    return {"chain": "ethereum", "upstream": "alchemy", "state": state, "result": result}


# ---- orders


@pytest.mark.parametrize(
    "words", [("ethereum", "alchemy"), ("ethereum/alchemy",), ("alchemy",)], ids=" ".join
)
@pytest.mark.parametrize("order", ["drain", "undrain", "cordon", "uncordon"])
def test_an_order_names_its_upstream_in_three_ways(
    order: str, words: tuple[str, ...], admin: Any, desk: Desk
) -> None:
    path = f"/upstreams/ethereum/alchemy/{order}"
    admin.pages[path] = (200, ordered("drained", "an operator drained it"))
    code, out, err = desk.run(order, *words)
    assert (code, err) == (0, "")
    assert out == "ethereum/alchemy is drained: an operator drained it\n"
    assert admin.asked[-1] == ("POST", path, b"")
    assert admin.headers[-1]["X-Operator"] == operator({}) or "@" in admin.headers[-1]["X-Operator"]


def test_a_name_that_several_chains_have_is_asked_about(admin: Any, desk: Desk) -> None:
    code, _, err = desk.run("drain", "infura")
    assert code == 2
    assert "is an upstream of ethereum and base: say which, as in rpcproxy drain ethereum" in err
    code, _, err = desk.run("drain", "alchemi")
    assert (code, "did you mean 'alchemy'?" in err) == (2, True)
    code, _, err = desk.run("drain", "zzz")
    assert (code, "there are infura, alchemy, infura and quicknode" in err) == (2, True)
    assert desk.run("drain", "a", "b", "c")[0] == 2
    assert {method for method, *_ in admin.asked} == {"GET"}


def test_what_the_proxy_refuses_is_said_in_its_words(admin: Any, desk: Desk) -> None:
    refusal = {"error": "alchemy is the last upstream: not drained"}
    admin.pages["/upstreams/ethereum/alchemy/drain"] = (409, refusal)
    code, out, err = desk.run("drain", "ethereum", "alchemy")
    assert (code, out, err) == (1, "", "alchemy is the last upstream: not drained\n")
    code, out, err = desk.run("drain", "ethereum", "alchemy", "--force", "--json")
    assert (code, json.loads(out)) == (1, refusal)
    assert admin.asked[-1][1] == "/upstreams/ethereum/alchemy/drain?force=1"
    unknown = {"error": "chain ethereum has no upstream 'x'"}
    admin.pages["/upstreams/ethereum/x/drain"] = (404, unknown)
    code, _, err = desk.run("drain", "ethereum", "x")
    assert (code, err) == (2, "chain ethereum has no upstream 'x'\n")
    admin.pages["/reload"] = (409, {"error": "refused: chains: expected a list"})
    assert desk.run("reload")[0] == 1
    admin.pages["/reload"] = (200, {"result": "taken over"})
    assert desk.run("reload")[:2] == (0, "The configuration was taken over.\n")


# ---- explain


def explained(words: str = "sent to one upstream") -> dict[str, Any]:
    place = {"name": "alchemy", "state": "up", "tier": "primary", "cost": 1.0, "first_share": 0.75}
    return {
        "chain": "base",
        "method": "eth_call",
        "method_class": "heavy",
        "answered_by": "upstreams",
        "words": words,
        "served_head": 21_000_000,
        "params": [{"to": "0x00"}, "0x1406f40"],
        "needs": {"block": 21_000_000, "latest_state": True, "lowest": None, "span": None},
        "seconds": {"deadline": 30.0, "attempt": 10.0, "second_copy": 0.25, "attempts": 6},
        "order": {
            "asked": [{**place, "why": []}],
            "last_resort": [{**place, "name": "infura", "why": ["ejected: 2 timeouts"]}],
            "left_out": [],
        },
    }


@pytest.mark.parametrize(
    ("words", "chain", "method", "params"),
    [
        (("eth_call",), None, "eth_call", []),
        (("base", "eth_call", "{}", "latest"), "base", "eth_call", [{}, "latest"]),
        (("eth_getX", "0x10", "true", "5"), None, "eth_getX", ["0x10", True, 5]),
        (("eth_getX", '["0x10", false]'), None, "eth_getX", ["0x10", False]),
        (('{"method": "eth_x", "params": [1]}',), None, "eth_x", [1]),
        (("base", "-"), "base", "from_stdin", []),
    ],
)
def test_a_request_is_explained_however_it_is_typed(
    words: tuple[str, ...],
    chain: str | None,
    method: str,
    params: list[Any],
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = desk.admin
    monkeypatch.setattr("sys.stdin", io.StringIO('{"method": "from_stdin", "params": []}'))
    admin.pages["/explain"] = (200, explained())
    assert desk.run("explain", *words)[0] == 0
    asked, path, body = admin.asked[-1]
    assert (asked, path) == ("POST", "/explain" + (f"?chain={chain}" if chain else ""))
    request = json.loads(body)
    assert (request["method"], request["params"]) == (method, params)
    assert admin.headers[-1]["Content-Type"] == "application/json"


def test_an_explanation_is_told_in_words(admin: Any, desk: Desk) -> None:
    admin.pages["/explain"] = (200, explained())
    _, out, _ = desk.run("explain", "base", "eth_call")
    for words in (
        "eth_call on base: sent to one upstream",
        '[{"to": "0x00"}, "0x1406f40"]',
        "block 21,000,000, the newest state",
        "30 s in all, 10 s for an attempt, at most 6 of them; a second copy after 0.25 s",
        "75%",
        "asked only where nobody recovers",
        "ejected: 2 timeouts",
    ):
        assert words in out, words
    admin.pages["/explain"] = (200, {"method": "x", "words": "refused"})  # of another version
    assert "x on ?: refused" in desk.run("explain", "x")[1]


def test_what_is_no_request_is_told(admin: Any, desk: Desk) -> None:
    assert "'base' is a chain: say the method, too" in desk.run("explain", "base")[2]
    code, _, err = desk.run("explain", "etherum", "eth_call")
    assert (code, "did you mean 'ethereum'?" in err) == (2, True)
    assert "nothing may follow" in desk.run("explain", "{}", "x")[2]
    admin.pages["/explain"] = (400, {"error": "that is a batch"})
    assert desk.run("explain", "[]") == (2, "", "that is a batch\n")


# ---- failures and changes


def test_failures_are_told_with_their_attempts(admin: Any, desk: Desk) -> None:
    admin.pages["/failures"] = (200, {"failures": [FAILURE]})
    code, out, err = desk.run("failures", "--trace", TRACE, "--since", "1h", "--chain", "ethereum")
    assert (code, err) == (0, "")
    assert admin.asked[-1][1] == (f"/failures?trace_id={TRACE}&since=1h&chain=ethereum&limit=20")
    for words in (
        "01 Sep 11:00:00  eth_call on ethereum failed after 4.5 s",
        "no upstream answered in time",
        f"trace {TRACE}",
        "0.000 s  infura   first  1.500 s  timeout: no answer in 1.5 s",
        "1.500 s  alchemy  retry        –  under way when the request ended",
    ):
        assert words in out, words
    code, out, _ = desk.run("failures", "--json")
    assert (code, json.loads(out)) == (0, {"failures": [FAILURE]})


def test_what_was_refused_is_called_so_and_nothing_found_is_told_as_the_proxy_says_it(
    admin: Any, desk: Desk
) -> None:
    admin.pages["/failures"] = (200, {"failures": [{**FAILURE, "outcome": "refused"}]})
    assert "eth_call on ethereum was refused after 4.5 s" in desk.run("failures")[1]
    admin.pages["/failures"] = (200, {"failures": [], "words": "none is known since noon"})
    assert desk.run("failures", "--trace", TRACE) == (1, "", "none is known since noon\n")


def test_failures_of_an_older_proxy_are_told_as_far_as_they_go(admin: Any, desk: Desk) -> None:
    old = {key: FAILURE[key] for key in ("time", "chain", "method", "reason", "trace_id")}
    other = {**old, "trace_id": "0" * 16}
    admin.pages["/failures"] = (200, {"failures": [other, old]})
    code, out, _ = desk.run("failures", "--trace", TRACE)
    assert (code, out.count("eth_call on ethereum failed")) == (0, 1)
    code, _, err = desk.run("failures", "--trace", "f" * 16)
    assert (code, "no failure of trace ffffffffffffffff is known" in err) == (1, True)


def test_no_failures_are_no_fault(admin: Any, desk: Desk) -> None:
    admin.pages["/failures"] = (200, {"failures": []})
    assert desk.run("failures", "--since", "2h")[::2] == (
        0,
        "no failures are known of the last 2 h\n",
    )
    code, _, err = desk.run("failures", "--tx", f"0x{'4d' * 32}")
    assert (code, "no failure of transaction 0x4d4d" in err) == (1, True)


def test_changes_are_told_with_who_and_what_wallets_noticed(admin: Any, desk: Desk) -> None:
    admin.pages["/changes"] = (200, {"changes": [EJECTED, DRAINED], "kept": "the disk is full"})
    code, out, err = desk.run("changes", "--upstream", "infura", "--limit", "7")
    assert admin.asked[-1][1] == "/changes?since=1h&upstream=infura&limit=7"
    assert (code, err) == (0, "nothing is kept on disk: the disk is full\n")
    ejected, drained = out.splitlines()[1:]
    assert "alchemy failed" in ejected or "alchemy fails" in ejected
    assert ": 2 timeouts; wallets noticed 2 errors, for 75 s so far" in ejected
    assert "infura was drained: an operator drained it (by alice, from 127.0.0.1)" in drained
    sentence = "ethereum: infura was drained by alice, from 127.0.0.1"
    admin.pages["/changes"] = (200, {"changes": [{**DRAINED, "sentence": sentence}]})
    _, out, _ = desk.run("changes", "--since", "90s")
    assert out.splitlines()[1].endswith("ethereum  infura was drained by alice, from 127.0.0.1")
    assert admin.asked[-1][1] == "/changes?since=90s&limit=100"
    admin.pages["/changes"] = (200, {"changes": []})
    assert desk.run("changes")[::2] == (0, "nothing happened in the last hour\n")


@pytest.mark.parametrize("columns", [80, 200])
def test_it_fits_the_terminal(
    columns: int, admin: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    long = {**FAILURE, "reason": "word " * 60, "transaction": f"0x{'4d' * 32}"}
    admin.pages["/failures"] = (200, {"failures": [long, FAILURE]})
    admin.pages["/changes"] = (200, {"changes": [{**EJECTED, "words": "word " * 60}, DRAINED]})
    admin.pages["/explain"] = (200, explained("word " * 60))
    for words in (("failures",), ("changes",), ("explain", "eth_call")):
        _, out, _ = desk.run(*words)
        assert max(map(len, out.splitlines())) <= columns, words
        assert out.count("word") >= 60


def test_no_order_to_the_terminal_comes_through(admin: Any, desk: Desk) -> None:
    evil = "\x1b[31mred\x07\u202e[bold]"
    attempt = dict.fromkeys(("upstream", "why", "verdict", "detail"), evil)
    failure = {**dict.fromkeys(("chain", "method", "reason", "trace_id"), evil)}
    admin.pages["/failures"] = (200, {"failures": [{**failure, "attempts": [attempt]}]})
    change = dict.fromkeys(("kind", "chain", "upstream", "words", "by", "sentence"), evil)
    admin.pages["/changes"] = (200, {"changes": [change], "kept": evil})
    admin.pages["/explain"] = (200, dict.fromkeys(("chain", "method", "words"), evil))
    for words in (("failures",), ("changes",), ("explain", "eth_call")):
        code, out, err = desk.run(*words)
        assert code == 0
        assert not set("\x1b\x07\u202e") & set(out + err)
        assert "[31mred" in out


# ---- who is there


def test_an_older_proxy_the_wallet_port_and_a_stranger_are_told_apart(
    admin: Any, desk: Desk
) -> None:
    code, _, err = desk.run("changes")
    assert code == 2
    assert "is rpcproxy 0.0.9, which does not have GET /changes: it is of another version" in err
    admin.name = "something"
    assert "seems to be its wallet port" in desk.run("changes")[2]
    admin.pages["/changes"] = (200, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}})
    assert "seems to be its wallet port" in desk.run("changes")[2]
    del admin.pages["/healthz"]
    admin.pages["/changes"] = (200, b"<html>")
    assert (
        "answered something else: that is not the admin port of rpcproxy" in desk.run("changes")[2]
    )
    admin.pages["/changes"] = (200, {"changes": 3})
    assert "has no list of changes" in desk.run("changes")[2]


@pytest.mark.parametrize("command", ["changes", "failures", "reload", "drain", "explain"])
def test_who_is_not_there_or_wants_a_token(command: str, admin: Any, desk: Desk) -> None:
    words = [command] + ["x"] * (command in ("drain", "explain"))
    paths = ("/status", "/changes", "/failures", "/reload", "/explain")
    admin.pages = dict.fromkeys(paths, (401, {"error": "a token"}))
    code, out, err = desk.run(*words)
    assert (code, out) == (2, "")
    assert "yours is missing: set RPCPROXY_ADMIN_TOKEN" in err
    code, _, err = desk.run(*words, "--token", TOKEN)
    assert (code, "yours is another one" in err, TOKEN in err) == (2, True, False)
    desk.url = "http://127.0.0.1:1"
    code, _, err = desk.run(*words)
    assert (code, "refused the connection: is the proxy running" in err) == (2, True)


def test_a_configuration_tells_where_the_proxy_is(
    admin: Any, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    admin.pages["/reload"] = (200, {"result": "taken over"})
    file = tmp_path / "proxy.yaml"

    def told(server: str) -> tuple[int, str]:
        file.write_text(f"server: {server}\nchains: [{{name: x, upstreams: ['${{NOT_SET}}']}}]\n")
        code = cli.main(["reload", "-c", str(file)])
        return code, capsys.readouterr().err

    here = f"admin: '0.0.0.0:{admin.server_port}'"
    assert told(f"{{{here}, admin_token: {TOKEN}}}") == (0, "")
    assert admin.headers[-1]["Authorization"] == f"Bearer {TOKEN}"
    code, err = told(f"{{{here}, admin_token: '${{TOKEN_OF_IT}}'}}")
    assert (code, "needs the environment variable TOKEN_OF_IT, not set" in err) == (2, True)
    monkeypatch.setenv(admin_client.TOKEN_VARIABLE, "of-the-environment")
    assert told(f"{{{here}, admin_token: '${{TOKEN_OF_IT}}'}}") == (0, "")
    assert admin.headers[-1]["Authorization"] == "Bearer of-the-environment"
    assert "the admin port is off in" in told("{admin: off}")[1]
    assert "takes any free port" in told("{admin: '127.0.0.1:0'}")[1]
    assert "admin is the text 'nowhere'" in told("{admin: nowhere}")[1]


def test_who_sits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("no entry")

    assert operator({"SUDO_USER": "alice"}).startswith("alice@")
    monkeypatch.setattr("getpass.getuser", nobody)
    assert operator({})[0].isdigit()
    assert operator({"SUDO_USER": "ä\n"}).startswith("??@")
