"""Everything that runs from the first test to the last of exam_one_chain.py: nodes, their fronts,
the proxy, and people with wallets who must notice nothing. How long they wait is judged beside a
control.

State: the proxy and the clients of the moment. What a failed test left behind in them (a head that
was believed, a nonce that is stuck) must not fail the next: they are then started anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.exam.control_load import ControlLoad
from tests.exam.judging import Failed, Sheet, assert_never, assert_within
from tests.integration.anvil_node import Anvil, proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.uneven_chain import UnevenChain
from tests.integration.wallets import Readers, Wallet
from tests.kits.waiting import wait_until

BLOCK_SECONDS: Final = 0.7
# MetaMask counts an answer as degraded from here on.
LONGEST_SECONDS: Final = 5.0


class World:
    """See the module's docstring. ``commands`` start the clients; each gets an account. ``sheet``
    is that of the test that plays.
    """

    sheet: Sheet

    def __init__(
        self,
        chain: UnevenChain,
        control: ControlLoad,
        commands: list[list[str]],
        directory: Path,
    ) -> None:
        self.chain = chain
        self._control = control
        self.wallets: list[Wallet] = []
        self.past_wallets: list[Wallet] = []
        self._commands = commands
        self._directory = directory
        self._starts = 0
        self._is_spoilt = False
        self._marks: dict[object, int] = {}
        self._journeys: dict[Wallet, int] = {}
        self._began_at = self._began_before_at = time.monotonic()
        self._start()

    def _start(self) -> None:
        self._starts += 1
        nodes = [front.node for front in self.chain.fronts]
        config = self.chain.config(proxy_config(nodes))
        self.proxy = RunningProxy(config, self._directory / f"proxy-{self._starts}")
        self.proxy.wait_until_well()
        accounts = self.chain.accounts
        self.wallets = [
            Wallet(command, self.proxy.url, account, self.chain.contract)
            for command, account in zip(self._commands, accounts, strict=False)
        ]
        self.readers = Readers(self.proxy.url, accounts[0].address, 2)
        wait_until(lambda: all(wallet.is_ready for wallet in self.wallets), "all clients")
        self._mark()

    def close(self) -> None:
        """End the clients and the proxy; what the proxy's log says may fail the test."""
        self.readers.stop()
        for wallet in self.wallets:
            wallet.close()
        self.past_wallets += self.wallets
        self.wallets = []
        self.proxy.close()

    # ---- what people saw

    def _mark(self) -> None:
        """From here on, errors are this test's, and so is how long people wait. The journeys that
        they are on began in the test before.
        """
        self._began_before_at, self._began_at = self._began_at, time.monotonic()
        self._journeys = {wallet: len(wallet.journeys) for wallet in self.wallets}
        self.readers.slowest_seconds = 0.0
        self._marks = {wallet: len(wallet.errors) for wallet in self.wallets}
        self._marks[self.readers] = len(self.readers.errors)

    def errors(self) -> list[str]:
        """What people saw since the test began."""
        sources: list[Wallet | Readers] = [*self.wallets, self.readers]
        return [
            error for source in sources for error in source.errors[self._marks.get(source, 0) :]
        ]

    def check(self) -> None:
        """Nobody saw anything."""
        self.chain.check()
        errors = self.errors()
        log = "\n\nThe proxy's log:\n" + "\n".join(self.proxy.lines[-40:])
        if errors:
            log += "\n\nWhat upstreams said of transactions:\n" + self.chain.fronts.witnessed()
        if errors:
            raise Failed(f"{len(errors)} errors:\n" + "\n".join(errors[:12]) + log)
        bound = self._control.granted_worst(LONGEST_SECONDS, self._began_before_at)
        for wallet in self.wallets:
            assert wallet.is_running or wallet.is_stopped, wallet.name
            self._check_against_chain(wallet)
            assert_within(wallet.slowest_since(self._journeys[wallet]), bound, wallet.name)
        assert_within(self.readers.slowest_seconds, bound, "the readers")

    def _check_against_chain(self, wallet: Wallet) -> None:
        """What it saw is what is so."""
        heads = [head for journey in wallet.journeys for head in journey["heads"]]
        assert_never(heads != sorted(heads), f"{wallet.name} saw the head go back: {heads}")
        assert_never(heads[-1] > self.chain.height, f"{wallet.name} saw a head of {heads[-1]}")
        for journey in wallet.journeys:
            for number, hash in journey.get("blocks", ()):
                is_true = number <= self.chain.height and self.chain.hash_of(number) == hash
                assert_never(
                    not is_true, f"{wallet.name} saw a block {number} that is none: {hash}"
                )

    # ---- life goes on

    def live_on(self, journeys: int = 2) -> None:
        """Every wallet comes to the end of so many journeys, the one it is on included."""
        goals = [len(wallet.journeys) + journeys for wallet in self.wallets]

        def have_arrived() -> bool:
            pairs = zip(self.wallets, goals, strict=True)
            return bool(self.errors()) or all(len(w.journeys) >= goal for w, goal in pairs)

        wait_until(have_arrived, "every wallet's journeys")
        self.check()

    def wait_until_noticed(self, *nodes: Anvil) -> None:
        """The proxy knows that these are not well."""
        names = {node.name for node in nodes}

        def is_noticed() -> bool:
            states = self.proxy.upstream_states()
            return all(states[name] != "up" for name in names)

        what = f"the proxy notices that {sorted(names)} are odd"
        wait_until(is_noticed, what, pause_seconds=0.1)

    @contextlib.contextmanager
    def while_odd(self, *begin: Callable[[], object]) -> Iterator[None]:
        """Something is odd inside the block, and mended at its end; that is no excuse either.
        Raises ``NotJudged``.
        """
        if self._is_spoilt:
            with contextlib.suppress(AssertionError):  # the test that spoilt it has failed
                self.close()
            self._start()
        self._is_spoilt = True
        self._mark()
        with self._control.judged(self.sheet):
            try:
                for go in begin:
                    go()
                yield
            finally:
                self.chain.mend()
            self.proxy.wait_until_well()
            self.check()
        self._is_spoilt = False
