"""Wallets that send, upstreams that fail and forget, and a proxy that is killed in between.

Each wallet has an account of its own, sends its transactions in the order of their nonces, a few
at a time, and watches each as MetaMask's pending-transaction rules do. A transaction that could not be
handed over because the proxy was down is handed over again, the same bytes, as a person would.

State: what each wallet was told, in ``Wallet``; the proxy at work, in ``SendingWorld``.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_utils.crypto import keccak

from tests.integration import anvil
from tests.integration.anvil_node import CHAIN_ID, Anvil, free_port, proxy_config
from tests.integration.odd_upstreams import Ask, Call, Lie, Reply
from tests.integration.running_proxy import RunningProxy
from tests.integration.uneven_chain import UnevenChain
from tests.integration.wire import Wire
from tests.kits.waiting import LIMIT_SECONDS, wait_until

SIGN: Final = Path(__file__).resolve().parents[1] / "clients" / "sign.mjs"
OUTSTANDING: Final = 6
RECIPIENT: Final = "0x00000000000000000000000000000000000CA5E1"
# MetaMask gives up a transaction after so many looks, in all, at which its nonce was gone and it
# had no receipt.
DROPPED_LOOKS: Final = 4
LOOK_SECONDS: Final = 0.1


class ForgetfulChain(UnevenChain):
    """Nodes that lose what is in their pools, and are killed before they told anybody."""

    def forget(self, *nodes: Anvil) -> None:
        """They lose their pools. What was in them is known to no other node."""
        with self._lock:
            for node in nodes:
                if node.is_reachable:
                    node.call("anvil_dropAllTransactions")

    def kill_unheard(self, *nodes: Anvil) -> None:
        """Their port refuses from now on, and what they alone held is gone."""
        with self._lock:
            for node in nodes:
                node.kill()


async def yes_and_keep_nothing(call: Call, ask: Ask) -> Reply:
    """Takes every transaction, and tells nobody of it."""
    if call["method"] != "eth_sendRawTransaction":
        return await ask(call)
    hash = "0x" + keccak(hexstr=call["params"][0]).hex()
    return {"jsonrpc": "2.0", "id": call["id"], "result": hash}


async def over_the_limit(call: Call, ask: Ask) -> Reply:
    """Refuses transactions for their number."""
    if call["method"] != "eth_sendRawTransaction":
        return await ask(call)
    error = {"code": -32005, "message": "rate limit exceeded"}
    return {"jsonrpc": "2.0", "id": call["id"], "error": error}


@dataclass
class Sent:
    """One transaction. ``told_at`` is when the wallet got its hash."""

    nonce: int
    hash: str
    raw: str
    told_at: float = 0.0
    receipt: dict[str, Any] | None = None
    missed: int = 0  # looks at which its nonce was gone and there was no receipt


Sign = Callable[[anvil.Account, int], list[str]]  # so many transfers, from nonce 0 on


def signed_by_web3(account: anvil.Account, count: int) -> list[str]:
    """As web3.py signs, whose signer this is."""
    return [
        Account.from_key(account.key)
        .sign_transaction(
            {
                "to": RECIPIENT,
                "value": 1,
                "nonce": nonce,
                "gas": 21_000,
                "maxFeePerGas": 5 * 10**9,
                "maxPriorityFeePerGas": 10**9,
                "chainId": CHAIN_ID,
            }
        )
        .raw_transaction.to_0x_hex()
        for nonce in range(count)
    ]


def signing_by(node_binary: str, library: str) -> Sign:
    """As viem or ethers sign."""

    def sign(account: anvil.Account, count: int) -> list[str]:
        command = [node_binary, str(SIGN), library, account.key, str(CHAIN_ID), str(count)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
        )
        return done.stdout.split()

    return sign


class Wallet(threading.Thread):
    """See the module's docstring. ``complaints``: what a person would have noticed."""

    def __init__(self, account: anvil.Account, url: str, raws: list[str]) -> None:
        super().__init__(name=f"wallet {account.address}", daemon=True)
        self.account = account
        self.sent: list[Sent] = []
        self.complaints: list[str] = []
        self.is_giving_up = threading.Event()
        self._url = url
        self._raws = raws
        self._wire: Wire | None = None

    def run(self) -> None:
        try:
            for nonce, raw in enumerate(self._raws):
                self._send(nonce, raw)
                while len(self._waiting()) >= OUTSTANDING and not self.is_giving_up.is_set():
                    self._look()
            while self._waiting() and not self.is_giving_up.is_set():
                self._look()
        except Exception as error:  # noqa: BLE001 - told to the test, which fails for it
            self.complaints.append(f"the wallet broke: {error!r}")
        finally:
            if self._wire is not None:
                self._wire.close()

    def _waiting(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.receipt is None]

    def _send(self, nonce: int, raw: str) -> None:
        sent = Sent(nonce, "0x" + keccak(hexstr=raw).hex(), raw)
        reply = self._ask("eth_sendRawTransaction", sent.raw)
        if reply.get("result") != sent.hash:
            self.complaints.append(f"send of nonce {nonce}: {reply}")
            return
        sent.told_at = time.monotonic()
        self.sent.append(sent)

    def _look(self) -> None:
        """As a wallet does now and then for what it waits for."""
        for sent in self._waiting():
            receipt = self._result("eth_getTransactionReceipt", sent.hash)
            if receipt is not None:
                sent.receipt = receipt
                continue
            if self._result("eth_getTransactionByHash", sent.hash) is None:
                self.complaints.append(f"{sent.hash} (nonce {sent.nonce}) has vanished")
            count = self._result("eth_getTransactionCount", self.account.address, "latest")
            if int(count, 16) > sent.nonce:
                # It may have been mined between the two questions.
                sent.receipt = self._result("eth_getTransactionReceipt", sent.hash)
                sent.missed += sent.receipt is None
                if sent.missed == DROPPED_LOOKS:
                    self.complaints.append(f"{sent.hash} counts as dropped")
        time.sleep(LOOK_SECONDS)

    def _result(self, method: str, *params: Any) -> Any:
        reply = self._ask(method, *params)
        if "error" in reply:
            self.complaints.append(f"{method}: {reply['error']}")
            return "0x0" if method == "eth_getTransactionCount" else {}
        return reply["result"]

    def _ask(self, method: str, *params: Any) -> dict[str, Any]:
        """Again while the proxy is down: that is no error of its, but a missing one."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                if self._wire is None:
                    self._wire = Wire(self._url)
                return self._wire.ask(method, *params)[1]
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                if self._wire is not None:
                    self._wire.close()
                self._wire = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@dataclass
class Count:
    """What came of it."""

    told: int
    mined: int
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class SendingWorld:
    """Wallets, the chain and the proxy, which can be killed and started anew in its place."""

    def __init__(
        self,
        chain: ForgetfulChain,
        directory: Path,
        signers: Sequence[Sign],
        each: int,
        **keys: str,
    ) -> None:
        self.chain = chain
        self.rng = random.Random(5)
        self.kills = 0
        self._directory = directory
        port = free_port()
        config = chain.config(proxy_config(chain.nodes[:4], **keys))
        self._config = config.replace("listen: '127.0.0.1:0'", f"listen: '127.0.0.1:{port}'")
        self.proxy = self._start_proxy()
        url = f"http://127.0.0.1:{port}"
        self.wallets = [
            Wallet(account, url, sign(account, each))
            for account, sign in zip(chain.accounts, signers, strict=False)
        ]

    def _start_proxy(self) -> RunningProxy:
        return RunningProxy(self._config, self._directory)

    def kill_proxy(self) -> None:
        """SIGKILL, and another one in its place."""
        self.kills += 1
        self.proxy.kill()
        self.proxy = self._start_proxy()

    def faults(self) -> list[tuple[Callable[[], object], Callable[[], object]]]:
        """Each a beginning and an end."""
        chain = self.chain
        node = self.rng.choice(chain.nodes[:4])
        front, fronts = chain.fronts[node.name], list(chain.fronts)

        def lie(how: Lie | None, *some: Any) -> Callable[[], None]:
            def set_lies() -> None:
                for one in some:
                    one.lie = how

            return set_lies

        return [
            (lambda: chain.freeze(node), lambda: chain.thaw(node)),
            (lambda: chain.kill_unheard(node), lambda: chain.restart(node)),
            (lambda: chain.hold(node), lambda: chain.release(node)),
            (lambda: chain.forget(node), lambda: None),
            (lambda: chain.forget(*chain.nodes[:4]), lambda: None),
            (lie(over_the_limit, front), lie(None, front)),
            (lie(yes_and_keep_nothing, front), lie(None, front)),
            (lie(yes_and_keep_nothing, *fronts), lie(None, *fronts)),
        ]

    def is_done(self) -> bool:
        return not any(wallet.is_alive() for wallet in self.wallets)

    def taken(self) -> int:
        """How many transactions wallets were told are sent."""
        return sum(len(wallet.sent) for wallet in self.wallets)

    def wait_for_sends(self, count: int) -> None:
        """So many more are taken; or so many blocks went by in which nobody had one left to send:
        while nothing is mined each wallet waits for those that it has sent.
        """
        goal, height = self.taken() + count, self.chain.height + count

        def is_there() -> bool:
            has_stalled = self.chain.height >= height
            return self.taken() >= goal or has_stalled or self.is_done()

        wait_until(is_there, f"{count} more transactions are taken")

    def wait_until_done(self) -> None:
        """As long as it goes on: another transaction is taken, or seen to be mined."""

        def steps() -> int:
            seen = [sent for wallet in self.wallets for sent in list(wallet.sent) if sent.receipt]
            return self.taken() + len(seen)

        while not self.is_done():
            before = steps()
            wait_until(
                lambda before=before: self.is_done() or steps() > before,
                "another transaction is taken or mined",
            )

    def count(self) -> Count:
        """Hold what wallets were told against the chain."""
        mined = [hash for block in self.chain.blocks for hash, _ in block.transactions]
        told = [sent.hash for wallet in self.wallets for sent in wallet.sent]
        return Count(
            len(told),
            sum(hash in mined for hash in told),
            [hash for hash in told if hash not in mined],
            [hash for hash in told if mined.count(hash) > 1],
            [complaint for wallet in self.wallets for complaint in wallet.complaints],
        )

    def close(self) -> None:
        for wallet in self.wallets:
            wallet.is_giving_up.set()
        for wallet in self.wallets:
            wallet.join(LIMIT_SECONDS)
        self.proxy.close()
