"""What clients of a simulated chain may be told, and what not.

    checker = Checker(SimChain(chain_id=1337), true_head)
    asking = checker.asking(client, "eth_getBalance", [address, "latest"])   # as it is sent
    checker.answered(asking, reply)                                          # the decoded reply
    assert not checker.violations, checker.summary()

The chain is a function of its seed (``rpcproxy.drills.evm.simchain``), so that the checker knows every
true block by itself; ``true_head`` tells how many there are by now. A violation is

* ``error``: an error, or no answer at all;
* ``invented``: a block, receipt or log that belongs to no block of the chain, or its number;
* ``invented state``: state that belongs to no block of the chain;
* ``future``: a block of the chain, dated later than now;
* ``head fell``, ``state fell``: older than what this client had seen before it asked;
* ``head below told``, ``state below told``: older than what any client had been told by then;
* ``vanished``: null for what exists no higher than that;
* ``wrong block``: an answer about another block, or another transaction, than asked for;
* ``gap``: logs of a range that are not those of all its blocks.

Kinds in ``excused`` are counted apart while they stand there: nobody can know that a true-looking
piece of state is invented before its upstream has been asked for a hash again.

What is invented teaches nothing: each lie counts once, and honest answers after it do not.

State: the newest block that each client, and any of them, was told of, and the transactions of the
last blocks, for clients to look up.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rpcproxy.drills.evm.simchain import BUSY_ACCOUNTS, SimChain, block_of_balance
from rpcproxy.drills.evm.simview import SimView

MAX_EXAMPLES: Final = 12
MAX_TRANSACTIONS: Final = 20
# A timestamp is a whole second, and the clocks of one machine agree.
MAX_SECONDS_AHEAD: Final = 2.0
_FOR_EVER: Final = 2**62
_LATEST: Final = ("latest", "pending")


@dataclass(frozen=True, slots=True)
class Known:
    """The newest block told of by number, and the newest one that state was read at."""

    head: int = 0
    state: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """A request as it is sent: what its client, and what any client knew by then."""

    client: int
    method: str
    params: list[Any]
    own: Known
    told: Known


class Checker:
    """See the module's docstring. A client has one request in flight at a time."""

    def __init__(
        self,
        chain: SimChain,
        true_head: Callable[[], int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.answers = 0
        self.violations: Counter[str] = Counter()
        self.excused: frozenset[str] = frozenset()
        self.excuses: Counter[str] = Counter()
        self.examples: list[str] = []
        self.told = Known()
        self.transactions: deque[str] = deque(maxlen=MAX_TRANSACTIONS)
        self._truth = SimView(chain, _FOR_EVER, chain.chain_id)
        self._true_head = true_head
        self._highest_true = 0
        self._clock = clock
        self._clients: dict[int, Known] = {}
        self._checks: dict[str, Callable[[Asking, Any], None]] = {
            "eth_blockNumber": self._block_number,
            "eth_getBlockByNumber": self._block,
            "eth_getBlockByHash": self._block,
            "eth_getBalance": self._balance,
            "eth_call": self._token_balance,
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._nonce,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._transaction,
            "eth_getLogs": self._logs,
        }

    def known_to(self, client: int) -> Known:
        return self._clients.get(client, Known())

    def asking(self, client: int, method: str, params: list[Any]) -> Asking:
        """To be called when the request is sent."""
        return Asking(client, method, params, self.known_to(client), self.told)

    def answered(self, asking: Asking, reply: Any) -> None:
        """``reply`` is the decoded JSON, or whatever came in its place."""
        self.answers += 1
        if not isinstance(reply, dict) or "result" not in reply:
            self._violation("error", asking, repr(reply))
            return
        try:
            self._checks[asking.method](asking, reply["result"])
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            self._violation("invented", asking, f"{type(error).__name__} in {reply!r}"[:300])

    def summary(self) -> str:
        counts = ", ".join(f"{count} × {kind}" for kind, count in self.violations.most_common())
        return "\n  ".join([f"{self.answers} answers: {counts or 'consistent'}", *self.examples])

    def _violation(self, kind: str, asking: Asking, what: str) -> None:
        if kind in self.excused:
            self.excuses[kind] += 1
            return
        self.violations[kind] += 1
        if self.violations[kind] <= MAX_EXAMPLES // 4 and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(
                f"{kind}: client {asking.client}, {asking.method} {asking.params}"[:220]
                + f", had seen {asking.own.head}, told {asking.told.head}: {what}"[:400]
            )

    # --- knowledge

    def _exists(self, asking: Asking, number: int, kind: str = "invented") -> bool:
        """Whether the chain is that high by now; a violation where it is not."""
        if number > self._highest_true:
            self._highest_true = max(self._highest_true, self._true_head())
        if 0 <= number <= self._highest_true:
            return True
        self._violation(kind, asking, f"block {number}, the chain has {self._highest_true}")
        return False

    def _learn(self, asking: Asking, head: int, state: int = 0) -> None:
        state = max(state, head)
        known = self.known_to(asking.client)
        self._clients[asking.client] = Known(max(known.head, head), max(known.state, state))
        self.told = Known(max(self.told.head, head), max(self.told.state, state))

    def _is_newest(self, what: str, number: int, asking: Asking, own: int, told: int) -> None:
        if number < own:
            self._violation(f"{what} fell", asking, f"{number}, {own - number} below its own")
        elif number < told:
            self._violation(f"{what} below told", asking, f"{number}, {told - number} below")

    # --- heads and blocks

    def _block_number(self, asking: Asking, result: Any) -> None:
        number = int(result, 16)
        if self._exists(asking, number):
            self._is_newest("head", number, asking, asking.own.head, asking.told.head)
            self._learn(asking, number)

    def _block(self, asking: Asking, result: Any) -> None:
        wanted = asking.params[0]
        if result is None:
            self._nothing(asking, wanted)
            return
        number = int(result["number"], 16)
        is_true = (
            self._exists(asking, number)
            and self._is_true(asking, number, result["hash"])
            and self._has_true_parent(asking, number, result)
        )
        if not is_true:
            return
        if wanted in _LATEST:
            self._is_newest("head", number, asking, asking.own.head, asking.told.head)
        elif wanted not in (result["hash"], result["number"]):
            self._violation("wrong block", asking, f"{number}")
        self._learn(asking, number)
        for hash in result["transactions"]:
            if hash not in self.transactions and self._truth.receipt(hash) is not None:
                self.transactions.append(hash)

    def _nothing(self, asking: Asking, wanted: str) -> None:
        """Null for a block, by number, tag or hash."""
        if wanted in _LATEST:
            exists = True
        elif len(wanted) == 66:
            number = self._truth.number_of(wanted)
            exists = number is not None and number <= asking.told.head
        else:
            exists = int(wanted, 16) <= asking.told.head
        if exists:
            self._violation("vanished", asking, "null")

    def _is_true(self, asking: Asking, number: int, hash: str) -> bool:
        is_true = hash == self._truth.block_hash(number)
        if not is_true:
            self._violation("invented", asking, f"block {number} as {hash[:20]}…")
        return is_true

    def _has_true_parent(self, asking: Asking, number: int, block: dict[str, Any]) -> bool:
        if block["parentHash"] != self._truth.block_hash(number - 1):
            self._violation("invented", asking, f"block {number} with another parent")
            return False
        ahead = int(block["timestamp"], 16) - self._clock()
        if ahead > MAX_SECONDS_AHEAD:
            self._violation("future", asking, f"block {number}, {ahead:.0f} s in the future")
            return False
        return True

    # --- state

    def _state(self, asking: Asking, number: int, *, is_true: bool) -> None:
        if not self._exists(asking, number, "invented state"):
            return
        if not is_true:
            self._violation("invented state", asking, f"state of another block {number}")
            return
        wanted = asking.params[-1]
        if wanted in _LATEST:
            self._is_newest("state", number, asking, asking.own.state, asking.told.state)
        elif int(wanted, 16) != number:
            self._violation("wrong block", asking, f"state of {number}")
        self._learn(asking, 0, number)

    def _balance(self, asking: Asking, result: Any) -> None:
        self._state_of_balance(asking, asking.params[0], int(result, 16))

    def _token_balance(self, asking: Asking, result: Any) -> None:
        """``eth_call`` of ``balanceOf`` at the token; nothing else is understood."""
        self._state_of_balance(asking, "0x" + asking.params[0]["data"][-40:], int(result, 16))

    def _state_of_balance(self, asking: Asking, address: str, balance: int) -> None:
        number = block_of_balance(balance)
        is_true = number >= 0 and balance == self._truth.balance(address, number)
        self._state(asking, number, is_true=is_true)

    def _storage(self, asking: Asking, result: Any) -> None:
        """A slot of the token."""
        number = int(result[-16:], 16)
        self._state(asking, number, is_true=result == self._truth.block_hash(number))

    def _nonce(self, asking: Asking, result: Any) -> None:
        assert asking.params[0] in BUSY_ACCOUNTS
        self._state(asking, int(result, 16) - 1, is_true=True)

    # --- transactions and logs

    def _transaction(self, asking: Asking, result: Any) -> None:
        """A transaction or its receipt. Only the chain's own are known here."""
        true = self._truth.receipt(asking.params[0])
        assert true is not None
        if result is None:
            if int(true["blockNumber"], 16) <= asking.told.head:
                self._violation("vanished", asking, f"null, mined in {true['blockNumber']}")
            return
        if result.get("transactionHash", result.get("hash")) != asking.params[0]:
            self._violation("wrong block", asking, "another transaction")
        elif self._is_in_its_block(asking, result) and result["blockNumber"] == true["blockNumber"]:
            self._learn(asking, int(result["blockNumber"], 16))

    def _is_in_its_block(self, asking: Asking, result: dict[str, Any]) -> bool:
        number = int(result["blockNumber"], 16)
        return self._exists(asking, number) and self._is_true(asking, number, result["blockHash"])

    def _logs(self, asking: Asking, result: Any) -> None:
        """All logs of a range that ends at ``latest`` or at a number."""
        query = asking.params[0]
        if not all(self._is_in_its_block(asking, log) for log in result):
            return
        first = int(query["fromBlock"], 16)
        last = max((int(log["blockNumber"], 16) for log in result), default=first - 1)
        expected = [log["transactionHash"] for n in range(first, last + 1) for log in self._own(n)]
        if [log["transactionHash"] for log in result] != expected:
            self._violation("gap", asking, f"{len(result)} logs, {len(expected)} expected")
        elif query["toBlock"] in _LATEST:
            self._is_newest("state", last, asking, asking.own.state, asking.told.state)
        elif last != int(query["toBlock"], 16):
            self._violation("gap", asking, f"up to {last}")
        self._learn(asking, max(0, last))

    def _own(self, number: int) -> list[dict[str, Any]]:
        return self._truth.logs(number)
