"""Transactions as people see them: ``rpcproxy tx`` beside a running proxy, its admin port, and
after its end.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from eth_account import Account

from rpcproxy import cli
from tests.integration.running_proxy import ROOT, RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import LIMIT_SECONDS, wait_until

CHAIN_ID = 31337
KEY = "0x" + "11" * 32
SENDER = Account.from_key(KEY).address.lower()
# Nobody answers there: what is accepted stays open.
CONFIG = f"""
server:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
  journal: %s
  accept_while_down: true
chains:
  - name: devnet
    chain_id: {CHAIN_ID}
    deadlines: {{send: 100ms}}
    upstreams:
      - {{name: first, url: "http://127.0.0.1:9/a-key", provider: one}}
      - {{name: second, url: "http://127.0.0.1:9/another-key", provider: two}}
"""


def signed(nonce: int) -> tuple[str, str]:
    """Hash and raw bytes of a transfer."""
    transfer = {
        "to": "0x00000000000000000000000000000000000CA5E1",
        "value": 1,
        "nonce": nonce,
        "gas": 21_000,
        "maxFeePerGas": 3,
        "maxPriorityFeePerGas": 1,
        "chainId": CHAIN_ID,
    }
    transaction = Account.from_key(KEY).sign_transaction(transfer)
    return transaction.hash.to_0x_hex(), transaction.raw_transaction.to_0x_hex()


class Told(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Tx = Callable[..., Told]


@pytest.fixture
def tx(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tx:
    """``rpcproxy tx`` in the test's own process, which is no proxy's."""

    def run(*arguments: str, **environment: str) -> Told:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            code = cli.main(["tx", *arguments])
        except SystemExit as refused:  # arguments that are none
            code = int(refused.code or 0)
        return Told(code, *capsys.readouterr())

    return run


def tx_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same as people start it."""
    return subprocess.run(
        [sys.executable, "-m", "rpcproxy", "tx", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def test_a_pending_transaction_is_seen_everywhere(
    proxy_process: Callable[[str], RunningProxy], tmp_path: Path, tx: Tx
) -> None:
    config = CONFIG % (tmp_path / "journal")
    sent = [signed(nonce) for nonce in range(2)]
    killed = RunningProxy(config, tmp_path / "killed")
    try:
        with contextlib.closing(Wire(killed.url)) as wire:
            for hash, raw in sent:
                assert wire.result("eth_sendRawTransaction", raw) == hash
        check_that_it_is_seen(killed, sent, tmp_path / "journal", tx)
    finally:
        killed.kill()
        killed.wait()

    # Without a proxy the command line knows them still.
    hash = sent[0][0]
    after = tx("show", hash, "--journal", str(tmp_path / "journal"))
    assert (after.returncode, after.stderr) == (0, "")
    assert "state           journaled: " in after.stdout

    # And so does the next proxy.
    proxy = proxy_process(config)
    wait_until(
        lambda: proxy.status()["chains"][0]["transactions"]["pending"] == 2, "both are taken up"
    )
    assert json.loads(proxy.get(f"/transactions/{hash}"))["hash"] == hash


def check_that_it_is_seen(
    proxy: RunningProxy, sent: list[tuple[str, str]], journal: Path, tx: Tx
) -> None:
    # On the command line, beside the running proxy: by its configuration, and by the directory.
    listed = tx_process("list", "--pending", "-c", str(proxy.config_path))
    assert (listed.returncode, listed.stderr) == (0, "")
    head, *lines = listed.stdout.splitlines()
    assert head.split() == ["state", "age", "chain", "hash", "sender", "nonce", "block"]
    assert [line.split()[-5:] for line in lines] == [
        ["devnet", hash, SENDER, str(nonce), "-"]
        for nonce, (hash, _) in reversed([*enumerate(sent)])
    ]
    hash, raw = sent[0]
    shown = tx("show", hash, "--json", "--journal", str(journal))
    assert (shown.returncode, shown.stderr) == (0, "")
    entry: dict[str, Any] = json.loads(shown.stdout)
    assert (entry["chain"], entry["sender"], entry["nonce"]) == ("devnet", SENDER, 0)
    assert (entry["state"], entry["block"], entry["private"]) == ("journaled", None, False)
    assert entry["size_bytes"] == len(raw) // 2 - 1

    # On the admin port.
    [chain] = json.loads(proxy.get("/transactions"))["chains"]
    assert (chain["name"], chain["pending"], chain["journal"]) == ("devnet", 2, "open")
    assert chain["oldest_seconds"] >= 0
    assert chain["journal_bytes"] > 0
    assert [each["hash"] for each in chain["open"]] == [sent[1][0], hash]
    one = json.loads(proxy.get(f"/transactions/{hash}"))
    assert (one["hash"], one["nonce"]) == (hash, 0)
    assert "a-key" not in proxy.get("/transactions")
    known = proxy.status()["chains"][0]["transactions"]
    assert (known["pending"], known["journal"]) == (2, "open")
    assert 'rpcproxy_transactions_pending{chain="devnet"} 2.0' in proxy.get("/metrics")
    nowhere = json.loads(proxy.get(f"/transactions/0x{'0' * 64}"))
    assert nowhere == {"error": f"no transaction 0x{'0' * 64} is known here"}


def test_the_default_directory_is_that_of_the_proxy(
    proxy_process: Callable[[str], RunningProxy], tmp_path: Path, tx: Tx
) -> None:
    proxy = proxy_process(CONFIG % "on")
    hash, raw = signed(0)
    assert proxy.wire().result("eth_sendRawTransaction", raw) == hash
    state = proxy.config_path.parent / "state"
    listed = tx("list", "--json", XDG_STATE_HOME=str(state))
    assert [json.loads(line)["hash"] for line in listed.stdout.splitlines()] == [hash]


def test_what_cannot_be_shown_is_said_in_words(tmp_path: Path, tx: Tx) -> None:
    for arguments, code, words in (
        (("list", "--journal", str(tmp_path / "no")), 2, "there is no journal at "),
        (("list",), 2, "there is no journal at "),
        (("show", "0x12"), 2, "'0x12' is no hash of a transaction"),
        (("list", "--journal", str(ROOT / "README.md")), 2, "cannot be read: "),
        (("list", "-c", str(tmp_path / "no.yaml")), 2, "no such file"),
    ):
        told = tx(*arguments)
        assert told.returncode == code, arguments
        assert words in told.stderr
        assert "Traceback" not in told.stderr
        assert told.stdout == ""
