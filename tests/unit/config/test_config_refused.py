"""Files that are refused: the exact words, the line, and never a secret or a traceback."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import ConfigError, load_file, load_text
from rpcproxy.config.model import Address, Config
from rpcproxy.config.problems import Report, quoted
from rpcproxy.config.reading import reading

TWO = "\n    upstreams: [https://a.com/1, https://b.com/2]\n"
CHAIN_KEYS = (
    "name, kind, chain_id, block_time, max_lag, selection, deadlines, attempt_timeout, hedge, "
    "consistency, audit, probes, upstreams, journal, accept_while_down, private_fallback, "
    "accept_single_point, genesis or finality"
)
UPSTREAM_KEYS = (
    "name, url, ws_url, provider, cloud, region, tier, role, private, rate_limit, weight, "
    "headers, proxy or errors"
)
ADDRESS = "HOST:PORT such as 127.0.0.1:8545"


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load_text(text, file="f.yaml", known=KNOWN, environ=environ or {})


def told(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def told_of_server(keys: str) -> str:
    return told(f"server:\n  {keys}\nchains:\n  - name: ethereum{TWO}")


def told_of_chain(keys: str, environ: Mapping[str, str] | None = None) -> str:
    return told(f"chains:\n  - name: ethereum\n    {keys}{TWO}", environ)


def told_of_upstream(keys: str, environ: Mapping[str, str] | None = None) -> str:
    lines = "chains:\n  - name: ethereum\n    upstreams:\n      - url: https://a.com\n        "
    return told(f"{lines}{keys}\n", environ)


# --------------------------------------------------------------------------
# The whole file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: empty; expected chains, each with name and upstreams"),
        ("# nothing yet\n", "f.yaml: empty; expected chains, each with name and upstreams"),
        ("---\n~\n", "f.yaml: empty; expected chains, each with name and upstreams"),
        ("- a\n", "f.yaml:1: the file is a list; expected a mapping with chains"),
        ("\nhello\n", "f.yaml:2: the file is the text 'hello'; expected a mapping with chains"),
        ("server: {}", "f.yaml:1: the file has no chains; expected chains"),
        ("chains:", "f.yaml:1: chains has no value; expected one, or the key left out"),
        (
            "chains: []",
            "f.yaml:1: chains is an empty list; expected a list of chains, each beginning with '- name: …'",
        ),
        (
            "chains: {ethereum: {}}",
            "f.yaml:1: chains is a mapping; expected a list of chains, each beginning with '- name: …'",
        ),
        (
            f"chain:\n  - name: ethereum{TWO}",
            (
                "f.yaml:1: unknown key 'chain' in the file; expected server, chains, name or notify; did you mean 'chains'?\n"
                "f.yaml:1: the file has no chains; expected chains"
            ),
        ),
        (
            "server: 3\nchains: 4",
            (
                "f.yaml:1: server is the number '3'; expected a mapping with listen, admin, tls, gzip, "
                "outage_status, log, drain, limits, cache, journal, accept_while_down, "
                "private_fallback, admin_token, status_page, history, traces, accept_single_point, "
                "workers, exchange and redis\n"
                "f.yaml:2: chains is the number '4'; expected a list of chains, each beginning with '- name: …'"
            ),
        ),
    ],
)
def test_the_whole_file(text: str, message: str) -> None:
    assert told(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: b: c",
            (
                "f.yaml:1: not valid YAML: mapping values are not allowed here; "
                "text with ': ' in it is written in quotes"
            ),
        ),
        (
            "chains:\n\t- name: x",
            (
                "f.yaml:2: not valid YAML: found character '\\t' that cannot start any token; "
                "indent with spaces, not tabs"
            ),
        ),
        (
            "chains:\n  - name: x\n - name: y\n",
            "f.yaml:3: not valid YAML: the indentation does not fit the lines above",
        ),
        ("a: 'x", "f.yaml:1: not valid YAML: found unexpected end of stream"),
        (
            "a: {b: ${X}}",
            (
                "f.yaml:1: not valid YAML: expected ',' or '}', but got '{'; "
                "inside { } put ${NAME} in quotes"
            ),
        ),
        ("a: b\n---\nc: d", "f.yaml:2: not valid YAML: a second document; expected one"),
        (
            "a: *SECRET",
            (
                "f.yaml:1: not valid YAML: an alias (*) without its anchor (&); "
                "text that begins with * is written in quotes"
            ),
        ),
        (
            "a: &SECRET 1\nb: &SECRET 2",
            (
                "f.yaml:2: not valid YAML: the same anchor (&) twice; "
                "text that begins with & is written in quotes"
            ),
        ),
        (
            "a: !SECRET!x b",
            "f.yaml:1: not valid YAML: a tag (!); text that begins with ! is written in quotes",
        ),
        (
            "\na: !SECRET b",
            "f.yaml:2: a YAML tag (!) is not understood; text that begins with ! is written in quotes",
        ),
        (
            "a: !!python/object:os.system [x]",
            "f.yaml:1: a YAML tag (!) is not understood; text that begins with ! is written in quotes",
        ),
        ("\na: \x00", "f.yaml:2: a character that YAML does not allow"),
        ('\na: "\\UFFFFFFFF"', "f.yaml:2: not valid YAML: a bad escape or directive"),
        ("\n? [a]\n: b", "f.yaml:2: a key is a list or a mapping; expected plain text"),
        (
            "a: 1\n<<: 3",
            "f.yaml:2: << merges something that is no mapping; expected *ANCHOR of one",
        ),
        ("a: &a [*a]", "f.yaml:1: nested too deeply"),
        ("[" * 1000, "f.yaml:1: nested too deeply"),
    ],
)
def test_what_is_no_yaml(text: str, message: str) -> None:
    assert told(text) == message


def test_a_bomb_of_aliases() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert told(bomb).endswith("aliases (*) expand to more than 50000 values")


def test_a_text_too_large() -> None:
    assert told("#" * (1024 * 1024 + 1)) == (
        "f.yaml: too large; expected at most 1048576 characters"
    )


def test_duplicate_keys() -> None:
    text = f"chains:\n  - name: ethereum\n    hedge: off\n    name: base{TWO}\nchains: []\n"
    assert told(text) == (
        "f.yaml:4: the key 'name' is there twice, first on line 2; expected once\n"
        "f.yaml:7: the key 'chains' is there twice, first on line 1; expected once"
    )


def test_more_problems_than_help() -> None:
    lines = told(f"{''.join(f'key{n}: 1{chr(10)}' for n in range(30))}chains:\n  - name: base{TWO}")
    assert len(lines.splitlines()) == 21
    assert lines.splitlines()[-1] == "f.yaml: and 10 more problems"


def test_every_problem_is_told_at_once_in_the_order_of_lines() -> None:
    text = """
