"""A restart under load costs no request: by socket activation, and by takeover of the ports."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest

from rpcproxy.edges.disk.journal import read_rows
from tests.integration.anvil_node import free_port
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Wire
from tests.kits.engine_kit import CHAIN_ID
from tests.kits.sends_kit import signed
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.loads.load import start_load
from tests.loads.load_report import Report
from tests.sockets.providers import ProviderProcess

RATE_PER_SECOND = 100
SENDS_EACH = 3  # before and after
SEND_PAUSE_SECONDS = 0.03


@pytest.fixture(scope="module")
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess(
        "a", "b", "c", latency_seconds=0.005, block_time_seconds=1.0, chain_id=CHAIN_ID
    ) as providers:
        yield providers


class Sender:
    """A wallet that sends one transaction after the other, each on a connection of its own, and
    looks each up. ``wrong`` is what it should not have seen.
    """

    def __init__(self, url: str, account: int) -> None:
        self.hashes: list[str] = []
        self.wrong: list[str] = []
        self._url = url
        self._account = account
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender")
        self._thread.start()

    def _run(self) -> None:
        for nonce in range(10_000):
            if self._is_over.wait(SEND_PAUSE_SECONDS):
                return
            tx = signed(nonce, self._account)
            with contextlib.closing(Wire(self._url)) as wire:
                try:
                    _, answer = wire.ask("eth_sendRawTransaction", tx.raw)
                except OSError as error:
                    answer = {"error": repr(error)}
            if answer.get("result") == tx.hash:
                self.hashes.append(tx.hash)
            else:
                self.wrong.append(f"nonce {nonce}: {answer}")

    def wait_for_more(self) -> None:
        """Some more of its transactions are taken; or one was not, which ends the test."""
        enough = len(self.hashes) + SENDS_EACH
        wait_until(lambda: len(self.hashes) >= enough or self.wrong, "transactions are taken")

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


@dataclass
class Restarted:
    """What wallets saw of a restart; its moments by the machine's monotonic clock."""

    report: Report
    sender: Sender
    state: Path
    began_at: float
    ended_at: float

    def check(self, after: RunningProxy) -> None:
        report, sender = self.report, self.sender
        print(
            f"\n{report.total} requests, {report.error_count} failed, slowest "
            f"{report.whole.max_seconds:.2f} s, p99 {report.whole.p99_seconds * 1000:.0f} ms; "
            f"{len(sender.hashes)} sends, {len(sender.wrong)} failed"
        )
        assert report.error_count == 0, report.errors[:5]
        before = report.between(0.0, self.began_at)
        during = report.between(self.began_at, self.ended_at)
        later = report.between(self.ended_at, math.inf)
        assert min(before.count, during.count, later.count) > 0, (before, during, later)
        assert report.backward_heads == 0
        assert sender.wrong == []
        assert len(sender.hashes) >= 2 * SENDS_EACH
        wire = after.wire()
        for hash in sender.hashes:
            assert wire.result("eth_getTransactionByHash", hash)["hash"] == hash
        assert after.status()["chains"][0]["transactions"]["journal"] == "open"
        # Its own: another configuration's, before it, has none any more.
        (journal,) = (self.state / "rpcproxy").glob("*/journal/here.sqlite")
        assert {row.hash for row in read_rows(journal)} == set(sender.hashes)


def config_on(wallet: int, admin: int, providers: ProviderProcess) -> str:
    upstreams = "".join(
        f"      - {{name: {name}, url: {url}, provider: {name}}}\n"
        for name, url in providers.urls.items()
    )
    return (
        f"server: {{listen: 127.0.0.1:{wallet}, admin: 127.0.0.1:{admin}}}\n"
        f"chains:\n  - name: here\n    chain_id: {CHAIN_ID}\n    block_time: 1s\n    upstreams:\n"
        + upstreams
    )


@contextlib.contextmanager
def under_load(url: str, account: int, state: Path) -> Iterator[list[Restarted]]:
    """Reads and sends while the block runs; what they saw is in the list afterwards."""
    seen: list[Restarted] = []
    began_at = ended_at = math.inf
    load = start_load(
        url,
        rate_per_second=RATE_PER_SECOND,
        seconds=LIMIT_SECONDS,
        patience_seconds=LIMIT_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    sender = Sender(url, account)
    try:
        sender.wait_for_more()
        # Reads are due all the while: each of these takes longer than the time between two.
        began_at = time.monotonic()
        yield seen
        ended_at = time.monotonic()
        sender.wait_for_more()
        report = load.end()
    finally:
        sender.end()
        load.stop()
    seen.append(Restarted(report, sender, state, began_at, ended_at))


def test_the_next_process_takes_the_ports_over(providers: ProviderProcess, tmp_path: Path) -> None:
    config = config_on(free_port(), free_port(), providers)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    old = RunningProxy(config, tmp_path / "old", state)
    try:
        old.wait_until_well()
        with under_load(old.url, 1, tmp_path / "state") as seen:
            new = RunningProxy(config, tmp_path / "new", state, arguments=["--takeover"])
            try:
                assert old.wait() == 0
                assert "another process has taken over" in old.log
                assert new.url == old.url
            except BaseException:
                new.kill()
                raise
        try:
            seen[0].check(new)
        finally:
            new.close()
    finally:
        old.close()


def heard(notify: socket.socket) -> list[str]:
    """What the service manager was told."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(notify.recv(4096).decode())
    return found


def test_a_service_manager_keeps_the_ports(providers: ProviderProcess, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as wallet,
        socket.create_server(("127.0.0.1", 0)) as admin,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        name = f"\0rpcproxy-test-restart-{token_hex(8)}"
        notify.bind(name)
        notify.setblocking(False)
        ports = [each.getsockname()[1] for each in (wallet, admin)]
        config = "name: here\n" + config_on(*ports, providers)
        numbers = [wallet.fileno(), admin.fileno()]
        environment = {
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "GIVEN_DESCRIPTORS": f"wallet={numbers[0]},admin={numbers[1]}",
            "NOTIFY_SOCKET": f"@{name[1:]}",
            "WATCHDOG_USEC": "9000000",
        }

        def start(name: str) -> RunningProxy:
            return RunningProxy(
                config,
                tmp_path / name,
                environment,
                "tests.integration.socket_activated",
                descriptors=numbers,
            )

        old = start("old")
        try:
            old.wait_until_well()
            with under_load(old.url, 2, tmp_path / "state") as seen:
                old.ask_to_end()
                assert old.wait() == 0
                words = heard(notify)
                assert words[0] == "READY=1"
                assert any("upstreams usable" in word for word in words)
                assert "WATCHDOG=1" in words
                assert any(word.startswith("STOPPING=1") for word in words)
                new = start("new")
            try:
                seen[0].check(new)
            finally:
                new.close()
        finally:
            old.close()