server:
  listn: 127.0.0.1:8545
  outage_status: 500
chains:
  - name: ethereum
    block_time: 12
    hedge: of
    upstreams:
      - htps://a.com/SECRET
      - url: https://b.com/${INFURA_KEY}
        tiers: primary
  - name: etherium
    upstreams: [https://a.com]
"""
    assert told(text) == (
        "f.yaml:3: unknown key 'listn' in server; expected listen, admin, tls, gzip, "
        "outage_status, log, drain, limits, cache, journal, accept_while_down, private_fallback, "
        "admin_token, status_page, history, traces, accept_single_point, workers, exchange or redis; did you mean 'listen'?\n"
        "f.yaml:4: outage_status is the number '500'; expected 200 or 503\n"
        "f.yaml:7: block_time is '12', which has no unit; "
        "expected a duration such as 12s, 250ms, 1.5s, 2m or 1h; did you mean '12s'?\n"
        "f.yaml:8: hedge is 'of'; expected auto, off or a duration above 0 such as 200ms; "
        "did you mean 'off'?\n"
        "f.yaml:10: upstream (htps://a.com) has a wrong scheme; "
        "expected https:// or http:// and a host; did you mean 'https://'?\n"
        "f.yaml:11: url needs the environment variable INFURA_KEY, not set; "
        "expected a value, or a default as in ${INFURA_KEY:-…}\n"
        f"f.yaml:12: unknown key 'tiers' in an upstream; expected {UPSTREAM_KEYS}; "
        "did you mean 'tier'?\n"
        "f.yaml:13: chain 'etherium' is not known and has no chain_id; expected chain_id; "
        "did you mean 'ethereum'?"
    )


# --------------------------------------------------------------------------
# Server


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "listen: 8545",
            f"f.yaml:2: listen is the number '8545'; expected {ADDRESS}; did you mean '127.0.0.1:8545'?",
        ),
        (
            "listen: ':8545'",
            f"f.yaml:2: listen has no host; expected {ADDRESS}, or 0.0.0.0:8545 for every interface",
        ),
        (
            "listen: localhost",
            f"f.yaml:2: listen is the text 'localhost'; expected {ADDRESS} (IPv6 as '[::1]:8545')",
        ),
        (
            "listen: ::1:8545",
            f"f.yaml:2: listen is the text '::1:8545'; expected {ADDRESS} (IPv6 as '[::1]:8545')",
        ),
        (
            "listen: '[127.0.0.1]:8545'",
            f"f.yaml:2: listen is the text '[127.0.0.1]:8545', whose host is malformed; expected {ADDRESS}",
        ),
        (
            "listen: a..b:8545",
            f"f.yaml:2: listen is the text 'a..b:8545', whose host is malformed; expected {ADDRESS}",
        ),
        (
            "listen: 127.0.0.1:65536",
            f"f.yaml:2: listen is the text '127.0.0.1:65536'; expected {ADDRESS}, the port at most 65535",
        ),
        (
            "listen: [::1]:8545",
            (
                "f.yaml:2: not valid YAML: expected the node content, but found ':'; "
                "an address with [ ] is written in quotes"
            ),
        ),
        ("admin: [a]", f"f.yaml:2: admin is a list; expected {ADDRESS} or off"),
        ("admin:", "f.yaml:2: admin has no value; expected one, or the key left out"),
        (
            "admin: 127.0.0.1:8545",
            "f.yaml:2: server: listen and admin are the same address; expected two, or admin: off",
        ),
        ("tls: {key: k}", "f.yaml:2: server.tls has no certificate; expected certificate and key"),
        (
            "tls: {certificat: c, key: k}",
            (
                "f.yaml:2: unknown key 'certificat' in server.tls; expected certificate or key; "
                "did you mean 'certificate'?\n"
                "f.yaml:2: server.tls has no certificate; expected certificate and key"
            ),
        ),
        ("gzip: 1", "f.yaml:2: gzip is the number '1'; expected true or false"),
        ("gzip: {}", "f.yaml:2: gzip is a mapping; expected true or false"),
        ("log: yaml", "f.yaml:2: log is the text 'yaml'; expected text or json"),
        (
            "log: jsn",
            "f.yaml:2: log is the text 'jsn'; expected text or json; did you mean 'json'?",
        ),
        (
            "drain: [1s]",
            "f.yaml:2: drain is a list; expected a duration such as 12s, 250ms, 1.5s, 2m or 1h",
        ),
        (
            "limits: {body_size: 5M}",
            (
                "f.yaml:2: body_size is '5M', whose unit is not known; "
                "expected a size such as 5MiB, 16KiB or 1000; did you mean '5MiB'?"
            ),
        ),
        (
            "limits: {body_size: 0}",
            "f.yaml:2: body_size is 0; expected a size such as 5MiB, 16KiB or 1000, above 0",
        ),
        (
            "limits: {batch: 0}",
            "f.yaml:2: batch is the number '0'; expected a whole number of at least 1 such as 1000",
        ),
        (
            "limits: {batch: 1.5}",
            "f.yaml:2: batch is the number '1.5'; expected a whole number of at least 1 such as 1000",
        ),
        (
            "cache: 3",
            "f.yaml:2: cache is the number '3'; expected a mapping with memory, disk and path, or off",
        ),
        (
            "cache: [a]",
            "f.yaml:2: cache is a list; expected a mapping with memory, disk and path, or off",
        ),
        (
            "cache: {disk: 1GiB}",
            "f.yaml:2: cache has disk and no path; expected path, the directory to keep answers in",
        ),
        (
            "cache: {path: /var/cache}",
            (
                "f.yaml:2: cache has path and no disk; "
                "expected disk, the bytes to use there, such as 1GiB"
            ),
        ),
        (
            "cache: {memory: 0}",
            "f.yaml:2: memory is 0; expected a size such as 5MiB, 16KiB or 1000, above 0",
        ),
        (
            "cache: {memory: 128M}",
            (
                "f.yaml:2: memory is '128M', whose unit is not known; "
                "expected a size such as 5MiB, 16KiB or 1000; did you mean '128MiB'?"
            ),
        ),
        (
            "cache: {memry: 1MiB}",
            (
                "f.yaml:2: unknown key 'memry' in server.cache; expected memory, disk or path; "
                "did you mean 'memory'?"
            ),
        ),
        (
            "limits: {batch: 010}",
            "f.yaml:2: batch is the number '010'; expected a whole number of at least 1 such as 1000",
        ),
    ],
)
def test_server_keys(keys: str, message: str) -> None:
    assert told_of_server(keys) == message


# --------------------------------------------------------------------------
# Sends, of the server and of a chain

FALLBACK = "after and a duration, such as after 30s, or off"
SENDS = [
    ("journal: [a]", "journal is a list; expected a directory, off, or a mapping with path"),
    (
        "journal: {pth: /x}",
        "unknown key 'pth' in journal; expected path or on_failure; did you mean 'path'?",
    ),
    (
        "journal: 3",
        (
            "journal is the number '3'; expected a directory, off, or a mapping with path; "
            "did you mean '\"3\"'?"
        ),
    ),
    ("journal: ''", "journal is empty; expected a directory, off, or a mapping with path"),
    ("journal: {path: }", "path has no value; expected one, or the key left out"),
    ("journal: {path: [a]}", "path is a list; expected text"),
    (
        "journal: {on_failure: refse}",
        "on_failure is the text 'refse'; expected refuse or pass; did you mean 'refuse'?",
    ),
    ("journal: {on_failure: off}", "on_failure is the flag 'off'; expected refuse or pass"),
    ("accept_while_down: maybe", "accept_while_down is the text 'maybe'; expected true or false"),
    ("accept_while_down: 1", "accept_while_down is the number '1'; expected true or false"),
    ("accept_while_down:", "accept_while_down has no value; expected one, or the key left out"),
    (
        "private_fallback: 30s",
        f"private_fallback is the text '30s'; expected {FALLBACK}; did you mean 'after 30s'?",
    ),
    (
        "private_fallback: 30",
        f"private_fallback is the number '30'; expected {FALLBACK}; did you mean 'after 30s'?",
    ),
    ("private_fallback: on", f"private_fallback is the flag 'on'; expected {FALLBACK}"),
    ("private_fallback: after", f"private_fallback is the text 'after'; expected {FALLBACK}"),
    ("private_fallback: [a]", f"private_fallback is a list; expected {FALLBACK}"),
    (
        "private_fallback: after 30",
        (
            "private_fallback is '30', which has no unit; "
            "expected a duration such as 12s, 250ms, 1.5s, 2m or 1h; did you mean '30s'?"
        ),
    ),
    (
        "private_fallback: after 0s",
        "private_fallback is 0; expected a duration such as 12s, 250ms, 1.5s, 2m or 1h, above 0",
    ),
    ("private_fallback:", "private_fallback has no value; expected one, or the key left out"),
]


@pytest.mark.parametrize(("keys", "message"), SENDS)
def test_sends_of_the_server(keys: str, message: str) -> None:
    assert told_of_server(keys) == f"f.yaml:2: {message}"


@pytest.mark.parametrize(("keys", "message"), SENDS)
def test_sends_of_a_chain(keys: str, message: str) -> None:
    assert told_of_chain(keys) == f"f.yaml:3: {message}"


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ("private_fallback: ${WAIT}", "private_fallback is the text '${WAIT}'"),
        ("private_fallback: after ${WAIT}", "private_fallback is 'after ${WAIT}', filled in"),
    ],
)
def test_sends_do_not_tell_the_environment(keys: str, wrong: str) -> None:
    message = told_of_chain(keys, {"WAIT": "S3CRET"})
    assert message.startswith(f"f.yaml:3: {wrong}; expected ")
    assert "S3CRET" not in message


# --------------------------------------------------------------------------
# Chains


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("kind: solana", "f.yaml:3: kind is the text 'solana'; expected evm"),
        (
            "chain_id: 8453",
            "f.yaml:3: chain_id is 8453, but 'ethereum' is known as 1; expected 1, or another name",
        ),
        (
            "chain_id: one",
            "f.yaml:3: chain_id is the text 'one'; expected a whole number of at least 1 such as 1",
        ),
        (
            "max_lag: -1",
            "f.yaml:3: max_lag is the number '-1'; expected a whole number of at least 0 such as 2",
        ),
        (
            "block_time: 0",
            "f.yaml:3: block_time is 0; expected a duration such as 12s, 250ms, 1.5s, 2m or 1h, above 0",
        ),
        (
            "selection: fast",
            "f.yaml:3: selection is the text 'fast'; expected fastest, ordered or weighted; did you mean 'fastest'?",
        ),
        (
            "hedge: 0",
            "f.yaml:3: hedge is 0; expected auto, off or a duration above 0 such as 200ms",
        ),
        (
            "hedge: 200",
            (
                "f.yaml:3: hedge is '200', which has no unit; "
                "expected auto, off or a duration above 0 such as 200ms; did you mean '200ms'?"
            ),
        ),
        (
            "hedge: 29",
            (
                "f.yaml:3: hedge is '29', which has no unit; "
                "expected auto, off or a duration above 0 such as 200ms; did you mean '29s'?"
            ),
        ),
        (
            "hedge: 1_000",
            (
                "f.yaml:3: hedge is '1_000', which has no unit; "
                "expected auto, off or a duration above 0 such as 200ms; did you mean '1_000ms'?"
            ),
        ),
        (
            "consistency: pined",
            (
                "f.yaml:3: consistency is the text 'pined'; expected pinned, routed or off; "
                "did you mean 'pinned'?"
            ),
        ),
        ("consistency: {}", "f.yaml:3: consistency is a mapping; expected pinned, routed or off"),
        (
            "pinning: off",
            (
                f"f.yaml:3: unknown key 'pinning' in a chain; expected {CHAIN_KEYS}; "
                "did you mean 'consistency'?"
            ),
        ),
        (
            "cache: off",
            f"f.yaml:3: unknown key 'cache' in a chain; it belongs to server; expected {CHAIN_KEYS}",
        ),
        (
            "audit: 60",
            (
                "f.yaml:3: audit is '60', which has no unit; "
                "expected a rate such as 60/h, or off; did you mean '60/h'?"
            ),
        ),
        ("audit: [60/h]", "f.yaml:3: audit is a list; expected a rate such as 60/h, or off"),
        ("audit: on", "f.yaml:3: audit is 'on'; expected a rate such as 60/h, or off"),
        (
            "audit: ${T}",
            "f.yaml:3: audit is '${T}', filled in; expected a rate such as 60/h, or off",
        ),
        ("probes: 21/s", "f.yaml:3: probes is '21/s'; expected a rate from 0.05/s to 20/s"),
        ("probes: 2/min", "f.yaml:3: probes is '2/min'; expected a rate from 0.05/s to 20/s"),
        (
            "probes: off",
            ("f.yaml:3: probes is 'off'; expected a rate such as 100/s, 600/min or 1000000/day"),
        ),
        ("hedge: [a]", "f.yaml:3: hedge is a list; expected auto, off or a duration such as 200ms"),
        (
            "deadlines: {lite: 4s}",
            "f.yaml:3: unknown key 'lite' in deadlines; expected light, heavy or send; did you mean 'light'?",
        ),
        (
            "deadlines: 4s",
            "f.yaml:3: deadlines is the text '4s'; expected a mapping with light, heavy and send",
        ),
        (
            "attempt_timeout: ${T}",
            (
                "f.yaml:3: attempt_timeout is '${T}', filled in; "
                "expected a duration such as 12s, 250ms, 1.5s, 2m or 1h"
            ),
        ),
        (
            "rate_limit: 1/s",
            f"f.yaml:3: unknown key 'rate_limit' in a chain; it belongs to an upstream; expected {CHAIN_KEYS}",
        ),
        (
            "https://a.com/SECRET: x",
            f"f.yaml:3: unknown key 'https://a.com/…' in a chain; expected {CHAIN_KEYS}",
        ),
    ],
)
def test_chain_keys(keys: str, message: str) -> None:
    assert told_of_chain(keys, {"T": "SECRET"}) == message


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        (
            "- ethereum",
            "f.yaml:2: chain is the text 'ethereum'; expected a mapping with name and upstreams",
        ),
        ("- chain_id: 1", "f.yaml:2: a chain has no name; expected name"),
        (
            "- name: ethereum",
            "f.yaml:2: chain 'ethereum' has no upstreams; expected a list of at least one URL",
        ),
        (
            "- name: ethereum\n  upstreams: []",
            "f.yaml:3: upstreams is an empty list; expected at least one URL",
        ),
        (
            "- name: ethereum\n  upstreams: https://a.com/SECRET",
            "f.yaml:3: upstreams is the text 'https://a.com/…'; expected a list, each upstream beginning with '- '",
        ),
        (
            "- name: 1\n  upstreams: [https://a.com]",
            "f.yaml:2: name is the number '1'; expected text; did you mean '\"1\"'?",
        ),
        (
            "- name: '2'\n  chain_id: 1\n  upstreams: [https://a.com]",
            "f.yaml:2: name is '2', which reads as the id of another chain; expected a name with letters",
        ),
        (
            "- name: a/b\n  chain_id: 1\n  upstreams: [https://a.com]",
            "f.yaml:2: name is the text 'a/b'; expected at most 64 of letters, digits and - _",
        ),
        (
            "- name: metrics\n  chain_id: 1\n  upstreams: [https://a.com]",
            "f.yaml:2: name is 'metrics', a path of the proxy's own; expected another name",
        ),
        (
            "- name: qqqq\n  upstreams: [https://a.com]",
            "f.yaml:2: chain 'qqqq' is not known and has no chain_id; expected chain_id",
        ),
        (
            "- {name: base, upstreams: [https://a.com]}\n- {name: Base, upstreams: [https://a.com]}",
            "f.yaml:3: two chains are named 'Base', the first on line 2; expected a name of its own",
        ),
        (
            "- name: base\n  upstreams: [{url: https://a.com, role: sends}]",
            (
                "f.yaml:3: every upstream of chain 'base' has role: sends, nobody serves reads; "
                "expected one with role full or reads"
            ),
        ),
        (
            "- name: base\n  upstreams:\n  - {name: x, url: https://a.com}\n  - {name: X, url: https://b.com}",
            "f.yaml:5: two upstreams are named 'X', the first on line 4; expected a name of its own",
        ),
        (
            "- name: base\n  upstreams: [{name: x, url: https://a.com}, {name: x, url: https://b.com}]",
            "f.yaml:3: two upstreams are named 'x', the first on line 3; expected a name of its own",
        ),
        (
            "- name: base\n  upstreams:\n  -\n  - 3\n  - [x]\n",
            (
                "f.yaml:4: upstream is empty; expected a URL or a mapping\n"
                "f.yaml:5: upstream does not begin with a scheme; expected https:// or http:// and a host\n"
                "f.yaml:6: upstream is a list; expected a URL, or a mapping with url"
            ),
        ),
    ],
)
def test_chains(chains: str, message: str) -> None:
    assert told("chains:\n" + chains) == message


# --------------------------------------------------------------------------
# Upstreams


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "tier: second",
            "f.yaml:5: tier is the text 'second'; expected primary or backup",
        ),
        (
            "block_time: 2s",
            f"f.yaml:5: unknown key 'block_time' in an upstream; it belongs to a chain; expected {UPSTREAM_KEYS}",
        ),
        ("cloud: 3", "f.yaml:5: cloud is the number '3'; expected text; did you mean '\"3\"'?"),
        ("cloud: ''", "f.yaml:5: cloud is empty; expected text"),
        ("cloud:", "f.yaml:5: cloud has no value; expected one, or the key left out"),
        ("private: maybe", "f.yaml:5: private is the text 'maybe'; expected true or false"),
        (
            "weight: 0",
            "f.yaml:5: weight is the number '0'; expected a number above 0 such as 2 or 0.5",
        ),
        (
            "weight: .inf",
            "f.yaml:5: weight is the number '.inf'; expected a number above 0 such as 2 or 0.5",
        ),
        (
            "rate_limit: 100",
            (
                "f.yaml:5: rate_limit is '100', which has no unit; "
                "expected a rate such as 100/s, 600/min or 1000000/day; did you mean '100/s'?"
            ),
        ),
        (
            "{role: reads, private: true}",
            "f.yaml:4: private: true with role: reads; expected an upstream that takes sends",
        ),
        ("ws_url: [a]", "f.yaml:5: ws_url is a list; expected a URL such as wss://HOST/PATH"),
        (
            "ws_url: https://a.com/SECRET",
            "f.yaml:5: ws_url (https://a.com) has a wrong scheme; expected wss:// or ws:// and a host",
        ),
        ("headers: [a]", "f.yaml:5: headers is a list; expected a mapping of header names to text"),
        (
            "headers: {a b: SECRET, Host: SECRET, X: [SECRET], Y: SECRET, y: SECRET, Z: 'SÉCRET'}",
            (
                "f.yaml:5: headers has a malformed name; expected letters, digits and -\n"
                "f.yaml:5: header 'Host' is set by the proxy itself; expected another one\n"
                "f.yaml:5: header 'X' has no plain value; expected ASCII text\n"
                "f.yaml:5: header 'y' is there twice; expected each name once, upper and lower case being the same\n"
                "f.yaml:5: header 'Z' has no plain value; expected ASCII text"
            ),
        ),
        (
            "headers: {'Bearer SECRET': x}",
            "f.yaml:5: headers has a malformed name; expected letters, digits and -",
        ),
        (
            "headers: {SECRET: }",
            "f.yaml:5: headers has a name without value; expected both",
        ),
        (
            'headers: {A: "SECRET\\r\\nB: SECRET"}',
            "f.yaml:5: header 'A' has a line break or another character that cannot be printed",
        ),
        (
            "errors: x",
            "f.yaml:5: errors is the text 'x'; expected a list, each errors entry beginning with '- '",
        ),
        (
            "errors: [x, {contains: y}]",
            (
                "f.yaml:5: errors entry is the text 'x'; expected a mapping with contains and class\n"
                "f.yaml:5: an errors entry has no class; expected contains and class"
            ),
        ),
        (
            "errors: [{contains: y, class: rate_limted}]",
            (
                "f.yaml:5: class is the text 'rate_limted'; expected rate_limited, quota, key_refused, "
                "wrong_chain, server_error, missing_data, unsupported, batch_refused, range_too_large, "
                "size_refused, sender_limited, reverted, invalid_params, already_known, nonce_too_low, "
                "insufficient_funds, send_policy or send_refused; did you mean 'rate_limited'?"
            ),
        ),
        (
            "name: https://a.com/SECRET",
            "f.yaml:5: name is the text 'https://a.com/…'; expected at most 64 of letters, digits and . _ : -",
        ),
    ],
)
def test_upstream_keys(keys: str, message: str) -> None:
    if keys.startswith("{"):
        keys = keys.strip("{}").replace(", ", "\n        ")
    assert told_of_upstream(keys) == message
    assert "SECRET" not in message


def test_an_upstream_without_url() -> None:
    assert told("chains:\n- name: base\n  upstreams:\n  - name: x\n  - url: [y]\n") == (
        "f.yaml:4: an upstream has no url; expected url\n"
        "f.yaml:5: url is a list; expected a URL such as https://HOST/PATH"
    )


# --------------------------------------------------------------------------
# Environment


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "${INFURA_KEY}",
            (
                "needs the environment variable INFURA_KEY, not set; "
                "expected a value, or a default as in ${INFURA_KEY:-…}; did you mean 'INFURA_KEYS'?"
            ),
        ),
        (
            "${AA}${BB}${AA}",
            (
                "needs the environment variables AA and BB, not set; "
                "expected a value, or a default as in ${AA:-…}"
            ),
        ),
        (
            "${EMPTY}",
            (
                "needs the environment variable EMPTY, which is set but empty; "
                "expected a value, or ${EMPTY:-} where empty is meant"
            ),
        ),
        *(
            (
                wrong,
                (
                    "holds ${ that begins no reference; "
                    "expected ${NAME} or ${NAME:-default}, and $${ for a literal ${"
                ),
            )
            for wrong in ("${", "a${KEY", "${}", "${1A}", "${A B}", "${A:?x}", "${A:-${B}}")
        ),
        ("${TWO_LINES}", "has a line break or another character that cannot be printed"),
    ],
)
def test_environment(written: str, message: str) -> None:
    environ = {"INFURA_KEYS": "SECRET", "EMPTY": "", "TWO_LINES": "SECRET\nSECRET"}
    assert told_of_upstream(f"cloud: '{written}'", environ) == f"f.yaml:5: cloud {message}"


@pytest.mark.parametrize(
    "keys",
    [
        "url2: ${KEY}",
        "tier: ${KEY}",
        "weight: ${KEY}",
        "rate_limit: ${KEY}",
        "private: ${KEY}",
        "ws_url: ${KEY}",
        "ws_url: wss://${KEY}:0/",
        "name: '${KEY} x'",
        "errors: [{contains: x, class: '${KEY}'}]",
        "headers: {Host: '${KEY}'}",
    ],
)
def test_what_the_environment_holds_is_never_told(keys: str) -> None:
    message = told_of_upstream(keys, {"KEY": "s3cret"})
    assert message.startswith("f.yaml:5: ")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "'plain'"),
        ("https://a.com", "'https://a.com'"),
        ("https://a.com/SECRET", "'https://a.com/…'"),
        ("https://SECRET@a.com", "'…'"),
        ("SECRET@a.com", "'…'"),
        ("4f2a9c1be07d4c55a2b8f3e6d7c81920", "'…'"),
        ("word " * 20, "'word word word word word word word word word wor…'"),
        ("a\nb", "'a\\nb'"),
    ],
)
def test_quotes(text: str, shown: str) -> None:
    assert quoted(text) == shown


def test_pydantic_s_own_refusals_are_told_in_our_form() -> None:
    report = Report("f.yaml")
    reader = reading.Reading(report, {}, {}, {}, {})
    with pytest.raises(reading.Reported):
        reader.build(Address, {"host": "h", "port": "SECRET", "SECRET ": 1}, 7)
    message = str(report.error())
    assert "f.yaml:7: port: Input should be a valid integer" in message
    assert "f.yaml:7: SECRET : " in message, "keys are told, values are not"
    assert message.count("SECRET") == 1
    with pytest.raises(ValidationError) as caught:
        Address.model_validate({"host": "h", "port": "SECRET"})
    assert "SECRET" not in str(caught.value)


# --------------------------------------------------------------------------
# Files


def told_of_file(path: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_file(path, KNOWN, {})
    return str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert told_of_file(missing) == f"{missing}: no such file"
    assert told_of_file(tmp_path) == f"{tmp_path}: is a directory; expected a file"
    assert told_of_file("a\0b") == "a\0b: cannot be read: bad path"
    below = tmp_path / "file" / "x.yaml"
    (tmp_path / "file").write_text("x")
    assert told_of_file(below) == f"{below}: cannot be read: Not a directory"


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    assert told_of_file(tmp_path / "f") == f"{tmp_path / 'f'}: may not be read by this user"


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"chains:\n# caf\xe9\n")
    assert told_of_file(path) == f"{path}:2: not UTF-8 text; expected UTF-8"


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfchains:\n  - name: base" + TWO.encode())
    assert load_file(path, KNOWN, {}).chains[0].chain_id == 8453


# --------------------------------------------------------------------------
# Anything else

WORDS = st.sampled_from(
    [
        *("server", "chains", "name", "upstreams", "url", "hedge", "admin", "listen", "headers"),
        *("tls", "limits", "errors", "contains", "class", "deadlines", "light", "chain_id", "<<"),
        *("ethereum", "off", "on", "12s", "1", "0x1", "~", "https://a.com/x", "${KEY}", "${", "x"),
        *("*a", "&a", "!!int", "!x", "|", ">-", "[", "]", "{", "}", "- ", ": ", ",", "\n", "  "),
        *("\n  - ", "\n    ", "'", '"', "#", "?", "%YAML 1.1\n", "---\n", "2001-01-01", "1:30"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


def load_or_error(text: str) -> Config | ConfigError:
    try:
        return load(text, {"KEY": "k3y"})
    except ConfigError as error:
        return error


def assert_loads_or_is_told(text: str) -> None:
    found = load_or_error(text)
    if isinstance(found, ConfigError):
        assert found.problems
        assert all(problem.startswith("f.yaml:") for problem in found.problems)
    else:
        assert found.chains
        assert all(chain.upstreams for chain in found.chains)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.lists(WORDS, max_size=40).map("".join))
@example("%YAML 99999999999999999999.1\n--- a")
@example("a: '\\ud800'\nb: \"\\ud800\"")
@example("chains: ${KEY:-[]}")
@example("\ufeff\ufeff")
def test_any_text_loads_or_is_told(text: str) -> None:
    assert_loads_or_is_told(text)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_structure_loads_or_is_told(value: object) -> None:
    assert_loads_or_is_told(yaml.safe_dump(value, allow_unicode=True))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["server", "chain", "upstream", "deadlines", "limits", "cache", "errors"]),
    st.sampled_from(
        [
            *("listen", "admin", "tls", "gzip", "drain", "name", "kind", "chain_id", "hedge"),
            *("upstreams", "url", "ws_url", "tier", "headers", "weight", "light", "batch"),
            *("body_size", "contains", "class", "rate_limit", "deadlines", "errors", "limits"),
            *("consistency", "audit", "probes", "cache", "memory", "disk", "path"),
        ]
    ),
    VALUES,
)
def test_any_value_of_a_key_loads_or_is_told(section: str, key: str, value: object) -> None:
    inner = {key: value}
    upstream: dict[str, object] = {"url": "https://a.com"}
    chain: dict[str, object] = {"name": "base"}
    server: dict[str, object] = {}
    homes: dict[str, tuple[dict[str, object], str | None]] = {
        "server": (server, None),
        "chain": (chain, None),
        "upstream": (upstream, None),
        "deadlines": (chain, "deadlines"),
        "limits": (server, "limits"),
        "cache": (server, "cache"),
        "errors": (upstream, "errors"),
    }
    target, name = homes[section]
    if name is None:
        target.update(inner)
    else:
        target[name] = [inner] if name == "errors" else inner
    chain.setdefault("upstreams", [upstream, "https://b.com"])
    assert_loads_or_is_told(yaml.safe_dump({"server": server, "chains": [chain]}))
